import Foundation

/// An organization of a B2B project: its names, and the policy settings of ``OrganizationSettings``.
struct Organization: Sendable {
    let id: String
    let createdAt: Date
    var name: String
    var slug: String
    var logoURL = ""
    var externalID: String?
    var trustedMetadata: [String: JSON] = [:]
    var settings = OrganizationSettings()
    var updatedAt: Date
    /// The fixed organization of Stytch's test values; searches do not show it.
    var isMagic = false

    /// Takes the names, metadata and settings that `arguments` give.
    mutating func update(_ arguments: Arguments, at now: Date) throws {
        if arguments.members["organization_name"] != nil { name = try arguments.string("organization_name") }
        if let slug = try arguments.optionalString("organization_slug") {
            let isLegal = slug.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-._~".contains($0)) }
            guard isLegal, (2...128).contains(slug.utf8.count) else { throw StytchError.invalidSlug }
            self.slug = slug
        }
        if let value = try arguments.optionalString("organization_logo_url") { logoURL = value }
        if let value = try arguments.optionalString("organization_external_id") { externalID = value }
        if let value = try arguments.object("trusted_metadata") { trustedMetadata = value }
        try settings.update(arguments)
        updatedAt = now
    }
}

/// Who an organization admits, and how: the settings Stytch documents, with its defaults.
struct OrganizationSettings: Sendable {
    /// By wire name.
    private(set) var values: [String: JSON] = [
        "sso_jit_provisioning": "ALL_ALLOWED", "sso_jit_provisioning_allowed_connections": [],
        "sso_active_connections": [], "email_allowed_domains": [], "email_jit_provisioning": "NOT_ALLOWED",
        "email_invites": "ALL_ALLOWED", "auth_methods": "ALL_ALLOWED", "allowed_auth_methods": [],
        "mfa_policy": "OPTIONAL", "rbac_email_implicit_role_assignments": [], "mfa_methods": "ALL_ALLOWED",
        "allowed_mfa_methods": [], "oauth_tenant_jit_provisioning": "NOT_ALLOWED", "claimed_email_domains": [],
        "first_party_connected_apps_allowed_type": "ALL_ALLOWED", "allowed_first_party_connected_apps": [],
        "third_party_connected_apps_allowed_type": "ALL_ALLOWED", "allowed_third_party_connected_apps": [],
        "custom_roles": [],
    ]

    /// The values of each enumerated setting; a test double is most useful where it refuses a misspelt policy.
    private static let choices: [String: [String]] = [
        "sso_jit_provisioning": ["ALL_ALLOWED", "RESTRICTED", "NOT_ALLOWED"],
        "email_jit_provisioning": ["RESTRICTED", "NOT_ALLOWED"],
        "email_invites": ["ALL_ALLOWED", "RESTRICTED", "NOT_ALLOWED"],
        "auth_methods": ["ALL_ALLOWED", "RESTRICTED"],
        "mfa_policy": ["OPTIONAL", "REQUIRED_FOR_ALL"],
        "mfa_methods": ["ALL_ALLOWED", "RESTRICTED"],
        "oauth_tenant_jit_provisioning": ["RESTRICTED", "NOT_ALLOWED"],
        "first_party_connected_apps_allowed_type": ["ALL_ALLOWED", "RESTRICTED", "NOT_ALLOWED"],
        "third_party_connected_apps_allowed_type": ["ALL_ALLOWED", "RESTRICTED", "NOT_ALLOWED"],
    ]

    /// Settings that other calls manage; create and update leave them alone.
    private static let managedElsewhere: Set<String> = ["sso_active_connections", "custom_roles"]

    /// Domains anyone can have an address at.
    private static let commonDomains: Set<String> = [
        "gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "live.com", "yahoo.com", "icloud.com", "me.com",
        "aol.com", "msn.com", "gmx.de", "web.de",
    ]

    var requiresMFA: Bool { values["mfa_policy"] == "REQUIRED_FOR_ALL" }

