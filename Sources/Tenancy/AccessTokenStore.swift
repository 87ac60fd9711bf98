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
        case grant(GrantID, of: UserID)
        /// A person, through a client that the organization admitted.
        case user(UserID, through: ClientID)
        /// A client that speaks for itself; nothing that PostgreSQL keeps for this organization ends with it.
        case client
    }

    private static let unrevoked = """
        NOT EXISTS (SELECT FROM revoked_token r WHERE r.organization_id = $1 AND r.jti = $2)
        """
    private static let ofGrant = PreparedSQL(
        """
        SELECT 1 AS live FROM "grant" g
         WHERE g.organization_id = $1 AND g.id = $3 AND g.status = 'active' AND g.expires_at > $4 AND g.user_id = $5
           AND (SELECT u.status FROM "user" u WHERE u.organization_id = $1 AND u.id = g.user_id) = 'active'
           AND (SELECT a.status FROM client_admission a
                 WHERE a.organization_id = $1 AND a.client_id = g.client_id) = 'active'
           AND \(unrevoked)
        """, [.uuid, .uuid, .uuid, .timestamptz, .uuid])
    private static let ofUser = PreparedSQL(
        """
        SELECT 1 AS live FROM "user" u
         WHERE u.organization_id = $1 AND u.id = $3 AND u.status = 'active' AND \(unrevoked)
           AND (SELECT a.status FROM client_admission a WHERE a.organization_id = $1 AND a.client_id = $4) = 'active'
        """, [.uuid, .uuid, .uuid, .uuid])
    private static let ofClient = PreparedSQL("SELECT 1 AS live WHERE \(unrevoked)", [.uuid, .uuid])
    /// Whether a token that is right by itself was not ended, nor what it was issued on. One statement, and PostgreSQL is
    /// asked each time: what one node ended is ended on all of them.
    package func isLive(
        _ token: TokenID, on basis: Basis, in organization: OrganizationID, at now: Date
    ) async throws -> Bool {
        let (id, token) = (PostgresBind.uuid(organization.uuid), PostgresBind.uuid(token.uuid))
        let statement =
            switch basis {
            case .grant(let grant, let user):
                Self.ofGrant([id, token, .uuid(grant.uuid), now.postgresBind, .uuid(user.uuid)])
            case .user(let user, let client):
                Self.ofUser([id, token, .uuid(user.uuid), .uuid(client.uuid)])
            case .client: Self.ofClient([id, token])
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
