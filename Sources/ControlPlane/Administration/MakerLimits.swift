import Foundation
import Tenancy

// What an administrator makes can do at most what they can themselves: scopes, organization, addresses, end. Whatever
// works like a credential is checked here: admin keys, roles and who has them, invitations, tokens of other kinds.

extension FieldChecks {
    /// Admin scopes that a key or a role gets.
    ///
    /// - Parameter before: what it has already; keeping that gives nobody anything.
    mutating func adminScopes(
        _ scopes: [String], _ pointer: String, _ count: ClosedRange<Int>, in organization: OrganizationID,
        givenBy administrator: Administrator, beside before: Set<String> = []
    ) {
        require(
            count.contains(scopes.count), pointer, "invalid",
            "Name \(count.lowerBound) to \(count.upperBound) scopes.")
        for (index, text) in scopes.enumerated() {
            guard let scope = AdminScope(rawValue: text) else {
                add(
                    FieldError(
                        "\(pointer)/\(index)", "unknown_scope",
                        "There is no such scope; scopes are * and words such as users:read."))
                continue
            }
            require(
                before.contains(text) || administrator.holds(scope), "\(pointer)/\(index)", FieldError.exceedsMaker,
                "A key can give only scopes that it holds itself.")
            require(
                organization == .platform || !scope.isPlatformOnly, "\(pointer)/\(index)", "platform_only",
                "Only keys of the platform can hold this scope.")
        }
    }

    /// Address ranges that a credential may be used from; none means any address.
    mutating func addresses(_ cidrs: [String], _ pointer: String, givenBy administrator: Administrator) {
        require(cidrs.count <= 64, pointer, "too_many", "Name at most 64 address ranges.")
        for (index, range) in cidrs.enumerated() {
            require(
                AddressRange(range) != nil, "\(pointer)/\(index)", "invalid",
                "Write an address, or a range whose other bits are 0, such as 203.0.113.0/24.")
        }
        if cidrs.isEmpty { anyAddress(pointer, givenBy: administrator) }
        guard let limits = administrator.key?.cidrs, !limits.isEmpty else { return }
        for (index, range) in cidrs.enumerated() {
            require(
                limits.contains { range.isAddressRange(within: $0) }, "\(pointer)/\(index)", FieldError.exceedsMaker,
                "A key can give only addresses that it may be used from itself.")
        }
    }

    /// Something that works from any address.
    mutating func anyAddress(_ pointer: String, givenBy administrator: Administrator) {
        require(
            administrator.key?.cidrs.isEmpty ?? true, pointer, FieldError.exceedsMaker,
            "A key for certain addresses can make nothing that works from any address.")
    }

    /// When a credential ends; nil: never.
    mutating func end(_ end: Date?, _ pointer: String, givenBy administrator: Administrator) {
        if let end { require(end > administrator.now, pointer, "past", "This moment is over; name one to come.") }
        guard let limit = administrator.key?.expiresAt else { return }
        require(
            end.map { $0 <= limit } ?? false, pointer, FieldError.exceedsMaker,
            "What a key makes cannot outlive the key.")
    }

    /// A role that somebody gets by coming into a group. A directory's token was made by somebody who could give what groups
    /// stood for then, and whoever gave a group more since knew that the directory says who is in it.
    mutating func roleOfGroup(_ role: Role, _ pointer: String, givenBy administrator: Administrator) {
        if administrator.directory == nil { self.role(role, pointer, givenBy: administrator) }
    }

    /// A role that somebody gets. Those that stand for no admin access may be given by everybody who writes roles.
    mutating func role(_ role: Role, _ pointer: String, givenBy administrator: Administrator) {
        let scopes = role.adminScopes
        guard !scopes.isEmpty else { return }
        require(
            scopes.allSatisfy(administrator.holds), pointer, FieldError.exceedsMaker,
            "This role stands for admin scopes that the key does not hold itself.")
        lasting(pointer, givenBy: administrator)
    }

    /// Something that works from any address until somebody takes it away.
    mutating func lasting(_ pointer: String, givenBy administrator: Administrator) {
        anyAddress(pointer, givenBy: administrator)
        end(nil, pointer, givenBy: administrator)
    }

    /// Whoever decides who can become a user gives away what the user's roles stand for.
    mutating func identity(ofWhoHas roles: [Role], _ pointer: String, givenBy administrator: Administrator) {
        for role in roles { self.role(role, pointer, givenBy: administrator) }
    }
}

extension String {
    /// Whether this CIDR range lies inside the other: it begins there, and is no wider.
    fileprivate func isAddressRange(within other: String) -> Bool {
        guard let outer = AddressRange(other), AddressRange(self) != nil else { return false }
        return outer.contains(String(prefix { $0 != "/" })) && prefixLength >= other.prefixLength
    }

    private var prefixLength: Int {
        guard let mark = firstIndex(of: "/") else { return contains(":") ? 128 : 32 }
        return Int(self[index(after: mark)...]) ?? 0
    }
}
