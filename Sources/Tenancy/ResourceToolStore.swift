import Foundation
package import Postgres

private let columns: SQL = """
    name, scopes, definition, digest, reviewed_digest, present, created_at, updated_at
    """

extension ResourceTool {
    fileprivate init(row: Row) throws {
        self.init(
            name: try row.decode("name"), scopes: try row.decode("scopes"),
            definition: Array(try row.decode("definition", as: String.self).utf8), digest: try row.decode("digest"),
            reviewedDigest: try row.decode("reviewed_digest"), isPresent: try row.decode("present"),
            createdAt: try row.decode("created_at"), updatedAt: try row.decode("updated_at"))
    }
}

/// Tools of the resources that one organization (or the platform) owns.
package struct ResourceToolStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    /// A page of a resource's tools in the order of their names.
    package func list(
        of resource: ResourceID, ownedBy owner: OrganizationID, after name: String?, limit: Int
    ) async throws -> [ResourceTool] {
        try await database.read(
            owner,
            """
            SELECT \(columns) FROM resource_tool
             WHERE organization_id = \(owner) AND resource_id = \(resource) AND name COLLATE "C" > \(name ?? "")
             ORDER BY name COLLATE "C" LIMIT \(limit)
            """, as: ResourceTool.init(row:))
    }

    /// All tools of a resource, which nobody changes until the transaction ends.
    package func all(
        of resource: ResourceID, ownedBy owner: OrganizationID, in transaction: PostgresTransaction
    ) async throws -> [ResourceTool] {
        // One writer at a time, the first import of all included.
        try await transaction.query(
            "SELECT id FROM resource WHERE organization_id = \(owner) AND id = \(resource) FOR UPDATE")
        return try await transaction.query(
            """
            SELECT \(columns) FROM resource_tool
             WHERE organization_id = \(owner) AND resource_id = \(resource) ORDER BY name COLLATE "C"
            """
        ).map(ResourceTool.init(row:))
    }

    package func forget(
        _ names: [String], of resource: ResourceID, ownedBy owner: OrganizationID, in transaction: PostgresTransaction
    ) async throws {
        guard !names.isEmpty else { return }
        try await transaction.query(
            """
            DELETE FROM resource_tool
             WHERE organization_id = \(owner) AND resource_id = \(resource) AND name = ANY(\(names))
            """)
    }

    package func put(
        _ tool: ResourceTool, of resource: ResourceID, ownedBy owner: OrganizationID,
        in transaction: PostgresTransaction
    ) async throws {
        try await transaction.query(
            """
            INSERT INTO resource_tool (organization_id, resource_id, name, scopes, definition, digest, reviewed_digest,
                                       present, created_at, updated_at)
            VALUES (\(owner), \(resource), \(tool.name), \(tool.scopes),
                    \(String(decoding: tool.definition, as: UTF8.self)), \(tool.digest),
                    \(tool.reviewedDigest), \(tool.isPresent), \(tool.createdAt), \(tool.updatedAt))
            ON CONFLICT (organization_id, resource_id, name) DO UPDATE
               SET scopes = EXCLUDED.scopes, definition = EXCLUDED.definition, digest = EXCLUDED.digest,
                   reviewed_digest = EXCLUDED.reviewed_digest, present = EXCLUDED.present,
                   updated_at = EXCLUDED.updated_at
            """)
    }
}
