package import Foundation
package import Postgres

/// What ``IdentityProviderRecord/init(row:)`` reads.
let identityProviderColumns: SQL = """
    id, kind, name, status, configuration, secret_sealed, authoritative_domains, version, created_at, updated_at
    """
private let columns = identityProviderColumns

extension IdentityProviderRecord {
    init(row: Row) throws {
        self.init(
            id: try row.id("id"), kind: try row.word("kind"), name: try row.decode("name"),
            status: try row.word("status"), configuration: try row.decodeJSON("configuration", as: Configuration.self),
            sealedSecret: try row.decode("secret_sealed"),
            authoritativeDomains: try row.decode("authoritative_domains"),
            version: try row.decode("version"), createdAt: try row.decode("created_at"),
            updatedAt: try row.decode("updated_at"))
    }
}

/// Upstream sign-in of one organization.
package struct IdentityProviderStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    package func all(of organization: OrganizationID) async throws -> [IdentityProviderRecord] {
        try await database.read(
            organization,
            "SELECT \(columns) FROM identity_provider WHERE organization_id = \(organization) ORDER BY id",
            as: IdentityProviderRecord.init(row:))
    }

    /// - Returns: false when its upstream is taken, by another provider or another organization.
    package func insert(
        _ provider: IdentityProviderRecord, of organization: OrganizationID, in transaction: PostgresTransaction
    ) async throws -> Bool {
        if let upstream = upstream(of: provider) {
            guard try await claim(upstream, in: transaction) else { return false }
        }
        try await transaction.query("SELECT claim_provider(\(provider.id))")
        try await transaction.query(
            """
            INSERT INTO identity_provider (organization_id, \(columns)) VALUES (\(organization), \(provider.id),
                \(provider.kind.rawValue), \(provider.name), \(provider.status.rawValue),
                \(json: provider.configuration), \(provider.sealedSecret), \(provider.authoritativeDomains),
                \(provider.version), \(provider.createdAt), \(provider.updatedAt))
            """)
        return true
    }

    /// Writes a provider whose version is still `provider.version`; its kind and population never change, since every
    /// linked identity is named by them.
    ///
    /// - Returns: the new state; nil when somebody else changed it first.
    package func update(
        _ provider: IdentityProviderRecord, of organization: OrganizationID, at now: Date,
        in transaction: PostgresTransaction
    ) async throws -> IdentityProviderRecord? {
        try await transaction.query(
            """
            UPDATE identity_provider SET name = \(provider.name), status = \(provider.status.rawValue),
                   configuration = \(json: provider.configuration), secret_sealed = \(provider.sealedSecret),
                   authoritative_domains = \(provider.authoritativeDomains), version = version + 1, updated_at = \(now)
             WHERE organization_id = \(organization) AND id = \(provider.id) AND version = \(provider.version)
            RETURNING \(columns)
            """
        ).map(IdentityProviderRecord.init(row:)).first
    }

    /// - Returns: false when there is none of that id.
    package func delete(
        _ provider: IdentityProviderRecord, of organization: OrganizationID, in transaction: PostgresTransaction
    ) async throws -> Bool {
        let deleted = try await transaction.query(
            """
            DELETE FROM identity_provider WHERE organization_id = \(organization) AND id = \(provider.id) RETURNING id
            """)
        guard !deleted.isEmpty else { return false }
        if let upstream = upstream(of: provider) {
            try await transaction.query("SELECT release_upstream(\(upstream))")
        }
        return true
    }

    private func claim(_ upstream: String, in transaction: PostgresTransaction) async throws -> Bool {
        let claimed = try await transaction.query("SELECT claim_upstream(\(upstream)) AS claimed")
        return try claimed.first?.decode("claimed", as: Bool.self) ?? false
    }

    /// What signs people in to one organization only; nil for what says itself, in each assertion, whom it speaks to.
    private func upstream(of provider: IdentityProviderRecord) -> String? {
        provider.kind == .trustedIssuer ? nil : "\(provider.kind.rawValue):\(provider.population)"
    }
}
