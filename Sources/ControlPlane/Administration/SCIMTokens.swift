import Audit
package import Foundation
package import Keys
import Postgres
package import Tenancy

/// A SCIM token as wanted.
package struct NewSCIMToken: Sendable {
    package var name: String
    package var cidrs: [String]
    package var expiresAt: Date?

    package init(name: String, cidrs: [String] = [], expiresAt: Date? = nil) {
        self.name = name
        self.cidrs = cidrs
        self.expiresAt = expiresAt
    }
}

/// A SCIM token with its text, which is shown once.
package struct IssuedSCIMToken: Sendable {
    package let token: SCIMToken
    package let secret: Secret
}

/// The text of a SCIM token: `gsc_`, base64url of organization (16 bytes) ‖ id (16) ‖ secret (32), and a checksum. Stored
/// is SHA-256 of the whole text.
package struct SCIMCredential: Sendable {
    package let organization: OrganizationID
    package let id: SCIMTokenID
    /// The whole text, shown once.
    package let secret: Secret

    private static let prefix = "gsc_"

    package init(organization: OrganizationID, id: SCIMTokenID, _ random: RandomBytes) {
        self.organization = organization
        self.id = id
        let bytes = organization.uuid.bytes + id.uuid.bytes + random.generate(32)
        secret = Secret(CredentialChecksum.append(to: Self.prefix + Base64URL.encode(bytes)))
    }

    /// Parses what somebody presents; nil for anything that cannot be one of ours.
    package init?(_ text: String) {
        guard text.hasPrefix(Self.prefix), text.utf8.count < 200, let body = CredentialChecksum.body(of: text),
            let bytes = Base64URL.decode(String(body.dropFirst(Self.prefix.count))), bytes.count == 64,
            let organization = UUID(bytes: bytes[0..<16]), let id = UUID(bytes: bytes[16..<32])
        else { return nil }
        self.organization = OrganizationID(organization)
        self.id = SCIMTokenID(id)
        secret = Secret(text)
    }

    package var digest: SecretDigest { SecretDigest(of: secret) }
}

extension Administration {
    package func scimToken(_ id: SCIMTokenID, of organization: OrganizationID) async throws -> SCIMToken {
        guard let found = try await scimTokens.find(id, in: organization) else { throw AdminError.notFound }
        return found
    }

    /// Makes a token that writes the organization's users and groups, by a maker who can do as much.
    ///
    /// - Throws: ``AdminError/exceedsMaker(_:)`` for a token that could do more.
    package func createSCIMToken(
        _ wanted: NewSCIMToken, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<IssuedSCIMToken> {
        var checks = FieldChecks()
        checks.name(wanted.name, "/name")
        checks.addresses(wanted.cidrs, "/cidrs", givenBy: administrator)
        // Whoever writes groups gives the roles that come with them.
        for role in try await roles.rolesOfGroups(in: organization) { checks.role(role, "", givenBy: administrator) }
        for scope in AdminScope.ofDirectories.sorted(by: { $0.rawValue < $1.rawValue }) {
            checks.require(
                administrator.holds(scope), "", FieldError.exceedsMaker,
                "Only a key with the scope \(scope.rawValue) can make such a token.")
        }
        checks.end(wanted.expiresAt, "/expires_at", givenBy: administrator)
        try checks.finish()
        let id = SCIMTokenID.make(at: administrator.now, random)
        let credential = SCIMCredential(organization: organization, id: id, random)
        let token = SCIMToken(
            id: id, organization: organization, name: wanted.name, secretDigest: credential.digest,
            cidrs: wanted.cidrs, createdBy: administrator.actor.id, expiresAt: wanted.expiresAt,
            createdAt: administrator.now)
        return try await administer(organization, by: administrator) { transaction in
            try await scimTokens.insert(token, in: transaction)
            return AdminChange(
                value: IssuedSCIMToken(token: token, secret: credential.secret), type: .scimTokenCreated,
                target: token.auditTarget, changes: .between([:], token.facts), isCached: false)
        }
    }

    /// Ends a token at once; what it provisioned stays.
    package func revokeSCIMToken(
        _ id: SCIMTokenID, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<SCIMToken> {
        let old = try await scimToken(id, of: organization)
        return try await administer(organization, by: administrator) { transaction in
            guard try await scimTokens.revoke(id, in: organization, at: administrator.now, transaction) else {
                throw AdminError.conflict("This token was revoked before.")
            }
            return AdminChange(
                value: old, type: .scimTokenRevoked, target: old.auditTarget, changes: .between(old.facts, [:]),
                isCached: false)
        }
    }
}

extension SCIMToken {
    fileprivate var auditTarget: AuditEvent.Target {
        AuditEvent.Target(type: "scim_token", id: id.description, name: name)
    }

    fileprivate var facts: Facts {
        var facts: Facts = [
            "name": .string(name), "cidrs": .texts(cidrs), "secret": AuditEvent.Change.redacted,
        ]
        facts["expires_at"] = .time(expiresAt)
        return facts
    }
}