    /// - Throws: ``StytchError`` unless the organization admits this unknown address by e-mail.
    func admit(_ email: String) throws {
        guard values["email_jit_provisioning"] == "RESTRICTED" else { throw StytchError.provisioningNotAllowed }
        let domain = email.split(separator: "@").last.map(String.init) ?? ""
        let allowed = values["email_allowed_domains"]?.strings ?? []
        guard allowed.contains(where: { $0.lowercased() == domain }) else { throw StytchError.domainNotAllowed }
    }

    /// - Throws: ``StytchError`` unless members may sign in by `method`, such as `email_otp`.
    func allow(_ method: String) throws {
        guard values["auth_methods"] == "RESTRICTED" else { return }
        guard (values["allowed_auth_methods"]?.strings ?? []).contains(method) else {
            throw StytchError.methodRestricted
        }
    }

    mutating func update(_ arguments: Arguments) throws {
        for (name, current) in values where !Self.managedElsewhere.contains(name) {
            guard let value = arguments.members[name], value != .null else { continue }
            switch current {
            case .string:
                guard let choice = value.string, Self.choices[name]?.contains(choice) == true else {
                    throw StytchError.badRequest("\(name) has an unknown value.")
                }
            default:
                guard value.array != nil else { throw StytchError.badRequest("\(name) must be an array.") }
            }
            if name == "email_allowed_domains" {
                let domains = try arguments.strings(name) ?? []
                if domains.contains(where: { Self.commonDomains.contains($0.lowercased()) }) {
                    throw StytchError.commonDomain
                }
            }
            values[name] = value
        }
    }
}

/// A member of an organization; unique by e-mail address within it.
struct Member: Sendable {
    enum Status: String, Sendable { case active, pending, invited, deleted }

    let id: String
    let organizationID: String
    let createdAt: Date
    var email: String
    var updatedAt: Date
    var status = Status.active
    var name = ""
    var isEmailVerified = false
    var isBreakglass = false
    var isMFAEnrolled = false
    var mfaPhoneNumber = ""
    /// Roles assigned beyond the base role `stytch_member`.
    var roles: [String] = []
    var trustedMetadata: [String: JSON] = [:]
    var untrustedMetadata: [String: JSON] = [:]
    var externalID: String?
    var lockout = Lockout()

    /// Takes the attributes that `arguments` give.
    mutating func update(_ arguments: Arguments, at now: Date) throws {
        if let value = try arguments.optionalString("name") { name = value }
        if let value = try arguments.flag("is_breakglass") { isBreakglass = value }
        if let value = try arguments.flag("mfa_enrolled") { isMFAEnrolled = value }
        if let value = try arguments.optionalString("mfa_phone_number") { mfaPhoneNumber = value }
        if let value = try arguments.strings("roles") { roles = value.filter { $0 != "stytch_member" } }
        if let value = try arguments.object("trusted_metadata") { trustedMetadata = value }
        if let value = try arguments.object("untrusted_metadata") { untrustedMetadata = value }
        if let value = try arguments.optionalString("external_id") { externalID = value }
        updatedAt = now
    }
}

/// The organizations of one B2B project and their members.
struct Organizations: Sendable {
    private var organizations: [String: Organization] = [:]
    private var members: [String: [String: Member]] = [:]

    // MARK: Organizations

    /// By `organization_id`, slug or external id: all three are accepted wherever an id is.
    func find(_ key: String) throws -> Organization {
        if let found = organizations[key] { return found }
        guard let found = organizations.values.first(where: { $0.slug == key || $0.externalID == key }) else {
            throw StytchError.organizationNotFound
        }
        return found
    }

    mutating func store(_ organization: Organization) throws {
        if organizations.values.contains(where: { $0.slug == organization.slug && $0.id != organization.id }) {
            throw StytchError.slugTaken
        }
        organizations[organization.id] = organization
    }

    /// Removes the organization and all its members, and gives their ids.
    mutating func remove(_ organization: Organization) -> [String] {
        organizations[organization.id] = nil
        return members.removeValue(forKey: organization.id)?.keys.map(\.self) ?? []
    }

    func search(_ arguments: Arguments) throws -> [Organization] {
        try Search(arguments, unknownFilter: .unknownFilter("organization")) { (item: Organization, filter, values) in
            switch filter {
            case "organization_ids": values.contains(item.id)
            case "organization_slugs": values.contains(item.slug)
            case "allowed_domains":
                values.contains { item.settings.values["email_allowed_domains"]?.strings?.contains($0) == true }
            default: nil
            }
        }
        .results(
            among: organizations.values.filter { !$0.isMagic }
                .sorted { ($0.createdAt, $0.id) < ($1.createdAt, $1.id) })
    }

