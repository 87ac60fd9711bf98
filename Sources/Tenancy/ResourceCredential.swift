package import Foundation
package import Keys

/// What a protected resource proves itself with when it asks whether a token works (RFC 7662 §2.1).
package struct ResourceCredential: Sendable, Equatable {
    package enum Proof: Sendable, Equatable {
        case secret(SecretDigest)
        /// It signs assertions (RFC 7523) with one of these keys.
        case keys(JWKSet)
    }

    /// `client_id` on the wire.
    package let id: ResourceCredentialID
    package let resource: ResourceID
    package let name: String
    package let proof: Proof
    /// Who made it, as the log names them.
    package let createdBy: String
    package let createdAt: Date

    package init(
        id: ResourceCredentialID, resource: ResourceID, name: String, proof: Proof, createdBy: String,
        createdAt: Date
    ) {
        self.id = id
        self.resource = resource
        self.name = name
        self.proof = proof
        self.createdBy = createdBy
        self.createdAt = createdAt
    }
}
