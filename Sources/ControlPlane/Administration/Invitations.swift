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

    /// Opens a way in for one e-mail address: whoever proves that address while opening the link becomes its user, in these
    /// groups and with these roles.
    ///
    /// - Throws: ``AdminError/exceedsMaker(_:)`` for one that would give what the administrator could not.
    package func createInvitation(
        email: String, name: String?, groups groupIDs: [GroupID] = [], roles roleIDs: [RoleID] = [],
        lifetimeSeconds: Int?, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<IssuedInvitation> {
        let lifetime = lifetimeSeconds ?? standardLifetime(of: administrator)
        var checks = FieldChecks()
        let address = checks.email(email, "/email")
        if let name { checks.name(name, "/name") }
        checks.range(lifetime, Self.invitationLifetime.allowed, "/expires_in_seconds")
        let end = administrator.now + Double(lifetime)
        checks.end(end, "/expires_in_seconds", givenBy: administrator)
        try await check(groupIDs, roleIDs, in: organization, by: administrator, &checks)
        try checks.finish()
        let token = InvitationToken(organization: organization, random)
        let invitation = Invitation(
            id: InvitationID.make(at: administrator.now, random), email: address, name: name,
            groups: Set(groupIDs).sorted(), roles: Set(roleIDs).sorted(), createdBy: administrator.actor.id,
            createdAt: administrator.now, expiresAt: end, acceptedAt: nil, revokedAt: nil)
        let issued = IssuedInvitation(invitation: invitation, link: link(of: token))
        return try await administer(organization, by: administrator) { transaction in
            try await users.insert(invitation, tokenDigest: token.digest, of: organization, in: transaction)
            return AdminChange(
                value: issued, type: .invitationCreated, target: invitation.auditTarget,
                changes: [
                    AuditEvent.Change(path: "email", new: .string(address), isPersonal: true),
                    AuditEvent.Change(path: "expires_at", new: .time(invitation.expiresAt)),
                    AuditEvent.Change(path: "groups", new: .texts(invitation.groups.map(\.description))),
                    AuditEvent.Change(path: "roles", new: .texts(invitation.roles.map(\.description))),
                ], isCached: false)
        }
    }

    private func link(of token: InvitationToken) -> Secret {
        Secret("\(settings.publicURL)/signin/invitation/\(token.secret.revealed)")
    }

    /// Makes a new link for an invitation that nobody accepted, expired or not; the old one opens nothing any more.
    ///
    /// Whoever has the link gives it away, so they have to be able to give what it gives.
    /// - Throws: ``AdminError/exceedsMaker(_:)``; ``AdminError/conflict(_:)`` for one that was accepted or revoked.
    package func resendInvitation(
        _ id: InvitationID, lifetimeSeconds: Int?, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<IssuedInvitation> {
        let old = try await invitation(id, of: organization)
        let lifetime = lifetimeSeconds ?? standardLifetime(of: administrator)
        var checks = FieldChecks()
        checks.range(lifetime, Self.invitationLifetime.allowed, "/expires_in_seconds")
        let end = administrator.now + Double(lifetime)
        checks.end(end, "/expires_in_seconds", givenBy: administrator)
        // What is gone by now is given to nobody.
        let groupIDs = try await groups.existing(old.groups, in: organization).sorted()
        let roleIDs = try await roles.find(old.roles, in: organization).map(\.id)
        try await check(groupIDs, roleIDs, in: organization, by: administrator, &checks)
        try checks.finish()
        let token = InvitationToken(organization: organization, random)
        return try await administer(organization, by: administrator) { transaction in
            let renewed = try await users.renew(
                id, tokenDigest: token.digest, until: end, in: organization, transaction)
            guard let renewed else {
                throw AdminError.conflict("This invitation was accepted or revoked before; make a new one.")
            }
            return AdminChange(
                value: IssuedInvitation(invitation: renewed, link: link(of: token)), type: .invitationResent,
                target: renewed.auditTarget,
                changes: [
                    AuditEvent.Change(path: "expires_at", old: .time(old.expiresAt), new: .time(renewed.expiresAt)),
                    AuditEvent.Change(
                        path: "token", old: AuditEvent.Change.redacted, new: AuditEvent.Change.redacted),
                ], isCached: false)
        }
    }

    /// As long as usual, and no longer than the key that makes it.
    private func standardLifetime(of administrator: Administrator) -> Int {
        let left = administrator.key?.expiresAt.map { Int($0.timeIntervalSince(administrator.now)) }
        return min(Self.invitationLifetime.standard, left ?? .max)
    }

    private func check(
        _ groupIDs: [GroupID], _ roleIDs: [RoleID], in organization: OrganizationID, by administrator: Administrator,
        _ checks: inout FieldChecks
    ) async throws {
        for (pointer, count) in [("/groups", groupIDs.count), ("/roles", roleIDs.count)] {
            checks.require(count <= 50, pointer, "too_many", "Name at most 50.")
        }
        let knownGroups = try await groups.existing(groupIDs, in: organization)
        for (index, group) in groupIDs.enumerated() where !knownGroups.contains(group) {
            checks.add(.unknown("/groups/\(index)"))
        }
        if !groupIDs.isEmpty {
            checks.require(
                administrator.holds(.groupsWrite), "/groups", FieldError.exceedsMaker,
                "Only a key with the scope groups:write can put people into groups.")
        }
        for role in try await roles.roles(of: groupIDs, in: organization) {
            checks.role(role, "/groups", givenBy: administrator)
        }
        let knownRoles = try await roles.find(roleIDs, in: organization)
        for (index, id) in roleIDs.enumerated() {
            guard let role = knownRoles.first(where: { $0.id == id }) else {
                checks.add(.unknown("/roles/\(index)"))
                continue
            }
            checks.role(role, "/roles/\(index)", givenBy: administrator)
        }
        if !roleIDs.isEmpty {
            checks.require(
                administrator.holds(.rolesWrite), "/roles", FieldError.exceedsMaker,
                "Only a key with the scope roles:write can give roles.")
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
