import Audit
import Foundation
import Postgres
package import Tenancy

/// A group as wanted.
package struct NewGroup: Sendable {
    package var name: String
    package var externalID: String?
    package var members: Set<UserID>

    package init(name: String, externalID: String? = nil, members: Set<UserID> = []) {
        self.name = name
        self.externalID = externalID
        self.members = members
    }
}

/// What is wanted changed about a group, and about who is in it.
package struct GroupUpdate: Sendable {
    package var name: String?
    package var externalID = Patch<String>.keep
    package var members = MembersUpdate()

    package init() {}
}

/// Who is to be in a group afterwards: those of before or those of `all`, without `removed`, with `added`.
package struct MembersUpdate: Sendable, Equatable {
    /// How many may come and go in one request.
    package static let most = 1_000

    package private(set) var all: Set<UserID>?
    package private(set) var added: Set<UserID> = []
    package private(set) var removed: Set<UserID> = []

    package init() {}

    package mutating func add(_ users: Set<UserID>) {
        added.formUnion(users)
        removed.subtract(users)
    }

    package mutating func remove(_ users: Set<UserID>) {
        removed.formUnion(users)
        added.subtract(users)
    }

    package mutating func replace(with users: Set<UserID>) {
        all = users
        added = []
        removed = []
    }

    var isEmpty: Bool { all == nil && added.isEmpty && removed.isEmpty }
    /// Whether anybody may have to go.
    var mayRemove: Bool { all != nil || !removed.isEmpty }
}

/// Who came into a group and who left it.
private struct Movement {
    var added: [UserID] = []
    var removed: [UserID] = []

    var isEmpty: Bool { added.isEmpty && removed.isEmpty }
}

extension Administration {
    package func group(_ id: GroupID, of organization: OrganizationID) async throws -> Group {
        guard let found = try await groups.find(id, in: organization) else { throw AdminError.notFound }
        return found
    }

