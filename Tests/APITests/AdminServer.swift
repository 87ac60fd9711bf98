import Audit
import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Identity
import Keys
import Logging
import Outbound
import Redis
import Tenancy
import TestSupport

@testable import API

/// The admin API in memory, over the servers of the environment.
struct AdminServer: Sendable {
    static let publicURL = "https://as.example"

    let administration: Administration
    /// Every route there is.
    let routes: [Route]
    private let client: any TestClientProtocol
    /// A platform key that may do everything.
    let platformKey: String

    private static let platform = Task { () async throws -> Void in
        _ = try await makeAdministration(try TestDatabase.open()).bootstrapPlatform(at: Date())
    }

    /// What development has: identity providers on this machine.
    static var development: AdministrationSettings {
        AdministrationSettings(publicURL: publicURL, allowLoopbackUpstreams: true)
    }

    private static func makeAdministration(
        _ database: TenantDatabase, settings: AdministrationSettings = development
    ) -> Administration {
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        return Administration(
            database: database,
            catalog: TenantCatalog(database: database, secrets: TestDatabase.secrets, logger: logger),
            secrets: TestDatabase.secrets, settings: settings, logger: logger)
    }

    /// The router, without the 405 of methods that no route has.
    private static func makeRouter(
        _ administration: Administration, rates: RateLimitSettings = RateLimitSettings()
    ) throws -> Router<AppContext> {
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let refusals = RefusalLog(
            database: administration.database, clock: .system, random: .system, logger: logger)
        // A link that nobody keeps: what one test takes from a bucket is no other test's business.
        var away = try RedisSettings(url: "redis://127.0.0.1:1")
        away.commandTimeout = .milliseconds(1)
        let redis = RedisClient(settings: away, logger: logger)
        let limiter = RateLimiter(redis: [redis], settings: rates)
        guard let master = MasterKey(bytes: Array(repeating: 7, count: 32)) else { throw Unexpected("no master key") }
        let router = Router(context: AppContext.self)
        router.add(
            middleware: BeginRequest(settings: EdgeSettings(publicURL: publicURL), clock: .system, random: .system))
        let limits = EndpointLimits(
            limiter: limiter, acquaintance: { [administration] in administration.catalog.acquaintance(of: $0, at: $1) },
            refusals: refusals)
        let issuers = IssuerDirectory(catalog: administration.catalog, publicURL: publicURL)
        AdminRoutes(
            administration: administration,
            documents: ClientDocuments(
                catalog: administration.catalog, database: administration.database,
                fetcher: DocumentFetcher(
                    outbound: try OutboundClient(
                        policy: DocumentFetcher.outboundPolicy(allowLoopback: false, trustRoots: nil), logger: logger)),
                registration: ClientRegistration(
                    database: administration.database, limits: limits, refusals: refusals,
                    settings: ClientRegistration.Settings(), random: .system), random: .system),
            toolDiscovery: ToolDiscovery(outbound: try OutboundClient(policy: OutboundPolicy(), logger: logger)),
            identityProviders: IdentityProviders(
                outbound: try OutboundClient(policy: OutboundPolicy(), logger: logger), secrets: administration.secrets,
                settings: IdentitySettings()),
            authentication: AdminAuthentication(
                database: administration.database, refusals: refusals, logger: logger),
            tokens: AdminTokenAuthentication(
                issuers: issuers,
                verifier: AccessTokenVerifier(issuers: issuers, database: administration.database),
                database: administration.database, refusals: refusals),
            proofs: DPoPProofs(
                nonces: DPoPNonces(key: AuthenticationKey(derivedFrom: master, purpose: "dpop nonce")), redis: redis,
                refusals: refusals, random: .system),
            cursorKey: AuthenticationKey(derivedFrom: master, purpose: "cursors")
        ).add(to: router, limits: limits)
        return router
    }

