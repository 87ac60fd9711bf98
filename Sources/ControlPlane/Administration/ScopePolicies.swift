import Audit
import Foundation
import Postgres
package import Tenancy

/// A statement as an administrator writes it.
package struct StatementDraft: Sendable {
    package var name: String
    package var effect: ScopePolicyStatement.Effect
    package var principals: ScopePolicyStatement.Principals
    package var clients: ScopePolicyStatement.Clients
    package var resources: [ResourceID]
    package var scopes: [String]
    package var conditions: ScopePolicyStatement.Conditions

    package init(
        name: String, effect: ScopePolicyStatement.Effect, principals: ScopePolicyStatement.Principals,
        clients: ScopePolicyStatement.Clients = .init(), resources: [ResourceID] = [], scopes: [String],
        conditions: ScopePolicyStatement.Conditions = .init()
    ) {
        self.name = name
        self.effect = effect
        self.principals = principals
        self.clients = clients
        self.resources = resources
        self.scopes = scopes
        self.conditions = conditions
    }

    package init(_ statement: ScopePolicyStatement) {
        self.init(
            name: statement.name, effect: statement.effect, principals: statement.principals,
            clients: statement.clients,
            resources: statement.resources, scopes: statement.scopes, conditions: statement.conditions)
    }
}

extension Administration {
    package func scopePolicy(_ id: ScopePolicyID, of organization: OrganizationID) async throws -> ScopePolicyStatement
    {
        guard let found = try await policies.all(of: organization).first(where: { $0.id == id }) else {
            throw AdminError.notFound
        }
        return found
    }

