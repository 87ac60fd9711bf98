import ArgumentParser
import Foundation
import Hummingbird
import Logging
import NIOCore

/// The command `stytch-sandbox`.
@main
struct Main: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stytch-sandbox",
        abstract: "Stytch's API for development and tests, in memory.",
        discussion: """
            Prints one line with its URL when it is ready. Point an official Stytch SDK at it with \
            environment="http://127.0.0.1:PORT".

            The projects file is JSON:

              {"projects": [
                {"vertical": "b2b",
                 "project_id": "project-test-…", "secret": "…",
                 "public_token": "…",
                 "organizations": [
                   {"organization_id": "organization-test-…",
                    "organization_name": "Acme", "organization_slug": "acme",
                    "email_jit_provisioning": "RESTRICTED",
                    "email_allowed_domains": ["acme.example"],
                    "members": [{"member_id": "member-test-…",
                                 "email_address": "ada@acme.example",
                                 "name": "Ada", "status": "active"}]}]},
                {"vertical": "consumer",
                 "project_id": "project-test-…", "secret": "…",
                 "redirect_urls": ["http://localhost:8001/callback"],
                 "users": [{"user_id": "user-test-…",
                            "email": "ada@acme.example"}]}]}

            Only vertical, project_id and secret are required; organizations, members and users take what the \
            API's create calls take, and ids. More of a project: user_lock_threshold (10), user_lock_minutes (60), \
            limit_sends (false), wrong_passcode_error (unable_to_auth_otp_code or otp_code_not_found).

            Test channel: GET /__test/outbox?email=…, POST /__test/projects, POST /__test/faults, \
            POST /__test/clock. GET /healthz answers when the sandbox is up.
            """)

    @Option(help: "Port to listen on; 0 picks a free one.")
    var port = 0

    @Option(help: "Address to listen on.")
    var host = "127.0.0.1"

    @Option(help: "File with the projects to start with.")
    var projects: String?

    @Flag(help: "Leave the /__test routes out.")
    var noTestChannel = false

    @Flag(help: "Allow one mail per second and address, as Stytch does.")
    var limitSends = false

    @Flag(help: "Log every request.")
    var verbose = false

    func run() async throws {
        let sandbox = Sandbox(limitsSends: limitSends)
        if let projects {
            do {
                for project in try ProjectsFile(path: projects).projects {
                    guard try sandbox.add(project) != nil else {
                        throw ValidationError("\(projects) names a project twice.")
                    }
                }
            } catch let error as StytchError {
                throw ValidationError("\(projects): \(error.message)")
            } catch let error as CocoaError {
                throw ValidationError("\(projects) cannot be read: \(error.localizedDescription)")
            }
        }
        var logger = Logger(label: "stytch-sandbox", factory: { StreamLogHandler.standardError(label: $0) })
        logger.logLevel = verbose ? .info : .warning
        let router = sandbox.router(hasTestChannel: !noTestChannel, logsRequests: verbose)
        let host = host
        let application = Application(
            router: router,
            configuration: .init(address: .hostname(host, port: port)),
            onServerRunning: { channel in
                let port = channel.localAddress?.port ?? 0
                let line = "Stytch sandbox ready at http://\(host):\(port)\n"
                FileHandle.standardOutput.write(Data(line.utf8))
            },
            logger: logger)
        try await application.runService()
    }
}
