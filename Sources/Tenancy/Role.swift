package import Foundation

/// A kind of person in one organization: scope policies may name it, and it stands for admin access.
package struct Role: Sendable, Equatable {
    /// The roles every organization has.
    package enum BuiltIn: String, Sendable, CaseIterable { case owner, admin, auditor, member }

    /// What makes it what it is. What a built-in role stands for is known to the program and never stored.
    package enum Kind: Sendable, Equatable {
        case builtIn(BuiltIn)
        /// The organization's own, with the admin scopes it stands for.
        case custom(adminScopes: [String])
    }

    package let id: RoleID
    /// Unique in the organization without regard to case.
    package var name: String
    package var description: String?
    package var kind: Kind
    package let version: Int64
    package let createdAt: Date
    package let updatedAt: Date

    package init(
        id: RoleID, name: String, description: String?, kind: Kind, version: Int64, createdAt: Date, updatedAt: Date
    ) {
        self.id = id
        self.name = name
        self.description = description
        self.kind = kind
        self.version = version
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

/// That somebody has a role.
package struct RoleBinding: Sendable, Equatable {
    package enum Principal: Sendable, Hashable {
        case user(UserID)
        /// Whoever is in the group, as long as they are.
        case group(GroupID)

        /// The id on the wire.
        package var id: String {
            switch self {
            case .user(let user): user.description
            case .group(let group): group.description
            }
        }

        package var uuid: UUID {
            switch self {
            case .user(let user): user.uuid
            case .group(let group): group.uuid
            }
        }
    }

    package let role: RoleID
    package let principal: Principal
    package let createdBy: String
    package let createdAt: Date

    package init(role: RoleID, principal: Principal, createdBy: String, createdAt: Date) {
        self.role = role
        self.principal = principal
        self.createdBy = createdBy
        self.createdAt = createdAt
    }
}
