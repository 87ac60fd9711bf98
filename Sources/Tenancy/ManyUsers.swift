package import Foundation
package import Postgres

private let columns: SQL = "id, email, email_verified, name, status, version, created_at, updated_at"

// Many users in one statement.
extension UserStore {
    /// Those of the organization who have one of these addresses, which are in lower case; locked in one order by all.
    package func find(
        emails: [String], in organization: OrganizationID, locking transaction: PostgresTransaction
    ) async throws -> [User] {
        try await transaction.query(
            """
            SELECT \(columns) FROM "user" WHERE organization_id = \(organization) AND lower(email) = ANY(\(emails))
             ORDER BY id FOR UPDATE
            """
        ).map(User.init(row:))
    }

    /// The same without a lock.
    package func find(emails: [String], in organization: OrganizationID) async throws -> [User] {
        try await database.read(
            organization,
            """
            SELECT \(columns) FROM "user" WHERE organization_id = \(organization) AND lower(email) = ANY(\(emails))
            """, as: User.init(row:))
    }

    private struct Stored: Encodable {
        let id: UUID
        let email: String?
        let name: String?
    }

    /// Makes new users, active and not verified, as far as nobody else has their addresses.
    ///
    /// - Returns: those that were made.
    package func insert(
        _ users: [User], of organization: OrganizationID, at now: Date, in transaction: PostgresTransaction
    ) async throws -> Set<UserID> {
        guard !users.isEmpty else { return [] }
        let stored = users.map { Stored(id: $0.id.uuid, email: $0.email, name: $0.name) }
        return Set(
            try await transaction.query(
                """
                INSERT INTO "user" (organization_id, id, email, email_verified, name, status, version, created_at, updated_at)
                SELECT \(organization), r.id, r.email, false, r.name, 'active', 1, \(now), \(now)
                  FROM jsonb_to_recordset(\(json: stored)) AS r (id uuid, email text, name text)
                ON CONFLICT DO NOTHING RETURNING id
                """
            ).map { try $0.id("id") })
    }

    /// Gives users other names.
    package func rename(
        _ users: [User], of organization: OrganizationID, at now: Date, in transaction: PostgresTransaction
    ) async throws {
        guard !users.isEmpty else { return }
        let stored = users.map { Stored(id: $0.id.uuid, email: nil, name: $0.name) }
        try await transaction.query(
            """
            UPDATE "user" u SET name = r.name, version = u.version + 1, updated_at = \(now)
              FROM jsonb_to_recordset(\(json: stored)) AS r (id uuid, name text)
             WHERE u.organization_id = \(organization) AND u.id = r.id
            """)
    }

    // MARK: What they get

    /// Roles and groups that a user gets besides what they have.
    package struct Gift: Sendable {
        package let user: UserID
        package let groups: [GroupID]
        package let roles: [RoleID]

        package init(_ user: UserID, groups: [GroupID], roles: [RoleID]) {
            self.user = user
            self.groups = groups
            self.roles = roles
        }
    }

    private struct Given: Encodable {
        let user: UUID
        let id: UUID
    }

    /// Ids of the roles that users were given themselves and of the groups they are in.
    package func holdings(of users: [UserID], in organization: OrganizationID) async throws -> [UserID: Set<UUID>] {
        guard !users.isEmpty else { return [:] }
        let ids = users.map(\.uuid)
        let rows = try await database.read(
            organization,
            """
            SELECT user_id, role_id AS id FROM role_binding
             WHERE organization_id = \(organization) AND user_id = ANY(\(ids))
            UNION ALL
            SELECT user_id, group_id FROM group_member
             WHERE organization_id = \(organization) AND user_id = ANY(\(ids))
            """
        ) { (user: try $0.id("user_id", of: UserID.self), id: try $0.decode("id", as: UUID.self)) }
        return Dictionary(grouping: rows, by: \.user).mapValues { Set($0.map(\.id)) }
    }

    /// Gives roles that exist, and are held until the transaction ends.
    ///
    /// - Returns: who got which that they did not have.
    package func giveRoles(
        _ gifts: [Gift], by giver: String, in organization: OrganizationID, at now: Date,
        _ transaction: PostgresTransaction
    ) async throws -> [(user: UserID, role: RoleID)] {
        let given = gifts.flatMap { gift in gift.roles.map { Given(user: gift.user.uuid, id: $0.uuid) } }
        guard !given.isEmpty else { return [] }
        return try await transaction.query(
            """
            INSERT INTO role_binding (organization_id, role_id, principal_id, user_id, created_by, created_at)
            SELECT \(organization), r.id, r."user", r."user", \(giver), \(now)
              FROM jsonb_to_recordset(\(json: given)) AS r ("user" uuid, id uuid)
            ON CONFLICT DO NOTHING RETURNING user_id, role_id
            """
        ).map { (user: try $0.id("user_id"), role: try $0.id("role_id")) }
    }

    /// Puts users into groups that exist, and are locked until the transaction ends.
    ///
    /// - Returns: who came into which.
    package func putIntoGroups(
        _ gifts: [Gift], in organization: OrganizationID, at now: Date, _ transaction: PostgresTransaction
    ) async throws -> [(user: UserID, group: GroupID)] {
        let given = gifts.flatMap { gift in gift.groups.map { Given(user: gift.user.uuid, id: $0.uuid) } }
        guard !given.isEmpty else { return [] }
        return try await transaction.query(
            """
            WITH came AS (
                INSERT INTO group_member (organization_id, group_id, user_id, added_at)
                SELECT \(organization), r.id, r."user", \(now)
                  FROM jsonb_to_recordset(\(json: given)) AS r ("user" uuid, id uuid)
                ON CONFLICT DO NOTHING RETURNING user_id, group_id
            ), changed AS (
                UPDATE "group" SET version = version + 1, updated_at = \(now)
                 WHERE organization_id = \(organization) AND id IN (SELECT group_id FROM came)
            )
            SELECT user_id, group_id FROM came
            """
        ).map { (user: try $0.id("user_id"), group: try $0.id("group_id")) }
    }
}
