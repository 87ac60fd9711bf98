package import Foundation

/// An access token that an administrator issued by name, for a person or a service; the token itself is not kept.
package struct ProgrammaticToken: Sendable, Equatable {
    /// Whom it speaks for.
    package enum Principal: Sendable, Equatable {
        case user(UserID)
        case service(ClientID)
    }

    /// Its `jti` and its `client_id`.
    package let id: TokenID
    package let name: String
    package let principal: Principal
    /// The issuer it names; the platform's id stands for the platform issuer.
    package let issuer: OrganizationID
    package let resource: ResourceID
    package let signingKey: SigningKeyID
    /// As in the token: what the scopes imply included.
    package let scope: [String]
    /// Who made it, as the log names them.
    package let createdBy: String
    package let createdAt: Date
    package let expiresAt: Date
    package let revokedAt: Date?

    package init(
        id: TokenID, name: String, principal: Principal, issuer: OrganizationID, resource: ResourceID,
        signingKey: SigningKeyID, scope: [String], createdBy: String, createdAt: Date, expiresAt: Date, revokedAt: Date?
    ) {
        self.id = id
        self.name = name
        self.principal = principal
        self.issuer = issuer
        self.resource = resource
        self.signingKey = signingKey
        self.scope = scope
        self.createdBy = createdBy
        self.createdAt = createdAt
        self.expiresAt = expiresAt
        self.revokedAt = revokedAt
    }
}
