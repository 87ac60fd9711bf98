package import Foundation

/// Long work of one organization, done in small steps by whichever node has it at the moment; it outlives every one.
package struct LongOperation: Sendable, Equatable {
    package enum Kind: String, Sendable, CaseIterable {
        case importOfUsers = "users.import"
        case erasureOfUser = "user.erasure"
    }

    package enum Status: String, Sendable, CaseIterable { case queued, running, succeeded, failed }

    package let id: OperationID
    package let organization: OrganizationID
    package let kind: Kind
    package let status: Status
    /// How much there is to do, and how much of it is done: rows of an import, events of a log.
    package let total: Int
    package let done: Int
    /// How often each outcome came.
    package let outcomes: [String: Int]
    /// Who asked for it, as the log names them.
    package let createdBy: String
    package let createdAt: Date
    package let startedAt: Date?
    package let finishedAt: Date?

    package init(
        id: OperationID, organization: OrganizationID, kind: Kind, status: Status, total: Int, done: Int,
        outcomes: [String: Int], createdBy: String, createdAt: Date, startedAt: Date? = nil, finishedAt: Date? = nil
    ) {
        self.id = id
        self.organization = organization
        self.kind = kind
        self.status = status
        self.total = total
        self.done = done
        self.outcomes = outcomes
        self.createdBy = createdBy
        self.createdAt = createdAt
        self.startedAt = startedAt
        self.finishedAt = finishedAt
    }

    package var isOver: Bool { status == .succeeded || status == .failed }
}

/// What became of one row of an operation.
package struct OperationRow: Sendable, Equatable {
    package enum Outcome: String, Sendable, CaseIterable { case created, updated, unchanged, failed }

    /// The line of the body it came in, from 1.
    package let row: Int
    package let outcome: Outcome
    package let user: UserID?
    /// What is wrong with it, where it failed.
    package let code: String?
    package let pointer: String?
    package let detail: String?

    package init(
        row: Int, outcome: Outcome, user: UserID? = nil, code: String? = nil, pointer: String? = nil,
        detail: String? = nil
    ) {
        self.row = row
        self.outcome = outcome
        self.user = user
        self.code = code
        self.pointer = pointer
        self.detail = detail
    }
}
