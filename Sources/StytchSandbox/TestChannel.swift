import Foundation
import Hummingbird
import NIOCore

/// `/__test`: what tests may see and do behind the API's back. Real Stytch has nothing like it; `--no-test-channel`
/// leaves it out.
///
/// - `GET outbox?email=…&project_id=…`: the mail that would have gone out, newest first.
/// - `POST projects`: adds a project (one entry of ``ProjectsFile``).
/// - `POST faults {"project_id", "mode"}`: `down`, `slow` (with `delay_ms`, 15 000 by default), `error_500`,
///   `too_many_requests` or `none`.
/// - `POST clock {"project_id", "advance_seconds"}`: sets the project's clock ahead, to the end of codes, locks and
///   sessions.
struct TestChannel {
    let sandbox: Sandbox

    func addRoutes(to group: RouterGroup<SandboxContext>) {
        group.get("outbox") { request, _ in
            let query = try Arguments(query: request.uri.query)
            let mails = sandbox.outbox.mails(
                to: try query.optionalString("email"), from: try query.optionalString("project_id"))
            return try Response.json(.array(mails))
        }
        group.post("projects") { request, _ in
            guard let project = try sandbox.add(await arguments(of: request)) else {
                throw StytchError(409, "duplicate_project", "There is a project with that id.")
            }
            return try Response.json(
                [
                    "project_id": .string(project.id.text), "public_token": .string(project.settings.publicToken),
                ], status: .created)
        }
        group.post("faults") { request, _ in
            let arguments = try await arguments(of: request)
            let fault = try fault(arguments)
            try project(arguments).update { $0.fault = fault }
            return try Response.json([:])
        }
        group.post("clock") { request, _ in
            let arguments = try await arguments(of: request)
            guard let seconds = try arguments.integer("advance_seconds") else {
                throw StytchError.badRequest("advance_seconds is required.")
            }
            try project(arguments).update { $0.clockOffset += .seconds(seconds) }
            return try Response.json([:])
        }
    }

    private func arguments(of request: Request) async throws -> Arguments {
        var request = request
        return try Arguments(body: Array(try await request.collectBody(upTo: 1 << 20).readableBytesView))
    }

    private func project(_ arguments: Arguments) throws -> Project {
        guard let project = ProjectID(try arguments.string("project_id")).flatMap(sandbox.project) else {
            throw StytchError.unknownProject
        }
        return project
    }

    private func fault(_ arguments: Arguments) throws -> Fault {
        switch try arguments.string("mode") {
        case "none": .none
        case "down": .down
        case "slow": .slow(.milliseconds(try arguments.integer("delay_ms") ?? 15_000))
        case "error_500": .error500
        case "too_many_requests": .tooManyRequests
        default: throw StytchError.badRequest("mode is none, down, slow, error_500 or too_many_requests.")
        }
    }
}
