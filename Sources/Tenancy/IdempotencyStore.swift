package import Foundation
package import Postgres

/// A reply that is kept for who repeats a request with the same `Idempotency-Key`.
package struct KeptReply: Sendable {
    /// What the request was: SHA-256 of method, target and body.
    package let requestDigest: [UInt8]
    package let sealed: [UInt8]

    package init(requestDigest: [UInt8], sealed: [UInt8]) {
        self.requestDigest = requestDigest
        self.sealed = sealed
    }
}

/// Replies of writes that were asked for under an `Idempotency-Key`.
package struct IdempotencyStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    /// - Parameter digest: SHA-256 of organization, credential and key.
    package func find(_ digest: [UInt8], in organization: OrganizationID, at now: Date) async throws -> KeptReply? {
        try await database.read(organization, Self.look(digest, organization, now), as: KeptReply.init(row:)).first
    }

    /// Makes the rest of the transaction the only one under this key, on every node.
    ///
    /// - Returns: false while another request with this key is being worked on.
    package func claim(_ digest: [UInt8], _ transaction: PostgresTransaction) async throws -> Bool {
        // Should two keys ever share 64 bits, one of two calls at the same moment is told to try again.
        let lock = digest.prefix(8).reduce(Int64(0)) { $0 << 8 | Int64($1) }
        return try await transaction.query("SELECT pg_try_advisory_xact_lock(\(lock)) AS is_ours")
            .contains { try $0.decode("is_ours", as: Bool.self) }
    }

    /// What was kept, as of this moment of the transaction.
    package func find(
        _ digest: [UInt8], in organization: OrganizationID, at now: Date, _ transaction: PostgresTransaction
    ) async throws -> KeptReply? {
        try await transaction.query(Self.look(digest, organization, now)).map(KeptReply.init(row:)).first
    }

    package func keep(
        _ reply: KeptReply, for digest: [UInt8], in organization: OrganizationID, until expiry: Date,
        _ transaction: PostgresTransaction
    ) async throws {
        try await transaction.query(
            """
            INSERT INTO idempotency_key (organization_id, digest, request_digest, reply_sealed, expires_at)
            VALUES (\(organization), \(digest), \(reply.requestDigest), \(reply.sealed), \(expiry))
            ON CONFLICT (organization_id, digest) DO UPDATE SET request_digest = EXCLUDED.request_digest,
                reply_sealed = EXCLUDED.reply_sealed, expires_at = EXCLUDED.expires_at
            """)
    }

    /// In pieces: how many there are is their writers' choice.
    package func deleteExpired(in organization: OrganizationID, at now: Date) async throws {
        let piece: Int64 = 1_000
        var gone = piece
        while gone == piece {
            gone = try await database.transaction(organization) { transaction in
                Int64(
                    try await transaction.query(
                        """
                        DELETE FROM idempotency_key WHERE organization_id = \(organization) AND digest IN (
                            SELECT digest FROM idempotency_key
                             WHERE organization_id = \(organization) AND expires_at <= \(now) LIMIT \(piece))
                        RETURNING digest
                        """
                    ).count)
            }
        }
    }

    private static func look(_ digest: [UInt8], _ organization: OrganizationID, _ now: Date) -> SQL {
        """
        SELECT request_digest, reply_sealed FROM idempotency_key
         WHERE organization_id = \(organization) AND digest = \(digest) AND expires_at > \(now)
        """
    }
}

extension KeptReply {
    fileprivate init(row: Row) throws {
        requestDigest = try row.decode("request_digest", as: [UInt8].self)
        sealed = try row.decode("reply_sealed", as: [UInt8].self)
    }
}