    package func createScopePolicy(
        _ draft: StatementDraft, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<ScopePolicyStatement> {
        try await check(draft, in: organization)
        try await checkRoom(for: draft, in: organization)
        let statement = draft.statement(
            ScopePolicyID.make(at: administrator.now, random), version: 1, createdAt: administrator.now,
            updatedAt: administrator.now)
        return try await administer(organization, by: administrator) { transaction in
            try await hold(statement.principals.roles, in: organization, transaction)
            guard try await policies.insert(statement, of: organization, in: transaction) else {
                throw AdminError.nameTaken
            }
            return AdminChange(
                value: statement, type: .policyCreated, target: statement.auditTarget,
                changes: .between([:], statement.facts), isCached: true)
        }
    }

    /// - Parameter edit: makes the new statement from the stored one; what a merge patch does.
    package func updateScopePolicy(
        _ id: ScopePolicyID, if condition: VersionCondition, in organization: OrganizationID,
        by administrator: Administrator, _ edit: (StatementDraft) throws -> StatementDraft
    ) async throws -> Administered<ScopePolicyStatement> {
        try await retryingLostUpdates(condition) {
            let old = try await scopePolicy(id, of: organization)
            try condition.check(old.version)
            let draft = try edit(StatementDraft(old))
            try await check(draft, in: organization)
            try await checkRoom(for: draft, insteadOf: id, in: organization)
            let wanted = draft.statement(
                id, version: old.version, createdAt: old.createdAt, updatedAt: administrator.now)
            do {
                return try await administer(organization, by: administrator) { transaction in
                    try await hold(wanted.principals.roles, in: organization, transaction)
                    guard
                        let stored = try await policies.update(
                            wanted, of: organization, at: administrator.now, in: transaction)
                    else { throw LostUpdate() }
                    return AdminChange(
                        value: stored, type: .policyUpdated, target: stored.auditTarget,
                        changes: .between(old.facts, stored.facts), isCached: true)
                }
            } catch let error as PostgresError where error.isUniqueViolation {
                throw AdminError.nameTaken
            }
        }
    }

    package func deleteScopePolicy(
        _ id: ScopePolicyID, if condition: VersionCondition, in organization: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<ScopePolicyStatement> {
        try await retryingLostUpdates(condition) {
            let old = try await scopePolicy(id, of: organization)
            try condition.check(old.version)
            return try await administer(organization, by: administrator) { transaction in
                // Holds the row at the version that was read.
                guard try await policies.update(old, of: organization, at: administrator.now, in: transaction) != nil,
                    try await policies.delete(id, of: organization, in: transaction)
                else { throw LostUpdate() }
                return AdminChange(
                    value: old, type: .policyDeleted, target: old.auditTarget, changes: .between(old.facts, [:]),
                    isCached: true)
            }
        }
    }

    /// Roles that a statement names stay until it stands, and then because it does.
    private func hold(
        _ named: [RoleID], in organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws {
        let known = try await roles.existing(named, in: organization, transaction)
        guard named.allSatisfy(known.contains) else {
            throw AdminError.conflict("A role that this names was deleted meanwhile.")
        }
    }

    /// - Parameter base: JSON pointer to the draft in the request.
    func check(_ draft: StatementDraft, in organization: OrganizationID, at base: String = "") async throws {
        var checks = FieldChecks()
        checks.statement(draft)
        // What is too long is not looked up.
        if draft.principals.services.count > 500 || draft.clients.ids?.count ?? 0 > 200 { try checks.finish(at: base) }
        try await checkPrincipals(of: draft, in: organization, &checks)
        let usable = try await usableResources(of: organization)
        let known = Set(usable.map(\.id))
        for (index, resource) in draft.resources.enumerated() where !known.contains(resource) {
            checks.add(.unknown("/resources/\(index)"))
        }
        for (index, resource) in (draft.conditions.exchangedFrom ?? []).enumerated() where !known.contains(resource) {
            checks.add(.unknown("/conditions/exchanged_from/\(index)"))
        }
        // A prefix may name what is yet to come, a whole name only what there is.
        let concerned = usable.filter { draft.resources.isEmpty || draft.resources.contains($0.id) }
        let scopes = Set(concerned.flatMap { $0.scopes.map(\.name) })
        for (index, scope) in draft.scopes.enumerated()
        where ScopeName.isValid(scope) && known.isSuperset(of: draft.resources) {
            if scope.contains("*") || scopes.contains(scope) { continue }
            checks.add(.unknown("/scopes/\(index)"))
        }
        try checks.finish(at: base)
    }

    private func checkPrincipals(
        of draft: StatementDraft, in organization: OrganizationID, _ checks: inout FieldChecks
    ) async throws {
        let users = try await users.existing(draft.principals.users, in: organization)
        for (index, user) in draft.principals.users.enumerated() where !users.contains(user) {
            checks.add(.unknown("/principals/users/\(index)"))
        }
        let knownGroups = try await groups.existing(draft.principals.groups, in: organization)
        for (index, group) in draft.principals.groups.enumerated() where !knownGroups.contains(group) {
            checks.add(.unknown("/principals/groups/\(index)"))
        }
        let knownRoles = Set(try await roles.find(draft.principals.roles, in: organization).map(\.id))
        for (index, role) in draft.principals.roles.enumerated() where !knownRoles.contains(role) {
            checks.add(.unknown("/principals/roles/\(index)"))
        }
        for (index, service) in draft.principals.services.enumerated() {
            guard let id = ClientID(service), let found = try await clients.find(id, in: organization),
                found.kind == .service
            else {
                checks.add(.unknown("/principals/services/\(index)"))
                continue
            }
        }
        // A document's URL may be named before anybody came with it.
        for (index, client) in (draft.clients.ids ?? []).enumerated() {
            guard let id = ClientID(client) else { continue }
            if try await known(id, to: organization) == nil { checks.add(.unknown("/clients/ids/\(index)")) }
        }
    }
}

extension FieldChecks {
    fileprivate mutating func statement(_ draft: StatementDraft) {
        name(draft.name, "/name")
        let principals = draft.principals
        let named =
            principals.users.count + principals.groups.count + principals.roles.count + principals.services.count
        require(
            principals.everyone || named > 0, "/principals", "required",
            "Say whom it speaks of: everyone, users, groups, roles or services.")
        require(named <= 500, "/principals", "too_many", "A statement names at most 500 principals; use a group.")
        clients(draft.clients)
        require(draft.resources.count <= 200, "/resources", "too_many", "A statement names at most 200 resources.")
        require((1...200).contains(draft.scopes.count), "/scopes", "invalid", "A statement names 1 to 200 scopes.")
        for (index, scope) in draft.scopes.enumerated() {
            let stem = scope.hasSuffix("*") ? String(scope.dropLast()) : scope
            require(
                scope == "*" || (ScopeName.isValid(stem) && !stem.contains("*")), "/scopes/\(index)", "invalid",
                "A scope is an exact name, or a prefix and *.")
        }
        conditions(draft.conditions)
        if let exchanged = draft.conditions.exchangedFrom {
            require(
                (1...200).contains(exchanged.count), "/conditions/exchanged_from", "invalid", "Name 1 to 200 resources."
            )
            require(
                draft.effect == .deny || !draft.resources.isEmpty, "/resources", "required",
                "Name the resources whose tokens may be had in exchange.")
        }
    }

    private mutating func clients(_ clients: ScopePolicyStatement.Clients) {
        for (index, id) in (clients.ids ?? []).enumerated() {
            require(
                ClientID(id) != nil || ResourceURI(id)?.scheme == "https", "/clients/ids/\(index)", "invalid",
                "This is not a client_id.")
        }
        for (index, host) in (clients.hosts ?? []).enumerated() {
            require(
                ResourceURI("https://\(host)").map { $0.host == host && $0.origin == "https://\(host)" } == true,
                "/clients/hosts/\(index)", "invalid", "This is not a host name in lower case.")
        }
        let members: [(String, Int?)] = [
            ("kinds", clients.kinds?.count), ("ids", clients.ids?.count), ("hosts", clients.hosts?.count),
        ]
        for case (let name, let count?) in members {
            require(
                (1...200).contains(count), "/clients/\(name)", "invalid",
                "Name 1 to 200, or leave the member out to mean any.")
        }
    }

    private mutating func conditions(_ conditions: ScopePolicyStatement.Conditions) {
        if let ranges = conditions.ipRanges {
            require((1...200).contains(ranges.count), "/conditions/ip_ranges", "invalid", "Name 1 to 200 ranges.")
            for (index, range) in ranges.enumerated() {
                require(
                    AddressRange(range) != nil, "/conditions/ip_ranges/\(index)", "invalid",
                    "Write an address, or a range whose other bits are 0, such as 203.0.113.0/24.")
            }
        }
        if let age = conditions.maxAuthAgeSeconds {
            range(age, 1...31_536_000, "/conditions/max_auth_age_seconds")
        }
        if let from = conditions.validFrom, let until = conditions.validUntil {
            require(from < until, "/conditions/valid_until", "invalid", "This must be after valid_from.")
        }
    }
}

extension AdminError {
    fileprivate static let nameTaken = AdminError.conflict("Another statement of this organization has this name.")
}

extension StatementDraft {
    func statement(
        _ id: ScopePolicyID, version: Int64, createdAt: Date, updatedAt: Date
    ) -> ScopePolicyStatement {
        ScopePolicyStatement(
            id: id, name: name, effect: effect, principals: principals, clients: clients, resources: resources,
            scopes: scopes, conditions: conditions, version: version, createdAt: createdAt, updatedAt: updatedAt)
    }
}

extension ScopePolicyStatement {
    fileprivate var auditTarget: AuditEvent.Target {
        AuditEvent.Target(type: "scope_policy", id: id.description, name: name)
    }

    fileprivate var facts: Facts {
        var facts: Facts = [
            "name": .string(name), "effect": .string(effect.rawValue),
            "principals": [
                "everyone": .bool(principals.everyone), "users": .texts(principals.users.map(\.description)),
                "groups": .texts(principals.groups.map(\.description)),
                "roles": .texts(principals.roles.map(\.description)), "services": .texts(principals.services),
            ],
            "resources": .texts(resources.map(\.description)), "scopes": .texts(scopes),
        ]
        var clientFacts: Facts = [:]
        clientFacts["kinds"] = clients.kinds.map { .texts($0.map(\.rawValue)) }
        clientFacts["ids"] = clients.ids.map { .texts($0) }
        clientFacts["hosts"] = clients.hosts.map { .texts($0) }
        facts["clients"] = .object(clientFacts)
        var conditionFacts: Facts = [:]
        conditionFacts["ip_ranges"] = conditions.ipRanges.map { .texts($0) }
        conditionFacts["max_auth_age_seconds"] = conditions.maxAuthAgeSeconds.map { .int($0) }
        conditionFacts["mfa"] = conditions.mfa.map { .bool($0) }
        conditionFacts["valid_from"] = .time(conditions.validFrom)
        conditionFacts["valid_until"] = .time(conditions.validUntil)
        conditionFacts["exchanged_from"] = conditions.exchangedFrom.map { .texts($0.map(\.description)) }
        facts["conditions"] = .object(conditionFacts)
        return facts
    }
}
