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
        let grant = try await grant(id, of: organization)
        let event = AuditEvent(
            .grantRevoked, organization: organization, id: EventID.make(at: administrator.now, random),
            time: administrator.now, actor: administrator.actor,
            targets: [
                AuditEvent.Target(type: "grant", id: id.description),
                AuditEvent.Target(type: "user", id: grant.user.description),
            ],
            client: grant.client.description, scopes: grant.scope, request: administrator.request)
        let outcome = try await grants.revoke(
            id, in: organization, because: "administrator", recording: event.outboxEvent(random))
        guard outcome.isDone else { throw AdminError.conflict("This connection ended before.") }
        return Administered(value: try await self.grant(id, of: organization), event: event.id)
    }
}
