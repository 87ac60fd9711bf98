import Foundation
import Keys
package import Postgres

private let columns: SQL = "id, resource_id, name, secret_digest, jwks, created_by, created_at"

extension ResourceCredential {
    fileprivate init(row: Row) throws {
        self.init(
            id: try row.id("id"), resource: try row.id("resource_id"), name: try row.decode("name"),
            proof: try row.digest("secret_digest").map { .secret($0) } ?? .keys(JWKSet(bytes: row.jsonBytes("jwks"))),
            createdBy: try row.decode("created_by"), createdAt: try row.decode("created_at"))
    }
}

/// Credentials of the resources of one organization, or of the shared ones.
package struct ResourceCredentialStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    package func all(of organization: OrganizationID) async throws -> [ResourceCredential] {
        try await database.read(
            organization,
            "SELECT \(columns) FROM resource_credential WHERE organization_id = \(organization) ORDER BY id",
            as: ResourceCredential.init(row:))
    }

    /// The organization whose credential this is, or was.
    package func organization(of credential: ResourceCredentialID) async throws -> OrganizationID? {
        try await database.read(
            .platform, "SELECT organization_of_credential(\(credential)) AS organization_id"
        ) { try $0.decode("organization_id", as: UUID?.self) }.first?.map { OrganizationID($0) }
    }

    /// The credentials of one resource, which nobody adds to until the transaction ends.
    ///
    /// - Returns: nil when there is no such resource.
    package func hold(
        of resource: ResourceID, in organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws -> [ResourceCredential]? {
        let held = try await transaction.query(
            "SELECT id FROM resource WHERE organization_id = \(organization) AND id = \(resource) FOR UPDATE")
        guard !held.isEmpty else { return nil }
        return try await transaction.query(
            """
            SELECT \(columns) FROM resource_credential
             WHERE organization_id = \(organization) AND resource_id = \(resource) ORDER BY id
            """
        ).map(ResourceCredential.init(row:))
    }

    package func insert(
        _ credential: ResourceCredential, of organization: OrganizationID, in transaction: PostgresTransaction
    ) async throws {
        try await transaction.query("SELECT claim_credential(\(credential.id))")
        let (secret, jwks): (SQL, SQL) =
            switch credential.proof {
            case .secret(let digest): ("\(digest.bytes)", "NULL")
            case .keys(let set): ("NULL", "\(jsonBytes: set.json)")
            }
        try await transaction.query(
            """
            INSERT INTO resource_credential (organization_id, \(columns))
            VALUES (\(organization), \(credential.id), \(credential.resource), \(credential.name),
                \(secret), \(jwks), \(credential.createdBy), \(credential.createdAt))
            """)
    }

    /// - Returns: false when there is none of that id.
    package func delete(
        _ credential: ResourceCredentialID, of organization: OrganizationID, in transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            DELETE FROM resource_credential WHERE organization_id = \(organization) AND id = \(credential) RETURNING id
            """
        ).isEmpty
    }
}
