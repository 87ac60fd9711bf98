package import Foundation

/// A person in one organization; the same person in two organizations is two users.
package struct User: Sendable, Equatable {
    package enum Status: String, Sendable, Codable, CaseIterable { case active, disabled }

    package let id: UserID
    /// As the organization wrote it; unique in the organization without regard to case.
    package var email: String?
    package var emailVerified: Bool
    package var name: String?
    package var status: Status
    package let version: Int64
    package let createdAt: Date
    package let updatedAt: Date

    package init(
        id: UserID, email: String?, emailVerified: Bool, name: String?, status: Status, version: Int64,
        createdAt: Date, updatedAt: Date
    ) {
        self.id = id
        self.email = email
        self.emailVerified = emailVerified
        self.name = name
        self.status = status
        self.version = version
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

/// Who somebody is at an identity provider: the key that sign-in looks up, in which e-mail has no part.
package struct IdentityKey: Sendable, Hashable {
    package let identityProvider: IdentityProviderID
    /// The population the subject belongs to, such as a Stytch project and organization.
    package let provider: String
    package let subject: String

    package init(identityProvider: IdentityProviderID, provider: String, subject: String) {
        self.identityProvider = identityProvider
        self.provider = provider
        self.subject = subject
    }
}

/// An ``IdentityKey`` and the user it stands for.
package struct LinkedIdentity: Sendable, Equatable {
    package let key: IdentityKey
    package let user: UserID
    package let createdAt: Date

    package init(key: IdentityKey, user: UserID, createdAt: Date) {
        self.key = key
        self.user = user
        self.createdAt = createdAt
    }
}

/// A way in that an administrator opened for one e-mail address: single use, expiring.
package struct Invitation: Sendable, Equatable {
    package let id: InvitationID
    package let email: String
    package let name: String?
    /// What whoever accepts it gets.
    package let groups: [GroupID]
    package let roles: [RoleID]
    package let createdBy: String
    package let createdAt: Date
    package let expiresAt: Date
    package let acceptedAt: Date?
    package let revokedAt: Date?

    package init(
        id: InvitationID, email: String, name: String?, groups: [GroupID] = [], roles: [RoleID] = [], createdBy: String,
        createdAt: Date, expiresAt: Date, acceptedAt: Date?, revokedAt: Date?
    ) {
        self.id = id
        self.email = email
        self.name = name
        self.groups = groups
        self.roles = roles
        self.createdBy = createdBy
        self.createdAt = createdAt
        self.expiresAt = expiresAt
        self.acceptedAt = acceptedAt
        self.revokedAt = revokedAt
    }
}
