package import Foundation
import Keys
package import Postgres

private let columns: SQL = """
    id, name, user_id, client_id, issuer_organization_id, resource_id, signing_key_id, scope, created_by, created_at, \
    expires_at, revoked_at
    """

extension ProgrammaticToken {
    fileprivate init(row: Row) throws {
        let user = try row.decode("user_id", as: UUID?.self)
        self.init(
            id: try row.id("id"), name: try row.decode("name"),
            principal: try user.map { .user(UserID($0)) } ?? .service(row.id("client_id")),
            issuer: try row.id("issuer_organization_id"), resource: try row.id("resource_id"),
            signingKey: try row.id("signing_key_id"), scope: try row.decode("scope"),
            createdBy: try row.decode("created_by"), createdAt: try row.decode("created_at"),
            expiresAt: try row.decode("expires_at"), revokedAt: try row.decode("revoked_at"))
    }

    fileprivate var user: UserID? { if case .user(let user) = principal { user } else { nil } }
    fileprivate var client: ClientID? { if case .service(let client) = principal { client } else { nil } }
}

/// Tokens that administrators of one organization issued by name.
package struct ProgrammaticTokenStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    package func find(_ token: TokenID, in organization: OrganizationID) async throws -> ProgrammaticToken? {
        try await database.read(
            organization,
            "SELECT \(columns) FROM programmatic_token WHERE organization_id = \(organization) AND id = \(token)",
            as: ProgrammaticToken.init(row:)
        ).first
    }

    private static let liveStatement = PreparedSQL(
        """
        SELECT t.id, t.name, t.user_id, t.client_id, t.issuer_organization_id, t.resource_id, t.signing_key_id, t.scope,
               t.created_by, t.created_at, t.expires_at, t.revoked_at,
               (SELECT s.scope_ceiling FROM session s WHERE s.organization_id = $1 AND s.user_id = t.user_id
                 ORDER BY s.auth_time DESC LIMIT 1) AS scope_ceiling,
               \(DatedMembership.columns(of: "t.user_id"))
          FROM programmatic_token t
         WHERE t.organization_id = $1 AND t.id = $2 AND t.revoked_at IS NULL AND t.expires_at > $3
           AND (t.user_id IS NULL
                OR (SELECT u.status FROM "user" u WHERE u.organization_id = $1 AND u.id = t.user_id) = 'active')
        """, [.uuid, .uuid, .timestamptz])

    /// A named token that was not ended, and what policy may ask of the person it speaks for.
    package struct Live: Sendable {
        package let token: ProgrammaticToken
        /// ``SessionStore/scopeCeiling(of:in:)``
        package let upstreamCeiling: [String]?
        package let membership: Membership
    }

    /// A token that was not ended, whose person was not either.
    package func live(_ token: TokenID, in organization: OrganizationID, at now: Date) async throws -> Live? {
        let statement = Self.liveStatement([.uuid(organization.uuid), .uuid(token.uuid), now.postgresBind])
        return try await database.read(organization, statement) { row in
            Live(
                token: try ProgrammaticToken(row: row), upstreamCeiling: try row.decode("scope_ceiling"),
                membership: try DatedMembership(row: row).membership)
        }.first
    }

    package func list(
        _ page: Page, of organization: OrganizationID, user: UserID? = nil, client: ClientID? = nil
    ) async throws -> [ProgrammaticToken] {
        var condition: SQL = "organization_id = \(organization) AND id > \(page.start)"
        if let user { condition = "\(condition) AND user_id = \(user)" }
        if let client { condition = "\(condition) AND client_id = \(client)" }
        return try await database.read(
            organization,
            """
            SELECT \(columns) FROM programmatic_token WHERE \(condition) ORDER BY id LIMIT \(page.limit)
            """, as: ProgrammaticToken.init(row:))
    }

    /// Writes a token down if whom it speaks for is active and nothing its decision rests on has changed.
    ///
    /// - Returns: false when a guard moved, and nothing was written.
    package func insert(
        _ token: ProgrammaticToken, of organization: OrganizationID, guardedBy guardian: EpochGuard,
        in transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            INSERT INTO programmatic_token (organization_id, \(columns))
            SELECT \(organization), \(token.id), \(token.name), \(token.user), \(token.client), \(token.issuer),
                   \(token.resource), \(token.signingKey), \(token.scope), \(token.createdBy), \(token.createdAt),
                   \(token.expiresAt), \(token.revokedAt)
             WHERE EXISTS (SELECT FROM epoch
                    WHERE organization_id = \(organization) AND value = \(guardian.organizationEpoch))
               AND EXISTS (SELECT FROM epoch
                    WHERE organization_id = \(OrganizationID.platform) AND value = \(guardian.platformEpoch))
               AND (\(token.user)::uuid IS NULL OR EXISTS (SELECT FROM "user"
                    WHERE organization_id = \(organization) AND id = \(token.user) AND status = 'active'))
               AND (\(token.client)::uuid IS NULL OR EXISTS (SELECT FROM client
                    WHERE organization_id = \(organization) AND id = \(token.client) AND status = 'active'))
            RETURNING id
            """
        ).isEmpty
    }

    /// Ends a token.
    ///
    /// - Returns: the new state; nil when there is none of that id, or it was ended before.
    package func revoke(
        _ token: TokenID, of organization: OrganizationID, at now: Date, in transaction: PostgresTransaction
    ) async throws -> ProgrammaticToken? {
        try await transaction.query(
            """
            UPDATE programmatic_token SET revoked_at = \(now)
             WHERE organization_id = \(organization) AND id = \(token) AND revoked_at IS NULL RETURNING \(columns)
            """
        ).map(ProgrammaticToken.init(row:)).first
    }

    /// Ends all tokens that speak for a person.
    ///
    /// - Returns: how many there were.
    package func revokeAll(
        of user: UserID, in organization: OrganizationID, at now: Date, _ transaction: PostgresTransaction
    ) async throws -> Int {
        try await transaction.query(
            """
            UPDATE programmatic_token SET revoked_at = \(now)
             WHERE organization_id = \(organization) AND user_id = \(user) AND revoked_at IS NULL RETURNING id
            """
        ).count
    }

    /// Forgets tokens that ended by themselves before a moment.
    package func deleteExpired(in organization: OrganizationID, before moment: Date) async throws {
        try await database.transaction(organization) { transaction in
            _ = try await transaction.query(
                "DELETE FROM programmatic_token WHERE organization_id = \(organization) AND expires_at < \(moment)")
        }
    }
}
