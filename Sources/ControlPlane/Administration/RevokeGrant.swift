import Audit
import Foundation
import Postgres
package import Tenancy

extension Administration {
    package func grant(_ id: GrantID, of organization: OrganizationID) async throws -> Grant {
        guard let found = try await grants.find(id, in: organization) else { throw AdminError.notFound }
        return found
    }

    /// Ends a connection; access tokens verified offline live until they expire.
    ///
    /// - Throws: ``AdminError/conflict(_:)`` for one that ended before.
    package func revokeGrant(
        _ id: GrantID, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<Grant> {
        _ = try await grant(id, of: organization)
        return try await administer(organization, by: administrator) { transaction in
            guard
                let ended = try await grants.revoke(id, in: organization, because: "administrator", in: transaction)
            else { throw AdminError.conflict("This connection ended before.") }
            var change = AdminChange(
                value: ended, type: .grantRevoked, target: AuditEvent.Target(type: "grant", id: id.description),
                changes: [], client: ended.client.description, isCached: false)
            change.otherTargets = [AuditEvent.Target(type: "user", id: ended.user.description)]
            change.scopes = ended.scope
            return change
        }
    }
}
