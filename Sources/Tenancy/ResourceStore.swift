package import Foundation
import Keys
package import Postgres

private let columns: SQL = """
    id, organization_id, uri, name, scopes, scope_implications, algorithm, access_token_lifetime_seconds, \
    accepted_issuers, listed, tenant_unaware, dedicated_key, status, version, created_at, updated_at
    """

extension Resource {
    fileprivate init(row: Row) throws {
        self.init(
            id: try row.id("id"), owner: try row.id("organization_id"), uri: try row.decode("uri"),
            name: try row.decode("name"), scopes: try row.decodeJSON("scopes", as: [Scope].self),
            scopeImplications: try row.decodeJSON("scope_implications", as: [String: [String]].self),
            algorithm: try row.word("algorithm"),
            accessTokenLifetimeSeconds: try row.decode("access_token_lifetime_seconds"),
            acceptedIssuers: try row.decode("accepted_issuers", as: [UUID].self).map { OrganizationID($0) },
            listed: try row.decode("listed"), tenantUnaware: try row.decode("tenant_unaware"),
            dedicatedKey: try row.decode("dedicated_key"), status: try row.word("status"),
            version: try row.decode("version"), createdAt: try row.decode("created_at"),
            updatedAt: try row.decode("updated_at"))
    }
}

/// Protected resources of one organization (or of the platform), and which shared ones an organization enabled.
package struct ResourceStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    package func all(of organization: OrganizationID) async throws -> [Resource] {
        try await database.read(
            organization, "SELECT \(columns) FROM resource WHERE organization_id = \(organization) ORDER BY id",
            as: Resource.init(row:))
    }

    /// The owner and id of the resource that is named so, in whatever spelling.
    package func route(of uri: ResourceURI) async throws -> (owner: OrganizationID, resource: ResourceID)? {
        try await database.read(
            .platform,
            "SELECT organization_id, resource_id FROM route_of_resource(\(uri.canonical)) WHERE resource_id IS NOT NULL"
        ) { row -> (owner: OrganizationID, resource: ResourceID) in
            (try row.id("organization_id"), try row.id("resource_id"))
        }.first
    }

    /// - Returns: false when another resource, of whatever organization, has this URI.
    package func insert(_ resource: Resource, in transaction: PostgresTransaction) async throws -> Bool {
        let claimed = try await transaction.query(
            "SELECT claim_resource(\(resource.canonicalURI), \(resource.id)) AS claimed")
        guard try claimed.first?.decode("claimed", as: Bool.self) == true else { return false }
        try await transaction.query(
            """
            INSERT INTO resource (\(columns)) VALUES (\(resource.id), \(resource.owner), \(resource.uri),
                \(resource.name), \(json: resource.scopes), \(json: resource.scopeImplications),
                \(resource.algorithm.rawValue), \(resource.accessTokenLifetimeSeconds),
                \(resource.acceptedIssuers.map(\.uuid)), \(resource.listed), \(resource.tenantUnaware),
                \(resource.dedicatedKey), \(resource.status.rawValue), \(resource.version), \(resource.createdAt),
                \(resource.updatedAt))
            """)
        return true
    }

    /// Writes a resource whose version is still `resource.version`; its URI never changes, since tokens carry it.
    ///
    /// - Returns: the new state; nil when somebody else changed it first.
    package func update(
        _ resource: Resource, at now: Date, in transaction: PostgresTransaction
    ) async throws -> Resource? {
        try await transaction.query(
            """
            UPDATE resource SET name = \(resource.name), scopes = \(json: resource.scopes),
                   scope_implications = \(json: resource.scopeImplications), algorithm = \(resource.algorithm.rawValue),
                   access_token_lifetime_seconds = \(resource.accessTokenLifetimeSeconds),
                   accepted_issuers = \(resource.acceptedIssuers.map(\.uuid)), listed = \(resource.listed),
                   tenant_unaware = \(resource.tenantUnaware), dedicated_key = \(resource.dedicatedKey),
                   status = \(resource.status.rawValue), version = version + 1, updated_at = \(now)
             WHERE organization_id = \(resource.owner) AND id = \(resource.id) AND version = \(resource.version)
            RETURNING \(columns)
            """
        ).map(Resource.init(row:)).first
    }

    /// - Returns: false when there is none of that id.
    package func delete(_ resource: Resource, in transaction: PostgresTransaction) async throws -> Bool {
        let deleted = try await transaction.query(
            """
            DELETE FROM resource WHERE organization_id = \(resource.owner) AND id = \(resource.id) RETURNING id
            """)
        guard !deleted.isEmpty else { return false }
        try await transaction.query("SELECT release_resource(\(resource.canonicalURI))")
        return true
    }

    // MARK: Shared resources

    /// The shared resources that this organization enabled.
    package func admitted(by organization: OrganizationID) async throws -> [ResourceID] {
        try await database.read(
            organization,
            """
            SELECT resource_id FROM resource_admission WHERE organization_id = \(organization) AND status = 'active'
             ORDER BY resource_id
            """
        ) { try $0.id("resource_id") }
    }

    /// Enables or disables a shared resource for an organization.
    package func setAdmission(
        of resource: ResourceID, active: Bool, by organization: OrganizationID, at now: Date,
        in transaction: PostgresTransaction
    ) async throws {
        let status = active ? "active" : "disabled"
        try await transaction.query(
            """
            INSERT INTO resource_admission (organization_id, resource_id, status, created_at)
            VALUES (\(organization), \(resource), \(status), \(now))
            ON CONFLICT (organization_id, resource_id) DO UPDATE SET status = EXCLUDED.status
            """)
    }
}
