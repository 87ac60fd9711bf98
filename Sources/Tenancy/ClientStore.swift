package import Foundation
package import Keys
package import Postgres

private let columns: SQL = """
    id, organization_id, kind, name, redirect_uris, grant_types, response_types, token_endpoint_auth_method, \
    application_type, scope_ceiling, client_uri, logo_uri, policy_uri, tos_uri, document_url, secret_digest, \
    registration_token_digest, status, expires_at, version, created_at, updated_at, other_auth_methods, jwks, jwks_uri, \
    auth_signing_algorithm, previous_secret_digest, previous_secret_expires_at, document_digest, document_fetched_at, document_fresh_until, \
    preregistered, dpop_bound_access_tokens, require_pushed_authorization_requests, admin_api_access
    """

extension Client {
    fileprivate init(row: Row) throws {
        let applicationType = try row.decode("application_type", as: String?.self)
        self.init(
            id: try row.id("id"), registry: try row.id("organization_id"), kind: try row.word("kind"),
            name: try row.decode("name"), redirectURIs: try row.decode("redirect_uris"),
            grantTypes: try row.decode("grant_types"), responseTypes: try row.decode("response_types"),
            authenticationMethod: try row.word("token_endpoint_auth_method"),
            applicationType: applicationType.flatMap(ApplicationType.init(rawValue:)),
            scopeCeiling: try row.decode("scope_ceiling"), clientURI: try row.decode("client_uri"),
            logoURI: try row.decode("logo_uri"), policyURI: try row.decode("policy_uri"),
            tosURI: try row.decode("tos_uri"), documentURL: try row.decode("document_url"),
            secretDigest: try row.digest("secret_digest"),
            registrationTokenDigest: try row.digest("registration_token_digest"), status: try row.word("status"),
            expiresAt: try row.decode("expires_at"), version: try row.decode("version"),
            createdAt: try row.decode("created_at"), updatedAt: try row.decode("updated_at"),
            otherMethods: try Self.otherMethods(row), keys: try Self.keys(row),
            assertionAlgorithm: try row.decode("auth_signing_algorithm", as: String?.self)
                .flatMap(SigningAlgorithm.init(rawValue:)), document: try Self.document(row),
            previousSecret: try Self.previousSecret(row), demands: try Self.demands(row),
            opensAdminAPI: try row.decode("admin_api_access"))
    }

    private static func otherMethods(_ row: Row) throws -> [AuthenticationMethod] {
        try row.decode("other_auth_methods", as: [String].self).map { text in
            guard let method = AuthenticationMethod(rawValue: text) else {
                throw UnreadableColumn(name: "other_auth_methods")
            }
            return method
        }
    }

    private static func keys(_ row: Row) throws -> KeySource? {
        if let url = try row.decode("jwks_uri", as: String?.self) { return .published(at: url) }
        guard try !row.isNull("jwks") else { return nil }
        return .given(try JWKSet(bytes: row.jsonBytes("jwks")))
    }

    private static func document(_ row: Row) throws -> Document? {
        guard let digest = try row.decode("document_digest", as: [UInt8]?.self),
            let fetchedAt = try row.decode("document_fetched_at", as: Date?.self),
            let freshUntil = try row.decode("document_fresh_until", as: Date?.self)
        else { return nil }
        return Document(
            digest: digest, fetchedAt: fetchedAt, freshUntil: freshUntil,
            isPreregistered: try row.decode("preregistered"))
    }

    private static func demands(_ row: Row) throws -> Demands {
        var demands = Demands()
        demands.proofOfPossession = try row.decode("dpop_bound_access_tokens")
        demands.pushedRequests = try row.decode("require_pushed_authorization_requests")
        return demands
    }

    private static func previousSecret(_ row: Row) throws -> PreviousSecret? {
        guard let digest = try row.digest("previous_secret_digest"),
            let expiresAt = try row.decode("previous_secret_expires_at", as: Date?.self)
        else { return nil }
        return PreviousSecret(digest: digest, expiresAt: expiresAt)
    }

    fileprivate var keySet: SQL {
        if case .given(let set)? = keys { "\(jsonBytes: set.json)" } else { "NULL::jsonb" }
    }

    fileprivate var keysURL: String? {
        if case .published(let url)? = keys { url } else { nil }
    }

