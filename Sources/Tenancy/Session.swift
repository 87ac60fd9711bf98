package import Foundation

/// A browser signed in to one organization.
package struct Session: Sendable, Equatable {
    package let id: SessionID
    package let user: UserID
    package let identityProvider: IdentityProviderID
    /// When the person last proved who they are.
    package let authTime: Date
    package let expiresAt: Date
    /// They showed more than one kind of factor.
    package let mfa: Bool
    /// The most the identity provider said they may have; nil when it said nothing.
    package let scopeCeiling: [String]?

    package init(
        id: SessionID, user: UserID, identityProvider: IdentityProviderID, authTime: Date, expiresAt: Date, mfa: Bool,
        scopeCeiling: [String]?
    ) {
        self.id = id
        self.user = user
        self.identityProvider = identityProvider
        self.authTime = authTime
        self.expiresAt = expiresAt
        self.mfa = mfa
        self.scopeCeiling = scopeCeiling
    }
}
