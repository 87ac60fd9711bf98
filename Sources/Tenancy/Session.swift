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
    package let createdAt: Date
    /// By the minute; nil until it was used after the sign-in that began it.
    package let lastUsedAt: Date?
    package let revokedAt: Date?

    package init(
        id: SessionID, user: UserID, identityProvider: IdentityProviderID, authTime: Date, expiresAt: Date, mfa: Bool,
        scopeCeiling: [String]?, createdAt: Date, lastUsedAt: Date? = nil, revokedAt: Date? = nil
    ) {
        self.id = id
        self.user = user
        self.identityProvider = identityProvider
        self.authTime = authTime
        self.expiresAt = expiresAt
        self.mfa = mfa
        self.scopeCeiling = scopeCeiling
        self.createdAt = createdAt
        self.lastUsedAt = lastUsedAt
        self.revokedAt = revokedAt
    }

    /// Whether it counts by what its organization wants by now: shorter times and more factors end older sessions, longer
    /// ones leave them the end they were given.
    package func isAccepted(under settings: OrganizationSettings, at now: Date) -> Bool {
        func lasts(since moment: Date, for seconds: Int?) -> Bool { seconds.map { moment + Double($0) > now } ?? true }
        return revokedAt == nil && expiresAt > now && (mfa || !settings.mfaRequired)
            && lasts(since: createdAt, for: settings.sessionLifetimeSeconds)
            && lasts(since: lastUsedAt ?? createdAt, for: settings.sessionIdleLifetimeSeconds)
            && lasts(since: authTime, for: settings.maxAuthenticationAgeSeconds)
    }
}