    // MARK: Members

    /// By `member_id` or external id, within the organization.
    func member(_ key: String, in organization: Organization) throws -> Member {
        let all = members[organization.id] ?? [:]
        guard let found = all[key] ?? all.values.first(where: { $0.externalID == key }) else {
            throw StytchError.memberNotFound
        }
        return found
    }

    func member(email: String, in organization: Organization) -> Member? {
        members[organization.id]?.values.first { $0.email == email }
    }

    /// The member and organization behind a session.
    func subject(of session: Session) throws -> (Member, Organization) {
        let organization = try find(session.organizationID ?? "")
        return (try member(session.subject, in: organization), organization)
    }

    mutating func store(_ member: Member) throws {
        let others = members[member.organizationID]?.values.filter { $0.id != member.id } ?? []
        if others.contains(where: { $0.email == member.email }) { throw StytchError.duplicateMemberEmail }
        members[member.organizationID, default: [:]][member.id] = member
    }

    /// Members of the organizations in `organization_ids`; deleted ones only when `statuses` asks for them.
    func searchMembers(_ arguments: Arguments) throws -> (members: [Member], organizations: [Organization]) {
        let keys = try arguments.strings("organization_ids") ?? []
        guard !keys.isEmpty else { throw StytchError.noOrganizations }
        let organizations = try keys.map(find)
        let search = try Search(arguments, unknownFilter: .unknownFilter("member")) { (item: Member, filter, values) in
            switch filter {
            case "member_ids": values.contains(item.id)
            case "member_emails": values.contains { $0.lowercased() == item.email }
            case "statuses": values.contains(item.status.rawValue)
            case "member_roles": values.contains { $0 == "stytch_member" || item.roles.contains($0) }
            default: nil
            }
        }
        let candidates = organizations.flatMap { members[$0.id]?.values.map(\.self) ?? [] }
            .filter { $0.status != .deleted || search.uses("statuses") }
            .sorted { ($0.createdAt, $0.id) < ($1.createdAt, $1.id) }
        return (try search.results(among: candidates), organizations)
    }
}

// MARK: Creation, by the API and by seeds

extension Organizations {
    /// `POST organizations`. A seed may also fix the id. Without a slug the organization gets one made of its name.
    mutating func create(
        _ arguments: Arguments, environment: ProjectID.Environment, at now: Date, maySetIDs: Bool = false
    ) throws -> Organization {
        let name = try arguments.string("organization_name")
        let words = name.lowercased().split { !($0.isASCII && ($0.isLetter || $0.isNumber)) }
        let derived = words.joined(separator: "-")
        let fixedID = maySetIDs ? try arguments.optionalString("organization_id") : nil
        let id = fixedID ?? environment.newID("organization")
        var organization = Organization(
            id: id, createdAt: now, name: name, slug: derived.utf8.count < 2 ? id : String(derived.prefix(128)),
            updatedAt: now)
        try organization.update(arguments, at: now)
        try store(organization)
        return organization
    }

    /// `POST organizations/{id}/members`. A seed may also fix the id and the status.
    mutating func createMember(
        _ arguments: Arguments, in organization: Organization, environment: ProjectID.Environment, at now: Date,
        maySetIDs: Bool = false
    ) throws -> Member {
        let email = try arguments.emailAddress("email_address")
        let fixedID = maySetIDs ? try arguments.optionalString("member_id") : nil
        var member = Member(
            id: fixedID ?? environment.newID("member"), organizationID: organization.id, createdAt: now, email: email,
            updatedAt: now)
        if try arguments.flag("create_member_as_pending") == true { member.status = .pending }
        if maySetIDs, let status = try arguments.optionalString("status") {
            guard let status = Member.Status(rawValue: status) else {
                throw StytchError.badRequest("status has an unknown value.")
            }
            member.status = status
        }
        try member.update(arguments, at: now)
        try store(member)
        return member
    }
}
