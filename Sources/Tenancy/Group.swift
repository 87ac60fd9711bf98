package import Foundation

/// Some people of one organization under a name, so that policy can speak of them together.
package struct Group: Sendable, Equatable {
    package let id: GroupID
    /// Unique in the organization without regard to case.
    package var name: String
    /// What the directory that provisions it calls it.
    package var externalID: String?
    package let version: Int64
    package let createdAt: Date
    package let updatedAt: Date

    package init(
        id: GroupID, name: String, externalID: String? = nil, version: Int64, createdAt: Date, updatedAt: Date
    ) {
        self.id = id
        self.name = name
        self.externalID = externalID
        self.version = version
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

/// A user in a group.
package struct GroupMember: Sendable, Equatable {
    package let user: UserID
    package let addedAt: Date
}
