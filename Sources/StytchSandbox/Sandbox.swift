import Foundation
import Hummingbird
import Logging
import NIOCore
import Synchronization

/// Stytch's API for development and tests: several projects in memory, each chosen by its Basic user name.
///
/// The sandbox speaks exactly the calls that Gatehouse makes and what the official SDK checks of them. Its paths are
/// absolute, so it lives at the root of its host.
final class Sandbox: Sendable {
    let outbox = Outbox()
    private let limitsSends: Bool
    private let projects = Mutex<[ProjectID: Project]>([:])

    /// With `limitsSends`, an address gets one mail per second in projects that do not say otherwise.
    init(limitsSends: Bool) { self.limitsSends = limitsSends }

    func project(_ id: ProjectID) -> Project? { projects.withLock { $0[id] } }

    func project(publicToken: String) -> Project? {
        projects.withLock { $0.values.first { $0.settings.publicToken == publicToken } }
    }

    /// Adds a project as ``ProjectsFile`` describes it.
    ///
    /// - Returns: nil when the id is taken.
    func add(_ arguments: Arguments) throws -> Project? {
        let project = try Project(arguments, limitsSends: limitsSends, outbox: outbox)
        return projects.withLock { projects in
            guard projects[project.id] == nil else { return nil }
            projects[project.id] = project
            return project
        }
    }

    /// Answers as the project's fault wants, else as `answer` does.
    func withFault(
        of project: Project, on channel: any Channel, answer: () async throws -> Response
    ) async throws -> Response {
        switch project.update({ $0.fault }) {
        case .none: break
        case .down:
            channel.close(promise: nil)
            throw StytchError.internalError
        case .slow(let delay): try await Task.sleep(for: delay)
        case .error500: throw StytchError.internalError
        case .tooManyRequests: throw StytchError.tooManyRequests
        }
        return try await answer()
    }

    /// Every route, in reading order. Without `hasTestChannel` only what Stytch has, and `/healthz`.
    func router(hasTestChannel: Bool, logsRequests: Bool) -> Router<SandboxContext> {
        let router = Router(context: SandboxContext.self)
        if logsRequests { router.add(middleware: LogRequestsMiddleware(.info)) }
        router.add(middleware: ErrorEnvelope())
        router.get("healthz") { _, _ in "ok\n" }
        if hasTestChannel { TestChannel(sandbox: self).addRoutes(to: router.group("__test")) }

        router.get("v1/sessions/jwks/:project") { try await self.jwks(.consumer, $1) }
        router.get("v1/b2b/sessions/jwks/:project") { try await self.jwks(.b2b, $1) }
        router.get("v1/magic_links/redirect", use: followMagicLink)

        ConsumerRoutes().addRoutes(
            to: router.group("v1").add(middleware: AuthenticateProject(sandbox: self, vertical: .consumer))
                .group(context: ProjectContext.self))
        B2BRoutes().addRoutes(
            to: router.group("v1/b2b").add(middleware: AuthenticateProject(sandbox: self, vertical: .b2b))
                .group(context: ProjectContext.self))
        return router
    }

    /// The project's public keys; no credentials needed.
    private func jwks(_ vertical: ProjectSettings.Vertical, _ context: SandboxContext) async throws -> Response {
        guard let project = ProjectID(try context.parameters.require("project")).flatMap(project),
            project.settings.vertical == vertical
        else { throw StytchError.unknownProject }
        return try await withFault(of: project, on: context.channel) {
            try Envelope.success(["keys": [project.signer.publicJWK()]], environment: project.environment)
        }
    }

    /// The hop between a mailed link and the application's redirect URL: Stytch shows a page, the sandbox redirects.
    @Sendable private func followMagicLink(_ request: Request, _ context: SandboxContext) async throws -> Response {
        let query = try Arguments(query: request.uri.query)
        let token = try query.string("token")
        guard let project = project(publicToken: try query.string("public_token")) else {
            throw StytchError.unknownProject
        }
        guard let target = project.update({ $0.magicLinks.redirectURL(of: token) }) else {
            throw StytchError.magicLinkNotFound
        }
        let separator = target.contains("?") ? "&" : "?"
        let location = "\(target)\(separator)stytch_token_type=magic_links&token=\(token)"
        return Response(status: .found, headers: [.location: location])
    }
}
