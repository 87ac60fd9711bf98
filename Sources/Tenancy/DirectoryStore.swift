package import Foundation
package import Postgres

/// What a directory wrote of a person that nothing here decides by.
private struct Extras: Codable {
    var name: DirectoryPerson.Name
    var emails: [DirectoryPerson.Email]
}

/// Users and groups of one organization as its directory sees them (SCIM).
///
/// A user has a name there while they have a user name or an e-mail address; whoever has neither is none of its people.
package struct DirectoryStore: Sendable {
    package let database: TenantDatabase
    /// Members of a group that are told at once.
    package static let mostMembers = 10_000
    /// Members of all groups of a page. A page ends before it holds more, for it is held as a whole.
    private static let mostMembersOfPage = 20_000

    package init(database: TenantDatabase) {
        self.database = database
    }

    // MARK: Users

    private static func userColumns(in organization: OrganizationID) -> SQL {
        """
        u.id, u.email, u.name, u.status, u.user_name, u.external_id, u.directory, u.version, u.created_at, u.updated_at,
        ARRAY(SELECT m.group_id FROM group_member m WHERE m.organization_id = \(organization) AND m.user_id = u.id
               ORDER BY m.group_id) AS group_ids,
        ARRAY(SELECT x.name FROM group_member m JOIN "group" x ON x.organization_id = m.organization_id
                                                             AND x.id = m.group_id
               WHERE m.organization_id = \(organization) AND m.user_id = u.id ORDER BY m.group_id) AS group_names
        """
    }

    package func user(_ id: UserID, in organization: OrganizationID) async throws -> DirectoryUser? {
        try await database.read(
            organization,
            """
            SELECT \(Self.userColumns(in: organization)) FROM "user" u
             WHERE u.organization_id = \(organization) AND u.id = \(id)
               AND coalesce(u.user_name, u.email) IS NOT NULL
            """, as: DirectoryUser.init(row:)
        ).first
    }

    package func users(
        _ query: DirectoryQuery, of organization: OrganizationID
    ) async throws -> (total: Int, page: [DirectoryUser]) {
        let sql = DirectoryFilterSQL(organization: organization, kind: .users)
        let wanted = query.filter.map(sql.condition) ?? "true"
        let total = try await count(
            """
            SELECT count(*) AS total FROM "user" u WHERE u.organization_id = \(organization)
               AND coalesce(u.user_name, u.email) IS NOT NULL AND \(wanted)
            """, in: organization)
        guard query.limit > 0, query.offset < total else { return (total, []) }
        let page = try await database.search(
            organization,
            """
            SELECT \(Self.userColumns(in: organization)) FROM "user" u WHERE u.organization_id = \(organization)
               AND coalesce(u.user_name, u.email) IS NOT NULL AND \(wanted)
             ORDER BY \(order(query, sql)) u.id LIMIT \(query.limit) OFFSET \(query.offset)
            """, as: DirectoryUser.init(row:))
        return (total, page)
    }

    private func order(_ query: DirectoryQuery, _ sql: DirectoryFilterSQL) -> SQL {
        guard let sort = query.sort else { return "" }
        return query.isDescending ? "\(sql.order(sort)) DESC NULLS LAST," : "\(sql.order(sort)) NULLS LAST,"
    }

    private func count(_ statement: SQL, in organization: OrganizationID) async throws -> Int {
        try await database.search(organization, statement) { try $0.decode("total", as: Int.self) }.first ?? 0
    }

    /// Whether somebody else is called so, by user name or by e-mail address.
    package func isTaken(
        userName: String, by other: UserID, in organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            SELECT 1 AS one FROM "user" u WHERE u.organization_id = \(organization) AND u.id <> \(other)
               AND lower(coalesce(u.user_name, u.email)) = lower(\(userName)) LIMIT 1
            """
        ).isEmpty
    }

    /// - Parameter email: the address that stands for the person.
    /// - Returns: false when somebody else has the user name or the address.
    package func insert(
        _ user: DirectoryUser, email: String?, of organization: OrganizationID, in transaction: PostgresTransaction
    ) async throws -> Bool {
        let person = user.person
        return try await !transaction.query(
            """
            INSERT INTO "user" (organization_id, id, email, email_verified, name, status, user_name, external_id,
                                directory, version, created_at, updated_at)
            VALUES (\(organization), \(user.id), \(email), false, \(person.displayName), \(person.status.rawValue),
                    \(person.userName), \(person.externalID),
                    \(json: Extras(name: person.name, emails: person.emails)), \(user.version), \(user.createdAt),
                    \(user.updatedAt))
            ON CONFLICT DO NOTHING RETURNING id
            """
        ).isEmpty
    }

    /// Writes what the directory says of a user whose version is still the one given. Another address is not a verified one.
    ///
    /// - Returns: the new version; nil when somebody else changed the user first.
    package func update(
        _ user: UserID, to person: DirectoryPerson, email: String?, version: Int64, of organization: OrganizationID,
        at now: Date, in transaction: PostgresTransaction
    ) async throws -> Int64? {
        try await transaction.query(
            """
            UPDATE "user" SET email = \(email),
                   email_verified = email_verified AND lower(email) IS NOT DISTINCT FROM lower(\(email)),
                   name = \(person.displayName), status = \(person.status.rawValue), user_name = \(person.userName),
                   external_id = \(person.externalID),
                   directory = \(json: Extras(name: person.name, emails: person.emails)), version = version + 1,
                   updated_at = \(now)
             WHERE organization_id = \(organization) AND id = \(user) AND version = \(version)
            RETURNING version
            """
        ).map { try $0.decode("version", as: Int64.self) }.first
    }

    /// Takes a user out of the directory for good: disabled, in no group, linked to no identity, without name and address
    /// by which they are found, which are free for somebody new.
    ///
    /// - Returns: the groups they were in; nil when somebody else changed the user first.
    package func remove(
        _ user: UserID, version: Int64, of organization: OrganizationID, at now: Date,
        in transaction: PostgresTransaction
    ) async throws -> [GroupID]? {
        let changed = try await transaction.query(
            """
            UPDATE "user" SET email = NULL, email_verified = false, status = 'disabled', user_name = NULL,
                   external_id = NULL, directory = NULL, version = version + 1, updated_at = \(now)
             WHERE organization_id = \(organization) AND id = \(user) AND version = \(version) RETURNING id
            """)
        guard !changed.isEmpty else { return nil }
        try await transaction.query(
            "DELETE FROM identity WHERE organization_id = \(organization) AND user_id = \(user)")
        return try await transaction.query(
            """
            WITH left_groups AS (
                DELETE FROM group_member WHERE organization_id = \(organization) AND user_id = \(user)
                RETURNING group_id)
            UPDATE "group" SET version = version + 1, updated_at = \(now)
             WHERE organization_id = \(organization) AND id IN (SELECT group_id FROM left_groups) RETURNING id
            """
        ).map { try $0.id("id") }
    }

    // MARK: Groups

    private static func groupColumns(in organization: OrganizationID, withMembers: Bool) -> SQL {
        let members: SQL =
            withMembers
            ? """
            ARRAY(SELECT m.user_id FROM group_member m WHERE m.organization_id = \(organization) AND m.group_id = g.id
                   ORDER BY m.user_id LIMIT \(mostMembers + 1))
            """ : "NULL::uuid[]"
        return "g.id, g.name, g.external_id, g.version, g.created_at, g.updated_at, \(members) AS members"
    }

    package func group(
        _ id: GroupID, in organization: OrganizationID, withMembers: Bool
    ) async throws -> DirectoryGroup? {
        try await database.read(
            organization,
            """
            SELECT \(Self.groupColumns(in: organization, withMembers: withMembers)) FROM "group" g
             WHERE g.organization_id = \(organization) AND g.id = \(id)
            """, as: DirectoryGroup.init(row:)
        ).first
    }

    package func groups(
        _ query: DirectoryQuery, of organization: OrganizationID
    ) async throws -> (total: Int, page: [DirectoryGroup]) {
        let sql = DirectoryFilterSQL(organization: organization, kind: .groups)
        let wanted = query.filter.map(sql.condition) ?? "true"
        let total = try await count(
            """
            SELECT count(*) AS total FROM "group" g WHERE g.organization_id = \(organization) AND \(wanted)
            """, in: organization)
        guard query.limit > 0, query.offset < total else { return (total, []) }
        let listed: SQL = """
            SELECT \(Self.groupColumns(in: organization, withMembers: query.withMembers)),
                   row_number() OVER (ORDER BY \(order(query, sql)) g.id) AS place
              FROM "group" g WHERE g.organization_id = \(organization) AND \(wanted)
             ORDER BY \(order(query, sql)) g.id LIMIT \(query.limit) OFFSET \(query.offset)
            """
        let page = try await database.search(
            organization,
            """
            SELECT * FROM (
                SELECT l.*, coalesce(sum(cardinality(l.members)) OVER (ORDER BY l.place), 0) AS members_so_far,
                       row_number() OVER (ORDER BY l.place) AS of_page
                  FROM (\(listed)) l) p
             WHERE p.of_page = 1 OR p.members_so_far <= \(Self.mostMembersOfPage) ORDER BY p.place
            """, as: DirectoryGroup.init(row:))
        return (total, page)
    }
}

extension DirectoryPerson {
    package var status: User.Status { isActive ? .active : .disabled }
}

extension DirectoryUser {
    fileprivate init(row: Row) throws {
        let email: String? = try row.decode("email")
        // Without either there is no row.
        var person = DirectoryPerson(userName: try row.decode("user_name", as: String?.self) ?? email ?? "")
        person.externalID = try row.decode("external_id")
        person.displayName = try row.decode("name")
        person.isActive = try row.word("status", of: User.Status.self) == .active
        if let extras = try row.decodeJSON("directory", as: Extras?.self) {
            person.name = extras.name
            person.emails = extras.emails
        } else if let email {
            person.emails = [DirectoryPerson.Email(value: email, primary: true)]
        }
        let ids: [GroupID] = try row.ids("group_ids")
        let names: [String] = try row.decode("group_names")
        self.init(
            id: try row.id("id"), person: person,
            groups: zip(ids, names).map { GroupReference(id: $0, name: $1) }, version: try row.decode("version"),
            createdAt: try row.decode("created_at"), updatedAt: try row.decode("updated_at"))
    }
}

extension DirectoryGroup {
    fileprivate init(row: Row) throws {
        let members = try row.decode("members", as: [UUID]?.self)?.map { UserID($0) }
        self.init(
            group: try Group(row: row),
            members: members.flatMap { $0.count > DirectoryStore.mostMembers ? nil : $0 })
    }
}
