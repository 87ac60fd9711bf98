package import Foundation
package import Keys
package import Postgres

/// Browser sessions of one organization.
package struct SessionStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    /// The live session that holds this secret. Its user must still be active, and so must the provider that vouched for
    /// them.
    package func find(
        _ session: SessionID, secret: SecretDigest, in organization: OrganizationID, at now: Date
    ) async throws -> Session? {
        try await database.read(
            organization,
            """
            SELECT s.id, s.user_id, s.identity_provider_id, s.auth_time, s.expires_at, s.mfa, s.scope_ceiling FROM session s
              JOIN "user" u ON u.organization_id = s.organization_id AND u.id = s.user_id AND u.status = 'active'
              JOIN identity_provider p ON p.organization_id = s.organization_id AND p.id = s.identity_provider_id
                   AND p.status = 'active'
             WHERE s.organization_id = \(organization) AND s.id = \(session) AND s.secret_digest = \(secret.bytes)
               AND s.revoked_at IS NULL AND s.expires_at > \(now)
            """
        ) { row in
            Session(
                id: try row.id("id"), user: try row.id("user_id"),
                identityProvider: try row.id("identity_provider_id"), authTime: try row.decode("auth_time"),
                expiresAt: try row.decode("expires_at"), mfa: try row.decode("mfa"),
                scopeCeiling: try row.decode("scope_ceiling"))
        }.first
    }

    package func insert(
        _ session: Session, secret: SecretDigest, of organization: OrganizationID, at now: Date,
        in transaction: PostgresTransaction
    ) async throws {
        try await transaction.query(
            """
            INSERT INTO session (organization_id, id, user_id, identity_provider_id, secret_digest, auth_time, expires_at,
                                 mfa, scope_ceiling, created_at)
            VALUES (\(organization), \(session.id), \(session.user), \(session.identityProvider), \(secret.bytes),
                    \(session.authTime), \(session.expiresAt), \(session.mfa), \(session.scopeCeiling), \(now))
            """)
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
