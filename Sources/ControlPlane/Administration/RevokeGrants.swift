import Audit
import Foundation
import Postgres
package import Tenancy

/// What came of ending many connections: so many of them, and whether some are left.
package struct RevokedGrants: Sendable {
    package let grants: [Grant]
    package let hasMore: Bool
}

extension Administration {
    /// Connections that one call ends, so that its transaction stays short.
    private static let mostRevoked = 100

    /// Ends the connections that a filter selects, the oldest ones first, each with an event of its own beside that of the
    /// call.
    ///
    /// - Parameter filter: selects what is active; an empty one the whole organization.
    package func revokeGrants(
        _ filter: GrantFilter, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<RevokedGrants> {
        try await administer(organization, by: administrator) { transaction in
            let (ended, hasMore) = try await grants.revokeSome(
                filter, in: organization, most: Self.mostRevoked, because: "administrator", transaction)
            for grant in ended {
                let event = AuditEvent(
                    .grantRevoked, organization: organization, id: EventID.make(at: administrator.now, random),
                    time: administrator.now, actor: administrator.actor,
                    targets: [
                        AuditEvent.Target(type: "grant", id: grant.id.description),
                        AuditEvent.Target(type: "user", id: grant.user.description),
                    ], client: grant.client.description, scopes: grant.scope.sorted(), request: administrator.request)
                try await transaction.query(event.outboxEvent(random).insertion)
            }
            let target =
                filter.user.map { AuditEvent.Target(type: "user", id: $0.description) }
                ?? filter.client.map { AuditEvent.Target(type: "client", id: $0.description) }
                ?? filter.resource.map { AuditEvent.Target(type: "resource", id: $0.description) }
                ?? AuditEvent.Target(type: "organization", id: organization.description)
            return AdminChange(
                value: RevokedGrants(grants: ended, hasMore: hasMore), type: .grantRevoked, target: target,
                client: filter.client?.description, metadata: ["grants_ended": "\(ended.count)"], isCached: false)
        }
    }
}
