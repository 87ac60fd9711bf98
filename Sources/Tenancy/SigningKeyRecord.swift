package import Foundation
package import Keys

/// A signing key as stored: one purpose, one owner, the private half sealed.
package struct SigningKeyRecord: Sendable, Equatable {
    package enum Purpose: String, Sendable, Codable, CaseIterable {
        case access, programmatic, audit, export, webhook
        case idToken = "id_token"
    }
    /// `published` keys are in the JWKS and sign nothing yet; `retired` ones stay there until their last token ended.
    package enum Status: String, Sendable, Codable { case published, active, retired }

    package let id: SigningKeyID
    package let owner: OrganizationID
    package let purpose: Purpose
    /// Set where the key signs for this resource alone; such a key is never in an issuer's JWKS.
    package let resource: ResourceID?
    package let algorithm: SigningAlgorithm
    package let kid: String
    /// Subject public key info (RFC 7468 §13).
    package let publicKeyPEM: String
    /// PKCS#8, sealed; nil while only the public half is known.
    package let sealedPrivateKey: [UInt8]?
    package let imported: Bool
    package let status: Status
    package let createdAt: Date
    package let activatedAt: Date?
    package let retiredAt: Date?

    package init(
        id: SigningKeyID, owner: OrganizationID, purpose: Purpose, resource: ResourceID?, algorithm: SigningAlgorithm,
        kid: String, publicKeyPEM: String, sealedPrivateKey: [UInt8]?, imported: Bool, status: Status, createdAt: Date,
        activatedAt: Date?, retiredAt: Date?
    ) {
        self.id = id
        self.owner = owner
        self.purpose = purpose
        self.resource = resource
        self.algorithm = algorithm
        self.kid = kid
        self.publicKeyPEM = publicKeyPEM
        self.sealedPrivateKey = sealedPrivateKey
        self.imported = imported
        self.status = status
        self.createdAt = createdAt
        self.activatedAt = activatedAt
        self.retiredAt = retiredAt
    }
}

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
