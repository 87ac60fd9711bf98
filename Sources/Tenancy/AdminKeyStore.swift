package import Foundation
import Keys
package import Postgres

private let columns: SQL = """
    id, organization_id, name, secret_digest, scopes, cidrs, created_by, expires_at, last_used_at, revoked_at, \
    version, created_at
    """

extension AdminKey {
    fileprivate init(row: Row) throws {
        self.init(
            id: try row.id("id"), organization: try row.id("organization_id"), name: try row.decode("name"),
            secretDigest: try row.requiredDigest("secret_digest"), scopes: try row.decode("scopes"),
            cidrs: try row.decode("cidrs"), createdBy: try row.decode("created_by"),
            expiresAt: try row.decode("expires_at"), lastUsedAt: try row.decode("last_used_at"),
            revokedAt: try row.decode("revoked_at"), version: try row.decode("version"),
            createdAt: try row.decode("created_at"))
    }
}

/// Credentials of the admin API: the platform's own, or one organization's.
package struct AdminKeyStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    package func find(_ key: AdminKeyID, in organization: OrganizationID) async throws -> AdminKey? {
        try await database.read(
            organization, "SELECT \(columns) FROM admin_key WHERE organization_id = \(organization) AND id = \(key)",
            as: AdminKey.init(row:)
        ).first
    }

    package func list(_ page: Page, of organization: OrganizationID) async throws -> [AdminKey] {
        try await database.read(
            organization,
            """
            SELECT \(columns) FROM admin_key WHERE organization_id = \(organization)
               AND id > \(page.start) ORDER BY id LIMIT \(page.limit)
            """, as: AdminKey.init(row:))
    }

    package func insert(_ key: AdminKey, in transaction: PostgresTransaction) async throws {
        try await transaction.query(
            """
            INSERT INTO admin_key (\(columns)) VALUES (\(key.id), \(key.organization), \(key.name),
                \(key.secretDigest.bytes), \(key.scopes), \(key.cidrs), \(key.createdBy), \(key.expiresAt),
                \(key.lastUsedAt), \(key.revokedAt), \(key.version), \(key.createdAt))
            """)
    }

    /// Remembers when a key was used, at most once in so many seconds.
    package func noteUse(
        of key: AdminKeyID, in organization: OrganizationID, at now: Date, every seconds: TimeInterval
    ) async throws {
        _ = try await database.transaction(organization) { transaction in
            try await transaction.query(
                """
                UPDATE admin_key SET last_used_at = \(now) WHERE organization_id = \(organization) AND id = \(key)
                   AND (last_used_at IS NULL OR last_used_at <= \(now - seconds))
                """)
        }
    }

    /// - Returns: false when there is no live key of that id.
    package func revoke(
        _ key: AdminKeyID, in organization: OrganizationID, at now: Date, _ transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            UPDATE admin_key SET revoked_at = \(now), version = version + 1
             WHERE organization_id = \(organization) AND id = \(key) AND revoked_at IS NULL RETURNING id
            """
        ).isEmpty
    }
}
