import Audit
import Foundation
import Identity
import Keys
import Postgres
package import Tenancy

// This folder owns long work: what an administrator's request begins and any node goes on with in small steps.

/// One line of an import as it was read.
package enum ImportLine: Sendable {
    case person(row: Int, email: String, name: String?)
    /// It could not be read as one.
    case broken(row: Int, FieldError)

    package var row: Int {
        switch self {
        case .person(let row, _, _), .broken(let row, _): row
        }
    }
}

/// What an import would do, row by row.
package struct ImportForecast: Sendable {
    package let rows: [OperationRow]

    /// How often each outcome would come.
    package var outcomes: [String: Int] {
        rows.reduce(into: [:]) { $0[$1.outcome.rawValue, default: 0] += 1 }
    }
}

extension Administration {
    /// Lines of one import.
    package static let mostImportLines = 10_000

    /// Takes an import of users: those whose address nobody has are made, others get the name that the line says.
    ///
    /// What a line says wrongly is said in its row of the operation; the others are done all the same.
    package func importUsers(
        _ lines: [ImportLine], in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<LongOperation> {
        try Self.check(lines)
        let rows = lines.map(\.checked)
        let failed = rows.filter { $0.person == nil }.count
        let operation = LongOperation(
            id: OperationID.make(at: administrator.now, random), organization: organization, kind: .importOfUsers,
            status: .queued, total: rows.count, done: failed,
            outcomes: failed > 0 ? [OperationRow.Outcome.failed.rawValue: failed] : [:],
            createdBy: administrator.actor.id, createdAt: administrator.now)
        return try await administer(organization, by: administrator) { transaction in
            try checkRoom(
                try await operations.unfinished(.importOfUsers, in: organization, transaction),
                below: Self.mostImports, for: "imports under way")
            try await operations.insert(
                operation, input: OperationInput.none, request: OperationRequest(administrator), in: transaction)
            try await operations.insert(rows.map(\.stored), of: operation, in: transaction)
            return AdminChange(
                value: operation, type: .adminApiCalled, target: operation.auditTarget,
                metadata: ["rows": "\(rows.count)"], isCached: false)
        }
    }

    private static func check(_ lines: [ImportLine]) throws(AdminError) {
        guard lines.isEmpty else { return }
        throw .invalid([FieldError("", "required", "There is no line in the body.")])
    }

    /// What an import of these lines would do now; nothing is changed and nothing recorded.
    package func forecast(
        _ lines: [ImportLine], in organization: OrganizationID
    ) async throws -> Administered<ImportForecast> {
        try Self.check(lines)
        let rows = lines.map(\.checked)
        var known: [String: User] = [:]
        for user in try await users.find(emails: rows.compactMap { $0.person?.key }, in: organization) {
            if let key = user.email?.lowercased() { known[key] = user }
        }
        var names: [String: String?] = known.mapValues(\.name)
        let forecast = ImportForecast(
            rows: rows.map { row in
                guard let person = row.person else { return row.failure }
                guard let name = names[person.key] else {
                    names[person.key] = .some(person.name)
                    return OperationRow(row: row.row, outcome: .created)
                }
                let user = known[person.key]?.id
                guard let wanted = person.name, wanted != name else {
                    return OperationRow(row: row.row, outcome: .unchanged, user: user)
                }
                names[person.key] = .some(wanted)
                return OperationRow(row: row.row, outcome: .updated, user: user)
            })
        return Administered(value: forecast, event: nil)
    }
}

extension OperationStore.Person {
    /// What makes two people the same.
    var key: String { email.lowercased() }
}

/// A line that was looked at: a person, or what is wrong.
private struct CheckedLine {
    let row: Int
    let person: OperationStore.Person?
    let failure: OperationRow