    package func createGroup(
        _ wanted: NewGroup, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<Group> {
        var checks = FieldChecks()
        checks.group(name: wanted.name, externalID: wanted.externalID)
        checks.movement(wanted.members.count)
        try checks.finish()
        let group = Group(
            id: GroupID.make(at: administrator.now, random), name: wanted.name, externalID: wanted.externalID,
            version: 1, createdAt: administrator.now, updatedAt: administrator.now)
        return try await administer(organization, by: administrator) { transaction in
            guard try await groups.insert(group, of: organization, in: transaction) else {
                throw AdminError.groupNameTaken
            }
            var update = MembersUpdate()
            update.add(wanted.members)
            let movement = try await move(update, in: group.id, of: organization, administrator, transaction)
            return AdminChange(
                value: group, type: .groupCreated, target: group.auditTarget, otherTargets: movement.targets,
                changes: .between([:], group.facts) + movement.changes, isCached: !movement.isEmpty)
        }
    }

    /// Changes a group and who is in it. Where members alone change, the event says so.
    ///
    /// - Throws: ``AdminError/lastOwner``.
    package func updateGroup(
        _ id: GroupID, _ update: GroupUpdate, if condition: VersionCondition, in organization: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<Group> {
        var checks = FieldChecks()
        checks.group(name: update.name, externalID: update.externalID.applied(to: nil))
        checks.movement(update.members.added.count + update.members.removed.count)
        try checks.finish()
        do {
            return try await administer(organization, by: administrator) { transaction in
                guard update.members.mayRemove else {
                    return try await change(id, update, if: condition, in: organization, by: administrator, transaction)
                }
                return try await keepingAnOwner(of: organization, transaction) {
                    try await change(id, update, if: condition, in: organization, by: administrator, transaction)
                }
            }
        } catch let error as PostgresError where error.isUniqueViolation {
            throw AdminError.groupNameTaken
        }
    }

    private func change(
        _ id: GroupID, _ update: GroupUpdate, if condition: VersionCondition, in organization: OrganizationID,
        by administrator: Administrator, _ transaction: PostgresTransaction
    ) async throws -> AdminChange<Group> {
        guard let old = try await groups.find(id, in: organization, locking: transaction) else {
            throw AdminError.notFound
        }
        try condition.check(old.version)
        let movement = try await move(update.members, in: id, of: organization, administrator, transaction)
        var wanted = old
        wanted.name = update.name ?? old.name
        wanted.externalID = update.externalID.applied(to: old.externalID)
        guard
            let stored = try await groups.update(
                wanted, of: organization, at: administrator.now, in: transaction)
        else { throw LostUpdate() }
        let changes = [AuditEvent.Change].between(old.facts, stored.facts)
        var type = AuditEventType.groupUpdated
        if changes.isEmpty, movement.removed.isEmpty, !movement.added.isEmpty { type = .membershipAdded }
        if changes.isEmpty, movement.added.isEmpty, !movement.removed.isEmpty { type = .membershipRemoved }
        return AdminChange(
            value: stored, type: type, target: stored.auditTarget, otherTargets: movement.targets,
            changes: changes + movement.changes, isCached: !movement.isEmpty)
    }

    /// Whoever was in the group is in it no more; statements of policy that name it speak of nobody by it.
    ///
    /// - Throws: ``AdminError/lastOwner``.
    package func deleteGroup(
        _ id: GroupID, if condition: VersionCondition, in organization: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<Group> {
        try await administer(organization, by: administrator) { transaction in
            let old = try await keepingAnOwner(of: organization, transaction) {
                guard let old = try await groups.find(id, in: organization, locking: transaction) else {
                    throw AdminError.notFound
                }
                try condition.check(old.version)
                try await groups.delete(id, of: organization, in: transaction)
                return old
            }
            return AdminChange(
                value: old, type: .groupDeleted, target: old.auditTarget, changes: .between(old.facts, [:]),
                isCached: true)
        }
    }

    /// - Returns: what differs afterwards from before.
    private func move(
        _ update: MembersUpdate, in group: GroupID, of organization: OrganizationID, _ administrator: Administrator,
        _ transaction: PostgresTransaction
    ) async throws -> Movement {
        guard !update.isEmpty else { return Movement() }
        var coming = update.added
        var leaving = update.removed
        if let all = update.all {
            let wanted = all.subtracting(update.removed).union(update.added)
            let present = try await groups.members(of: group, in: organization, transaction)
            coming = wanted.subtracting(present)
            leaving = present.subtracting(wanted)
            var checks = FieldChecks()
            checks.movement(coming.count + leaving.count)
            try checks.finish()
        }
        if !coming.isEmpty {
            var checks = FieldChecks()
            for role in try await roles.roles(of: [group], in: organization, transaction) {
                checks.roleOfGroup(role, "/members", givenBy: administrator)
            }
            try checks.finish()
        }
        let known = try await users.existing(Array(coming), in: organization, transaction)
        guard coming.isSubset(of: known) else { throw AdminError.invalid([.unknown("/members")]) }
        return Movement(
            added: try await groups.add(coming, to: group, in: organization, at: administrator.now, transaction),
            removed: try await groups.remove(leaving, from: group, in: organization, transaction))
    }
}

extension Movement {
    fileprivate var changes: [AuditEvent.Change] {
        var changes: [AuditEvent.Change] = []
        if !added.isEmpty {
            changes.append(AuditEvent.Change(path: "members", new: .texts(added.sorted().map(\.description))))
        }
        if !removed.isEmpty {
            changes.append(AuditEvent.Change(path: "members", old: .texts(removed.sorted().map(\.description))))
        }
        return changes
    }

    /// A few are found by their ids in the log.
    fileprivate var targets: [AuditEvent.Target] {
        let all = added + removed
        return all.count > 10 ? [] : all.map { AuditEvent.Target(type: "user", id: $0.description) }
    }
}

extension FieldChecks {
    fileprivate mutating func group(name: String?, externalID: String?) {
        if let name { self.name(name, "/name") }
        if let externalID {
            require(
                (1...512).contains(externalID.utf8.count) && ClientName.isPlain(externalID), "/external_id", "invalid",
                "An external id has 1 to 512 printable characters.")
        }
    }

    fileprivate mutating func movement(_ count: Int) {
        require(
            count <= MembersUpdate.most, "/members", "too_many",
            "At most \(MembersUpdate.most) members come and go in one request.")
    }
}

extension AdminError {
    package static let groupNameTaken = AdminError.conflict("Another group of this organization has this name.")
}

extension Group {
    fileprivate var auditTarget: AuditEvent.Target {
        AuditEvent.Target(type: "group", id: id.description, name: name)
    }

    fileprivate var facts: Facts {
        var facts: Facts = ["name": .string(name)]
        facts["external_id"] = .text(externalID)
        return facts
    }
}
