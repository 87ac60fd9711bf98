import Audit
import Foundation
package import Keys
import Postgres
package import Tenancy

/// An invitation as made, with the link that is shown once.
package struct IssuedInvitation: Sendable {
    package let invitation: Invitation
    package let link: Secret
}

extension Administration {
    /// Seconds an invitation may live, and lives unless somebody says otherwise.
    package static let invitationLifetime = (allowed: 300...(30 * 86_400), standard: 7 * 86_400)

    /// Opens a way in for one e-mail address: whoever proves that address while opening the link becomes its user.
    package func createInvitation(
        email: String, name: String?, lifetimeSeconds: Int?, in organization: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<IssuedInvitation> {
        let lifetime = lifetimeSeconds ?? Self.invitationLifetime.standard
        var checks = FieldChecks()
        let address = checks.email(email, "/email")
        if let name { checks.name(name, "/name") }
        checks.range(lifetime, Self.invitationLifetime.allowed, "/expires_in_seconds")
        try checks.finish()
        let token = InvitationToken(organization: organization, random)
        let invitation = Invitation(
            id: InvitationID.make(at: administrator.now, random), email: address, name: name,
            createdBy: administrator.actor.id, createdAt: administrator.now,
            expiresAt: administrator.now + Double(lifetime), acceptedAt: nil, revokedAt: nil)
        let issued = IssuedInvitation(
            invitation: invitation,
            link: Secret("\(settings.publicURL)/signin/invitation/\(token.secret.revealed)"))
        return try await administer(organization, by: administrator) { transaction in
            try await users.insert(invitation, tokenDigest: token.digest, of: organization, in: transaction)
            return AdminChange(
                value: issued, type: .invitationCreated, target: invitation.auditTarget,
                changes: [
                    AuditEvent.Change(path: "email", new: .string(address), isPersonal: true),
                    AuditEvent.Change(path: "expires_at", new: .time(invitation.expiresAt)),
                ], isCached: false)
        }
    }

    package func invitation(_ id: InvitationID, of organization: OrganizationID) async throws -> Invitation {
        guard let found = try await users.invitation(id, in: organization) else { throw AdminError.notFound }
        return found
    }

    /// - Throws: ``AdminError/conflict(_:)`` for one that was accepted or revoked before.
    package func revokeInvitation(
        _ id: InvitationID, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<Invitation> {
        let invitation = try await invitation(id, of: organization)
        return try await administer(organization, by: administrator) { transaction in
            guard try await users.revoke(id, in: organization, at: administrator.now, transaction) else {
                throw AdminError.conflict("This invitation was accepted or revoked before.")
            }
            return AdminChange(
                value: invitation, type: .invitationRevoked, target: invitation.auditTarget, isCached: false)
        }
    }
}

extension Invitation {
    fileprivate var auditTarget: AuditEvent.Target { AuditEvent.Target(type: "invitation", id: id.description) }
}