    /// Runs against the servers of the environment, with a platform key that may do everything.
    static func run(
        settings: AdministrationSettings = development, rates: RateLimitSettings = RateLimitSettings(),
        _ body: @Sendable (AdminServer) async throws -> Void
    ) async throws {
        let database = try TestDatabase.open()
        try await run(database: database, key: platformKey(), settings: settings, rates: rates, body)
    }

    /// A fresh platform key that may do everything.
    static func platformKey() async throws -> String {
        try await platform.value
        return try await makeAdministration(try TestDatabase.open())
            .createPlatformAdminKey(name: "tests", at: Date()).secret.revealed
    }

    /// The whole server on a port of its own; `body` gets the port and a platform key.
    static func listen(
        logger: Logger, _ body: @Sendable (_ port: Int, _ platformKey: String) async throws -> Void
    ) async throws {
        let key = try await platformKey()
        let router = try makeRouter(makeAdministration(try TestDatabase.open()))
        try await Application(router: router, logger: logger).test(.live) { client in
            guard let port = client.port else { throw Unexpected("no port") }
            try await body(port, key)
        }
    }

    static func run(
        database: TenantDatabase, key: String, settings: AdministrationSettings = development,
        rates: RateLimitSettings = RateLimitSettings(), _ body: @Sendable (AdminServer) async throws -> Void
    ) async throws {
        let administration = makeAdministration(database, settings: settings)
        let router = try makeRouter(administration, rates: rates)
        let routes = router.routes.map { Route(method: $0.method, template: $0.path.description) }
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        try await Application(router: router, logger: logger).test(.router) { client in
            try await body(
                AdminServer(administration: administration, routes: routes, client: client, platformKey: key))
        }
    }

    struct Route: Sendable {
        let method: HTTPRequest.Method
        /// Such as `/v1/organizations/{org}/users`.
        let template: String
    }

