package import Foundation
import Keys
package import Postgres

let organizationColumns: SQL = """
    organization_id, slug, name, status, data_key, settings, version, created_at, updated_at, deleted_at, deletes_at, \
    erased_at
    """

extension Organization {
    init(row: Row) throws {
        var deletion: Deletion?
        if let deletedAt = try row.decode("deleted_at", as: Date?.self),
            let deletesAt = try row.decode("deletes_at", as: Date?.self)
        {
            deletion = Deletion(deletedAt: deletedAt, deletesAt: deletesAt, erasedAt: try row.decode("erased_at"))
        }
        self.init(
            id: try row.id("organization_id"), slug: try row.decode("slug"), name: try row.decode("name"),
            status: try row.word("status"), wrappedDataKey: try row.decode("data_key"),
            settings: try row.decodeJSON("settings", as: OrganizationSettings.self), version: try row.decode("version"),
            createdAt: try row.decode("created_at"), updatedAt: try row.decode("updated_at"), deletion: deletion)
    }
}

/// Organizations, their mail domains and the epoch that says when cached data of theirs last changed.
package struct OrganizationStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    package func find(_ organization: OrganizationID) async throws -> Organization? {
        try await database.read(
            organization, "SELECT \(organizationColumns) FROM organization WHERE organization_id = \(organization)",
            as: Organization.init(row:)
        ).first
    }

    /// Which organization a slug belongs to, for ever.
    package func organization(ofSlug slug: String) async throws -> OrganizationID? {
        try await route("SELECT organization_of_slug(\(slug)) AS id")
    }

    /// Which organization verified a mail domain.
    package func organization(ofDomain domain: String) async throws -> OrganizationID? {
        try await route("SELECT organization_of_domain(\(domain)) AS id")
    }

    /// Which organization an identity provider belongs to.
    package func organization(ofProvider provider: IdentityProviderID) async throws -> OrganizationID? {
        try await route("SELECT organization_of_provider(\(provider)) AS id")
    }

    private func route(_ statement: SQL) async throws -> OrganizationID? {
        try await database.read(.platform, statement) { try $0.decode("id", as: UUID?.self) }
            .first.flatMap { $0 }.map { OrganizationID($0) }
    }

    /// What has become of an organization, as far as its slug knows.
    package enum Presence: String, Sendable {
        case present
        /// It can be restored, or is being erased.
        case deleted
        case erased
    }

    /// Organization ids in order of creation; only the platform asks.
    package func ids(_ page: Page, _ presence: Presence = .present) async throws -> [OrganizationID] {
        try await database.read(
            .platform,
            """
            SELECT id FROM organizations_in(\(presence.rawValue), \(page.after), \(Int32(page.limit))) AS id
            """
        ) { try $0.id("id") }
    }

    /// The organizations of a page, in its order.
    package func list(_ page: Page, _ presence: Presence) async throws -> [Organization] {
        let ids = try await ids(page, presence)
        return try await withThrowingTaskGroup(of: Organization?.self) { group in
            for id in ids { group.addTask { try await find(id) } }
            var found: [OrganizationID: Organization] = [:]
            for try await organization in group { if let organization { found[organization.id] = organization } }
            return ids.compactMap { found[$0] }
        }
    }

    /// Makes an organization: claims its slug, inserts it and its epoch.
    ///
    /// Runs in the transaction of the new organization.
    /// - Returns: false when the slug was ever used; then nothing is written.
    package func insert(_ organization: Organization, in transaction: PostgresTransaction) async throws -> Bool {
        let claimed = try await transaction.query("SELECT claim_slug(\(organization.slug)) AS claimed")
        guard try claimed.first?.decode("claimed", as: Bool.self) == true else { return false }
        try await transaction.query(
            """
            INSERT INTO organization (organization_id, slug, name, status, data_key, settings, version, created_at,
                                      updated_at) VALUES (\(organization.id), \(organization.slug), \(organization.name),
                \(organization.status.rawValue), \(organization.wrappedDataKey), \(json: organization.settings),
                \(organization.version), \(organization.createdAt), \(organization.updatedAt))
            """)
        try await transaction.query(
            """
            INSERT INTO epoch (organization_id, value, changed_at) VALUES (\(organization.id), 1, clock_timestamp())
            """)
        return true
    }

    /// Writes name, status and settings of an organization whose version is still `organization.version`.
    ///
    /// - Returns: the new state; nil when somebody else changed it first.
    package func update(
        _ organization: Organization, at now: Date, in transaction: PostgresTransaction
    ) async throws -> Organization? {
        try await transaction.query(
            """
            UPDATE organization SET name = \(organization.name), status = \(organization.status.rawValue),
                   settings = \(json: organization.settings), version = version + 1, updated_at = \(now)
             WHERE organization_id = \(organization.id) AND version = \(organization.version) RETURNING \(organizationColumns)
            """
        ).map(Organization.init(row:)).first
    }

    /// Tells every node to read this organization's cached data again; part of each write that such data depends on.
    package func bumpEpoch(of organization: OrganizationID, in transaction: PostgresTransaction) async throws {
        try await transaction.query(
            """
            UPDATE epoch SET value = value + 1, changed_at = clock_timestamp() WHERE organization_id = \(organization)
            """)
    }

    package func epoch(of organization: OrganizationID) async throws -> Int64? {
        try await database.read(
            organization, "SELECT value FROM epoch WHERE organization_id = \(organization)"
        ) { try $0.decode("value", as: Int64.self) }.first
    }

    /// The epochs that moved at or after `moment`, by the database's clock, and that clock.
    package func epochs(changedSince moment: Date) async throws -> (changed: [(OrganizationID, Int64)], now: Date) {
        let rows = try await database.read(
            .platform,
            """
            SELECT clock_timestamp() AS now, e.organization_id, e.value FROM (SELECT) one
              LEFT JOIN epoch e ON e.changed_at >= \(moment)
            """
        ) { row in
            (
                try row.decode("now", as: Date.self), try row.decode("organization_id", as: UUID?.self),
                try row.decode("value", as: Int64?.self)
            )
        }
        let changed = rows.compactMap { row -> (OrganizationID, Int64)? in
            guard let id = row.1, let value = row.2 else { return nil }
            return (OrganizationID(id), value)
        }
        return (changed, rows.first?.0 ?? moment)
    }

    // MARK: Domains

    package func domains(of organization: OrganizationID) async throws -> [Domain] {
        try await database.read(
            organization,
            """
            SELECT domain, status, verification_token, verified_at, created_at FROM domain
             WHERE organization_id = \(organization) ORDER BY domain
            """, as: Domain.init(row:))
    }

    /// - Returns: false when the organization already named this domain.
    package func insert(
        _ domain: Domain, of organization: OrganizationID, in transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            INSERT INTO domain (organization_id, domain, status, verification_token, verified_at, created_at)
            VALUES (\(organization), \(domain.name), \(domain.status.rawValue), \(domain.verificationToken),
                    \(domain.verifiedAt), \(domain.createdAt))
            ON CONFLICT DO NOTHING RETURNING domain
            """
        ).isEmpty
    }

    /// Marks a domain as this organization's own; one that is already keeps the moment at which it became so.
    ///
    /// - Returns: nil when the organization never named it; false when another organization holds it.
    package func verify(
        domain: String, of organization: OrganizationID, at now: Date, in transaction: PostgresTransaction
    ) async throws -> Bool? {
        let named = try await transaction.query(
            """
            SELECT domain FROM domain WHERE organization_id = \(organization) AND domain = \(domain) FOR UPDATE
            """)
        guard !named.isEmpty else { return nil }
        let claimed = try await transaction.query("SELECT claim_domain(\(domain)) AS claimed")
        guard try claimed.first?.decode("claimed", as: Bool.self) == true else { return false }
        try await transaction.query(
            """
            UPDATE domain SET status = 'verified', verified_at = coalesce(verified_at, \(now))
             WHERE organization_id = \(organization) AND domain = \(domain)
            """)
        return true
    }

    /// - Returns: false when there was none.
    package func delete(
        domain: String, of organization: OrganizationID, in transaction: PostgresTransaction
    ) async throws -> Bool {
        let deleted = try await transaction.query(
            """
            DELETE FROM domain WHERE organization_id = \(organization) AND domain = \(domain) RETURNING domain
            """)
        guard !deleted.isEmpty else { return false }
        try await transaction.query("SELECT release_domain(\(domain))")
        return true
    }
}

extension Domain {
    fileprivate init(row: Row) throws {
        self.init(
            name: try row.decode("domain"), status: try row.word("status"),
            verificationToken: try row.decode("verification_token"), verifiedAt: try row.decode("verified_at"),
            createdAt: try row.decode("created_at"))
    }
}
