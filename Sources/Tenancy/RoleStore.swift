package import Foundation
package import Postgres

private let columns: SQL = "id, name, description, built_in, admin_scopes, version, created_at, updated_at"

extension Role {
    fileprivate init(row: Row) throws {
        let kind: Kind
        if let word = try row.decode("built_in", as: String?.self) {
            guard let builtIn = BuiltIn(rawValue: word) else { throw UnreadableColumn(name: "built_in") }
            kind = .builtIn(builtIn)
        } else {
            kind = .custom(adminScopes: try row.decode("admin_scopes"))
        }
        self.init(
            id: try row.id("id"), name: try row.decode("name"), description: try row.decode("description"), kind: kind,
            version: try row.decode("version"), createdAt: try row.decode("created_at"),
            updatedAt: try row.decode("updated_at"))
    }

    fileprivate var builtInName: String? { if case .builtIn(let role) = kind { role.rawValue } else { nil } }
    fileprivate var storedScopes: [String] { if case .custom(let scopes) = kind { scopes } else { [] } }
}

extension RoleBinding {
    fileprivate init(row: Row) throws {
        let principal: Principal
        if let user = try row.decode("user_id", as: UUID?.self) {
            principal = .user(UserID(user))
        } else {
            principal = .group(try row.id("group_id"))
        }
        self.init(
            role: try row.id("role_id"), principal: principal, createdBy: try row.decode("created_by"),
            createdAt: try row.decode("created_at"))
    }
}

