import API
import ArgumentParser
import ControlPlane
import Foundation
import Identity
import Keys
import Logging
import Outbound
import Postgres
import Redis

/// `gatehouse openapi`
struct OpenAPICommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "openapi", abstract: "Print the admin API's description (OpenAPI 3.1).",
        discussion: "A server tells the same at /v1/openapi.json. Needs no settings and no stores.")

    @Option(help: ArgumentHelp("The public URL of the server that is described.", valueName: "url"))
    var url = "http://localhost:8001"

    func run() async throws {
        // The description is made from the routes, and routes need something to call: stores that nobody opens.
        let services = try Services(.unconnected(publicURL: url), logger: Logger(label: "gatehouse"))
        FileHandle.standardOutput.write(Data(services.api.openAPI() + [UInt8(ascii: "\n")]))
        services.identityOutbound.shutdown()
        services.clientOutbound.shutdown()
        services.resourceOutbound.shutdown()
    }
}

extension ServerConfiguration {
    /// Settings of a server that is built and never run.
    fileprivate static func unconnected(publicURL: String) throws -> ServerConfiguration {
        let nowhere = PostgresSettings(conninfo: "")
        guard let key = MasterKey(bytes: RandomBytes.system.generate(32)) else {
            throw CommandFailure("There are no random bytes.")
        }
        return ServerConfiguration(
            publicURL: publicURL, host: "", port: 0, internalHost: "", internalPort: 0, requestTimeout: 0,
            mostConnections: 0, tls: nil, database: nowhere, sequencer: nowhere,
            redis: try RedisSettings(url: "redis://127.0.0.1"), masterKey: key, olderMasterKeys: [], trustedProxies: [],
            identity: IdentitySettings(), stytchHosts: [], nameServers: [], registration: ClientRegistration.Settings(),
            rememberedGrants: 0, outboundTrustRoots: nil, rateLimits: RateLimitSettings(), logFormat: .text,
            logLevel: .error)
    }
}
