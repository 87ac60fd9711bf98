package import Foundation
package import Postgres

private let columns: SQL = "id, name, external_id, version, created_at, updated_at"

extension Group {
    init(row: Row) throws {
        self.init(
            id: try row.id("id"), name: try row.decode("name"), externalID: try row.decode("external_id"),
            version: try row.decode("version"), createdAt: try row.decode("created_at"),
            updatedAt: try row.decode("updated_at"))
    }
}

/// Groups of one organization, and who is in them.
///
/// Whoever changes who is in a group moves the organization's epoch in the same transaction (``DatedMembership``).
package struct GroupStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    package func find(_ group: GroupID, in organization: OrganizationID) async throws -> Group? {
        try await database.read(
            organization, "SELECT \(columns) FROM \"group\" WHERE organization_id = \(organization) AND id = \(group)",
            as: Group.init(row:)
        ).first
    }

    package func find(name: String, in organization: OrganizationID) async throws -> Group? {
        try await database.read(
            organization,
            "SELECT \(columns) FROM \"group\" WHERE organization_id = \(organization) AND lower(name) = lower(\(name))",
            as: Group.init(row:)
        ).first
    }

    package func find(
        _ group: GroupID, in organization: OrganizationID, locking transaction: PostgresTransaction
    ) async throws -> Group? {
        try await transaction.query(
            """
            SELECT \(columns) FROM "group" WHERE organization_id = \(organization) AND id = \(group) FOR UPDATE
            """
        ).map(Group.init(row:)).first
    }

    /// Those of the given groups that the organization has.
    package func existing(_ groups: [GroupID], in organization: OrganizationID) async throws -> Set<GroupID> {
        guard !groups.isEmpty else { return [] }
        return Set(
            try await database.read(
                organization,
                """
                SELECT id FROM "group" WHERE organization_id = \(organization) AND id = ANY(\(groups.map(\.uuid)))
                """
            ) { try $0.id("id") })
    }

    /// The same inside a transaction; nobody else changes them or who is in them before it ends.
    package func existing(
        _ groups: [GroupID], in organization: OrganizationID, locking transaction: PostgresTransaction
    ) async throws -> Set<GroupID> {
        guard !groups.isEmpty else { return [] }
        return Set(
            try await transaction.query(
                """
                SELECT id FROM "group" WHERE organization_id = \(organization) AND id = ANY(\(groups.map(\.uuid)))
                 ORDER BY id FOR UPDATE
                """
            ).map { try $0.id("id") })
    }

    package func list(_ page: Page, of organization: OrganizationID) async throws -> [Group] {
        try await database.read(
            organization,
            """
            SELECT \(columns) FROM "group" WHERE organization_id = \(organization)
               AND id > \(page.start) ORDER BY id LIMIT \(page.limit)
            """, as: Group.init(row:))
    }

    /// The groups that a user is in.
    package func list(
        _ page: Page, with user: UserID, of organization: OrganizationID
    ) async throws -> [Group] {
        try await database.read(
            organization,
            """
            SELECT g.id, g.name, g.external_id, g.version, g.created_at, g.updated_at
              FROM group_member m JOIN "group" g ON g.organization_id = m.organization_id AND g.id = m.group_id
             WHERE m.organization_id = \(organization) AND m.user_id = \(user)
               AND m.group_id > \(page.start) ORDER BY m.group_id LIMIT \(page.limit)
            """, as: Group.init(row:))
    }

    /// - Returns: false when another group of the organization has this name.
    package func insert(
        _ group: Group, of organization: OrganizationID, in transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            INSERT INTO "group" (organization_id, \(columns)) VALUES (\(organization), \(group.id), \(group.name),
                \(group.externalID), \(group.version), \(group.createdAt), \(group.updatedAt))
            ON CONFLICT DO NOTHING RETURNING id
            """
        ).isEmpty
    }

    /// Writes a group whose version is still `group.version`.
    ///
    /// - Returns: the new state; nil when somebody else changed it first.
    package func update(
        _ group: Group, of organization: OrganizationID, at now: Date, in transaction: PostgresTransaction
    ) async throws -> Group? {
        try await transaction.query(
            """
            UPDATE "group" SET name = \(group.name), external_id = \(group.externalID), version = version + 1,
                   updated_at = \(now)
             WHERE organization_id = \(organization) AND id = \(group.id) AND version = \(group.version)
            RETURNING \(columns)
            """
        ).map(Group.init(row:)).first
    }

    package func delete(
        _ group: GroupID, of organization: OrganizationID, in transaction: PostgresTransaction
    ) async throws {
        try await transaction.query(
            "DELETE FROM \"group\" WHERE organization_id = \(organization) AND id = \(group)")
    }

    // MARK: Members

    /// In the order of their ids.
    package func members(
        _ page: Page, of group: GroupID, in organization: OrganizationID
    ) async throws -> [GroupMember] {
        try await database.read(
            organization,
            """
            SELECT user_id, added_at FROM group_member
             WHERE organization_id = \(organization) AND group_id = \(group)
               AND user_id > \(page.start) ORDER BY user_id LIMIT \(page.limit)
            """
        ) { GroupMember(user: try $0.id("user_id"), addedAt: try $0.decode("added_at")) }
    }

    package func members(
        of group: GroupID, in organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws -> Set<UserID> {
        Set(
            try await transaction.query(
                "SELECT user_id FROM group_member WHERE organization_id = \(organization) AND group_id = \(group)"
            ).map { try $0.id("user_id") })
    }

    /// - Returns: those who were not in it before; users the organization does not have are never among them.
    package func add(
        _ users: Set<UserID>, to group: GroupID, in organization: OrganizationID, at now: Date,
        _ transaction: PostgresTransaction
    ) async throws -> [UserID] {
        guard !users.isEmpty else { return [] }
        return try await transaction.query(
            """
            INSERT INTO group_member (organization_id, group_id, user_id, added_at)
            SELECT \(organization), \(group), u.id, \(now) FROM "user" u
             WHERE u.organization_id = \(organization) AND u.id = ANY(\(users.map(\.uuid)))
            ON CONFLICT DO NOTHING RETURNING user_id
            """
        ).map { try $0.id("user_id") }
    }

    /// - Returns: those who were in it.
    package func remove(
        _ users: Set<UserID>, from group: GroupID, in organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws -> [UserID] {
        guard !users.isEmpty else { return [] }
        return try await transaction.query(
            """
            DELETE FROM group_member WHERE organization_id = \(organization) AND group_id = \(group)
               AND user_id = ANY(\(users.map(\.uuid))) RETURNING user_id
            """
        ).map { try $0.id("user_id") }
    }
}