/// Roles of one organization, and who has them. The built-in ones are there from the moment the organization is.
package struct RoleStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    package func find(_ role: RoleID, in organization: OrganizationID) async throws -> Role? {
        try await database.read(
            organization, "SELECT \(columns) FROM role WHERE organization_id = \(organization) AND id = \(role)",
            as: Role.init(row:)
        ).first
    }

    /// The same, and nobody changes or deletes it until the transaction ends.
    package func find(
        _ role: RoleID, in organization: OrganizationID, locking transaction: PostgresTransaction
    ) async throws -> Role? {
        try await transaction.query(
            """
            SELECT \(columns) FROM role WHERE organization_id = \(organization) AND id = \(role) FOR UPDATE
            """
        ).map(Role.init(row:)).first
    }

    package func list(_ page: Page, of organization: OrganizationID) async throws -> [Role] {
        try await database.read(
            organization,
            """
            SELECT \(columns) FROM role WHERE organization_id = \(organization)
               AND id > \(page.start) ORDER BY id LIMIT \(page.limit)
            """, as: Role.init(row:))
    }

    /// Those of the given roles that the organization has.
    package func find(_ roles: [RoleID], in organization: OrganizationID) async throws -> [Role] {
        guard !roles.isEmpty else { return [] }
        return try await database.read(
            organization,
            """
            SELECT \(columns) FROM role WHERE organization_id = \(organization) AND id = ANY(\(roles.map(\.uuid)))
            """, as: Role.init(row:))
    }

    /// The same inside a transaction; none of them is changed or deleted before it ends.
    package func find(
        _ roles: [RoleID], in organization: OrganizationID, holding transaction: PostgresTransaction
    ) async throws -> [Role] {
        guard !roles.isEmpty else { return [] }
        return try await transaction.query(
            """
            SELECT \(columns) FROM role WHERE organization_id = \(organization) AND id = ANY(\(roles.map(\.uuid)))
             ORDER BY id FOR SHARE
            """
        ).map(Role.init(row:))
    }

    /// Those of the given roles that the organization has; none of them is deleted before the transaction ends.
    package func existing(
        _ roles: [RoleID], in organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws -> Set<RoleID> {
        guard !roles.isEmpty else { return [] }
        return Set(
            try await transaction.query(
                """
                SELECT id FROM role WHERE organization_id = \(organization) AND id = ANY(\(roles.map(\.uuid)))
                   FOR KEY SHARE
                """
            ).map { try $0.id("id") })
    }

    /// - Returns: false when another role of the organization has this name.
    package func insert(
        _ role: Role, of organization: OrganizationID, in transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            INSERT INTO role (organization_id, \(columns)) VALUES (\(organization), \(role.id), \(role.name),
                \(role.description), \(role.builtInName), \(role.storedScopes), \(role.version), \(role.createdAt),
                \(role.updatedAt))
            ON CONFLICT DO NOTHING RETURNING id
            """
        ).isEmpty
    }

    /// Writes a role whose version is still `role.version`.
    ///
    /// - Returns: the new state; nil when somebody else changed it first.
    /// - Throws: a unique violation when the new name is taken.
    package func update(
        _ role: Role, of organization: OrganizationID, at now: Date, in transaction: PostgresTransaction
    ) async throws -> Role? {
        try await transaction.query(
            """
            UPDATE role SET name = \(role.name), description = \(role.description),
                   admin_scopes = \(role.storedScopes), version = version + 1, updated_at = \(now)
             WHERE organization_id = \(organization) AND id = \(role.id) AND version = \(role.version)
               AND built_in IS NULL
            RETURNING \(columns)
            """
        ).map(Role.init(row:)).first
    }

    /// Deletes a role and its bindings.
    ///
    /// - Returns: false when there is none of that id and version that may be deleted.
    package func delete(
        _ role: Role, of organization: OrganizationID, in transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            DELETE FROM role WHERE organization_id = \(organization) AND id = \(role.id)
               AND version = \(role.version) AND built_in IS NULL RETURNING id
            """
        ).isEmpty
    }

    // MARK: Bindings

    package func bindings(
        of role: RoleID, _ page: Page, in organization: OrganizationID
    ) async throws -> [RoleBinding] {
        try await database.read(
            organization,
            """
            SELECT role_id, user_id, group_id, created_by, created_at FROM role_binding
             WHERE organization_id = \(organization) AND role_id = \(role)
               AND principal_id > \(page.start) ORDER BY principal_id LIMIT \(page.limit)
            """, as: RoleBinding.init(row:))
    }

    /// - Returns: false when the principal has the role already.
    /// - Throws: a foreign key violation when role or principal is gone.
    package func bind(
        _ binding: RoleBinding, in organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws -> Bool {
        var user: UserID?
        var group: GroupID?
        switch binding.principal {
        case .user(let id): user = id
        case .group(let id): group = id
        }
        return try await !transaction.query(
            """
            INSERT INTO role_binding (organization_id, role_id, principal_id, user_id, group_id, created_by, created_at)
            VALUES (\(organization), \(binding.role), \(binding.principal.uuid), \(user), \(group),
                    \(binding.createdBy), \(binding.createdAt))
            ON CONFLICT DO NOTHING RETURNING role_id
            """
        ).isEmpty
    }

    /// - Returns: false when the principal does not have the role.
    package func unbind(
        _ principal: RoleBinding.Principal, from role: RoleID, in organization: OrganizationID,
        _ transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            DELETE FROM role_binding WHERE organization_id = \(organization) AND role_id = \(role)
               AND principal_id = \(principal.uuid) RETURNING role_id
            """
        ).isEmpty
    }

    /// Until the transaction ends nobody else gives or takes the role owner, or changes who is behind it.
    package func lockOwnership(of organization: OrganizationID, _ transaction: PostgresTransaction) async throws {
        try await transaction.query(
            """
            SELECT id FROM role WHERE organization_id = \(organization) AND built_in = 'owner' FOR NO KEY UPDATE
            """)
    }

    /// Whether anybody who may come in is owner, themselves or by a group.
    package func hasActiveOwner(
        _ organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws -> Bool {
        let owners: SQL = """
            FROM role r JOIN role_binding b ON b.organization_id = r.organization_id AND b.role_id = r.id
            """
        let are: SQL = """
            WHERE r.organization_id = \(organization) AND r.built_in = 'owner' AND u.status = 'active'
            """
        return try await transaction.query(
            """
            SELECT EXISTS (
                SELECT \(owners) JOIN "user" u ON u.organization_id = b.organization_id AND u.id = b.user_id \(are)
            ) OR EXISTS (
                SELECT \(owners) JOIN group_member m ON m.organization_id = b.organization_id AND m.group_id = b.group_id
                  JOIN "user" u ON u.organization_id = m.organization_id AND u.id = m.user_id \(are)
            ) AS found
            """
        ).first?.decode("found", as: Bool.self) ?? false
    }

    /// The roles that come with being in any of the groups.
    package func roles(
        of groups: [GroupID], in organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws -> [Role] {
        guard !groups.isEmpty else { return [] }
        return try await transaction.query(
            """
            SELECT \(columns) FROM role WHERE organization_id = \(organization) AND id IN (
                SELECT role_id FROM role_binding
                 WHERE organization_id = \(organization) AND group_id = ANY(\(groups.map(\.uuid))))
            """
        ).map(Role.init(row:))
    }

    /// The roles that a user has, themselves or by a group; none is changed before the transaction ends.
    package func roles(
        of user: UserID, in organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws -> [Role] {
        try await transaction.query(
            """
            SELECT \(columns) FROM role WHERE organization_id = \(organization) AND id IN (
                SELECT b.role_id FROM role_binding b
                 WHERE b.organization_id = \(organization) AND (b.user_id = \(user) OR b.group_id IN (
                       SELECT m.group_id FROM group_member m
                        WHERE m.organization_id = \(organization) AND m.user_id = \(user))))
               FOR SHARE
            """
        ).map(Role.init(row:))
    }

    /// The roles that come with being in any of the groups, outside a transaction.
    package func roles(of groups: [GroupID], in organization: OrganizationID) async throws -> [Role] {
        guard !groups.isEmpty else { return [] }
        return try await database.read(
            organization,
            """
            SELECT \(columns) FROM role WHERE organization_id = \(organization) AND id IN (
                SELECT role_id FROM role_binding
                 WHERE organization_id = \(organization) AND group_id = ANY(\(groups.map(\.uuid))))
            """, as: Role.init(row:))
    }

    /// Which roles come with each of the groups.
    package func rolesByGroup(
        _ groups: [GroupID], in organization: OrganizationID
    ) async throws -> [GroupID: [RoleID]] {
        guard !groups.isEmpty else { return [:] }
        let bindings = try await database.read(
            organization,
            """
            SELECT group_id, role_id FROM role_binding
             WHERE organization_id = \(organization) AND group_id = ANY(\(groups.map(\.uuid)))
            """
        ) { (group: try $0.id("group_id", of: GroupID.self), role: try $0.id("role_id", of: RoleID.self)) }
        return Dictionary(grouping: bindings, by: \.group).mapValues { $0.map(\.role) }
    }

    /// The roles that come with being in some group.
    package func rolesOfGroups(in organization: OrganizationID) async throws -> [Role] {
        try await database.read(
            organization,
            """
            SELECT \(columns) FROM role WHERE organization_id = \(organization) AND id IN (
                SELECT role_id FROM role_binding WHERE organization_id = \(organization) AND group_id IS NOT NULL)
            """, as: Role.init(row:))
    }

    // MARK: Invitations

    /// Puts a user into groups and gives them roles, as far as those still exist.
    package func give(
        _ roles: [RoleID], and groups: [GroupID], to user: UserID, by giver: String, in organization: OrganizationID,
        at now: Date, _ transaction: PostgresTransaction
    ) async throws {
        if !roles.isEmpty {
            try await transaction.query(
                """
                INSERT INTO role_binding (organization_id, role_id, principal_id, user_id, created_by, created_at)
                SELECT \(organization), r.id, \(user), \(user), \(giver), \(now) FROM role r
                 WHERE r.organization_id = \(organization) AND r.id = ANY(\(roles.map(\.uuid)))
                   FOR KEY SHARE
                ON CONFLICT DO NOTHING
                """)
        }
        if !groups.isEmpty {
            try await transaction.query(
                """
                WITH held AS (
                    SELECT id FROM "group" WHERE organization_id = \(organization) AND id = ANY(\(groups.map(\.uuid)))
                     ORDER BY id FOR NO KEY UPDATE
                ), came AS (
                    INSERT INTO group_member (organization_id, group_id, user_id, added_at)
                    SELECT \(organization), id, \(user), \(now) FROM held ON CONFLICT DO NOTHING RETURNING group_id
                )
                UPDATE "group" SET version = version + 1, updated_at = \(now)
                 WHERE organization_id = \(organization) AND id IN (SELECT group_id FROM came)
                """)
        }
    }
}
