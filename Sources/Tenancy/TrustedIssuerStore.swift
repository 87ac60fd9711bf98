package import Foundation
import Keys
package import Postgres

/// Trusted issuers of one organization. Their identity provider rows are changed here too, in the same transaction.
package struct TrustedIssuerStore: Sendable {
    private let database: TenantDatabase
    private let providers: IdentityProviderStore

    package init(database: TenantDatabase) {
        self.database = database
        providers = IdentityProviderStore(database: database)
    }

    package func all(of organization: OrganizationID) async throws -> [TrustedIssuer] {
        try await database.read(
            organization,
            """
            SELECT \(identityProviderColumns), t.jwks, t.jwks_uri, t.client_ids, t.required_claims
              FROM trusted_issuer t
              JOIN identity_provider p ON p.organization_id = t.organization_id AND p.id = t.identity_provider_id
             WHERE t.organization_id = \(organization) ORDER BY p.id
            """, as: TrustedIssuer.init(row:))
    }

    /// - Returns: false when the organization trusts this issuer already.
    package func insert(
        _ issuer: TrustedIssuer, of organization: OrganizationID, in transaction: PostgresTransaction
    ) async throws -> Bool {
        guard try await providers.insert(issuer.provider, of: organization, in: transaction) else { return false }
        return try await !transaction.query(
            """
            INSERT INTO trusted_issuer (organization_id, identity_provider_id, issuer, jwks, jwks_uri, client_ids,
                                        required_claims)
            VALUES (\(organization), \(issuer.id), \(issuer.issuer), \(issuer.keySet), \(issuer.keysURL),
                    \(issuer.clients.map(\.uuid)), \(json: issuer.requiredClaims))
            ON CONFLICT DO NOTHING RETURNING identity_provider_id
            """
        ).isEmpty
    }

    /// Writes an issuer whose version is still `issuer.provider.version`.
    ///
    /// - Returns: the new state; nil when somebody else changed it first.
    package func update(
        _ issuer: TrustedIssuer, of organization: OrganizationID, at now: Date, in transaction: PostgresTransaction
    ) async throws -> TrustedIssuer? {
        guard let provider = try await providers.update(issuer.provider, of: organization, at: now, in: transaction)
        else { return nil }
        try await transaction.query(
            """
            UPDATE trusted_issuer SET jwks = \(issuer.keySet), jwks_uri = \(issuer.keysURL),
                   client_ids = \(issuer.clients.map(\.uuid)), required_claims = \(json: issuer.requiredClaims)
             WHERE organization_id = \(organization) AND identity_provider_id = \(issuer.id)
            """)
        var stored = issuer
        stored.provider = provider
        return stored
    }
}

extension TrustedIssuer {
    fileprivate init(row: Row) throws {
        let keys: Client.KeySource =
            if let url = try row.decode("jwks_uri", as: String?.self) {
                .published(at: url)
            } else {
                .given(try JWKSet(bytes: row.jsonBytes("jwks")))
            }
        self.init(
            provider: try IdentityProviderRecord(row: row), keys: keys,
            clients: try row.decode("client_ids", as: [UUID].self).map { ClientID($0) },
            requiredClaims: try row.decodeJSON("required_claims", as: [String: String].self))
    }

    fileprivate var keySet: SQL {
        if case .given(let set) = keys { "\(jsonBytes: set.json)" } else { "NULL::jsonb" }
    }

    fileprivate var keysURL: String? {
        if case .published(let url) = keys { url } else { nil }
    }
}
