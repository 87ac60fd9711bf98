package import Foundation
import Keys
package import Postgres

private let columns: SQL = """
    id, organization_id, purpose, resource_id, algorithm, kid, public_key_pem, private_key_sealed, imported, status, \
    created_at, activated_at, retired_at, needed_until
    """

extension SigningKeyRecord {
    fileprivate init(row: Row) throws {
        self.init(
            id: try row.id("id"), owner: try row.id("organization_id"), purpose: try row.word("purpose"),
            resource: try row.decode("resource_id", as: UUID?.self).map { ResourceID($0) },
            algorithm: try row.word("algorithm"), kid: try row.decode("kid"),
            publicKeyPEM: try row.decode("public_key_pem"),
            sealedPrivateKey: try row.decode("private_key_sealed"), imported: try row.decode("imported"),
            status: try row.word("status"), createdAt: try row.decode("created_at"),
            activatedAt: try row.decode("activated_at"), retiredAt: try row.decode("retired_at"),
            neededUntil: try row.decode("needed_until"))
    }
}

/// Signing keys of one organization, or of the platform.
package struct SigningKeyStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    package func all(of organization: OrganizationID) async throws -> [SigningKeyRecord] {
        try await database.read(
            organization, "SELECT \(columns) FROM signing_key WHERE organization_id = \(organization) ORDER BY id",
            as: SigningKeyRecord.init(row:))
    }

    /// The keys as they are now, held until the transaction ends: nobody else rotates, activates or retires one
    /// meanwhile.
    package func hold(
        of organization: OrganizationID, in transaction: PostgresTransaction
    ) async throws -> [SigningKeyRecord] {
        try await transaction.query(
            "SELECT id FROM signing_key WHERE organization_id = \(organization) ORDER BY id FOR UPDATE")
        // Read by a second statement: the snapshot of the first is older than the locks it waited for.
        return try await transaction.query(
            "SELECT \(columns) FROM signing_key WHERE organization_id = \(organization) ORDER BY id"
        ).map(SigningKeyRecord.init(row:))
    }

    package func insert(_ key: SigningKeyRecord, in transaction: PostgresTransaction) async throws {
        try await transaction.query(
            """
            INSERT INTO signing_key (\(columns)) VALUES (\(key.id), \(key.owner), \(key.purpose.rawValue),
                \(key.resource), \(key.algorithm.rawValue), \(key.kid), \(key.publicKeyPEM), \(key.sealedPrivateKey),
                \(key.imported), \(key.status.rawValue), \(key.createdAt), \(key.activatedAt), \(key.retiredAt),
                \(key.neededUntil))
            """)
    }

    /// Takes an imported key's thumbprint for this organization, for ever; again changes nothing. Only for whoever has
    /// the private half: the public one is anybody's to show.
    ///
    /// - Returns: false when another organization holds it.
    package func claim(thumbprint: String, in transaction: PostgresTransaction) async throws -> Bool {
        try await transaction.query("SELECT claim_key(\(thumbprint)) AS claimed")
            .first?.decode("claimed", as: Bool.self) ?? false
    }

    /// Adds the private half to a key of which only the public half was known.
    ///
    /// - Returns: false when there is no such key waiting for its private half.
    package func complete(_ key: SigningKeyRecord, in transaction: PostgresTransaction) async throws -> Bool {
        try await !transaction.query(
            """
            UPDATE signing_key SET private_key_sealed = \(key.sealedPrivateKey), status = \(key.status.rawValue),
                   activated_at = \(key.activatedAt)
             WHERE organization_id = \(key.owner) AND id = \(key.id) AND private_key_sealed IS NULL RETURNING id
            """
        ).isEmpty
    }

    /// Gives an imported key whose resource is gone to another resource of the same owner.
    ///
    /// - Returns: false when there is no such key, or it signs for somebody.
    package func adopt(_ key: SigningKeyRecord, in transaction: PostgresTransaction) async throws -> Bool {
        try await !transaction.query(
            """
            UPDATE signing_key SET resource_id = \(key.resource), private_key_sealed = \(key.sealedPrivateKey),
                   status = \(key.status.rawValue), created_at = \(key.createdAt), activated_at = \(key.activatedAt),
                   retired_at = NULL
             WHERE organization_id = \(key.owner) AND id = \(key.id) AND imported AND status = 'retired' RETURNING id
            """
        ).isEmpty
    }

    /// Notes that an active key signs a token of this life, which has to be known before it does: retired, the key stays
    /// published as long.
    ///
    /// - Returns: false when the key is not active any more.
    package func extendNeed(
        of key: SigningKeyID, in organization: OrganizationID, until expiry: Date
    ) async throws -> Bool {
        try await database.transaction(organization) { transaction in
            try await !transaction.query(
                """
                UPDATE signing_key SET needed_until = GREATEST(needed_until, \(expiry))
                 WHERE organization_id = \(organization) AND id = \(key) AND status = 'active' RETURNING id
                """
            ).isEmpty
        }
    }

    /// Moves a key from one status to the next.
    ///
    /// - Returns: false when there is no key of that id, or its status is another one by now.
    package func move(
        _ key: SigningKeyID, from old: [SigningKeyRecord.Status], to status: SigningKeyRecord.Status,
        in organization: OrganizationID, at now: Date, _ transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            UPDATE signing_key SET status = \(status.rawValue),
                   activated_at = CASE WHEN \(status.rawValue) = 'active' THEN \(now) ELSE activated_at END,
                   retired_at = CASE WHEN \(status.rawValue) = 'retired' THEN \(now) ELSE retired_at END
             WHERE organization_id = \(organization) AND id = \(key) AND status = ANY(\(old.map(\.rawValue)))
            RETURNING id
            """
        ).isEmpty
    }
}
