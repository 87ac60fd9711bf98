package import Foundation
import Keys

/// What a directory says of a person (RFC 7643 §4.1), as far as it is kept.
package struct DirectoryPerson: Sendable, Equatable {
    package struct Name: Sendable, Equatable, Codable {
        package var formatted: String?
        package var familyName: String?
        package var givenName: String?
        package var middleName: String?
        package var honorificPrefix: String?
        package var honorificSuffix: String?

        package init() {}
    }

    package struct Email: Sendable, Equatable, Codable {
        package let value: String
        package let type: String?
        package let display: String?
        package let primary: Bool?

        package init(value: String, type: String? = nil, display: String? = nil, primary: Bool? = nil) {
            self.value = value
            self.type = type
            self.display = display
            self.primary = primary
        }
    }

    /// Unique in the organization without regard to case.
    package var userName: String
    package var externalID: String?
    package var displayName: String?
    package var name = Name()
    package var emails: [Email] = []
    package var isActive = true

    package init(userName: String) {
        self.userName = userName
    }

    /// The address that stands for the person here.
    package var mainEmail: String? { (emails.first { $0.primary == true } ?? emails.first)?.value }
}

/// A user as the directory of the organization sees them.
package struct DirectoryUser: Sendable, Equatable {
    package struct GroupReference: Sendable, Equatable {
        package let id: GroupID
        package let name: String
    }

    package let id: UserID
    package let person: DirectoryPerson
    package let groups: [GroupReference]
    package let version: Int64
    package let createdAt: Date
    package let updatedAt: Date

    package init(
        id: UserID, person: DirectoryPerson, groups: [GroupReference] = [], version: Int64, createdAt: Date,
        updatedAt: Date
    ) {
        self.id = id
        self.person = person
        self.groups = groups
        self.version = version
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}

extension DirectoryUser {
    /// Tells this state from every other that the directory saw: what is written of a user, and the groups they are in,
    /// which are a part of them there (RFC 7643 §4.1.2) and change without the user being written. A number that means
    /// nothing else.
    package var tag: Int64 {
        guard !groups.isEmpty else { return version }
        let state = "\(version)" + groups.map { "\n\($0.id) \($0.name)" }.joined()
        return Int64(sha256(state).prefix(7).reduce(1) { $0 << 8 | UInt64($1) })
    }
}

/// A group as the directory of the organization sees it.
package struct DirectoryGroup: Sendable, Equatable {
    package let group: Group
    /// nil where they were not asked for, or are too many to be told at once.
    package let members: [UserID]?

    package init(group: Group, members: [UserID]?) {
        self.group = group
        self.members = members
    }
}

/// What of a user or a group a directory may filter and sort by; the raw value is its path (RFC 7643).
package enum DirectoryAttribute: String, Sendable, CaseIterable {
    case id
    case externalID = "externalId"
    case userName
    case displayName
    case active
    case formattedName = "name.formatted"
    case familyName = "name.familyName"
    case givenName = "name.givenName"
    case middleName = "name.middleName"
    case honorificPrefix = "name.honorificPrefix"
    case honorificSuffix = "name.honorificSuffix"
    case email = "emails.value"
    case emailType = "emails.type"
    case emailDisplay = "emails.display"
    case emailPrimary = "emails.primary"
    case group = "groups.value"
    case groupName = "groups.display"
    case member = "members.value"
    case created = "meta.created"
    case lastModified = "meta.lastModified"

    package enum Kind: Sendable { case text, exactText, bool, time, id }

    package var kind: Kind {
        switch self {
        case .id, .group, .member: .id
        case .externalID: .exactText
        case .active, .emailPrimary: .bool
        case .created, .lastModified: .time
        default: .text
        }
    }

    /// The list it belongs to an element of, where it does.
    package var collection: Collection? {
        switch self {
        case .email, .emailType, .emailDisplay, .emailPrimary: .emails
        case .group, .groupName: .groups
        case .member: .members
        default: nil
        }
    }

    package enum Collection: String, Sendable { case emails, groups, members }
}

/// Which users or groups are meant (RFC 7644 §3.4.2.2): checked, and as deep as whoever made it allowed.
package indirect enum DirectoryFilter: Sendable, Equatable {
    package enum Comparison: String, Sendable { case eq, ne, co, sw, ew, gt, ge, lt, le }

    package enum Value: Sendable, Equatable {
        case text(String)
        case bool(Bool)
        case time(Date)
        /// nil for what nobody can have.
        case id(UUID?)
    }

    case all([DirectoryFilter])
    case either([DirectoryFilter])
    case not(DirectoryFilter)
    case compare(DirectoryAttribute, Comparison, Value)
    case present(DirectoryAttribute)
    /// Some element of a list fits.
    case element(DirectoryAttribute.Collection, DirectoryFilter)
    /// Some element is there at all.
    case nonEmpty(DirectoryAttribute.Collection)
}

/// A page of a directory's list (RFC 7644 §3.4.2.4): the one place where pages are counted from the beginning.
package struct DirectoryQuery: Sendable {
    package var filter: DirectoryFilter?
    package var sort: DirectoryAttribute?
    package var isDescending = false
    package var offset = 0
    package var limit: Int
    /// Groups come with their members.
    package var withMembers = true

    package init(limit: Int) {
        self.limit = limit
    }
}
