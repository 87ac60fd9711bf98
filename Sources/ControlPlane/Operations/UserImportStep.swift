import Audit
import Foundation
import Keys
import Postgres
import Tenancy

extension OperationStore.Person {
    /// What makes two people the same.
    var key: String { email.lowercased() }
}

/// One step of an import: some rows, their users, what those get, and their events in one transaction.
struct UserImportStep {
    private static let rows = 500

    let users: UserStore
    let roles: RoleStore
    let groups: GroupStore
    let organizations: OrganizationStore
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
        // Roles, groups, users: in this order they are locked by whoever gives something.
        let given = try await Giving(
            roles: roles.find(Array(Set(pending.flatMap(\.person.roles))), in: organization, holding: transaction),
            groups: groups.existing(
                Array(Set(pending.flatMap(\.person.groups))), in: organization, locking: transaction))
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
        var done =
            created.map { OperationRow(row: $0.row, outcome: .created, user: $0.user.id) }
            + plan.renamed.map { OperationRow(row: $0.row, outcome: .updated, user: $0.user.id) } + plan.unchanged
        guard !done.isEmpty else { throw LostUpdate() }
        let record = EventMaker(
            operation: operation, request: try work.request(OperationRequest.self), now: now, random: random)
        let people = Dictionary(uniqueKeysWithValues: pending.map { ($0.row, $0.person) })
        let gifts = done.compactMap { row -> UserStore.Gift? in
            guard let user = row.user, let person = people[row.row] else { return nil }
            return given.gift(of: person, to: user)
        }
        let came = try await users.putIntoGroups(gifts, in: organization, at: now, transaction)
        let got = try await users.giveRoles(
            gifts, by: operation.createdBy, in: organization, at: now, transaction)
        if !came.isEmpty || !got.isEmpty {
            // What was decided for them before rests on what they were.
            try await organizations.bumpEpoch(of: organization, in: transaction)
            let changed = Set(came.map(\.user) + got.map(\.user))
            done = done.map { row in
                guard row.outcome == .unchanged, let user = row.user, changed.contains(user) else { return row }
                return OperationRow(row: row.row, outcome: .updated, user: user)
            }
        }
        try await operations.record(done, of: operation, transaction)
        let events =
            created.map { record.user(.userCreated, nil, $0.user) }
            + plan.renamed.map { record.user(.userUpdated, $0.old, $0.user) }
            + Dictionary(grouping: came, by: \.group).sorted { $0.key < $1.key }
            .map { record.members($0.value.map(\.user), of: $0.key) }
            + got.compactMap { pair in given.roles[pair.role].map { record.role($0, of: pair.user) } }
        for statement in OutboxEvent.insertions(events) { try await transaction.query(statement) }
        var outcomes = operation.outcomes
        for row in done { outcomes[row.outcome.rawValue, default: 0] += 1 }
        try await operations.advance(
            operation, to: operation.done + done.count, of: operation.total, outcomes: outcomes, at: now, transaction)
        return false
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

/// What the rows of a step name and what is still there of it.
private struct Giving {
    let roles: [RoleID: Role]
    let groups: Set<GroupID>

    init(roles: [Role], groups: Set<GroupID>) {
        self.roles = Dictionary(uniqueKeysWithValues: roles.map { ($0.id, $0) })
        self.groups = groups
    }

    func gift(of person: OperationStore.Person, to user: UserID) -> UserStore.Gift? {
        let gift = UserStore.Gift(
            user, groups: person.groups.filter(groups.contains), roles: person.roles.filter { roles[$0] != nil })
        return gift.groups.isEmpty && gift.roles.isEmpty ? nil : gift
    }
}

/// Makes the events of one step, each as if it had been done by itself.
private struct EventMaker {
    let operation: LongOperation
    let request: OperationRequest
    let now: Date
    let random: RandomBytes

    func user(_ type: AuditEventType, _ old: User?, _ new: User) -> OutboxEvent {
        event(
            type, new.auditTarget,
            changes: .between(old?.facts ?? [:], new.facts, personal: User.personalFacts))
    }

    func members(_ users: [UserID], of group: GroupID) -> OutboxEvent {
        event(
            .membershipAdded, AuditEvent.Target(type: "group", id: group.description),
            changes: [AuditEvent.Change(path: "members", new: .texts(users.sorted().map(\.description)))])
    }

    func role(_ role: Role, of user: UserID) -> OutboxEvent {
        event(
            .userRoleGranted, AuditEvent.Target(type: "user", id: user.description),
            changes: [AuditEvent.Change(path: "roles", new: .string(role.id.description))],
            metadata: ["role": role.name])
    }

    private func event(
        _ type: AuditEventType, _ target: AuditEvent.Target, changes: [AuditEvent.Change],
        metadata: [String: String] = [:]
    ) -> OutboxEvent {
        AuditEvent(
            type, organization: operation.organization, id: EventID.make(at: now, random), time: now,
            actor: request.actor, targets: [target, operation.auditTarget], changes: changes, request: request.info,
            metadata: metadata
        ).outboxEvent(random)
    }
}
