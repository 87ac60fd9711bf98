package import Foundation
package import Keys
package import Postgres

/// A token that lets clients register in one registry (RFC 7591 §3), as stored: the text is shown once.
package struct InitialAccessToken: Sendable, Equatable {
    package let id: InitialAccessTokenID
    /// Whose registry it opens; the platform's own opens the platform's.
    package let organization: OrganizationID
    package let name: String
    package let secretDigest: SecretDigest
    /// Registrations it may still be used for; nil: any number.
    package let usesLeft: Int?
    package let createdBy: String
    package let expiresAt: Date?
    package let lastUsedAt: Date?
    package let revokedAt: Date?
    package let createdAt: Date

    package init(
        id: InitialAccessTokenID, organization: OrganizationID, name: String, secretDigest: SecretDigest,
        usesLeft: Int?, createdBy: String, expiresAt: Date?, createdAt: Date, lastUsedAt: Date? = nil,
        revokedAt: Date? = nil
    ) {
        self.id = id
        self.organization = organization
        self.name = name
        self.secretDigest = secretDigest
        self.usesLeft = usesLeft
        self.createdBy = createdBy
        self.expiresAt = expiresAt
        self.lastUsedAt = lastUsedAt
        self.revokedAt = revokedAt
        self.createdAt = createdAt
    }
}

private let columns: SQL = """
    id, organization_id, name, secret_digest, uses_left, created_by, expires_at, last_used_at, revoked_at, created_at
    """

extension InitialAccessToken {
    fileprivate init(row: Row) throws {
        self.init(
            id: try row.id("id"), organization: try row.id("organization_id"), name: try row.decode("name"),
            secretDigest: try row.requiredDigest("secret_digest"), usesLeft: try row.decode("uses_left"),
            createdBy: try row.decode("created_by"), expiresAt: try row.decode("expires_at"),
            createdAt: try row.decode("created_at"), lastUsedAt: try row.decode("last_used_at"),
            revokedAt: try row.decode("revoked_at"))
    }
}

/// Initial access tokens of one registry. Using one is part of the registration's own statement (``ClientStore``).
package struct InitialAccessTokenStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    package func find(
        _ token: InitialAccessTokenID, in organization: OrganizationID
    ) async throws -> InitialAccessToken? {
        try await database.read(
            organization,
            "SELECT \(columns) FROM initial_access_token WHERE organization_id = \(organization) AND id = \(token)",
            as: InitialAccessToken.init(row:)
        ).first
    }

    package func list(_ page: Page, of organization: OrganizationID) async throws -> [InitialAccessToken] {
        try await database.read(
            organization,
            """
            SELECT \(columns) FROM initial_access_token WHERE organization_id = \(organization)
               AND id > \(page.start) ORDER BY id LIMIT \(page.limit)
            """, as: InitialAccessToken.init(row:))
    }

    package func insert(_ token: InitialAccessToken, in transaction: PostgresTransaction) async throws {
        try await transaction.query(
            """
            INSERT INTO initial_access_token (\(columns)) VALUES (\(token.id), \(token.organization), \(token.name),
                \(token.secretDigest.bytes), \(token.usesLeft), \(token.createdBy), \(token.expiresAt),
                \(token.lastUsedAt), \(token.revokedAt), \(token.createdAt))
            """)
    }

    /// - Returns: false when there is no live one of that id.
    package func revoke(
        _ token: InitialAccessTokenID, in organization: OrganizationID, at now: Date, _ transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            UPDATE initial_access_token SET revoked_at = \(now)
             WHERE organization_id = \(organization) AND id = \(token) AND revoked_at IS NULL RETURNING id
            """
        ).isEmpty
    }

    /// One use of a live token, as a row that a registration can depend on; no row where it may not be used (any more).
    static func use(
        _ token: InitialAccessTokenID, _ secret: SecretDigest, in organization: OrganizationID, at now: Date
    ) -> SQL {
        """
        token AS (
            UPDATE initial_access_token SET uses_left = uses_left - 1, last_used_at = \(now)
             WHERE organization_id = \(organization) AND id = \(token) AND secret_digest = \(secret.bytes)
               AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > \(now))
               AND (uses_left IS NULL OR uses_left > 0)
            RETURNING id)
        """
    }
}
