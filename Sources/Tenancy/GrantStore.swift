package import Foundation
package import Keys
package import Postgres

private let columns: SQL = """
    id, issuer_organization_id, user_id, client_id, resource_id, scope, status, auth_time, family_digest, \
    current_digest, previous_digest, previous_at, generation, successor_sealed, mfa, upstream_ceiling, dpop_jkt, version, created_at, last_used_at, \
    idle_expires_at, expires_at
    """

extension Grant {
    fileprivate init(row: Row) throws {
        var family: Family?
        if let familyDigest = try row.digest("family_digest"), let current = try row.digest("current_digest") {
            family = Family(
                familyDigest: familyDigest, currentDigest: current, previousDigest: try row.digest("previous_digest"),
                previousAt: try row.decode("previous_at"), generation: try row.decode("generation"),
                sealedSuccessor: try row.decode("successor_sealed"))
        }
        self.init(
            id: try row.id("id"), issuer: try row.id("issuer_organization_id"), user: try row.id("user_id"),
            client: try row.id("client_id"), resource: try row.id("resource_id"), scope: try row.decode("scope"),
            status: try row.word("status"), authTime: try row.decode("auth_time"), family: family,
            mfa: try row.decode("mfa"),
            upstreamCeiling: try row.decode("upstream_ceiling"), boundKey: try row.decode("dpop_jkt"),
            version: try row.decode("version"), createdAt: try row.decode("created_at"),
            lastUsedAt: try row.decode("last_used_at"), idleExpiresAt: try row.decode("idle_expires_at"),
            expiresAt: try row.decode("expires_at"))
    }
}

