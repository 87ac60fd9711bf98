import Audit
import Foundation
import Postgres
package import Tenancy

/// A role of an organization's own, as wanted.
package struct NewRole: Sendable {
    package var name: String
    package var description: String?
    package var adminScopes: [String]

    package init(name: String, description: String? = nil, adminScopes: [String] = []) {
        self.name = name
        self.description = description
        self.adminScopes = adminScopes
    }
}

/// What an administrator wants changed about a role.
package struct RoleUpdate: Sendable {
    package var name: String?
    package var description = Patch<String>.keep
    package var adminScopes: [String]?

    package init() {}
}

extension Role {
    /// The admin access it stands for, within its organization.
    package var adminScopes: [AdminScope] {
        switch kind {
        case .custom(let scopes): scopes.compactMap(AdminScope.init)
        case .builtIn(.owner): [.all]
        // All but what decides who can become anybody, and whose signature is believed.
        case .builtIn(.admin):
            AdminScope.allCases.filter {
                !$0.isPlatformOnly && ![.all, .identityProvidersWrite, .signingKeysWrite].contains($0)
            }
        case .builtIn(.auditor):
            AdminScope.allCases.filter { $0.rawValue.hasSuffix(":read") || $0 == .auditExport }
        case .builtIn(.member): []
        }
    }
}

extension Administration {
    package var roles: RoleStore { RoleStore(database: database) }

    package func role(_ id: RoleID, of organization: OrganizationID) async throws -> Role {
        guard let found = try await roles.find(id, in: organization) else { throw AdminError.notFound }
        return found
    }