    fileprivate var values: SQL {
        """
        \(id), \(registry), \(kind.rawValue), \(name), \(redirectURIs), \(grantTypes), \(responseTypes), \
        \(authenticationMethod.rawValue), \(applicationType?.rawValue), \(scopeCeiling), \(clientURI), \(logoURI), \
        \(policyURI), \(tosURI), \(documentURL), \(secretDigest?.bytes), \(registrationTokenDigest?.bytes), \
        \(status.rawValue), \(expiresAt), \(version), \(createdAt), \(updatedAt), \
        \(otherMethods.map(\.rawValue)), \(keySet), \(keysURL), \(assertionAlgorithm?.rawValue), \
        \(previousSecret?.digest.bytes), \(previousSecret?.expiresAt), \(document?.digest), \(document?.fetchedAt), \(document?.freshUntil), \
        \(document?.isPreregistered ?? false), \(demands.proofOfPossession), \(demands.pushedRequests), \
        \(opensAdminAPI)
        """
    }
}

/// The client registry of one issuer, and how organizations stand to clients.
package struct ClientStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    package func find(_ client: ClientID, in registry: OrganizationID) async throws -> Client? {
        try await database.read(
            registry, "SELECT \(columns) FROM client WHERE organization_id = \(registry) AND id = \(client)",
            as: Client.init(row:)
        ).first
    }

    package func find(_ clients: [ClientID], in registry: OrganizationID) async throws -> [Client] {
        try await database.read(
            registry,
            """
            SELECT \(columns) FROM client WHERE organization_id = \(registry) AND id = ANY(\(clients.map(\.uuid)))
            """, as: Client.init(row:))
    }

    /// The client whose `client_id` is this URL, compared as text (CIMD §4).
    package func find(document url: String, in registry: OrganizationID) async throws -> Client? {
        try await database.read(
            registry, "SELECT \(columns) FROM client WHERE organization_id = \(registry) AND document_url = \(url)",
            as: Client.init(row:)
        ).first
    }

    package func names(of clients: [ClientID], in registry: OrganizationID) async throws -> [ClientID: String] {
        let rows = try await database.read(
            registry,
            """
            SELECT id, name FROM client WHERE organization_id = \(registry) AND id = ANY(\(clients.map(\.uuid)))
            """
        ) { (try $0.id("id", of: ClientID.self), try $0.decode("name", as: String.self)) }
        return Dictionary(uniqueKeysWithValues: rows)
    }

    package func list(_ page: Page, of registry: OrganizationID) async throws -> [Client] {
        try await database.read(
            registry,
            """
            SELECT \(columns) FROM client WHERE organization_id = \(registry)
               AND id > \(page.start) ORDER BY id LIMIT \(page.limit)
            """, as: Client.init(row:))
    }

    /// Dynamic registration (RFC 7591), and a metadata document met for the first time: the client and its event in one
    /// statement.
    ///
    /// No row means that somebody else met the same document first, or that the initial access token may not be used.
    package func register(
        _ client: Client, using token: (id: InitialAccessTokenID, secret: SecretDigest)? = nil,
        recording event: OutboxEvent
    ) async throws -> WriteOutcome<ClientID> {
        var history: [SQL] = []
        if let document = client.document {
            history = [
                """
                seen AS (INSERT INTO client_document (organization_id, client_id, seen_at, digest)
                         SELECT \(client.registry), change.id, \(document.fetchedAt), \(document.digest) FROM change)
                """
            ]
        }
        let use = token.map {
            InitialAccessTokenStore.use($0.id, $0.secret, in: client.registry, at: client.createdAt)
        }
        let allowed: SQL = use == nil ? "" : "FROM token"
        let change: SQL = """
            INSERT INTO client (\(columns)) SELECT \(client.values) \(allowed)
            ON CONFLICT (organization_id, document_url) DO NOTHING RETURNING id
            """
        return try await database.write(
            client.registry, event: event.id, recorded(change, as: event, after: use.map { [$0] } ?? [], with: history)
        ) { try $0.id("id") }
    }

    package func insert(_ client: Client, in transaction: PostgresTransaction) async throws {
        try await transaction.query("INSERT INTO client (\(columns)) SELECT \(client.values)")
    }

    /// Writes a client whose version is still `client.version`; kind and document URL never change.
    ///
    /// - Returns: the new state; nil when somebody else changed it first.
    package func update(_ client: Client, at now: Date, in transaction: PostgresTransaction) async throws -> Client? {
        try await transaction.query(
            """
            UPDATE client SET name = \(client.name), redirect_uris = \(client.redirectURIs),
                   grant_types = \(client.grantTypes), response_types = \(client.responseTypes),
                   token_endpoint_auth_method = \(client.authenticationMethod.rawValue),
                   application_type = \(client.applicationType?.rawValue), scope_ceiling = \(client.scopeCeiling),
                   client_uri = \(client.clientURI), logo_uri = \(client.logoURI), policy_uri = \(client.policyURI),
                   tos_uri = \(client.tosURI), secret_digest = \(client.secretDigest?.bytes),
                   registration_token_digest = \(client.registrationTokenDigest?.bytes),
                   status = \(client.status.rawValue), expires_at = \(client.expiresAt),
                   other_auth_methods = \(client.otherMethods.map(\.rawValue)), jwks = \(client.keySet),
                   jwks_uri = \(client.keysURL), auth_signing_algorithm = \(client.assertionAlgorithm?.rawValue),
                   previous_secret_digest = \(client.previousSecret?.digest.bytes),
                   previous_secret_expires_at = \(client.previousSecret?.expiresAt),
                   document_digest = \(client.document?.digest), document_fetched_at = \(client.document?.fetchedAt),
                   document_fresh_until = \(client.document?.freshUntil),
                   preregistered = \(client.document?.isPreregistered ?? false),
                   dpop_bound_access_tokens = \(client.demands.proofOfPossession),
                   require_pushed_authorization_requests = \(client.demands.pushedRequests),
                   admin_api_access = \(client.opensAdminAPI), version = version + 1,
                   updated_at = \(now)
             WHERE organization_id = \(client.registry) AND id = \(client.id) AND version = \(client.version)
            RETURNING \(columns)
            """
        ).map(Client.init(row:)).first
    }

    /// Notes that a metadata document was read again and is what it was.
    package func touch(_ client: ClientID, in registry: OrganizationID, _ document: Client.Document) async throws {
        try await database.transaction(registry) { transaction in
            _ = try await transaction.query(
                """
                UPDATE client SET document_fetched_at = \(document.fetchedAt), document_fresh_until = \(document.freshUntil)
                 WHERE organization_id = \(registry) AND id = \(client) AND document_digest = \(document.digest)
                """)
        }
    }

    /// Writes a client whose metadata document changed, and adds the new content to its history; the event goes with it.
    ///
    /// - Returns: the new state; nil when somebody else changed it first.
    package func replaceDocument(
        of client: Client, _ document: Client.Document, recording event: OutboxEvent, at now: Date
    ) async throws -> Client? {
        try await database.transaction(client.registry, events: [event.id]) { transaction in
            guard let stored = try await update(client, at: now, in: transaction) else { return nil }
            try await transaction.query(
                """
                INSERT INTO client_document (organization_id, client_id, seen_at, digest)
                VALUES (\(client.registry), \(client.id), \(document.fetchedAt), \(document.digest)) ON CONFLICT DO NOTHING
                """)
            try await transaction.query(event.insertion)
            return stored
        }
    }

    /// - Returns: false when there is none of that id.
    package func delete(_ client: Client, in transaction: PostgresTransaction) async throws -> Bool {
        try await !transaction.query(
            """
            DELETE FROM client WHERE organization_id = \(client.registry) AND id = \(client.id) RETURNING id
            """
        ).isEmpty
    }

    /// A dynamic registration that somebody connects with no longer ends by itself.
    ///
    /// - Returns: false when it is there no more.
    @discardableResult
    package func keep(_ client: ClientID, in registry: OrganizationID) async throws -> Bool {
        try await database.transaction(registry) { transaction in
            _ = try await transaction.query(
                """
                UPDATE client SET expires_at = NULL, version = version + 1
                 WHERE organization_id = \(registry) AND id = \(client) AND expires_at IS NOT NULL
                """)
            return try await !transaction.query(
                "SELECT FROM client WHERE organization_id = \(registry) AND id = \(client)"
            ).isEmpty
        }
    }

    /// How many dynamic registrations nobody has used yet.
    package func unusedCount(in registry: OrganizationID, at now: Date) async throws -> Int {
        try await database.read(
            registry,
            """
            SELECT count(*) AS count FROM client WHERE organization_id = \(registry) AND expires_at > \(now)
            """
        ) { try $0.decode("count", as: Int.self) }.first ?? 0
    }

    /// Removes dynamic registrations that ended unused.
    package func deleteExpired(in registry: OrganizationID, at now: Date) async throws {
        try await database.transaction(registry) { transaction in
            _ = try await transaction.query(
                """
                DELETE FROM client WHERE organization_id = \(registry) AND expires_at <= \(now)
                """)
        }
    }

    // MARK: Admissions

    package func admission(of client: ClientID, by organization: OrganizationID) async throws -> ClientAdmission? {
        try await database.read(
            organization,
            """
            SELECT \(admissionColumns) FROM client_admission
             WHERE organization_id = \(organization) AND client_id = \(client)
            """, as: ClientAdmission.init(row:)
        ).first
    }

    /// The clients an organization has met, in the order of their ids.
    package func admissions(_ page: Page, of organization: OrganizationID) async throws -> [ClientAdmission] {
        try await database.read(
            organization,
            """
            SELECT \(admissionColumns) FROM client_admission
             WHERE organization_id = \(organization) AND client_id > \(page.start)
             ORDER BY client_id LIMIT \(page.limit)
            """, as: ClientAdmission.init(row:))
    }

    /// Admits a client at its first authorization, or leaves the standing decision as it is.
    ///
    /// - Returns: the decision that stands, and whether it was made now.
    package func admit(
        _ admission: ClientAdmission, by organization: OrganizationID, in transaction: PostgresTransaction
    ) async throws -> (admission: ClientAdmission, isNew: Bool) {
        let inserted = try await transaction.query(
            """
            INSERT INTO client_admission (organization_id, client_id, registry_organization_id, status, document_digest,
                                          keys_digest, created_at, updated_at)
            VALUES (\(organization), \(admission.client), \(admission.registry), \(admission.status.rawValue),
                    \(admission.trustDigest), \(admission.keysDigest), \(admission.createdAt), \(admission.createdAt))
            ON CONFLICT DO NOTHING RETURNING client_id
            """)
        if !inserted.isEmpty { return (admission, true) }
        let standing = try await transaction.query(
            """
            SELECT \(admissionColumns) FROM client_admission
             WHERE organization_id = \(organization) AND client_id = \(admission.client) FOR UPDATE
            """
        ).map(ClientAdmission.init(row:)).first
        return (standing ?? admission, false)
    }

    /// Remembers which metadata document the organization trusts now, and whether it waits for an administrator because of it.
    package func trust(
        _ admission: ClientAdmission, by organization: OrganizationID, at now: Date, in transaction: PostgresTransaction
    ) async throws {
        try await transaction.query(
            """
            UPDATE client_admission SET status = \(admission.status.rawValue), document_digest = \(admission.trustDigest),
                   keys_digest = \(admission.keysDigest), updated_at = \(now), version = version + 1
             WHERE organization_id = \(organization) AND client_id = \(admission.client)
            """)
    }

    /// Decides about a client; `denied` is this organization's kill switch for it.
    ///
    /// - Returns: false when the organization never met the client.
    package func setAdmission(
        of client: ClientID, to status: ClientAdmission.Status, by organization: OrganizationID, at now: Date,
        in transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            UPDATE client_admission SET status = \(status.rawValue), updated_at = \(now), version = version + 1
             WHERE organization_id = \(organization) AND client_id = \(client) RETURNING client_id
            """
        ).isEmpty
    }
}

private let admissionColumns: SQL =
    "client_id, registry_organization_id, status, document_digest, keys_digest, created_at"

extension ClientAdmission {
    fileprivate init(row: Row) throws {
        self.init(
            client: try row.id("client_id"), registry: try row.id("registry_organization_id"),
            status: try row.word("status"), createdAt: try row.decode("created_at"),
            trustDigest: try row.decode("document_digest"), keysDigest: try row.decode("keys_digest"))
    }
}
