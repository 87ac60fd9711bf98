package import Foundation
import Keys
import Postgres

/// The history of what decides access. It is written by triggers alone; nobody who serves can change it.
package struct AccessHistoryStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    /// Since when the organization's history is kept.
    package func beginning(of organization: OrganizationID) async throws -> Date? {
        try await database.read(
            organization,
            """
            SELECT min(h.valid_from) AS beginning FROM access_history h
             WHERE h.organization_id = \(organization) AND h.kind = 'organization'
            """
        ) { try $0.decode("beginning", as: Date?.self) }.first ?? nil
    }

    // MARK: Rules

    /// - Returns: nil when the organization was not there.
    package func rules(of organization: OrganizationID, at moment: Date) async throws -> AccessRules? {
        guard let own = try await self.organization(organization, at: moment) else { return nil }
        async let registered = clients(of: organization, for: organization, at: moment)
        async let resources = resources(of: organization, at: moment)
        async let shared = self.resources(of: .platform, at: moment)
        async let admitted = admittedResources(of: organization, at: moment)
        async let policy = ScopePolicyStore(database: database).read(organization, at: moment)
        let admissions = try await admissions(of: organization, at: moment)
        let met = admissions.filter { $0.registry != organization }
        let platform = try await clients(
            of: .platform, among: met.map(\.client), for: organization, at: moment)
        return AccessRules(
            status: own.status, settings: own.settings, clients: try await registered + platform,
            admissions: Dictionary(uniqueKeysWithValues: admissions.map { ($0.client, $0.status) }),
            resources: try await resources + shared, admittedResources: Set(try await admitted),
            policy: try await policy)
    }

    private func organization(
        _ organization: OrganizationID, at moment: Date
    ) async throws -> (status: Organization.Status, settings: OrganizationSettings)? {
        try await database.read(
            organization,
            """
            SELECT h.state ->> 'status' AS status, jsonb_strip_nulls(jsonb_build_object(
                       'onboarding', h.state -> 'settings.onboarding',
                       'approval_required_for', h.state -> 'settings.approval_required_for',
                       'grant_lifetime_seconds', h.state -> 'settings.grant_lifetime_seconds',
                       'grant_idle_lifetime_seconds', h.state -> 'settings.grant_idle_lifetime_seconds')) AS settings
              FROM access_history h WHERE \(held(.organization, in: organization, at: moment))
            """
        ) { row in
            (
                try row.word("status", of: Organization.Status.self),
                try row.decodeJSON("settings", as: OrganizationSettings.self)
            )
        }.first
    }

    /// - Parameter some: those of these ids; nil: all of the registry.
    private func clients(
        of registry: OrganizationID, among some: [ClientID]? = nil, for asker: OrganizationID, at moment: Date
    ) async throws -> [Client] {
        if let some, some.isEmpty { return [] }
        let ids = some?.map { $0.uuid.historyKey }
        return try await database.search(
            registry, for: asker,
            """
            SELECT h.id::uuid AS id, h.organization_id, h.valid_from, r.kind, r.status, r.scope_ceiling, r.redirect_uris,
                   r.document_url, r.preregistered
              FROM access_history h, jsonb_populate_record(NULL::client, h.state) r
             WHERE \(held(.client, in: registry, at: moment)) AND (\(ids)::text[] IS NULL OR h.id = ANY(\(ids)))
            """, as: Client.init(historic:))
    }

    private func admissions(
        of organization: OrganizationID, at moment: Date
    ) async throws -> [(client: ClientID, registry: OrganizationID, status: ClientAdmission.Status)] {
        try await database.read(
            organization,
            """
            SELECT h.id::uuid AS client_id, (h.state ->> 'registry_organization_id')::uuid AS registry,
                   h.state ->> 'status' AS status
              FROM access_history h WHERE \(held(.clientAdmission, in: organization, at: moment))
            """
        ) { row in
            (
                try row.id("client_id"), try row.id("registry"),
                try row.word("status", of: ClientAdmission.Status.self)
            )
        }
    }

    private func resources(of owner: OrganizationID, at moment: Date) async throws -> [Resource] {
        try await database.read(
            owner,
            """
            SELECT h.id::uuid AS id, h.organization_id, h.valid_from, r.uri, r.status, r.scopes, r.scope_implications,
                   r.accepted_issuers
              FROM access_history h, jsonb_populate_record(NULL::resource, h.state) r
             WHERE \(held(.resource, in: owner, at: moment))
            """, as: Resource.init(historic:))
    }

    private func admittedResources(of organization: OrganizationID, at moment: Date) async throws -> [ResourceID] {
        try await database.read(
            organization,
            """
            SELECT h.id::uuid AS id FROM access_history h
             WHERE \(held(.resourceAdmission, in: organization, at: moment)) AND h.state ->> 'status' = 'active'
            """
        ) { try $0.id("id") }
    }

    // MARK: People

    package func count(_ filter: AccessReview.Filter, of organization: OrganizationID, at moment: Date) async throws
        -> Int
    {
        try await database.search(
            organization, "SELECT count(*) AS count FROM access_history h WHERE \(users(filter, organization, moment))"
        ) { try $0.decode("count", as: Int.self) }.first ?? 0
    }

    /// Users with their groups, roles and grants, in the order of their ids.
    ///
    /// - Parameter first: the least id of the page.
    package func people(
        _ filter: AccessReview.Filter, from first: UserID?, limit: Int, of organization: OrganizationID, at moment: Date
    ) async throws -> [PastUser] {
        let first = first?.uuid.historyKey ?? ""
        let users = try await database.search(
            organization,
            """
            SELECT h.id::uuid AS id, h.state ->> 'status' AS status FROM access_history h
             WHERE \(users(filter, organization, moment)) AND h.id >= \(first)
             ORDER BY h.id LIMIT \(limit)
            """
        ) { PastUser(id: try $0.id("id"), status: try $0.word("status")) }
        guard let first = users.first?.id, let last = users.last?.id else { return [] }
        let range = "\(first.uuid.historyKey)/"..."\(last.uuid.historyKey)/~"
        async let memberships = pairs(.groupMember, range, of: organization, at: moment)
        async let bindings = pairs(.roleBinding, range, of: organization, at: moment)
        async let ofGroups = groupRoles(of: organization, at: moment)
        async let grants = grants(of: users.map(\.id), in: organization, at: moment)
        let (groups, roles, rolesOfGroups) = (try await memberships, try await bindings, try await ofGroups)
        let grantsOfUsers = Dictionary(grouping: try await grants, by: \.user)
        return users.map { user in
            var user = user
            let own = (groups[user.id.uuid] ?? []).map { GroupID($0) }
            let direct = (roles[user.id.uuid] ?? []).map { RoleID($0) }
            let indirect = own.flatMap { rolesOfGroups[$0] ?? [] }
            user.membership = Membership(groups: own, roles: Set(direct + indirect).sorted())
            user.grants = grantsOfUsers[user.id] ?? []
            return user
        }
    }

    /// Whether the organization had such a group.
    package func hadGroup(_ group: GroupID, in organization: OrganizationID, at moment: Date) async throws -> Bool {
        try await !database.read(
            organization,
            """
            SELECT 1 AS one FROM access_history h
             WHERE \(held(.group, in: organization, at: moment)) AND h.id = \(group.uuid.historyKey)
            """
        ) { _ in true }.isEmpty
    }

    private func users(_ filter: AccessReview.Filter, _ organization: OrganizationID, _ moment: Date) -> SQL {
        var condition = held(.user, in: organization, at: moment)
        if let user = filter.user { condition = "\(condition) AND h.id = \(user.uuid.historyKey)" }
        if let group = filter.group {
            condition = """
                \(condition) AND EXISTS (
                    SELECT FROM access_history m
                     WHERE m.organization_id = \(organization) AND m.kind = 'group_member'
                       AND m.id = h.id || \("/" + group.uuid.historyKey)
                       AND m.valid_from <= \(moment) AND m.valid_until > \(moment))
                """
        }
        return condition
    }

    /// What belongs to principals whose keys lie in a range, by principal.
    private func pairs(
        _ kind: Kind, _ range: ClosedRange<String>, of organization: OrganizationID, at moment: Date
    ) async throws -> [UUID: [UUID]] {
        let rows = try await database.search(
            organization,
            """
            SELECT split_part(h.id, '/', 1)::uuid AS principal, split_part(h.id, '/', 2)::uuid AS other
              FROM access_history h WHERE \(held(kind, in: organization, at: moment))
               AND h.id BETWEEN \(range.lowerBound) AND \(range.upperBound) ORDER BY h.id
            """
        ) { (try $0.decode("principal", as: UUID.self), try $0.decode("other", as: UUID.self)) }
        return Dictionary(grouping: rows, by: \.0).mapValues { $0.map(\.1) }
    }

    /// The roles that came with being in a group.
    private func groupRoles(of organization: OrganizationID, at moment: Date) async throws -> [GroupID: [RoleID]] {
        let rows = try await database.search(
            organization,
            """
            SELECT (h.state ->> 'group_id')::uuid AS group_id, split_part(h.id, '/', 2)::uuid AS role_id
              FROM access_history h
             WHERE \(held(.roleBinding, in: organization, at: moment)) AND h.state ->> 'group_id' IS NOT NULL
            """
        ) { (try $0.id("group_id", of: GroupID.self), try $0.id("role_id", of: RoleID.self)) }
        return Dictionary(grouping: rows, by: \.0).mapValues { $0.map(\.1) }
    }

    /// Grants that had begun and were not revoked. Those that live say so themselves; history has the others. One statement,
    /// so that none is missed that ends meanwhile.
    private func grants(
        of users: [UserID], in organization: OrganizationID, at moment: Date
    ) async throws -> [PastGrant] {
        try await database.search(
            organization,
            """
            SELECT g.id, g.user_id, g.client_id, g.resource_id, g.scope, g.created_at, g.last_used_at, g.idle_expires_at,
                   g.expires_at
              FROM "grant" g WHERE g.organization_id = \(organization) AND g.user_id = ANY(\(users.map(\.uuid)))
               AND g.status = 'active' AND g.created_at <= \(moment)
               AND NOT EXISTS (SELECT FROM access_history h
                                WHERE \(held(.grant, in: organization, at: moment)) AND h.id = g.id::text)
            UNION ALL
            SELECT h.id::uuid, r.user_id, r.client_id, r.resource_id, r.scope, r.created_at, r.last_used_at,
                   r.idle_expires_at, r.expires_at
              FROM access_history h, jsonb_populate_record(NULL::"grant", h.state) r
             WHERE \(held(.grant, in: organization, at: moment))
               AND h.state ->> 'user_id' = ANY(\(users.map { $0.uuid.historyKey }))
            ORDER BY id
            """, as: PastGrant.init(row:))
    }

    // MARK: Rows of the history

    /// The tables it is of.
    fileprivate enum Kind: String {
        case organization, user, client, resource, group, grant
        case clientAdmission = "client_admission"
        case resourceAdmission = "resource_admission"
        case groupMember = "group_member"
        case roleBinding = "role_binding"
    }

    /// That a row `h` of the history tells what held at a moment.
    private func held(_ kind: Kind, in organization: OrganizationID, at moment: Date) -> SQL {
        """
        h.organization_id = \(organization) AND h.kind = \(kind.rawValue) AND h.valid_from <= \(moment)
        AND h.valid_until > \(moment)
        """
    }
}

