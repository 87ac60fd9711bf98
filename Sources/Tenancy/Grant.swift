package import Foundation
package import Keys
import Postgres

/// One connection: what a user gave a client for a resource, with the one family of refresh tokens that keeps it alive.
package struct Grant: Sendable, Equatable {
    package enum Status: String, Sendable, Codable, CaseIterable { case active, revoked }

    /// Where the family of refresh tokens stands; absent when the client was given none.
    package struct Family: Sendable, Equatable {
        package let familyDigest: SecretDigest
        package let currentDigest: SecretDigest
        package let previousDigest: SecretDigest?
        package let previousAt: Date?
        package let generation: Int
        package let sealedSuccessor: [UInt8]?

        package init(
            familyDigest: SecretDigest, currentDigest: SecretDigest, previousDigest: SecretDigest?,
            previousAt: Date?, generation: Int, sealedSuccessor: [UInt8]?
        ) {
            self.familyDigest = familyDigest
            self.currentDigest = currentDigest
            self.previousDigest = previousDigest
            self.previousAt = previousAt
            self.generation = generation
            self.sealedSuccessor = sealedSuccessor
        }
    }

    package let id: GrantID
    /// The issuer that made it; its codes and refresh tokens work there alone.
    package let issuer: OrganizationID
    package let user: UserID
    package let client: ClientID
    package let resource: ResourceID
    /// What was granted, implications not expanded.
    package let scope: [String]
    package let status: Status
    package let authTime: Date
    package let family: Family?
    /// The person had shown more than one kind of factor.
    package let mfa: Bool
    /// The most the identity provider said the person may have; nil when it said nothing.
    package let upstreamCeiling: [String]?
    /// The key that goes with every refresh token (RFC 9449 §5); nil where the client authenticates, or proved none.
    package let boundKey: String?
    package let version: Int64
    package let createdAt: Date
    package let lastUsedAt: Date
    package let idleExpiresAt: Date
    package let expiresAt: Date

    package init(
        id: GrantID, issuer: OrganizationID, user: UserID, client: ClientID, resource: ResourceID, scope: [String],
        status: Status, authTime: Date, family: Family?, mfa: Bool, upstreamCeiling: [String]?, boundKey: String?,
        version: Int64,
        createdAt: Date, lastUsedAt: Date,
        idleExpiresAt: Date, expiresAt: Date
    ) {
        self.id = id
        self.issuer = issuer
        self.user = user
        self.client = client
        self.resource = resource
        self.scope = scope
        self.status = status
        self.authTime = authTime
        self.family = family
        self.mfa = mfa
        self.upstreamCeiling = upstreamCeiling
        self.boundKey = boundKey
        self.version = version
        self.createdAt = createdAt
        self.lastUsedAt = lastUsedAt
        self.idleExpiresAt = idleExpiresAt
        self.expiresAt = expiresAt
    }

    package func isLive(at now: Date) -> Bool {
        status == .active && expiresAt > now && idleExpiresAt > now
    }

    /// Whether it lives by what its organization wants by now, too: shorter lifetimes end older connections, longer ones
    /// leave them the end they were given.
    package func isLive(at now: Date, under settings: OrganizationSettings) -> Bool {
        isLive(at: now) && createdAt + Double(settings.grantLifetimeSeconds) > now
            && lastUsedAt + Double(settings.grantIdleLifetimeSeconds) > now
    }
}

/// Which grants are meant; absent members select nothing.
package struct GrantFilter: Sendable, Equatable {
    package var user: UserID?
    package var client: ClientID?
    package var resource: ResourceID?
    package var status: Grant.Status?

    package init(user: UserID? = nil, client: ClientID? = nil, resource: ResourceID? = nil, status: Grant.Status? = nil)
    {
        self.user = user
        self.client = client
        self.resource = resource
        self.status = status
    }

    /// Written out only where they are there, so that each combination is planned for itself.
    var conditions: SQL {
        var conditions: SQL = ""
        if let user { conditions = "\(conditions) AND user_id = \(user)" }
        if let client { conditions = "\(conditions) AND client_id = \(client)" }
        if let resource { conditions = "\(conditions) AND resource_id = \(resource)" }
        if let status { conditions = "\(conditions) AND status = \(status.rawValue)" }
        return conditions
    }
}