    struct Unexpected: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }

    struct Reply: Sendable {
        let status: Int
        let headers: HTTPFields
        let body: [UInt8]

        var json: [String: JSONValue] { (try? JSONText.parse(body, maximumDepth: 32))?.object ?? [:] }
        subscript(name: String) -> String { json[name]?.string ?? "" }
        var text: String { String(decoding: body, as: UTF8.self) }
        var code: String { self["code"] }
        var pointers: [String] {
            guard case .array(let errors)? = json["errors"] else { return [] }
            return errors.compactMap { $0.object?["pointer"]?.string }
        }
        var rows: [[String: JSONValue]] {
            guard case .array(let rows)? = json["data"] else { return [] }
            return rows.compactMap(\.object)
        }

        /// Everything a caller sees, less what names the request.
        var anonymous: String {
            let id = json["request_id"]?.string ?? "-"
            // What the caller's own key has left is no news of anybody else, and changes with every call.
            let fields = headers.filter { ![.requestID, .rateLimit, .rateLimitPolicy].contains($0.name) }.map {
                "\($0.name): \($0.value)"
            }.sorted()
            return "\(status)\n\(fields.joined(separator: "\n"))\n\(text.replacing(id, with: "REQUEST"))"
        }
    }

    func call(
        _ method: HTTPRequest.Method, _ path: String, _ body: String? = nil, key: String? = nil,
        headers extra: HTTPFields = [:]
    ) async throws -> Reply {
        var headers: HTTPFields = [.authorization: "Bearer \(key ?? platformKey)"]
        if body != nil { headers[.contentType] = "application/json" }
        for field in extra { headers[field.name] = field.value }
        return try await client.execute(
            uri: path, method: method, headers: headers, body: body.map { ByteBuffer(string: $0) }
        ) { Reply(status: $0.status.code, headers: $0.headers, body: Array($0.body.readableBytesView)) }
    }

    /// A call that has to succeed.
    @discardableResult
    func done(
        _ method: HTTPRequest.Method, _ path: String, _ body: String? = nil, key: String? = nil,
        headers: HTTPFields = [:]
    ) async throws -> Reply {
        let reply = try await call(method, path, body, key: key, headers: headers)
        guard (200..<300).contains(reply.status) else {
            throw Unexpected("\(method) \(path) answered \(reply.status): \(reply.text)")
        }
        return reply
    }

    func raw(_ method: HTTPRequest.Method, _ path: String, headers: HTTPFields, body: [UInt8] = []) async throws
        -> Reply
    {
        try await client.execute(uri: path, method: method, headers: headers, body: ByteBuffer(bytes: body)) {
            Reply(status: $0.status.code, headers: $0.headers, body: Array($0.body.readableBytesView))
        }
    }

    static func freshSlug() -> String {
        "t-\(EventID.make(at: Date(), .system).description.suffix(20))"
    }

    /// A fresh organization, made over HTTP.
    func organization() async throws -> Tenant {
        let made = try await done(.post, "/v1/organizations", #"{"slug":"\#(Self.freshSlug())","name":"Test"}"#)
        let path = "/v1/organizations/\(made["id"])"
        let key = try await done(.post, "\(path)/admin-keys", #"{"name":"owner","scopes":["*"]}"#)["secret"]
        return Tenant(id: made["id"], slug: made["slug"], path: path, key: key)
    }

    struct Tenant: Sendable {
        let id: String
        let slug: String
        let path: String
        /// May do everything in this organization.
        let key: String
    }

    /// One of everything an organization can have, by the name its id has in paths.
    func furnish(_ tenant: Tenant) async throws -> [String: String] {
        let tag = tenant.slug
        var ids = ["org": tenant.id]
        ids["domain"] = try await done(.post, "\(tenant.path)/domains", #"{"domain":"\#(tag).example"}"#)["domain"]
        ids["user"] = try await done(.post, "\(tenant.path)/users", #"{"email":"a@\#(tag).example","name":"A"}"#)["id"]
        ids["role"] = try await done(.post, "\(tenant.path)/roles", #"{"name":"R"}"#)["id"]
        ids["principal"] = ids["user"]
        ids["operation"] = OperationID.make(at: Date(), .system).description
        ids["invitation"] = try await done(.post, "\(tenant.path)/invitations", #"{"email":"b@\#(tag).example"}"#)["id"]
        ids["provider"] = try await done(
            .post, "\(tenant.path)/identity-providers",
            #"{"kind":"stytch_consumer","name":"S","project_id":"project-test-\#(tag)","secret":"very-secret-\#(tag)"}"#
        )["id"]
        ids["resource"] = try await done(
            .post, "\(tenant.path)/resources",
            #"{"uri":"https://\#(tag).example/mcp","name":"R","scopes":["read","write"],"scope_implications":{"write":["read"]}}"#
        )["id"]
        ids["credential"] = try await done(
            .post, "\(tenant.path)/resources/\(ids["resource"] ?? "")/credentials", #"{"name":"server"}"#)["id"]
        ids["token"] = try await done(
            .post, "\(tenant.path)/access-tokens",
            #"{"name":"script","user":"\#(ids["user"] ?? "")","resource":"\#(ids["resource"] ?? "")","scopes":["read"]}"#
        )["id"]
        ids["client"] = try await done(
            .post, "\(tenant.path)/clients", #"{"name":"C","redirect_uris":["https://\#(tag).example/cb"]}"#)["id"]
        ids["policy"] = try await done(
            .post, "\(tenant.path)/scope-policies",
            #"{"name":"w","effect":"allow","principals":{"users":["\#(ids["user"] ?? "")"]},"scopes":["write"]}"#)["id"]
        ids["initial"] = try await done(.post, "\(tenant.path)/initial-access-tokens", #"{"name":"t"}"#)["id"]
        ids["key"] = try await done(
            .post, "\(tenant.path)/admin-keys", #"{"name":"k","scopes":["users:read"]}"#)["id"]
        ids["signing_key"] = try await done(.get, "\(tenant.path)/signing-keys").rows.first?["id"]?.string
        ids["grant"] = GrantID.make(at: Date(), .system).description
        ids["session"] = SessionID.make(at: Date(), .system).description
        ids["event"] = EventID.make(at: Date(), .system).description
        return ids
    }
}
