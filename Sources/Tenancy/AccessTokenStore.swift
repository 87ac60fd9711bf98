package import Foundation
import Postgres

/// What is stored about access tokens, which themselves are not: which were ended before their time, and whether what they
/// were issued on still stands.
package struct AccessTokenStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    /// What a token was issued on: with its end the token ends too.
    package enum Basis: Sendable, Equatable {
        /// A connection, with its user and the admission of its client.
        case grant(GrantID)
        /// A person alone.
        case user(UserID)
        /// A client that speaks for itself; nothing of it is stored with the organization's data of people.
        case client
    }

    /// Whether a token that is right by itself was not ended, nor what it was issued on. One statement, and PostgreSQL is
    /// asked each time: what one node ended is ended on all of them.
    package func isLive(
        _ token: TokenID, on basis: Basis, in organization: OrganizationID, at now: Date
    ) async throws -> Bool {
        let unrevoked: SQL = """
            NOT EXISTS (SELECT FROM revoked_token r WHERE r.organization_id = \(organization) AND r.jti = \(token))
            """
        let statement: SQL =
            switch basis {
            case .grant(let grant):
                """
                SELECT 1 AS live FROM "grant" g
                  JOIN "user" u ON u.organization_id = g.organization_id AND u.id = g.user_id
                  JOIN client_admission a ON a.organization_id = g.organization_id AND a.client_id = g.client_id
                 WHERE g.organization_id = \(organization) AND g.id = \(grant) AND g.status = 'active'
                   AND g.expires_at > \(now) AND u.status = 'active' AND a.status = 'active' AND \(unrevoked)
                """
            case .user(let user):
                """
                SELECT 1 AS live FROM "user" u
                 WHERE u.organization_id = \(organization) AND u.id = \(user) AND u.status = 'active' AND \(unrevoked)
                """
            case .client: "SELECT 1 AS live WHERE \(unrevoked)"
            }
        return try await !database.read(organization, statement) { _ in }.isEmpty
    }

    /// Ends one token; the row stays until the token would have ended by itself.
    ///
    /// No row means that it was ended before.
    package func revoke(
        _ token: TokenID, in organization: OrganizationID, until expiry: Date, recording event: OutboxEvent
    ) async throws -> WriteOutcome<TokenID> {
        try await database.write(
            organization, lockedRow: token.uuid, event: event.id,
            recorded(
                """
                INSERT INTO revoked_token (organization_id, jti, expires_at)
                SELECT \(organization), \(token), \(expiry) ON CONFLICT DO NOTHING RETURNING jti
                """, as: event)
        ) { try $0.id("jti") }
    }

    /// Forgets ended tokens that are over anyway.
    package func deleteExpired(in organization: OrganizationID, at now: Date) async throws {
        try await database.transaction(organization) { transaction in
            _ = try await transaction.query(
                "DELETE FROM revoked_token WHERE organization_id = \(organization) AND expires_at <= \(now)")
        }
    }
}
