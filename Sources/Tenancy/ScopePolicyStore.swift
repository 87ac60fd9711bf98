package import Foundation
package import Postgres

private let columns: SQL = """
    id, name, effect, principals, clients, resources, scopes, conditions, version, created_at, updated_at
    """

extension ScopePolicyStatement {
    fileprivate init(row: Row) throws {
        self.init(
            id: try row.id("id"), name: try row.decode("name"), effect: try row.word("effect"),
            principals: try row.decodeJSON("principals", as: Principals.self),
            clients: try row.decodeJSON("clients", as: Clients.self),
            resources: try row.decode("resources", as: [String].self).compactMap { ResourceID($0) },
            scopes: try row.decode("scopes"), conditions: try row.decodeJSON("conditions", as: Conditions.self),
            version: try row.decode("version"), createdAt: try row.decode("created_at"),
            updatedAt: try row.decode("updated_at"))
    }
}

/// The scope policy of one organization: its statements.
package struct ScopePolicyStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    package func all(of organization: OrganizationID) async throws -> [ScopePolicyStatement] {
        try await database.read(
            organization, "SELECT \(columns) FROM scope_policy WHERE organization_id = \(organization) ORDER BY id",
            as: ScopePolicyStatement.init(row:))
    }

    /// - Returns: false when another statement of the organization has this name.
    package func insert(
        _ statement: ScopePolicyStatement, of organization: OrganizationID, in transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            INSERT INTO scope_policy (organization_id, \(columns)) VALUES (\(organization), \(statement.id),
                \(statement.name), \(statement.effect.rawValue), \(json: statement.principals),
                \(json: statement.clients), \(statement.resources.map(\.description)), \(statement.scopes),
                \(json: statement.conditions), \(statement.version), \(statement.createdAt), \(statement.updatedAt))
            ON CONFLICT DO NOTHING RETURNING id
            """
        ).isEmpty
    }

    /// Writes a statement whose version is still `statement.version`.
    ///
    /// - Returns: the new state; nil when somebody else changed it first.
    /// - Throws: a unique violation when the new name is taken.
    package func update(
        _ statement: ScopePolicyStatement, of organization: OrganizationID, at now: Date,
        in transaction: PostgresTransaction
    ) async throws -> ScopePolicyStatement? {
        try await transaction.query(
            """
            UPDATE scope_policy SET name = \(statement.name), effect = \(statement.effect.rawValue),
                   principals = \(json: statement.principals), clients = \(json: statement.clients),
                   resources = \(statement.resources.map(\.description)), scopes = \(statement.scopes),
                   conditions = \(json: statement.conditions), version = version + 1, updated_at = \(now)
             WHERE organization_id = \(organization) AND id = \(statement.id) AND version = \(statement.version)
            RETURNING \(columns)
            """
        ).map(ScopePolicyStatement.init(row:)).first
    }

    /// - Returns: false when there is none of that id.
    package func delete(
        _ statement: ScopePolicyID, of organization: OrganizationID, in transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            DELETE FROM scope_policy WHERE organization_id = \(organization) AND id = \(statement) RETURNING id
            """
        ).isEmpty
    }
}
