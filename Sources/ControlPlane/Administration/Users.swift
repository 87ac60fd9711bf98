import Audit
import Foundation
import Postgres
package import Tenancy

/// What an administrator wants changed about a user.
package struct UserUpdate: Sendable {
    package var email: String?
    package var name = Patch<String>.keep

    package init() {}
}

extension Administration {
    package func user(_ id: UserID, of organization: OrganizationID) async throws -> User {
        guard let found = try await users.find(id, in: organization) else { throw AdminError.notFound }
        return found
    }

    /// Makes a user. Who they are upstream is linked when they first sign in.
    package func createUser(
        email: String, name: String?, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<User> {
        var checks = FieldChecks()
        let address = checks.email(email, "/email")
        if let name { checks.name(name, "/name") }
        try checks.finish()
        let user = User(
            id: UserID.make(at: administrator.now, random), email: address, emailVerified: false, name: name,
            status: .active, version: 1, createdAt: administrator.now, updatedAt: administrator.now)
        return try await administer(organization, by: administrator) { transaction in
            guard try await users.insert(user, of: organization, in: transaction) else { throw AdminError.emailTaken }
            return AdminChange(
                value: user, type: .userCreated, target: user.auditTarget,
                changes: .between([:], user.facts, personal: User.personalFacts), isCached: false)
        }
    }

    package func updateUser(
        _ id: UserID, _ update: UserUpdate, if condition: VersionCondition, in organization: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<User> {
        var checks = FieldChecks()
        let address = update.email.map { checks.email($0, "/email") }
        if case .set(let name) = update.name { checks.name(name, "/name") }
        try checks.finish()
        return try await retryingLostUpdates(condition) {
            let old = try await user(id, of: organization)
            try condition.check(old.version)
            var new = old
            if let address, address != old.email {
                new.email = address
                new.emailVerified = false
            }
            new.name = update.name.applied(to: old.name)
            let wanted = new
            do {
                return try await administer(organization, by: administrator) { transaction in
                    guard
                        let stored = try await users.update(
                            wanted, of: organization, at: administrator.now, in: transaction)
                    else { throw LostUpdate() }
                    // Whoever proves that address may come to be this user.
                    if stored.email != old.email {
                        try await checkRoles(of: id, "/email", in: organization, givenBy: administrator, transaction)
                    }
                    return AdminChange(
                        value: stored, type: .userUpdated, target: stored.auditTarget,
                        changes: .between(old.facts, stored.facts, personal: User.personalFacts), isCached: false)
                }
            } catch let error as PostgresError where error.isUniqueViolation {
                throw AdminError.emailTaken
            }
        }
    }

    /// Keeps a user out: no new sign-in, every session and connection ends now, and what they allowed is forgotten.
    ///
    /// - Throws: ``AdminError/lastOwner``.
    package func disableUser(
        _ id: UserID, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<User> {
        try await setStatus(.disabled, of: id, in: organization, by: administrator)
    }

    /// Lets a user in again. What ended stays ended, and what began at the very moment of the disabling ends now.
    package func enableUser(
        _ id: UserID, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<User> {
        try await setStatus(.active, of: id, in: organization, by: administrator)
    }

    private func setStatus(
        _ status: User.Status, of id: UserID, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<User> {
        try await administer(organization, by: administrator) { transaction in
            guard status == .disabled else {
                return try await change(id, to: status, in: organization, by: administrator, transaction)
            }
            return try await keepingAnOwner(of: organization, transaction) {
                try await change(id, to: status, in: organization, by: administrator, transaction)
            }
        }
    }

    private func change(
        _ id: UserID, to status: User.Status, in organization: OrganizationID, by administrator: Administrator,
        _ transaction: PostgresTransaction
    ) async throws -> AdminChange<User> {
        guard let old = try await users.find(id, in: organization, locking: transaction) else {
            throw AdminError.notFound
        }
        var wanted = old
        wanted.status = status
        guard
            let stored = try await users.update(wanted, of: organization, at: administrator.now, in: transaction)
        else { throw LostUpdate() }
        var metadata: [String: String] = [:]
        let type: AuditEventType = status == .disabled ? .userDisabled : .userEnabled
        if status == .disabled || old.status == .disabled {
            metadata = try await endAll(of: id, in: organization, because: type, at: administrator.now, transaction)
        }
        return AdminChange(
            value: stored, type: type, target: stored.auditTarget,
            changes: .between(old.facts, stored.facts, personal: User.personalFacts), metadata: metadata,
            isCached: false)
    }

    /// Ends every session, connection and named token of a user, and forgets what they allowed.
    ///
    /// - Returns: how much ended, for the event.
    func endAll(
        of user: UserID, in organization: OrganizationID, because reason: AuditEventType, at now: Date,
        _ transaction: PostgresTransaction
    ) async throws -> [String: String] {
        var metadata: [String: String] = [:]
        let ended = try await grants.revokeAll(of: user, in: organization, because: reason.rawValue, transaction)
        try await sessions.revokeAll(of: user, in: organization, at: now, transaction)
        let tokens = try await programmaticTokens.revokeAll(
            of: user, in: organization, at: now, transaction)
        metadata["grants_ended"] = "\(ended.count)"
        if tokens > 0 { metadata["access_tokens_ended"] = "\(tokens)" }
        return metadata
    }

    /// - Throws: ``AdminError/exceedsMaker(_:)`` for a user whose roles stand for more than the administrator may.
    private func checkRoles(
        of user: UserID, _ pointer: String, in organization: OrganizationID, givenBy administrator: Administrator,
        _ transaction: PostgresTransaction
    ) async throws {
        var checks = FieldChecks()
        checks.identity(
            ofWhoHas: try await roles.roles(of: user, in: organization, transaction), pointer, givenBy: administrator)
        try checks.finish()
    }

    /// Accepts that an upstream identity stands for a user (the way out of a pending link).
    ///
    /// - Parameter provider: the population of the subject; nil for the identity provider's own.
    package func linkIdentity(
        _ subject: String, at identityProvider: IdentityProviderID, provider: String?, to id: UserID,
        in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<LinkedIdentity> {
        var checks = FieldChecks()
        checks.require(
            (1...512).contains(subject.utf8.count) && ClientName.isPlain(subject), "/subject", "invalid",
            "A subject has 1 to 512 printable characters.")
        if let provider {
            checks.require(
                (1...512).contains(provider.utf8.count) && ClientName.isPlain(provider), "/provider", "invalid",
                "A provider has 1 to 512 printable characters.")
        }
        let record = try await providers.all(of: organization).first { $0.id == identityProvider }
        if record == nil { checks.add(.unknown("/identity_provider_id")) }
        try checks.finish()
        let key = IdentityKey(
            identityProvider: identityProvider, provider: provider ?? record?.population ?? "", subject: subject)
        let identity = LinkedIdentity(key: key, user: id, createdAt: administrator.now)
        return try await administer(organization, by: administrator) { transaction in
            guard let user = try await users.find(id, in: organization, locking: transaction) else {
                throw AdminError.notFound
            }
            try await checkRoles(of: id, "/subject", in: organization, givenBy: administrator, transaction)
            guard try await users.link(key, to: id, in: organization, at: administrator.now, transaction) else {
                throw AdminError.conflict("This identity is linked already.")
            }
            return AdminChange(
                value: identity, type: .userIdentityLinked, target: user.auditTarget,
                changes: [
                    AuditEvent.Change(
                        path: "identities.identity_provider_id", new: .string(identityProvider.description)),
                    AuditEvent.Change(path: "identities.subject", new: .string(subject), isPersonal: true),
                ], isCached: false)
        }
    }
}

extension Administration {
    /// Takes back that an upstream identity stands for a user. What may have been done by it ends: every session, connection
    /// and named token of the user.
    package func unlinkIdentity(
        _ key: IdentityKey, from id: UserID, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<User> {
        try await administer(organization, by: administrator) { transaction in
            guard let user = try await users.find(id, in: organization, locking: transaction),
                try await users.unlink(key, from: id, in: organization, transaction)
            else { throw AdminError.notFound }
            let metadata = try await endAll(
                of: id, in: organization, because: .userIdentityUnlinked, at: administrator.now, transaction)
            return AdminChange(
                value: user, type: .userIdentityUnlinked, target: user.auditTarget,
                changes: [
                    AuditEvent.Change(
                        path: "identities.identity_provider_id", old: .string(key.identityProvider.description)),
                    AuditEvent.Change(path: "identities.subject", old: .string(key.subject), isPersonal: true),
                ], metadata: metadata, isCached: false)
        }
    }
}

extension AdminError {
    package static let emailTaken = AdminError.conflict(
        "Another user of this organization has this e-mail address.")
}

extension User {
    var auditTarget: AuditEvent.Target { AuditEvent.Target(type: "user", id: id.description, name: name) }

    static let personalFacts: Set<String> = ["email", "name"]

    var facts: Facts {
        var facts: Facts = ["status": .string(status.rawValue)]
        facts["email"] = .text(email)
        facts["name"] = .text(name)
        return facts
    }
}