extension UUID {
    /// As the history writes keys.
    fileprivate var historyKey: String { uuidString.lowercased() }
}

extension Client {
    /// A client of which only that is known which decides.
    fileprivate init(historic row: Row) throws {
        let since = try row.decode("valid_from", as: Date.self)
        self.init(
            id: try row.id("id"), registry: try row.id("organization_id"), kind: try row.word("kind"), name: "",
            redirectURIs: try row.decode("redirect_uris"), grantTypes: [], responseTypes: [],
            authenticationMethod: .none, applicationType: nil, scopeCeiling: try row.decode("scope_ceiling"),
            clientURI: nil, logoURI: nil, policyURI: nil, tosURI: nil, documentURL: try row.decode("document_url"),
            secretDigest: nil, registrationTokenDigest: nil, status: try row.word("status"), expiresAt: nil, version: 1,
            createdAt: since, updatedAt: since,
            document: Document(
                digest: [], fetchedAt: since, freshUntil: since, isPreregistered: try row.decode("preregistered")))
    }
}

extension Resource {
    /// A resource of which only that is known which decides.
    fileprivate init(historic row: Row) throws {
        let since = try row.decode("valid_from", as: Date.self)
        self.init(
            id: try row.id("id"), owner: try row.id("organization_id"), uri: try row.decode("uri"), name: "",
            scopes: try row.decodeJSON("scopes", as: [Scope].self),
            scopeImplications: try row.decodeJSON("scope_implications", as: [String: [String]].self),
            algorithm: .es256, accessTokenLifetimeSeconds: 600,
            acceptedIssuers: try row.decode("accepted_issuers", as: [UUID].self).map { OrganizationID($0) },
            listed: false, tenantUnaware: false, dedicatedKey: false, status: try row.word("status"), version: 1,
            createdAt: since, updatedAt: since)
    }
}

extension PastGrant {
    fileprivate init(row: Row) throws {
        self.init(
            id: try row.id("id"), user: try row.id("user_id"), client: try row.id("client_id"),
            resource: try row.id("resource_id"), scope: try row.decode("scope"),
            createdAt: try row.decode("created_at"), lastUsedAt: try row.decode("last_used_at"),
            idleExpiresAt: try row.decode("idle_expires_at"), expiresAt: try row.decode("expires_at"))
    }
}
