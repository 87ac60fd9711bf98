package import Foundation
import Postgres

/// Tokens of people that make no grant: all that is stored of one is its event. Of a client that speaks for itself it is
/// ``TenantDatabase/append(_:guardedBy:)`` alone.
///
/// Each function writes the event down if nothing the decision rests on has changed; without it the token is not handed
/// out. The guard is of the event's organization; false means that something moved, and nothing was written.
package struct IssuedTokenStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    private static let guarded = EpochGuard.condition(organization: "$13", platform: "$14")

    private static let onGrant = PreparedSQL(
        PreparedEvent.insertion(
            where: """
                \(guarded)
                AND EXISTS (SELECT FROM "grant" g
                              JOIN "user" u ON u.organization_id = g.organization_id AND u.id = g.user_id
                              JOIN client_admission a ON a.organization_id = g.organization_id AND a.client_id = g.client_id
                             WHERE g.organization_id = $1 AND g.id = $15 AND g.status = 'active' AND g.expires_at > $16
                               AND u.status = 'active' AND a.status = 'active')
                """) + " RETURNING 1 AS written", PreparedEvent.types + EpochGuard.types + [.uuid, .timestamptz])

    /// On a grant, which has to live, with its user active and its client admitted.
    package func record(
        _ event: OutboxEvent, on grant: GrantID, at now: Date, guardedBy guardian: EpochGuard
    ) async throws -> Bool {
        let binds = event.binds + guardian.binds + [.uuid(grant.uuid), now.postgresBind]
        return try await database.write(event.organization, event: event.id, Self.onGrant(binds)) { _ in }.isDone
    }

    private static let forUser = PreparedSQL(
        PreparedEvent.insertion(
            where: """
                \(guarded)
                AND EXISTS (SELECT FROM "user" WHERE organization_id = $1 AND id = $15 AND status = 'active')
                AND EXISTS (SELECT FROM client_admission WHERE organization_id = $1 AND client_id = $16
                               AND status = 'active')
                """) + " RETURNING 1 AS written", PreparedEvent.types + EpochGuard.types + [.uuid, .uuid])

    /// For a user, who has to be active, through a client that has to be admitted.
    package func record(
        _ event: OutboxEvent, for user: UserID, through client: ClientID, guardedBy guardian: EpochGuard
    ) async throws -> Bool {
        let binds = event.binds + guardian.binds + [.uuid(user.uuid), .uuid(client.uuid)]
        return try await database.write(event.organization, event: event.id, Self.forUser(binds)) { _ in }.isDone
    }
}
