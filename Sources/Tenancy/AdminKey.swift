package import Foundation
package import Keys

/// A credential of the admin API, as stored; the secret itself is shown once and kept by its owner alone.
package struct AdminKey: Sendable, Equatable {
    package let id: AdminKeyID
    /// Where it works: one organization, or everywhere for the platform's own keys.
    package let organization: OrganizationID
    package let name: String
    package let secretDigest: SecretDigest
    package let scopes: [String]
    /// Address ranges it may be used from; empty means any.
    package let cidrs: [String]
    package let createdBy: String
    package let expiresAt: Date?
    package let lastUsedAt: Date?
    package let revokedAt: Date?
    package let version: Int64
    package let createdAt: Date

    package init(
        id: AdminKeyID, organization: OrganizationID, name: String, secretDigest: SecretDigest, scopes: [String],
        cidrs: [String], createdBy: String, expiresAt: Date?, lastUsedAt: Date?, revokedAt: Date?, version: Int64,
        createdAt: Date
    ) {
        self.id = id
        self.organization = organization
        self.name = name
        self.secretDigest = secretDigest
        self.scopes = scopes
        self.cidrs = cidrs
        self.createdBy = createdBy
        self.expiresAt = expiresAt
        self.lastUsedAt = lastUsedAt
        self.revokedAt = revokedAt
        self.version = version
        self.createdAt = createdAt
    }

    package func isLive(at now: Date) -> Bool {
        revokedAt == nil && expiresAt.map { $0 > now } ?? true
    }
}
