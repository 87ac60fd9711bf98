package import Foundation
package import Keys
package import Postgres

/// The credential of a directory that provisions one organization (RFC 7644 §2), as stored: the text is shown once.
package struct SCIMToken: Sendable, Equatable {
    package let id: SCIMTokenID
    /// The one organization it reaches.
    package let organization: OrganizationID
    package let name: String
    package let secretDigest: SecretDigest
    /// Address ranges it may be used from; empty means any.
    package let cidrs: [String]
    package let createdBy: String
    package let expiresAt: Date?
    package let lastUsedAt: Date?
    package let revokedAt: Date?
    package let createdAt: Date

    package init(
        id: SCIMTokenID, organization: OrganizationID, name: String, secretDigest: SecretDigest, cidrs: [String],
        createdBy: String, expiresAt: Date?, createdAt: Date, lastUsedAt: Date? = nil, revokedAt: Date? = nil
    ) {
        self.id = id
        self.organization = organization
        self.name = name
        self.secretDigest = secretDigest
        self.cidrs = cidrs
        self.createdBy = createdBy
        self.expiresAt = expiresAt
        self.lastUsedAt = lastUsedAt
        self.revokedAt = revokedAt
        self.createdAt = createdAt
    }
}

private let columns: SQL = """
    id, organization_id, name, secret_digest, cidrs, created_by, expires_at, last_used_at, revoked_at, created_at
    """

extension SCIMToken {
    fileprivate init(row: Row) throws {
        self.init(
            id: try row.id("id"), organization: try row.id("organization_id"), name: try row.decode("name"),
            secretDigest: try row.requiredDigest("secret_digest"), cidrs: try row.decode("cidrs"),
            createdBy: try row.decode("created_by"), expiresAt: try row.decode("expires_at"),
            createdAt: try row.decode("created_at"), lastUsedAt: try row.decode("last_used_at"),
            revokedAt: try row.decode("revoked_at"))
    }
}

/// The tokens of one organization's directories.
package struct SCIMTokenStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    package func find(_ token: SCIMTokenID, in organization: OrganizationID) async throws -> SCIMToken? {
        try await database.read(
            organization,
            "SELECT \(columns) FROM scim_token WHERE organization_id = \(organization) AND id = \(token)",
            as: SCIMToken.init(row:)
        ).first
    }

    package func list(_ page: Page, of organization: OrganizationID) async throws -> [SCIMToken] {
        try await database.read(
            organization,
            """
            SELECT \(columns) FROM scim_token WHERE organization_id = \(organization)
               AND id > \(page.start) ORDER BY id LIMIT \(page.limit)
            """, as: SCIMToken.init(row:))
    }

    package func insert(_ token: SCIMToken, in transaction: PostgresTransaction) async throws {
        try await transaction.query(
            """
            INSERT INTO scim_token (\(columns)) VALUES (\(token.id), \(token.organization), \(token.name),
                \(token.secretDigest.bytes), \(token.cidrs), \(token.createdBy), \(token.expiresAt),
                \(token.lastUsedAt), \(token.revokedAt), \(token.createdAt))
            """)
    }

    /// Remembers when a token was used, at most once in so many seconds.
    package func noteUse(
        of token: SCIMTokenID, in organization: OrganizationID, at now: Date, every seconds: TimeInterval
    ) async throws {
        _ = try await database.transaction(organization) { transaction in
            try await transaction.query(
                """
                UPDATE scim_token SET last_used_at = \(now) WHERE organization_id = \(organization) AND id = \(token)
                   AND (last_used_at IS NULL OR last_used_at <= \(now - seconds))
                """)
        }
    }

    /// - Returns: false when there is no live one of that id.
    package func revoke(
        _ token: SCIMTokenID, in organization: OrganizationID, at now: Date, _ transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            UPDATE scim_token SET revoked_at = \(now)
             WHERE organization_id = \(organization) AND id = \(token) AND revoked_at IS NULL RETURNING id
            """
        ).isEmpty
    }
}
