package import Foundation
import Keys
import Postgres

/// Assertions that were used, each once for as long as it would be valid (RFC 7523 §3: `jti`).
package struct AssertionStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    /// Takes an assertion for whoever presents it now, on every node.
    ///
    /// It is taken before anything is decided and stays taken whatever comes of the request: a client makes a new one for
    /// each. Should the answer of the database be lost the assertion counts as used.
    ///
    /// - Parameters:
    ///   - jti: what its maker called it.
    ///   - maker: the client, or the other issuer; a `jti` is unique to its maker only.
    /// - Returns: false when it was used before.
    package func claim(
        _ jti: String, of maker: String, in organization: OrganizationID, until expiry: Date, as event: EventID
    ) async throws -> Bool {
        let digest = sha256("\(maker.utf8.count):\(maker)\(jti)")
        let outcome = try await database.write(
            organization, event: event,
            """
            INSERT INTO claimed_assertion (organization_id, digest, expires_at)
            SELECT \(organization), \(digest), \(expiry) ON CONFLICT DO NOTHING RETURNING 1 AS claimed
            """
        ) { _ in true }
        return outcome.isDone
    }

    /// Removes those that no clock would accept any more.
    package func deleteExpired(in organization: OrganizationID, at now: Date) async throws {
        try await database.transaction(organization) { transaction in
            _ = try await transaction.query(
                """
                DELETE FROM claimed_assertion WHERE organization_id = \(organization) AND expires_at <= \(now)
                """)
        }
    }
}
