import Foundation
import Synchronization

/// A project id; its prefix carries the environment (`project-test-…`, `project-live-…`).
struct ProjectID: Hashable, Sendable {
    enum Environment: String, Sendable {
        case test, live

        /// A fresh id such as `user-test-<uuid>`.
        func newID(_ kind: String) -> String { "\(kind)-\(rawValue)-\(UUID().uuidString.lowercased())" }
    }

    let text: String
    let environment: Environment

    /// Nil unless `text` starts as a project id does.
    init?(_ text: String) {
        if text.hasPrefix("project-test-") {
            environment = .test
        } else if text.hasPrefix("project-live-") {
            environment = .live
        } else {
            return nil
        }
        self.text = text
    }
}

/// How a broken upstream shows itself.
enum Fault: Sendable {
    case none
    /// The connection is closed without an answer.
    case down
    /// The answer is right, but late.
    case slow(Duration)
    /// Every call answers 500 `internal_server_error`.
    case error500
    /// Every call answers 429 `too_many_requests`.
    case tooManyRequests
}

/// What a project is told when it is made, and keeps.
struct ProjectSettings: Sendable {
    enum Vertical: String, Sendable { case consumer, b2b }

    let id: ProjectID
    let vertical: Vertical
    let secret: String
    let publicToken: String
    /// Where magic links may lead.
    let redirectURLs: [String]
    let lockRule: Lockout.Rule
    /// Whether a wrong passcode answers `otp_code_not_found` instead of `unable_to_auth_otp_code`: sources disagree on
    /// what Stytch does, and a client has to live with both.
    let wrongPasscodeIsNotFound: Bool
    /// Whether an address may get only one mail in a second.
    let limitsSends: Bool
}

/// One Stytch project: its settings, its signing key, and everything it remembers.
final class Project: Sendable {
    let settings: ProjectSettings
    let signer: SessionSigner
    private let outbox: Outbox
    private let state: Mutex<ProjectState>

    var id: ProjectID { settings.id }
    var environment: ProjectID.Environment { settings.id.environment }
    var hasMagicValues: Bool { environment == .test }

    init(_ settings: ProjectSettings, outbox: Outbox) throws {
        self.settings = settings
        self.outbox = outbox
        signer = try SessionSigner(environment: settings.id.environment)
        var state = ProjectState()
        if settings.id.environment == .test { try MagicValues.seed(&state, settings.vertical, at: Date()) }
        self.state = Mutex(state)
    }

    /// Runs `body` on the project's state, one call at a time. Handlers do all their work inside, so a call is atomic;
    /// one that throws keeps what it changed before (a failed attempt must count).
    func update<Result: Sendable>(_ body: (inout ProjectState) throws -> Result) rethrows -> Result {
        try state.withLock { try body(&$0) }
    }

    /// The project's clock, which tests may set ahead.
    var now: Date { update { Date() + $0.clockOffset.timeInterval } }

    func mail(_ kind: Outbox.Kind, to email: String) { outbox.append(kind, to: email, from: id) }
}

/// Everything a project remembers. Consumer projects leave `organizations` empty, B2B projects `users`.
struct ProjectState: Sendable {
    var users = Users()
    var organizations = Organizations()
    var passcodes = Passcodes()
    var magicLinks = MagicLinks()
    var sessions = Sessions()
    var fault = Fault.none
    var clockOffset = Duration.zero
    private var lastSend: [String: Int] = [:]

    /// One mail per second and address, in windows aligned to the clock as Stytch's are.
    mutating func countSend(to email: String, at now: Date) throws {
        let second = Int(now.timeIntervalSince1970)
        guard lastSend[email] != second else { throw StytchError.tooManyRequests }
        lastSend[email] = second
    }
}

/// Mail that would have gone out, for tests to read; the newest 10 000 are kept.
final class Outbox: Sendable {
    enum Kind: Sendable {
        case passcode(String)
        case magicLink(url: String)
    }
    private struct Mail {
        let email: String
        let project: ProjectID
        let kind: Kind
        let sentAt: Date
    }

    private let mails = Mutex<[Mail]>([])

    func append(_ kind: Kind, to email: String, from project: ProjectID) {
        mails.withLock { mails in
            if mails.count >= 10_000 { mails.removeFirst(1_000) }
            mails.append(Mail(email: email, project: project, kind: kind, sentAt: Date()))
        }
    }

    /// Newest first: `{kind, code?, url?, sent_at, email, project_id}`.
    func mails(to email: String?, from projectID: String?) -> [JSON] {
        mails.withLock(\.self).reversed()
            .filter { email == nil || $0.email == email?.lowercased() }
            .filter { projectID == nil || $0.project.text == projectID }
            .map { mail in
                let sentAt = mail.sentAt.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
                var entry: [String: JSON] = [
                    "email": .string(mail.email), "project_id": .string(mail.project.text), "sent_at": .string(sentAt),
                ]
                switch mail.kind {
                case .passcode(let code): entry.merge(["kind": "otp", "code": .string(code)]) { $1 }
                case .magicLink(let url): entry.merge(["kind": "magic_link", "url": .string(url)]) { $1 }
                }
                return .object(entry)
            }
    }
}
