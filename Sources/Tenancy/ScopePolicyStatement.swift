package import Foundation

/// One rule of an organization: which principals may have which scopes of which resources through which clients.
package struct ScopePolicyStatement: Sendable, Equatable {
    package enum Effect: String, Sendable, Codable, CaseIterable { case allow, deny }

    /// Whom it speaks of. Members are alternatives; an empty value names nobody.
    package struct Principals: Sendable, Equatable, Codable {
        package var everyone: Bool
        package var users: [UserID]
        package var groups: [GroupID]
        package var roles: [RoleID]
        /// Client ids of service clients.
        package var services: [String]

        package init(
            everyone: Bool = false, users: [UserID] = [], groups: [GroupID] = [], roles: [RoleID] = [],
            services: [String] = []
        ) {
            self.everyone = everyone
            self.users = users
            self.groups = groups
            self.roles = roles
            self.services = services
        }

        private enum CodingKeys: String, CodingKey { case everyone, users, groups, roles, services }

        package init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: CodingKeys.self)
            everyone = try values.decodeIfPresent(Bool.self, forKey: .everyone) ?? false
            users = try values.decodeIfPresent([UserID].self, forKey: .users) ?? []
            groups = try values.decodeIfPresent([GroupID].self, forKey: .groups) ?? []
            roles = try values.decodeIfPresent([RoleID].self, forKey: .roles) ?? []
            services = try values.decodeIfPresent([String].self, forKey: .services) ?? []
        }
    }

    /// Through which clients it applies; every member that is present must match, none present means any client.
    package struct Clients: Sendable, Equatable, Codable {
        package var kinds: [Client.Kind]?
        /// Wire ids.
        package var ids: [String]?
        /// Hosts of metadata documents and https redirect URIs.
        package var hosts: [String]?

        package init(kinds: [Client.Kind]? = nil, ids: [String]? = nil, hosts: [String]? = nil) {
            self.kinds = kinds
            self.ids = ids
            self.hosts = hosts
        }
    }

    /// When it applies; every member that is present must hold.
    package struct Conditions: Sendable, Equatable, Codable {
        /// CIDR ranges that hold the caller's address.
        package var ipRanges: [String]?
        package var maxAuthAgeSeconds: Int?
        /// The person signed in with more than one factor.
        package var mfa: Bool?
        package var validFrom: Date?
        package var validUntil: Date?
        /// The token is asked for in exchange for one of these other resources (RFC 8693). An `allow` with this condition
        /// names what may be exchanged for what; it gives nobody more than the rest of the policy does.
        package var exchangedFrom: [ResourceID]?

        package init(
            ipRanges: [String]? = nil, maxAuthAgeSeconds: Int? = nil, mfa: Bool? = nil, validFrom: Date? = nil,
            validUntil: Date? = nil, exchangedFrom: [ResourceID]? = nil
        ) {
            self.ipRanges = ipRanges
            self.maxAuthAgeSeconds = maxAuthAgeSeconds
            self.mfa = mfa
            self.validFrom = validFrom
            self.validUntil = validUntil
            self.exchangedFrom = exchangedFrom
        }

        private enum CodingKeys: String, CodingKey {
            case ipRanges = "ip_ranges"
            case maxAuthAgeSeconds = "max_auth_age_seconds"
            case mfa
            case validFrom = "valid_from"
            case validUntil = "valid_until"
            case exchangedFrom = "exchanged_from"
        }
    }

    package let id: ScopePolicyID
    /// Unique in the organization; what traces and refusals call it.
    package var name: String
    package var effect: Effect
    package var principals: Principals
    package var clients: Clients
    /// `res_…` ids; empty means every resource.
    package var resources: [ResourceID]
    /// Exact names, or a prefix and `*`.
    package var scopes: [String]
    package var conditions: Conditions
    package let version: Int64
    package let createdAt: Date
    package let updatedAt: Date

    package init(
        id: ScopePolicyID, name: String, effect: Effect, principals: Principals, clients: Clients,
        resources: [ResourceID], scopes: [String], conditions: Conditions, version: Int64, createdAt: Date,
        updatedAt: Date
    ) {
        self.id = id
        self.name = name
        self.effect = effect
        self.principals = principals
        self.clients = clients
        self.resources = resources
        self.scopes = scopes
        self.conditions = conditions
        self.version = version
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}