    var stored: OperationStore.NewRow {
        person.map { OperationStore.NewRow(row, $0) } ?? OperationStore.NewRow(failed: failure)
    }
}

extension ImportLine {
    fileprivate var checked: CheckedLine {
        switch self {
        case .broken(let row, let error):
            return CheckedLine(row: row, person: nil, failure: OperationRow(row: row, error))
        case .person(let row, let email, let name):
            var checks = FieldChecks()
            let address = checks.email(email, "/email")
            if let name { checks.name(name, "/name") }
            if let error = checks.errors.first {
                return CheckedLine(row: row, person: nil, failure: OperationRow(row: row, error))
            }
            return CheckedLine(
                row: row, person: OperationStore.Person(email: address, name: name),
                failure: OperationRow(row: row, outcome: .failed))
        }
    }
}

extension OperationRow {
    fileprivate init(row: Int, _ error: FieldError) {
        self.init(row: row, outcome: .failed, code: error.code, pointer: error.pointer, detail: error.detail)
    }
}

/// One step of an import: some rows, their users and their events in one transaction.
struct UserImportStep {
    private static let rows = 500

    let users: UserStore
    let operations: OperationStore
    let random: RandomBytes

    /// - Returns: whether there was nothing left to do.
    func run(
        _ work: OperationStore.Work, at now: Date, _ transaction: PostgresTransaction
    ) async throws -> Bool {
        let operation = work.operation
        let organization = operation.organization
        let pending = try await operations.pending(of: operation, limit: Self.rows, transaction)
        guard !pending.isEmpty else { return true }
        var known: [String: User] = [:]
        for user in try await users.find(
            emails: pending.map(\.person.key), in: organization, locking: transaction)
        {
            if let key = user.email?.lowercased() { known[key] = user }
        }
        var plan = Plan(known: known)
        for (row, person) in pending {
            // A person that comes twice is another step's.
            guard plan.seen.insert(person.key).inserted else { continue }
            plan.add(row, person, UserID.make(at: now, random), at: now)
        }
        let made = try await users.insert(plan.created.map(\.user), of: organization, at: now, in: transaction)
        try await users.rename(plan.renamed.map(\.user), of: organization, at: now, in: transaction)
        // Whoever got there first made the others; their rows are looked at again.
        let created = plan.created.filter { made.contains($0.user.id) }
        let done =
            created.map { OperationRow(row: $0.row, outcome: .created, user: $0.user.id) }
            + plan.renamed.map { OperationRow(row: $0.row, outcome: .updated, user: $0.user.id) } + plan.unchanged
        guard !done.isEmpty else { throw LostUpdate() }
        try await operations.record(done, of: operation, transaction)
        let events = try record(work, at: now)
        for statement in OutboxEvent.insertions(
            created.map { events(.userCreated, nil, $0.user) }
                + plan.renamed.map { events(.userUpdated, $0.old, $0.user) })
        {
            try await transaction.query(statement)
        }
        var outcomes = operation.outcomes
        for row in done { outcomes[row.outcome.rawValue, default: 0] += 1 }
        try await operations.advance(
            operation, to: operation.done + done.count, of: operation.total, outcomes: outcomes, at: now, transaction)
        return false
    }

    /// What makes the event of one person.
    private func record(
        _ work: OperationStore.Work, at now: Date
    ) throws -> (_ type: AuditEventType, _ old: User?, _ new: User) -> OutboxEvent {
        let request = try work.request(OperationRequest.self)
        let operation = work.operation
        return { type, old, new in
            AuditEvent(
                type, organization: operation.organization, id: EventID.make(at: now, random), time: now,
                actor: request.actor, targets: [new.auditTarget, operation.auditTarget],
                changes: .between(old?.facts ?? [:], new.facts, personal: User.personalFacts), request: request.info
            ).outboxEvent(random)
        }
    }

    /// What becomes of the rows of one step.
    private struct Plan {
        let known: [String: User]
        var seen: Set<String> = []
        var created: [(row: Int, user: User)] = []
        var renamed: [(row: Int, old: User, user: User)] = []
        var unchanged: [OperationRow] = []

        init(known: [String: User]) {
            self.known = known
        }

        mutating func add(_ row: Int, _ person: OperationStore.Person, _ id: UserID, at now: Date) {
            guard let old = known[person.key] else {
                let user = User(
                    id: id, email: person.email, emailVerified: false, name: person.name, status: .active, version: 1,
                    createdAt: now, updatedAt: now)
                return created.append((row, user))
            }
            guard let name = person.name, name != old.name else {
                return unchanged.append(OperationRow(row: row, outcome: .unchanged, user: old.id))
            }
            var user = old
            user.name = name
            renamed.append((row, old, user))
        }
    }
}
