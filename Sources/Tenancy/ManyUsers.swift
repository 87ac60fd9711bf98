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
}
