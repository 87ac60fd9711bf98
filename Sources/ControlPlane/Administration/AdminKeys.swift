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
        checks.scopes(wanted.scopes, in: organization, madeBy: administrator)
        checks.addresses(wanted.cidrs, madeBy: administrator)
        if let end = wanted.expiresAt {
            checks.require(end > administrator.now, "/expires_at", "past", "This moment is over.")
        }
        if let limit = administrator.key?.expiresAt {
            checks.require(
                wanted.expiresAt.map { $0 <= limit } == true, "/expires_at", FieldError.exceedsMaker,
                "A key cannot outlive the key that makes it.")
        }
        // Before everything else that may be wrong: who tries to gain power is refused for that, and recorded.
        let excesses = checks.errors.filter { $0.code == FieldError.exceedsMaker }
        if !excesses.isEmpty { throw AdminError.exceedsMaker(excesses) }
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

extension FieldChecks {
    fileprivate mutating func scopes(
        _ scopes: [String], in organization: OrganizationID, madeBy administrator: Administrator
    ) {
        require(!scopes.isEmpty && scopes.count <= 64, "/scopes", "invalid", "A key has 1 to 64 scopes.")
        for (index, text) in scopes.enumerated() {
            guard let scope = AdminScope(rawValue: text) else {
                add(FieldError("/scopes/\(index)", "unknown_scope", "There is no such scope."))
                continue
            }
            require(
                administrator.holds(scope), "/scopes/\(index)", FieldError.exceedsMaker,
                "A key can give only scopes that it holds itself.")
            require(
                organization == .platform || !scope.isPlatformOnly, "/scopes/\(index)", "platform_only",
                "Only keys of the platform can hold this scope.")
        }
    }

    mutating func addresses(_ cidrs: [String], madeBy administrator: Administrator) {
        require(cidrs.count <= 64, "/cidrs", "too_many", "A key has at most 64 address ranges.")
        for (index, range) in cidrs.enumerated() {
            require(AddressRange(range) != nil, "/cidrs/\(index)", "invalid", "This is not an address or a CIDR range.")
        }
        guard let limits = administrator.key?.cidrs, !limits.isEmpty else { return }
        require(
            !cidrs.isEmpty, "/cidrs", FieldError.exceedsMaker,
            "A key for certain addresses can make only keys for these.")
        for (index, range) in cidrs.enumerated() {
            require(
                limits.contains { range.isAddressRange(within: $0) }, "/cidrs/\(index)", FieldError.exceedsMaker,
                "A key can give only addresses that it may be used from itself.")
        }
    }
}

extension String {
    /// Whether this CIDR range lies inside the other: it begins there, and is no wider.
    fileprivate func isAddressRange(within other: String) -> Bool {
        guard let outer = AddressRange(other), AddressRange(self) != nil else { return false }
        return outer.contains(String(prefix { $0 != "/" })) && prefixLength >= other.prefixLength
    }

    private var prefixLength: Int {
        guard let mark = firstIndex(of: "/") else { return contains(":") ? 128 : 32 }
        return Int(self[index(after: mark)...]) ?? 0
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
