package import Foundation
package import Keys

/// A signing key as stored: one purpose, one owner, the private half sealed.
package struct SigningKeyRecord: Sendable, Equatable {
    package enum Purpose: String, Sendable, Codable, CaseIterable {
        case access, programmatic, audit, export, webhook
        case idToken = "id_token"
    }
    /// `published` keys are in the JWKS and sign nothing yet; `retired` ones stay there until their last token ended.
    package enum Status: String, Sendable, Codable, CaseIterable { case published, active, retired }

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
    /// The end of the last token it signed beside those whose short life is known anyway; nil when there was none.
    package let neededUntil: Date?

    package init(
        id: SigningKeyID, owner: OrganizationID, purpose: Purpose, resource: ResourceID?, algorithm: SigningAlgorithm,
        kid: String, publicKeyPEM: String, sealedPrivateKey: [UInt8]?, imported: Bool, status: Status, createdAt: Date,
        activatedAt: Date?, retiredAt: Date?, neededUntil: Date? = nil
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
        self.neededUntil = neededUntil
    }
}