/// Connections of one organization: the grants, the codes they came from, and what people consented to.
package struct GrantStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    package func find(_ grant: GrantID, in organization: OrganizationID) async throws -> Grant? {
        try await database.read(
            organization, "SELECT \(columns) FROM \"grant\" WHERE organization_id = \(organization) AND id = \(grant)",
            as: Grant.init(row:)
        ).first
    }

    /// A grant together with what decides whether it may still be used.
    package struct State: Sendable {
        package let grant: Grant
        package let user: User.Status
        package let admission: ClientAdmission.Status
        /// ``ClientAdmission/keysDigest``
        package let admittedKeys: [UInt8]?
        /// Of the grant's user.
        package let membership: DatedMembership
    }

    // Statuses come by sub-selects, not joins: no planner, however young its statistics, can then begin anywhere but at
    // the one grant. The same holds for `usable`.
    private static let stateStatement = PreparedSQL(
        """
        SELECT g.id, g.issuer_organization_id, g.user_id, g.client_id, g.resource_id, g.scope, g.status, g.auth_time,
               g.family_digest, g.current_digest, g.previous_digest, g.previous_at, g.generation,
               g.successor_sealed, g.mfa, g.upstream_ceiling, g.dpop_jkt, g.version, g.created_at, g.last_used_at, g.idle_expires_at,
               g.expires_at,
               (SELECT u.status FROM "user" u WHERE u.organization_id = $1 AND u.id = g.user_id) AS user_status,
               (SELECT a.status || coalesce(':' || encode(a.keys_digest, 'base64'), '') FROM client_admission a
                 WHERE a.organization_id = $1 AND a.client_id = g.client_id) AS admission,
               \(DatedMembership.columns(of: "g.user_id"))
          FROM "grant" g WHERE g.organization_id = $1 AND g.id = $2
        """, [.uuid, .uuid])

    /// Reads a grant, its user with what they belong to, and its client's admission in one statement.
    package func state(of grant: GrantID, in organization: OrganizationID) async throws -> State? {
        try await database.read(organization, Self.stateStatement([.uuid(organization.uuid), .uuid(grant.uuid)])) {
            row in
            // One look at the admission brings both: its status, and behind a colon what keys it was given for.
            let admission = (try row.decode("admission", as: String?.self) ?? "").split(separator: ":")
            // Absent is as good as not allowed.
            return State(
                grant: try Grant(row: row),
                user: try row.decode("user_status", as: String?.self).flatMap(User.Status.init) ?? .disabled,
                admission: admission.first.flatMap { ClientAdmission.Status(rawValue: String($0)) } ?? .denied,
                admittedKeys: admission.count > 1 ? Data(base64Encoded: String(admission[1])).map(Array.init) : nil,
                membership: try DatedMembership(row: row))
        }.first
    }

    package func list(
        _ page: Page, of organization: OrganizationID, _ filter: GrantFilter = GrantFilter()
    ) async throws -> [Grant] {
        try await database.read(
            organization,
            """
            SELECT \(columns) FROM "grant" WHERE organization_id = \(organization)
               AND id > \(page.start) \(filter.conditions)
             ORDER BY id LIMIT \(page.limit)
            """, as: Grant.init(row:))
    }

    // MARK: Redeeming a code

    /// What is remembered of a spent code, so that it is never spent again.
    package struct SpentCode: Sendable {
        package let digest: SecretDigest
        /// Empty for a code that takes no verifier; then none matches it.
        package let codeChallenge: String

        package init(digest: SecretDigest, codeChallenge: String) {
            self.digest = digest
            self.codeChallenge = codeChallenge
        }
    }

    /// A code about to be spent, and the grant that is born with it.
    package struct Redemption: Sendable {
        package let code: SpentCode
        package let grant: Grant

        package init(code: SpentCode, grant: Grant) {
            self.code = code
            self.grant = grant
        }
    }

    /// Spends a code and makes its grant, at most once however many servers try (RFC 6749 §10.5); code, grant and
    /// event are one statement.
    ///
    /// No row means that the code was spent before, or that a guard moved: the caller finds out which in a statement
    /// of its own.
    package func redeem(
        _ redemption: Redemption, in organization: OrganizationID, guardedBy guardian: EpochGuard,
        recording event: OutboxEvent
    ) async throws -> WriteOutcome<GrantID> {
        let grant = redemption.grant
        let family = grant.family
        let binds: [PostgresBind] = [
            .bytes(redemption.code.digest.bytes), .text(redemption.code.codeChallenge), .uuid(grant.id.uuid),
            .uuid(grant.issuer.uuid), .uuid(grant.user.uuid), .uuid(grant.client.uuid), .uuid(grant.resource.uuid),
            .textArray(grant.scope), grant.authTime.postgresBind, (family?.familyDigest.bytes).postgresBind,
            (family?.currentDigest.bytes).postgresBind, .int8(Int64(family?.generation ?? 0)), .bool(grant.mfa),
            grant.upstreamCeiling.postgresBind, grant.createdAt.postgresBind, grant.idleExpiresAt.postgresBind,
            grant.expiresAt.postgresBind, grant.boundKey.postgresBind,
        ]
        return try await database.write(
            organization, lockedRow: grant.id.uuid, event: event.id,
            Self.redeemStatement(event.binds + guardian.binds + binds)
        ) { try $0.id("id") }
    }

    private static let redeemStatement = PreparedSQL(
        PreparedEvent.recorded(
            """
            INSERT INTO "grant" (organization_id, id, issuer_organization_id, user_id, client_id, resource_id, scope,
                                 status, auth_time, family_digest, current_digest, generation, mfa, upstream_ceiling,
                                 created_at, last_used_at, idle_expires_at, expires_at, dpop_jkt)
            SELECT $1, code.grant_id, $18, $19, $20, $21, $22, 'active', $23, $24, $25, $26, $27, $28, $29, $29, $30, $31,
                   $32
              FROM code RETURNING id
            """,
            after: """
                code AS (
                    INSERT INTO redeemed_code (organization_id, code_digest, client_id, code_challenge, grant_id,
                                               redeemed_at)
                    SELECT $1, $15, $20, $16, $17, $29
                     WHERE EXISTS (SELECT FROM "user" WHERE organization_id = $1 AND id = $19 AND status = 'active')
                       AND EXISTS (SELECT FROM client_admission WHERE organization_id = $1 AND client_id = $20
                                      AND status = 'active')
                       AND \(EpochGuard.condition(organization: "$13", platform: "$14"))
                    ON CONFLICT DO NOTHING RETURNING grant_id)
                """),
        PreparedEvent.types + EpochGuard.types + [
            .bytea, .text, .uuid, .uuid, .uuid, .uuid, .uuid, .textArray, .timestamptz, .bytea, .bytea, .int8, .bool,
            .textArray, .timestamptz, .timestamptz, .timestamptz, .text,
        ])

    /// What a spent code was spent on.
    package struct Redeemed: Sendable {
        package let client: ClientID
        package let codeChallenge: String
        package let grant: GrantID
    }

    package func redeemed(_ code: SecretDigest, in organization: OrganizationID) async throws -> Redeemed? {
        try await database.read(
            organization,
            """
            SELECT client_id, code_challenge, grant_id FROM redeemed_code
             WHERE organization_id = \(organization) AND code_digest = \(code.bytes)
            """
        ) { row in
            Redeemed(
                client: try row.id("client_id"), codeChallenge: try row.decode("code_challenge"),
                grant: try row.id("grant_id"))
        }.first
    }

    // MARK: Refresh

    /// The refresh token that takes the place of the presented one.
    package struct Rotation: Sendable {
        package let grant: GrantID
        /// The grant as it was read; a row that moved since is not touched.
        package let version: Int64
        package let presented: SecretDigest
        package let successor: SecretDigest
        package let sealedSuccessor: [UInt8]
        package let idleExpiresAt: Date
        /// What the client's admission has to have been given for (``ClientAdmission/keysDigest``).
        package let admittedKeys: [UInt8]?

        package init(
            grant: GrantID, version: Int64, presented: SecretDigest, successor: SecretDigest, sealedSuccessor: [UInt8],
            idleExpiresAt: Date, admittedKeys: [UInt8]?
        ) {
            self.admittedKeys = admittedKeys
            self.grant = grant
            self.version = version
            self.presented = presented
            self.successor = successor
            self.sealedSuccessor = sealedSuccessor
            self.idleExpiresAt = idleExpiresAt
        }
    }

    /// Makes the successor the current refresh token of the grant, at most once, however many servers try
    /// (OAuth 2.1 §4.3.1).
    ///
    /// No row means a lost race or a guard that moved: a result, not an error. The caller classifies it (retry, reuse,
    /// revoked) in a statement of its own, since inside the losing one the snapshot is old.
    package func rotate(
        _ rotation: Rotation, in organization: OrganizationID, guardedBy guardian: EpochGuard,
        recording event: OutboxEvent, at now: Date
    ) async throws -> WriteOutcome<GrantID> {
        let binds: [PostgresBind] = [
            .uuid(rotation.grant.uuid), .int8(rotation.version), now.postgresBind,
            rotation.admittedKeys.postgresBind, .bytes(rotation.presented.bytes),
            .bytes(rotation.successor.bytes), .bytes(rotation.sealedSuccessor), rotation.idleExpiresAt.postgresBind,
        ]
        return try await database.write(
            organization, lockedRow: rotation.grant.uuid, event: event.id,
            Self.rotateStatement(event.binds + guardian.binds + binds)
        ) { try $0.id("id") }
    }

    private static let rotateStatement = PreparedSQL(
        PreparedEvent.recorded(
            """
            UPDATE "grant" g SET previous_digest = g.current_digest, previous_at = $17, current_digest = $20,
                   successor_sealed = $21, generation = g.generation + 1, version = g.version + 1, last_used_at = $17,
                   idle_expires_at = LEAST($22, g.expires_at)
             WHERE g.current_digest = $19 AND \(usable) RETURNING g.id
            """),
        PreparedEvent.types + EpochGuard.types + [
            .uuid, .int8, .timestamptz, .bytea, .bytea, .bytea, .bytea, .timestamptz,
        ])

    /// Records that a spent token was answered with the successor it had been answered with before, if the grant is still
    /// as it was read and everything that a rotation asserts holds.
    package func retry(
        _ grant: GrantID, version: Int64, admittedKeys: [UInt8]?, in organization: OrganizationID,
        guardedBy guardian: EpochGuard, recording event: OutboxEvent, at now: Date
    ) async throws -> WriteOutcome<GrantID> {
        try await database.write(
            organization, lockedRow: grant.uuid, event: event.id,
            Self.retryStatement(
                event.binds + guardian.binds + [
                    .uuid(grant.uuid), .int8(version), now.postgresBind, admittedKeys.postgresBind,
                ])
        ) { try $0.id("id") }
    }

    private static let retryStatement = PreparedSQL(
        PreparedEvent.recorded(#"SELECT g.id FROM "grant" g WHERE \#(usable)"#),
        PreparedEvent.types + EpochGuard.types + [.uuid, .int8, .timestamptz, .bytea])

    /// That grant `$15` is still as it was read at version `$16` and may be used at `$17`: it lives, its user is active,
    /// its client admitted with the keys `$18`, and no guard moved.
    private static let usable = """
        g.organization_id = $1 AND g.id = $15 AND g.version = $16
        AND g.status = 'active' AND g.expires_at > $17 AND g.idle_expires_at > $17
        AND (SELECT u.status FROM "user" u WHERE u.organization_id = $1 AND u.id = g.user_id) = 'active'
        AND (SELECT a.status FROM client_admission a
              WHERE a.organization_id = $1 AND a.client_id = g.client_id
                AND a.keys_digest IS NOT DISTINCT FROM $18) = 'active'
        AND \(EpochGuard.condition(organization: "$13", platform: "$14"))
        """

    /// Erases the sealed successors of these grants that no retry may ask for any more.
    package func eraseSuccessors(
        of grants: [GrantID], olderThan moment: Date, in organization: OrganizationID
    ) async throws {
        // In pieces, so that no rotation waits long for a row.
        for start in stride(from: 0, to: grants.count, by: 500) {
            let some = grants[start..<min(start + 500, grants.count)].map(\.uuid)
            try await database.transaction(organization) { transaction in
                _ = try await transaction.query(
                    """
                    UPDATE "grant" SET successor_sealed = NULL
                     WHERE organization_id = \(organization) AND id = ANY(\(some)) AND previous_at < \(moment)
                       AND successor_sealed IS NOT NULL
                    """)
            }
        }
    }

    /// The same for all grants of an organization; looks at each of them.
    package func eraseSuccessors(olderThan moment: Date, in organization: OrganizationID) async throws {
        try await database.transaction(organization) { transaction in
            _ = try await transaction.query(
                """
                UPDATE "grant" SET successor_sealed = NULL
                 WHERE organization_id = \(organization) AND previous_at < \(moment) AND successor_sealed IS NOT NULL
                """)
        }
    }

    // MARK: Ending

    /// Ends a grant and with it every refresh token of its family; access tokens verified offline live until they expire.
    /// The person's consent goes too, so that the client has to ask again.
    ///
    /// No row means that it was ended before.
    package func revoke(
        _ grant: GrantID, in organization: OrganizationID, because reason: String, recording event: OutboxEvent
    ) async throws -> WriteOutcome<GrantID> {
        let change: SQL = """
            UPDATE "grant" SET status = 'revoked', revoked_reason = \(reason), successor_sealed = NULL,
                   version = version + 1
             WHERE organization_id = \(organization) AND id = \(grant) AND status = 'active'
            RETURNING id, user_id, client_id, resource_id
            """
        let forgotten: SQL = """
            forgotten AS (
                DELETE FROM consent c USING change
                 WHERE c.organization_id = \(organization) AND c.user_id = change.user_id
                   AND c.client_id = change.client_id AND c.resource_id = change.resource_id)
            """
        return try await database.write(
            organization, lockedRow: grant.uuid, event: event.id,
            recorded(change, as: event, with: [forgotten])
        ) { try $0.id("id") }
    }

    /// Ends a grant, and forgets what was allowed by it.
    ///
    /// - Returns: nil for one that is not active.
    package func revoke(
        _ grant: GrantID, in organization: OrganizationID, because reason: String, in transaction: PostgresTransaction
    ) async throws -> Grant? {
        let ended = try await transaction.query(
            """
            UPDATE "grant" SET status = 'revoked', revoked_reason = \(reason), successor_sealed = NULL,
                   version = version + 1
             WHERE organization_id = \(organization) AND id = \(grant) AND status = 'active'
            RETURNING \(columns)
            """
        ).map(Grant.init(row:)).first
        guard let ended else { return nil }
        try await forgetConsent(by: ended, in: organization, transaction)
        return ended
    }

    /// Ends the oldest active grants that a filter selects, and forgets what was allowed by them; when none is left, all that
    /// the filter's people allowed.
    ///
    /// - Returns: what was ended, and whether some are left.
    package func revokeSome(
        _ filter: GrantFilter, in organization: OrganizationID, most: Int, because reason: String,
        _ transaction: PostgresTransaction
    ) async throws -> (ended: [Grant], hasMore: Bool) {
        let selected: SQL = """
            SELECT id FROM "grant" WHERE organization_id = \(organization) AND status = 'active' \(filter.conditions)
            """
        let ended = try await transaction.query(
            """
            UPDATE "grant" SET status = 'revoked', revoked_reason = \(reason), successor_sealed = NULL,
                   version = version + 1
             WHERE organization_id = \(organization) AND status = 'active'
               AND id IN (\(selected) ORDER BY id LIMIT \(Int64(most)) FOR UPDATE)
            RETURNING \(columns)
            """
        ).map(Grant.init(row:))
        guard ended.count == most, try await !transaction.query("\(selected) LIMIT 1").isEmpty else {
            try await transaction.query(
                "DELETE FROM consent WHERE organization_id = \(organization) \(filter.conditions)")
            return (ended, false)
        }
        for grant in ended { try await forgetConsent(by: grant, in: organization, transaction) }
        return (ended, true)
    }

    private func forgetConsent(
        by grant: Grant, in organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws {
        try await transaction.query(
            """
            DELETE FROM consent WHERE organization_id = \(organization) AND user_id = \(grant.user)
               AND client_id = \(grant.client) AND resource_id = \(grant.resource)
            """)
    }

    /// Ends all grants of a user, and forgets what they allowed.
    package func revokeAll(
        of user: UserID, in organization: OrganizationID, because reason: String, _ transaction: PostgresTransaction
    ) async throws -> [GrantID] {
        try await transaction.query(
            "DELETE FROM consent WHERE organization_id = \(organization) AND user_id = \(user)")
        return try await transaction.query(
            """
            UPDATE "grant" SET status = 'revoked', revoked_reason = \(reason), successor_sealed = NULL, version = version + 1
             WHERE organization_id = \(organization) AND user_id = \(user) AND status = 'active' RETURNING id
            """
        ).map { try $0.id("id") }
    }

    /// Ends all grants of a client, and forgets what anybody allowed it.
    package func revokeAll(
        of client: ClientID, in organization: OrganizationID, because reason: String, _ transaction: PostgresTransaction
    ) async throws -> [GrantID] {
        try await forgetConsents(to: client, in: organization, transaction)
        return try await transaction.query(
            """
            UPDATE "grant" SET status = 'revoked', revoked_reason = \(reason), successor_sealed = NULL, version = version + 1
             WHERE organization_id = \(organization) AND client_id = \(client) AND status = 'active' RETURNING id
            """
        ).map { try $0.id("id") }
    }

    // MARK: Consent

    /// Forgets what anybody allowed a client, and ends nothing: whoever wants a new connection is asked again.
    package func forgetConsents(
        to client: ClientID, in organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws {
        try await transaction.query(
            "DELETE FROM consent WHERE organization_id = \(organization) AND client_id = \(client)")
    }

    /// Remembers what the person allowed, beside what they had allowed before: a client that asks for more and then for
    /// less was allowed all of it.
    package func recordConsent(
        of user: UserID, client: ClientID, resource: ResourceID, scope: [String], in organization: OrganizationID,
        at now: Date, _ transaction: PostgresTransaction
    ) async throws {
        try await transaction.query(
            """
            INSERT INTO consent (organization_id, user_id, client_id, resource_id, scope, granted_at)
            VALUES (\(organization), \(user), \(client), \(resource), \(scope), \(now))
            ON CONFLICT (organization_id, user_id, client_id, resource_id)
            DO UPDATE SET granted_at = EXCLUDED.granted_at,
                          scope = (SELECT array_agg(DISTINCT name ORDER BY name)
                                     FROM unnest(consent.scope || EXCLUDED.scope) AS name)
            """)
    }
}
