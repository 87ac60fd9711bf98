import Foundation
import Keys
import Logging
import Outbound
import TestSupport

@testable import Identity

/// A project of its own in the running `stytch-sandbox`, driven through the sandbox's test channel.
struct SandboxProject {
    let id: String
    let secret = "secret-test-\(UUID().uuidString.lowercased())"
    private let url: String
    private static let outbound = Result {
        try OutboundClient(policy: IdentityProviders.outboundPolicy(allowLoopback: true), logger: Logger(label: "test"))
    }

    static func client() throws -> OutboundClient { try outbound.get() }

    /// - Parameter members: JSON members of the project beside its vertical, id and secret.
    init(_ vertical: String, _ members: String = "") async throws {
        url = try TestEnvironment.require("STYTCH_SANDBOX_URL")
        id = "project-test-\(UUID().uuidString.lowercased())"
        let rest = members.isEmpty ? "" : ", \(members)"
        let status = try await post(
            "/__test/projects",
            """
            {"vertical": "\(vertical)", "project_id": "\(id)", "secret": "\(secret)"\(rest)}
            """
        ).status
        guard status == 201 else { throw SandboxProblem(what: "the project was answered \(status)") }
    }

    var baseURL: String { url }

    /// The newest code sent to an address, or nil when none was.
    func code(for email: String) async throws -> String? {
        let mails = try await Self.client().send(
            OutboundRequest(url: "\(url)/__test/outbox?email=\(email)&project_id=\(id)"))
        guard case .array(let entries) = try JSONText.parse(mails.body) else { return nil }
        return entries.first?.object?["code"]?.string
    }

    func requireCode(for email: String) async throws -> String {
        guard let code = try await code(for: email) else { throw SandboxProblem(what: "no mail to \(email)") }
        return code
    }

    func fault(_ mode: String) async throws {
        _ = try await post("/__test/faults", #"{"project_id": "\#(id)", "mode": "\#(mode)"}"#)
    }

    func advanceClock(by seconds: Int) async throws {
        _ = try await post("/__test/clock", #"{"project_id": "\#(id)", "advance_seconds": \#(seconds)}"#)
    }

    /// How many sessions a B2B member has.
    func sessions(of member: String, in organization: String) async throws -> Int {
        let credentials = Data("\(id):\(secret)".utf8).base64EncodedString()
        let answer = try await Self.client().send(
            OutboundRequest(
                url: "\(url)/v1/b2b/sessions?organization_id=\(organization)&member_id=\(member)",
                headers: [("Authorization", "Basic \(credentials)")]))
        guard case .array(let sessions)? = try JSONText.parse(answer.body, maximumDepth: 32).object?["member_sessions"]
        else { throw SandboxProblem(what: "no list of sessions") }
        return sessions.count
    }

    private func post(_ path: String, _ body: String) async throws -> OutboundResponse {
        try await Self.client().send(
            OutboundRequest(
                method: "POST", url: url + path, headers: [("Content-Type", "application/json")], body: Array(body.utf8)
            ))
    }
}

struct SandboxProblem: Error, CustomStringConvertible {
    let what: String
    var description: String { "Stytch sandbox: \(what)" }
}
