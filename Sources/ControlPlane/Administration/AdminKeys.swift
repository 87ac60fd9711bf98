import Audit
package import Foundation
package import Keys
import Postgres
package import Tenancy

/// An admin key as wanted.
package struct NewAdminKey: Sendable {
    package var name: String
    package var scopes: [String]
    package var cidrs: [String]
    package var expiresAt: Date?

    package init(name: String, scopes: [String], cidrs: [String] = [], expiresAt: Date? = nil) {
        self.name = name
        self.scopes = scopes
        self.cidrs = cidrs
        self.expiresAt = expiresAt
    }
}

/// An admin key with the secret that is shown once.
package struct IssuedAdminKey: Sendable {
    package let key: AdminKey
    package let secret: Secret
}

extension Administration {
    package func adminKey(_ id: AdminKeyID, of organization: OrganizationID) async throws -> AdminKey {
        guard let found = try await adminKeys.find(id, in: organization) else { throw AdminError.notFound }
        return found
    }

    /// Makes a key that can do at most what its maker can: scopes, organization, addresses and end are a subset.
    ///
    /// - Throws: ``AdminError/exceedsMaker(_:)`` for a key that could do more.
    package func createAdminKey(
        _ wanted: NewAdminKey, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<IssuedAdminKey> {
        var checks = FieldChecks()
        checks.name(wanted.name, "/name")
        checks.adminScopes(wanted.scopes, "/scopes", 1...64, in: organization, givenBy: administrator)
        checks.addresses(wanted.cidrs, "/cidrs", givenBy: administrator)
        checks.end(wanted.expiresAt, "/expires_at", givenBy: administrator)
        try checks.finish()
        let id = AdminKeyID.make(at: administrator.now, random)
        let credential = AdminCredential(organization: organization, key: id, random)
        let key = AdminKey(
            id: id, organization: organization, name: wanted.name, secretDigest: credential.digest,
            scopes: Set(wanted.scopes).sorted(), cidrs: wanted.cidrs, createdBy: administrator.actor.id,
            expiresAt: wanted.expiresAt, lastUsedAt: nil, revokedAt: nil, version: 1, createdAt: administrator.now)
        return try await administer(organization, by: administrator) { transaction in
            try await adminKeys.insert(key, in: transaction)
            return AdminChange(
                value: IssuedAdminKey(key: key, secret: credential.secret), type: .adminKeyCreated,
                target: key.auditTarget, changes: .between([:], key.facts), isCached: false)
        }
    }

    /// Ends a key at once. A key may end itself.
    package func revokeAdminKey(
        _ id: AdminKeyID, if condition: VersionCondition, in organization: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<AdminKey> {
        let old = try await adminKey(id, of: organization)
        try condition.check(old.version)
        return try await administer(organization, by: administrator) { transaction in
            guard try await adminKeys.revoke(id, in: organization, at: administrator.now, transaction) else {
                throw AdminError.conflict("This key was revoked before.")
            }
            return AdminChange(
                value: old, type: .adminKeyRevoked, target: old.auditTarget,
                changes: .between(old.facts, [:]), isCached: false)
        }
    }
}

extension AdminKey {
    fileprivate var auditTarget: AuditEvent.Target {
        AuditEvent.Target(type: "admin_key", id: id.description, name: name)
    }

    fileprivate var facts: Facts {
        var facts: Facts = [
            "name": .string(name), "scopes": .texts(scopes), "cidrs": .texts(cidrs),
            "secret": AuditEvent.Change.redacted,
        ]
        facts["expires_at"] = .time(expiresAt)
        return facts
    }
}
