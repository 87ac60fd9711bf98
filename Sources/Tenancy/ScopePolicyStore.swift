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
            resources: try Self.resources(of: row), scopes: try row.decode("scopes"),
            conditions: try row.decodeJSON("conditions", as: Conditions.self), version: try row.decode("version"),
            createdAt: try row.decode("created_at"), updatedAt: try row.decode("updated_at"))
    }

    /// What stands for a row that cannot be read: a denial of everything the row could speak of. What can be read of it
    /// narrows the denial; whatever cannot means all there is.
    ///
    /// - Parameter services: clients that other statements name, since no statement can name all services at once.
    fileprivate init(denyingWhatMayBeIn row: Row, services: [String]) throws {
        self.init(
            id: try row.id("id"), name: (try? row.decode("name")) ?? "unreadable", effect: .deny,
            principals: (try? row.decodeJSON("principals", as: Principals.self))
                ?? Principals(everyone: true, services: services),
            clients: (try? row.decodeJSON("clients", as: Clients.self)) ?? Clients(),
            resources: (try? Self.resources(of: row)) ?? [], scopes: (try? row.decode("scopes")) ?? ["*"],
            conditions: (try? row.decodeJSON("conditions", as: Conditions.self)) ?? Conditions(),
            version: (try? row.decode("version")) ?? 0, createdAt: (try? row.decode("created_at")) ?? .distantPast,
            updatedAt: (try? row.decode("updated_at")) ?? .distantPast)
    }

    /// An id that cannot be read must not be left out: no resource at all would mean every one.
    private static func resources(of row: Row) throws -> [ResourceID] {
        try row.decode("resources", as: [String].self).map { text in
            guard let id = ResourceID(text) else { throw UnreadableColumn(name: "resources") }
            return id
        }
    }
}

/// The scope policy of one organization: its statements.
package struct ScopePolicyStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    package func all(of organization: OrganizationID) async throws -> [ScopePolicyStatement] {
        try await read(organization).statements
    }

    /// All statements, and which of them are denials that stand for a row this version cannot read: one such row takes
    /// away what it speaks of, and not the whole organization.
    package func read(
        _ organization: OrganizationID
    ) async throws -> (statements: [ScopePolicyStatement], unreadable: [ScopePolicyID]) {
        try await read(
            organization, "SELECT \(columns) FROM scope_policy WHERE organization_id = \(organization) ORDER BY id")
    }

    /// The statements as they were at a moment, from history; what cannot be read denies there too.
    package func read(_ organization: OrganizationID, at moment: Date) async throws -> [ScopePolicyStatement] {
        try await read(
            organization,
            """
            SELECT h.id::uuid AS id, r.name, r.effect, r.principals, r.clients, r.resources, r.scopes, r.conditions,
                   1::bigint AS version, h.valid_from AS created_at, h.valid_from AS updated_at
              FROM access_history h, jsonb_populate_record(NULL::scope_policy, h.state) r
             WHERE h.organization_id = \(organization) AND h.kind = 'scope_policy' AND h.valid_from <= \(moment)
               AND h.valid_until > \(moment) ORDER BY h.id
            """
        ).statements
    }

    private func read(
        _ organization: OrganizationID, _ statement: SQL
    ) async throws -> (statements: [ScopePolicyStatement], unreadable: [ScopePolicyID]) {
        let rows = try await database.read(organization, statement) { row in
            (row: row, statement: try? ScopePolicyStatement(row: row))
        }
        let services = Set(rows.flatMap { $0.statement?.principals.services ?? [] }).sorted()
        var unreadable: [ScopePolicyID] = []
        let statements = try rows.map { row, statement in
            if let statement { return statement }
            let denial = try ScopePolicyStatement(denyingWhatMayBeIn: row, services: services)
            unreadable.append(denial.id)
            return denial
        }
        return (statements, unreadable)
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