    /// - Throws: ``AdminError/exceedsMaker(_:)`` for a role that would stand for more than its maker may.
    package func createRole(
        _ wanted: NewRole, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<Role> {
        var checks = FieldChecks()
        checks.role(name: wanted.name, description: wanted.description)
        checks.adminScopes(wanted.adminScopes, "/admin_scopes", 0...64, in: organization, givenBy: administrator)
        try checks.finish()
        let role = Role(
            id: RoleID.make(at: administrator.now, random), name: wanted.name, description: wanted.description,
            kind: .custom(adminScopes: Set(wanted.adminScopes).sorted()), version: 1, createdAt: administrator.now,
            updatedAt: administrator.now)
        return try await administer(organization, by: administrator) { transaction in
            guard try await roles.insert(role, of: organization, in: transaction) else {
                throw AdminError.roleNameTaken
            }
            return AdminChange(
                value: role, type: .roleCreated, target: role.auditTarget, changes: .between([:], role.facts),
                isCached: false)
        }
    }

    /// Changes a role of the organization's own. What it stands for from now on, everybody who has it may.
    ///
    /// - Throws: ``AdminError/exceedsMaker(_:)`` for scopes that the administrator lacks and the role did not have.
    package func updateRole(
        _ id: RoleID, _ update: RoleUpdate, if condition: VersionCondition, in organization: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<Role> {
        try await retryingLostUpdates(condition) {
            let old = try await role(id, of: organization)
            try condition.check(old.version)
            guard case .custom(let before) = old.kind else { throw AdminError.builtInRole }
            var new = old
            if let name = update.name { new.name = name }
            new.description = update.description.applied(to: old.description)
            var checks = FieldChecks()
            checks.role(name: new.name, description: new.description)
            if let scopes = update.adminScopes {
                checks.adminScopes(
                    scopes, "/admin_scopes", 0...64, in: organization, givenBy: administrator, beside: Set(before))
                if !Set(before).isSuperset(of: scopes) { checks.lasting("/admin_scopes", givenBy: administrator) }
                new.kind = .custom(adminScopes: Set(scopes).sorted())
            }
            try checks.finish()
            let wanted = new
            do {
                return try await administer(organization, by: administrator) { transaction in
                    guard
                        let stored = try await roles.update(
                            wanted, of: organization, at: administrator.now, in: transaction)
                    else { throw LostUpdate() }
                    return AdminChange(
                        value: stored, type: .roleUpdated, target: stored.auditTarget,
                        changes: .between(old.facts, stored.facts), isCached: false)
                }
            } catch let error as PostgresError where error.isUniqueViolation {
                throw AdminError.roleNameTaken
            }
        }
    }

    /// Deletes a role of the organization's own; whoever had it has it no more.
    ///
    /// - Throws: ``AdminError/conflict(_:)`` while scope policies name it, with their names.
    package func deleteRole(
        _ id: RoleID, if condition: VersionCondition, in organization: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<Role> {
        let old = try await role(id, of: organization)
        try condition.check(old.version)
        guard case .custom = old.kind else { throw AdminError.builtInRole }
        return try await administer(organization, by: administrator) { transaction in
            // Whoever names or gives it at this moment comes before or finds it gone.
            guard let held = try await roles.find(id, in: organization, locking: transaction) else {
                throw AdminError.notFound
            }
            try condition.check(held.version)
            let statements = try await policies.names(naming: id, in: organization, transaction)
            guard statements.isEmpty else {
                throw AdminError.conflict(
                    "Scope policies name this role: \(statements.joined(separator: ", ")). Change them first.")
            }
            guard try await roles.delete(held, of: organization, in: transaction) else { throw AdminError.notFound }
            return AdminChange(
                value: held, type: .roleDeleted, target: held.auditTarget, changes: .between(held.facts, [:]),
                isCached: true)
        }
    }

    // MARK: Bindings

    /// Gives a role to a user or to everybody in a group.
    ///
    /// - Throws: ``AdminError/exceedsMaker(_:)`` for a role that stands for more than the administrator may.
    package func bindRole(
        _ id: RoleID, to principal: RoleBinding.Principal, in organization: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<RoleBinding> {
        try await retryingLostUpdates(.any) {
            try await bindRoleOnce(id, to: principal, in: organization, by: administrator)
        }
    }

    private func bindRoleOnce(
        _ id: RoleID, to principal: RoleBinding.Principal, in organization: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<RoleBinding> {
        let role = try await role(id, of: organization)
        var checks = FieldChecks()
        checks.role(role, principal.pointer, givenBy: administrator)
        try checks.finish()
        let binding = RoleBinding(
            role: id, principal: principal, createdBy: administrator.actor.id, createdAt: administrator.now)
        return try await administer(organization, by: administrator) { transaction in
            // The scopes that were checked are the scopes that are given.
            guard try await roles.find(id, in: organization, locking: transaction) == role else { throw LostUpdate() }
            guard try await exists(principal, in: organization, transaction) else {
                throw AdminError.invalid([.unknown(principal.pointer)])
            }
            guard try await roles.bind(binding, in: organization, transaction) else {
                throw AdminError.conflict("They have this role already.")
            }
            return AdminChange(
                value: binding, type: .userRoleGranted, target: principal.auditTarget,
                changes: [AuditEvent.Change(path: "roles", new: .string(id.description))],
                metadata: ["role": role.name], isCached: true)
        }
    }

    private func exists(
        _ principal: RoleBinding.Principal, in organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws -> Bool {
        switch principal {
        case .user(let user): try await users.find(user, in: organization, locking: transaction) != nil
        case .group(let group): try await groups.find(group, in: organization, locking: transaction) != nil
        }
    }

    /// Takes a role away.
    ///
    /// - Throws: ``AdminError/lastOwner``.
    package func unbindRole(
        _ id: RoleID, from principal: RoleBinding.Principal, in organization: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<RoleBinding.Principal> {
        let role = try await role(id, of: organization)
        return try await administer(organization, by: administrator) { transaction in
            let isGone = try await keepingAnOwner(of: organization, transaction) {
                try await roles.unbind(principal, from: id, in: organization, transaction)
            }
            guard isGone else { throw AdminError.notFound }
            return AdminChange(
                value: principal, type: .userRoleRevoked, target: principal.auditTarget,
                changes: [AuditEvent.Change(path: "roles", old: .string(id.description))],
                metadata: ["role": role.name], isCached: true)
        }
    }
}

extension FieldChecks {
    fileprivate mutating func role(name: String, description: String?) {
        self.name(name, "/name")
        if let description {
            require(
                description.unicodeScalars.count <= 500 && ClientName.isPlain(description), "/description", "invalid",
                "A description has at most 500 printable characters.")
        }
    }
}

extension AdminError {
    fileprivate static let builtInRole = AdminError.conflict("Built-in roles stay as they are.")
    fileprivate static let roleNameTaken = AdminError.conflict("Another role of this organization has this name.")
}

extension RoleBinding.Principal {
    /// The member of a request that names it.
    fileprivate var pointer: String {
        switch self {
        case .user: "/user"
        case .group: "/group"
        }
    }

    fileprivate var auditTarget: AuditEvent.Target {
        switch self {
        case .user(let user): AuditEvent.Target(type: "user", id: user.description)
        case .group(let group): AuditEvent.Target(type: "group", id: group.description)
        }
    }
}

extension Role {
    fileprivate var auditTarget: AuditEvent.Target { AuditEvent.Target(type: "role", id: id.description) }

    fileprivate var facts: Facts {
        var facts: Facts = ["name": .string(name), "admin_scopes": .texts(adminScopes.map(\.rawValue))]
        facts["description"] = .text(description)
        return facts
    }
}
