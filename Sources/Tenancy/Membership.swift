import Postgres

/// What a user belongs to, as far as policy asks.
package struct Membership: Sendable, Equatable, Codable {
    package let groups: [GroupID]
    package let roles: [RoleID]

    package init(groups: [GroupID] = [], roles: [RoleID] = []) {
        self.groups = groups
        self.roles = roles
    }
}

/// A ``Membership`` as it stood at an epoch of its organization.
///
/// Whatever changes a membership moves the epoch, so what was read at one holds exactly as long as that one stands: a
/// decision that rests on it is issued under an ``EpochGuard`` of the same epoch.
package struct DatedMembership: Sendable, Equatable, Codable {
    package let membership: Membership
    package let epoch: Int64

    package init(_ membership: Membership, epoch: Int64) {
        self.membership = membership
        self.epoch = epoch
    }

    /// Columns for a statement in which `$1` is the organization, so that whoever reads a user reads this with it.
    ///
    /// - Parameter user: what names the user's id there.
    static func columns(of user: String) -> String {
        """
        ARRAY(SELECT m.group_id FROM group_member m WHERE m.organization_id = $1 AND m.user_id = \(user)) AS groups, \
        ARRAY(SELECT b.role_id FROM role_binding b WHERE b.organization_id = $1 AND b.user_id = \(user) \
        UNION SELECT b.role_id FROM group_member m JOIN role_binding b ON b.organization_id = m.organization_id \
        AND b.group_id = m.group_id WHERE m.organization_id = $1 AND m.user_id = \(user)) AS roles, \
        (SELECT e.value FROM epoch e WHERE e.organization_id = $1) AS epoch
        """
    }

    init(row: Row) throws {
        self.init(
            Membership(groups: try row.ids("groups"), roles: try row.ids("roles")), epoch: try row.decode("epoch"))
    }
}

/// A user with what they belong to.
package struct Member: Sendable, Equatable {
    package let user: User
    package let membership: DatedMembership
}
