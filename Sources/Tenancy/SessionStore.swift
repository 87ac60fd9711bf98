package import Foundation
package import Keys
package import Postgres

/// Browser sessions of one organization.
package struct SessionStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    // Statuses by sub-selects: whatever the planner believes, it begins at the one session.
    private static let columns = """
        s.id, s.user_id, s.identity_provider_id, s.auth_time, s.expires_at, s.mfa, s.scope_ceiling, s.created_at,
        s.last_used_at, s.revoked_at
        """
    private static let live = """
        s.organization_id = $1 AND s.id = $2 AND s.secret_digest = $3 AND s.revoked_at IS NULL AND s.expires_at > $4
        AND (SELECT u.status FROM "user" u WHERE u.organization_id = $1 AND u.id = s.user_id) = 'active'
        AND (SELECT p.status FROM identity_provider p
              WHERE p.organization_id = $1 AND p.id = s.identity_provider_id) = 'active'
        """
    private static let findStatement = PreparedSQL(
        "SELECT \(columns) FROM session s WHERE \(live)", [.uuid, .uuid, .bytea, .timestamptz])
    private static let acquaintanceStatement = PreparedSQL(
        """
        SELECT \(columns),
               (SELECT a.status FROM client_admission a
                 WHERE a.organization_id = $1 AND a.client_id = $5) AS admission_status,
               (SELECT c.scope FROM consent c WHERE c.organization_id = $1 AND c.user_id = s.user_id
                   AND c.client_id = $5 AND c.resource_id = $6) AS consented,
               \(DatedMembership.columns(of: "s.user_id"))
          FROM session s WHERE \(live)
        """, [.uuid, .uuid, .bytea, .timestamptz, .uuid, .uuid])

    /// The live session that holds this secret. Its user must still be active, and so must the provider that vouched for
    /// them.
    package func find(
        _ session: SessionID, secret: SecretDigest, in organization: OrganizationID, at now: Date
    ) async throws -> Session? {
        try await database.read(
            organization,
            Self.findStatement([
                .uuid(organization.uuid), .uuid(session.uuid), .bytes(secret.bytes), now.postgresBind,
            ]),
            as: Session.init(row:)
        ).first
    }

    /// A live session, and how far its organization and its user have gone with a client before.
    package struct Acquaintance: Sendable {
        package let session: Session
        /// nil while the organization has not met the client.
        package let admission: ClientAdmission.Status?
        /// What the user last allowed the client for the resource.
        package let consented: [String]?
        package let membership: DatedMembership
    }

    /// The same as ``find(_:secret:in:at:)``, with what decides whether a page is needed, in one statement.
    package func acquaintance(
        _ session: SessionID, secret: SecretDigest, with client: ClientID, over resource: ResourceID,
        in organization: OrganizationID, at now: Date
    ) async throws -> Acquaintance? {
        try await database.read(
            organization,
            Self.acquaintanceStatement([
                .uuid(organization.uuid), .uuid(session.uuid), .bytes(secret.bytes), now.postgresBind,
                .uuid(client.uuid), .uuid(resource.uuid),
            ])
        ) { row in
            Acquaintance(
                session: try Session(row: row),
                admission: try row.decode("admission_status", as: String?.self)
                    .flatMap(ClientAdmission.Status.init),
                consented: try row.decode("consented"), membership: try DatedMembership(row: row))
        }.first
    }

    package func insert(
        _ session: Session, secret: SecretDigest, of organization: OrganizationID, in transaction: PostgresTransaction
    ) async throws {
        try await transaction.query(
            """
            INSERT INTO session (organization_id, id, user_id, identity_provider_id, secret_digest, auth_time, expires_at,
                                 mfa, scope_ceiling, created_at)
            VALUES (\(organization), \(session.id), \(session.user), \(session.identityProvider), \(secret.bytes),
                    \(session.authTime), \(session.expiresAt), \(session.mfa), \(session.scopeCeiling), \(session.createdAt))
            """)
    }

    /// The most that the identity provider said a person may have when they last signed in, however that session ended; nil
    /// where it said nothing, or they never did.
    package func scopeCeiling(of user: UserID, in organization: OrganizationID) async throws -> [String]? {
        try await database.read(
            organization,
            """
            SELECT scope_ceiling FROM session WHERE organization_id = \(organization) AND user_id = \(user)
             ORDER BY auth_time DESC LIMIT 1
            """
        ) { try $0.decode("scope_ceiling", as: [String]?.self) }.first ?? nil
    }

    /// Remembers when a session was used, at most once in so many seconds.
    package func noteUse(
        of session: SessionID, in organization: OrganizationID, at now: Date, every seconds: TimeInterval
    ) async throws {
        _ = try await database.transaction(organization) { transaction in
            try await transaction.query(
                """
                UPDATE session SET last_used_at = \(now) WHERE organization_id = \(organization) AND id = \(session)
                   AND (last_used_at IS NULL OR last_used_at <= \(now - seconds))
                """)
        }
    }

    /// Whether nobody ended the session, and it has not ended by itself.
    package func isLive(
        _ session: SessionID, in organization: OrganizationID, at now: Date, _ transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            SELECT id FROM session WHERE organization_id = \(organization) AND id = \(session)
               AND revoked_at IS NULL AND expires_at > \(now)
            """
        ).isEmpty
    }

    // MARK: Administration

    package func find(_ session: SessionID, in organization: OrganizationID) async throws -> Session? {
        try await database.read(
            organization,
            """
            SELECT \(SQL(stringLiteral: Self.columns)) FROM session s
             WHERE s.organization_id = \(organization) AND s.id = \(session)
            """, as: Session.init(row:)
        ).first
    }

    package func list(
        _ page: Page, of organization: OrganizationID, user: UserID? = nil
    ) async throws -> [Session] {
        let ofUser: SQL = user.map { "AND s.user_id = \($0)" } ?? ""
        return try await database.read(
            organization,
            """
            SELECT \(SQL(stringLiteral: Self.columns)) FROM session s
             WHERE s.organization_id = \(organization) AND s.id > \(page.start) \(ofUser)
             ORDER BY s.id LIMIT \(page.limit)
            """, as: Session.init(row:))
    }

    /// Ends a session.
    ///
    /// - Returns: nil for one that ended before.
    package func revoke(
        _ session: SessionID, in organization: OrganizationID, at now: Date, _ transaction: PostgresTransaction
    ) async throws -> Session? {
        try await transaction.query(
            """
            UPDATE session s SET revoked_at = \(now)
             WHERE s.organization_id = \(organization) AND s.id = \(session) AND s.revoked_at IS NULL
               AND s.expires_at > \(now)
            RETURNING \(SQL(stringLiteral: Self.columns))
            """
        ).map(Session.init(row:)).first
    }

    /// Ends all sessions of a user.
    package func revokeAll(
        of user: UserID, in organization: OrganizationID, at now: Date, _ transaction: PostgresTransaction
    ) async throws {
        try await transaction.query(
            """
            UPDATE session SET revoked_at = \(now)
             WHERE organization_id = \(organization) AND user_id = \(user) AND revoked_at IS NULL
            """)
    }
}

extension Session {
    fileprivate init(row: Row) throws {
        self.init(
            id: try row.id("id"), user: try row.id("user_id"),
            identityProvider: try row.id("identity_provider_id"), authTime: try row.decode("auth_time"),
            expiresAt: try row.decode("expires_at"), mfa: try row.decode("mfa"),
            scopeCeiling: try row.decode("scope_ceiling"), createdAt: try row.decode("created_at"),
            lastUsedAt: try row.decode("last_used_at"), revokedAt: try row.decode("revoked_at"))
    }
}
