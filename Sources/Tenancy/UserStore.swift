package import Foundation
package import Keys
package import Postgres

private let columns: SQL = "id, email, email_verified, name, status, version, created_at, updated_at"

extension User {
    init(row: Row) throws {
        self.init(
            id: try row.id("id"), email: try row.decode("email"), emailVerified: try row.decode("email_verified"),
            name: try row.decode("name"), status: try row.word("status"), version: try row.decode("version"),
            createdAt: try row.decode("created_at"), updatedAt: try row.decode("updated_at"))
    }
}

extension Member {
    fileprivate init(row: Row) throws {
        self.init(user: try User(row: row), membership: try DatedMembership(row: row))
    }
}

/// People of one organization, the identities that stand for them, and invitations.
package struct UserStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    package func find(_ user: UserID, in organization: OrganizationID) async throws -> User? {
        try await database.read(
            organization, "SELECT \(columns) FROM \"user\" WHERE organization_id = \(organization) AND id = \(user)",
            as: User.init(row:)
        ).first
    }

    // MARK: What policy asks

    /// A user and what they belong to, in one statement.
    package func member(_ user: UserID, in organization: OrganizationID) async throws -> Member? {
        try await database.read(
            organization, Self.memberStatement([.uuid(organization.uuid), .uuid(user.uuid)]), as: Member.init(row:)
        ).first
    }

    /// What a user belongs to now.
    package func membership(of user: UserID, in organization: OrganizationID) async throws -> DatedMembership? {
        try await database.read(
            organization, Self.membershipStatement([.uuid(organization.uuid), .uuid(user.uuid)]),
            as: DatedMembership.init(row:)
        ).first
    }

    private static let memberStatement = PreparedSQL(
        """
        SELECT u.id, u.email, u.email_verified, u.name, u.status, u.version, u.created_at, u.updated_at,
               \(DatedMembership.columns(of: "u.id"))
          FROM "user" u WHERE u.organization_id = $1 AND u.id = $2
        """, [.uuid, .uuid])
    private static let membershipStatement = PreparedSQL(
        "SELECT \(DatedMembership.columns(of: "$2"))", [.uuid, .uuid])
    private static let identityStatement = PreparedSQL(
        """
        SELECT u.id, u.email, u.email_verified, u.name, u.status, u.version, u.created_at, u.updated_at,
               \(DatedMembership.columns(of: "u.id"))
          FROM identity i JOIN "user" u ON u.organization_id = i.organization_id AND u.id = i.user_id
         WHERE i.organization_id = $1 AND i.identity_provider_id = $2 AND i.provider = $3 AND i.subject = $4
        """, [.uuid, .uuid, .text, .text])

    // MARK: Users

    package func find(
        _ user: UserID, in organization: OrganizationID, locking transaction: PostgresTransaction
    ) async throws -> User? {
        try await transaction.query(
            """
            SELECT \(columns) FROM "user" WHERE organization_id = \(organization) AND id = \(user) FOR UPDATE
            """
        ).map(User.init(row:)).first
    }

    package func find(email: String, in organization: OrganizationID) async throws -> User? {
        try await database.read(
            organization,
            "SELECT \(columns) FROM \"user\" WHERE organization_id = \(organization) AND lower(email) = lower(\(email))",
            as: User.init(row:)
        ).first
    }

    /// Those of the given users that the organization has.
    package func find(_ users: [UserID], in organization: OrganizationID) async throws -> [User] {
        guard !users.isEmpty else { return [] }
        return try await database.read(
            organization,
            """
            SELECT \(columns) FROM "user" WHERE organization_id = \(organization) AND id = ANY(\(users.map(\.uuid)))
            """, as: User.init(row:))
    }

    /// Their ids alone.
    package func existing(_ users: [UserID], in organization: OrganizationID) async throws -> Set<UserID> {
        guard !users.isEmpty else { return [] }
        return Set(
            try await database.read(
                organization,
                """
                SELECT id FROM "user" WHERE organization_id = \(organization) AND id = ANY(\(users.map(\.uuid)))
                """
            ) { try $0.id("id") })
    }

    /// The same inside a transaction; they stay until it ends.
    package func existing(
        _ users: [UserID], in organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws -> Set<UserID> {
        guard !users.isEmpty else { return [] }
        return Set(
            try await transaction.query(
                """
                SELECT id FROM "user" WHERE organization_id = \(organization) AND id = ANY(\(users.map(\.uuid)))
                FOR KEY SHARE
                """
            ).map { try $0.id("id") })
    }

    /// Which users; every member that is set must match.
    package struct Filter: Sendable {
        /// Without regard to case.
        package var email: String?
        package var status: User.Status?
        package var group: GroupID?

        package init() {}

        fileprivate func condition(in organization: OrganizationID) -> SQL {
            var condition: SQL = "u.organization_id = \(organization)"
            if let email { condition = "\(condition) AND lower(u.email) = lower(\(email))" }
            switch status {
            case nil: break
            case .active: condition = "\(condition) AND u.status = 'active'"
            // Spelt out, so that the index of those few serves.
            case .disabled: condition = "\(condition) AND u.status = 'disabled'"
            }
            return condition
        }
    }

    private static let listed: SQL = """
        u.id, u.email, u.email_verified, u.name, u.status, u.version, u.created_at, u.updated_at
        """

    package func list(
        _ page: Page, where filter: Filter = Filter(), of organization: OrganizationID
    ) async throws -> [User] {
        guard let group = filter.group else {
            return try await database.read(
                organization,
                """
                SELECT \(Self.listed) FROM "user" u WHERE \(filter.condition(in: organization))
                   AND u.id > \(page.start) ORDER BY u.id LIMIT \(page.limit)
                """, as: User.init(row:))
        }
        let statement: SQL = """
            SELECT \(Self.listed)
              FROM group_member m JOIN "user" u ON u.organization_id = m.organization_id AND u.id = m.user_id
             WHERE m.organization_id = \(organization) AND m.group_id = \(group)
               AND m.user_id > \(page.start) AND \(filter.condition(in: organization))
             ORDER BY m.user_id LIMIT \(page.limit)
            """
        // Few of a large group may be what else is wanted.
        return filter.email == nil && filter.status == nil
            ? try await database.read(organization, statement, as: User.init(row:))
            : try await database.search(organization, statement, as: User.init(row:))
    }

    /// Those whose address begins in a certain way, in the order of their addresses.
    ///
    /// - Parameter address: where the last page ended, in lower case.
    package func list(
        beginning prefix: String, after address: String?, limit: Int, where filter: Filter,
        of organization: OrganizationID
    ) async throws -> [User] {
        // Text in the order of its bytes: behind everything that begins so.
        let first = prefix.lowercased()
        let last = first + "\u{10FFFF}"
        var condition = filter.condition(in: organization)
        if let group = filter.group {
            condition = """
                \(condition) AND EXISTS (SELECT FROM group_member m WHERE m.organization_id = \(organization)
                               AND m.group_id = \(group) AND m.user_id = u.id)
                """
        }
        let statement: SQL = """
            SELECT \(Self.listed) FROM "user" u WHERE \(condition)
               AND lower(u.email) COLLATE "C" >= \(first) AND lower(u.email) COLLATE "C" < \(last)
               AND lower(u.email) COLLATE "C" > \(address ?? "")
             ORDER BY lower(u.email) COLLATE "C" LIMIT \(limit)
            """
        return filter.group == nil && filter.status == nil
            ? try await database.read(organization, statement, as: User.init(row:))
            : try await database.search(organization, statement, as: User.init(row:))
    }

    /// - Returns: false when another user of the organization has this e-mail address.
    package func insert(
        _ user: User, of organization: OrganizationID, in transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            INSERT INTO "user" (organization_id, \(columns)) VALUES (\(organization), \(user.id), \(user.email),
                \(user.emailVerified), \(user.name), \(user.status.rawValue), \(user.version), \(user.createdAt),
                \(user.updatedAt))
            ON CONFLICT DO NOTHING RETURNING id
            """
        ).isEmpty
    }

    /// Writes a user whose version is still `user.version`.
    ///
    /// - Returns: the new state; nil when somebody else changed it first.
    package func update(
        _ user: User, of organization: OrganizationID, at now: Date, in transaction: PostgresTransaction
    ) async throws -> User? {
        try await transaction.query(
            """
            UPDATE "user" SET email = \(user.email), email_verified = \(user.emailVerified), name = \(user.name),
                   status = \(user.status.rawValue), version = version + 1, updated_at = \(now)
             WHERE organization_id = \(organization) AND id = \(user.id) AND version = \(user.version)
            RETURNING \(columns)
            """
        ).map(User.init(row:)).first
    }

    /// Deletes a user with their identities, sessions, consents and roles, and takes them out of their groups.
    package func delete(
        _ user: UserID, of organization: OrganizationID, at now: Date, in transaction: PostgresTransaction
    ) async throws {
        try await transaction.query(
            """
            WITH held AS (
                SELECT id FROM "group" WHERE organization_id = \(organization) AND id IN (
                    SELECT group_id FROM group_member WHERE organization_id = \(organization) AND user_id = \(user))
                 ORDER BY id FOR NO KEY UPDATE
            )
            UPDATE "group" SET version = version + 1, updated_at = \(now)
             WHERE organization_id = \(organization) AND id IN (SELECT id FROM held)
            """)
        try await transaction.query(
            "DELETE FROM \"user\" WHERE organization_id = \(organization) AND id = \(user)")
    }

    // MARK: Identities

    /// The user an identity stands for.
    package func member(of key: IdentityKey, in organization: OrganizationID) async throws -> Member? {
        try await database.read(
            organization,
            Self.identityStatement([
                .uuid(organization.uuid), .uuid(key.identityProvider.uuid), .text(key.provider), .text(key.subject),
            ]), as: Member.init(row:)
        ).first
    }

    package func identities(of user: UserID, in organization: OrganizationID) async throws -> [LinkedIdentity] {
        try await database.read(
            organization,
            """
            SELECT identity_provider_id, provider, subject, user_id, created_at FROM identity
             WHERE organization_id = \(organization) AND user_id = \(user) ORDER BY created_at
            """, as: LinkedIdentity.init(row:))
    }

    package func hasIdentity(
        _ user: UserID, in organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            SELECT 1 AS one FROM identity WHERE organization_id = \(organization) AND user_id = \(user) LIMIT 1
            """
        ).isEmpty
    }

    /// Links an identity to a user.
    ///
    /// - Returns: false when the identity is linked already.
    package func link(
        _ key: IdentityKey, to user: UserID, in organization: OrganizationID, at now: Date,
        _ transaction: PostgresTransaction
    ) async throws -> Bool {
        let linked = try await transaction.query(
            """
            INSERT INTO identity (organization_id, identity_provider_id, provider, subject, user_id, created_at)
            VALUES (\(organization), \(key.identityProvider), \(key.provider), \(key.subject), \(user), \(now))
            ON CONFLICT DO NOTHING RETURNING user_id
            """)
        try await transaction.query(
            """
            DELETE FROM pending_identity WHERE organization_id = \(organization) AND provider = \(key.provider)
               AND identity_provider_id = \(key.identityProvider) AND subject = \(key.subject)
            """)
        return !linked.isEmpty
    }

    /// - Returns: false when the identity is not linked to that user.
    package func unlink(
        _ key: IdentityKey, from user: UserID, in organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            DELETE FROM identity
             WHERE organization_id = \(organization) AND identity_provider_id = \(key.identityProvider)
               AND provider = \(key.provider) AND subject = \(key.subject) AND user_id = \(user) RETURNING user_id
            """
        ).isEmpty
    }

    /// Remembers a proven identity that may not be linked by itself, for an administrator to accept.
    package func rememberPending(
        _ key: IdentityKey, email: String?, in organization: OrganizationID, at now: Date,
        _ transaction: PostgresTransaction
    ) async throws {
        try await transaction.query(
            """
            INSERT INTO pending_identity (organization_id, identity_provider_id, provider, subject, email, last_seen_at)
            VALUES (\(organization), \(key.identityProvider), \(key.provider), \(key.subject), \(email), \(now))
            ON CONFLICT (organization_id, identity_provider_id, provider, subject)
            DO UPDATE SET email = EXCLUDED.email, last_seen_at = EXCLUDED.last_seen_at
            """)
    }

    package func pendingIdentities(of organization: OrganizationID) async throws -> [(key: IdentityKey, email: String?)]
    {
        try await database.read(
            organization,
            """
            SELECT identity_provider_id, provider, subject, email FROM pending_identity
             WHERE organization_id = \(organization) ORDER BY last_seen_at DESC LIMIT 200
            """
        ) { row in
            (
                IdentityKey(
                    identityProvider: try row.id("identity_provider_id"), provider: try row.decode("provider"),
                    subject: try row.decode("subject")), try row.decode("email")
            )
        }
    }

    /// Forgets that somebody with this address ever proved themselves or was invited.
    ///
    /// - Parameter address: in lower case.
    /// - Returns: the invitations that were forgotten.
    package func forgetTraces(
        of user: UserID, address: String?, in organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws -> [InvitationID] {
        try await transaction.query(
            """
            DELETE FROM pending_identity WHERE organization_id = \(organization) AND lower(email) = \(address)
            """)
        return try await transaction.query(
            """
            DELETE FROM invitation
             WHERE organization_id = \(organization) AND (lower(email) = \(address) OR accepted_by = \(user)) RETURNING id
            """
        ).map { try $0.id("id") }
    }

    // MARK: Invitations

    package func insert(
        _ invitation: Invitation, tokenDigest: SecretDigest, of organization: OrganizationID,
        in transaction: PostgresTransaction
    ) async throws {
        try await transaction.query(
            """
            INSERT INTO invitation (organization_id, id, email, name, group_ids, role_ids, token_digest, created_by,
                                    expires_at, created_at)
            VALUES (\(organization), \(invitation.id), \(invitation.email), \(invitation.name),
                    \(invitation.groups.map(\.uuid)), \(invitation.roles.map(\.uuid)), \(tokenDigest.bytes),
                    \(invitation.createdBy), \(invitation.expiresAt), \(invitation.createdAt))
            """)
    }

    package func invitations(_ page: Page, of organization: OrganizationID) async throws -> [Invitation] {
        try await database.read(
            organization,
            """
            SELECT \(invitationColumns) FROM invitation WHERE organization_id = \(organization)
               AND id > \(page.start) ORDER BY id LIMIT \(page.limit)
            """, as: Invitation.init(row:))
    }

    package func invitation(_ id: InvitationID, in organization: OrganizationID) async throws -> Invitation? {
        try await database.read(
            organization,
            """
            SELECT \(invitationColumns) FROM invitation WHERE organization_id = \(organization) AND id = \(id)
            """, as: Invitation.init(row:)
        ).first
    }

    /// The open invitation that this token opens.
    package func invitation(
        opening digest: SecretDigest, in organization: OrganizationID, at now: Date
    ) async throws -> Invitation? {
        try await database.read(
            organization,
            """
            SELECT \(invitationColumns) FROM invitation WHERE organization_id = \(organization)
               AND token_digest = \(digest.bytes) AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > \(now)
            """, as: Invitation.init(row:)
        ).first
    }

    /// Spends an invitation, once.
    ///
    /// - Returns: false when it was spent, revoked or expired before.
    package func accept(
        _ invitation: InvitationID, by user: UserID, in organization: OrganizationID, at now: Date,
        _ transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            UPDATE invitation SET accepted_at = \(now), accepted_by = \(user)
             WHERE organization_id = \(organization) AND id = \(invitation) AND accepted_at IS NULL
               AND revoked_at IS NULL AND expires_at > \(now) RETURNING id
            """
        ).isEmpty
    }

    /// Gives an invitation that nobody accepted or revoked another token and another end; the old token opens nothing.
    ///
    /// - Returns: the new state; nil when there is none to renew.
    package func renew(
        _ invitation: InvitationID, tokenDigest: SecretDigest, until end: Date, in organization: OrganizationID,
        _ transaction: PostgresTransaction
    ) async throws -> Invitation? {
        try await transaction.query(
            """
            UPDATE invitation SET token_digest = \(tokenDigest.bytes), expires_at = \(end)
             WHERE organization_id = \(organization) AND id = \(invitation) AND accepted_at IS NULL
               AND revoked_at IS NULL RETURNING \(invitationColumns)
            """
        ).map(Invitation.init(row:)).first
    }

    /// - Returns: false when there is no open invitation of that id.
    package func revoke(
        _ invitation: InvitationID, in organization: OrganizationID, at now: Date, _ transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            UPDATE invitation SET revoked_at = \(now) WHERE organization_id = \(organization) AND id = \(invitation)
               AND accepted_at IS NULL AND revoked_at IS NULL RETURNING id
            """
        ).isEmpty
    }
}

private let invitationColumns: SQL = """
    id, email, name, group_ids, role_ids, created_by, created_at, expires_at, accepted_at, revoked_at
    """

extension Invitation {
    fileprivate init(row: Row) throws {
        self.init(
            id: try row.id("id"), email: try row.decode("email"), name: try row.decode("name"),
            groups: try row.ids("group_ids"), roles: try row.ids("role_ids"), createdBy: try row.decode("created_by"),
            createdAt: try row.decode("created_at"), expiresAt: try row.decode("expires_at"),
            acceptedAt: try row.decode("accepted_at"),
            revokedAt: try row.decode("revoked_at"))
    }
}

extension LinkedIdentity {
    fileprivate init(row: Row) throws {
        self.init(
            key: IdentityKey(
                identityProvider: try row.id("identity_provider_id"), provider: try row.decode("provider"),
                subject: try row.decode("subject")),
            user: try row.id("user_id"), createdAt: try row.decode("created_at"))
    }
}
