import Foundation
import Keys
import Postgres
import Tenancy
import TestSupport

@testable import Identity

/// A fresh organization in the database with one identity provider, and short ways to say what stands in it.
struct Tenant {
    let database: TenantDatabase
    let organization: Organization
    let record: IdentityProviderRecord
    /// Unique, and verified by this organization unless said otherwise.
    let domain: String
    let now: Date

    private var users: UserStore { UserStore(database: database) }
    private var organizations: OrganizationStore { OrganizationStore(database: database) }
    private var id: OrganizationID { organization.id }

    init(
        domainStatus: Domain.Status? = .verified, isAuthoritative: Bool = true,
        settings: OrganizationSettings = OrganizationSettings()
    ) async throws {
        // Whole milliseconds, as the database and the ids keep them.
        now = Date(timeIntervalSince1970: Date().timeIntervalSince1970.rounded())
        database = try TestDatabase.open()
        organization = try await TestDatabase.freshOrganization(settings: settings, at: now)
        domain = "\(UUID().uuidString.lowercased()).example"
        record = sampleRecord(
            .stytchB2B, project: "project-test-\(UUID().uuidString.lowercased())", upstream: "organization-test-1",
            authoritative: isAuthoritative ? [domain] : [])
        try await add(record)
        if let domainStatus { try await add(domain: domain, verified: domainStatus == .verified) }
    }

    func add(_ record: IdentityProviderRecord) async throws {
        let isNew = try await database.transaction(id) { transaction in
            try await IdentityProviderStore(database: database).insert(record, of: id, in: transaction)
        }
        guard isNew else { throw SandboxProblem(what: "the upstream is taken") }
    }

    func add(domain name: String, verified: Bool) async throws {
        try await database.transaction(id) { transaction in
            let domain = Domain(
                name: name, status: .pending, verificationToken: "t", verifiedAt: nil, createdAt: now)
            _ = try await organizations.insert(domain, of: id, in: transaction)
            if verified { _ = try await organizations.verify(domain: name, of: id, at: now, in: transaction) }
        }
    }

    func disableProvider() async throws {
        var changed = record
        changed.status = .disabled
        let disabled = changed
        _ = try await database.transaction(id) { transaction in
            try await IdentityProviderStore(database: database).update(disabled, of: id, at: now, in: transaction)
        }
    }

    // MARK: People

    func address(_ local: String) -> String { "\(local)@\(domain)" }

    func addUser(
        _ email: String, status: User.Status = .active, verified: Bool = true, linkedTo key: IdentityKey? = nil
    ) async throws -> User {
        let user = User(
            id: .make(at: now, .system), email: email, emailVerified: verified, name: nil, status: status, version: 1,
            createdAt: now, updatedAt: now)
        try await database.transaction(id) { transaction in
            _ = try await users.insert(user, of: id, in: transaction)
            if let key { _ = try await users.link(key, to: user.id, in: id, at: now, transaction) }
        }
        return user
    }

    func user(_ id: UserID) async throws -> User? { try await users.find(id, in: self.id) }
    func user(email: String) async throws -> User? { try await users.find(email: email, in: id) }
    func identities(of user: User) async throws -> [IdentityKey] {
        try await users.identities(of: user.id, in: id).map(\.key)
    }
    func pending() async throws -> [IdentityKey] { try await users.pendingIdentities(of: id).map(\.key) }
    func link(_ key: IdentityKey, to user: User) async throws {
        _ = try await database.transaction(id) { transaction in
            try await users.link(key, to: user.id, in: id, at: now, transaction)
        }
    }

    // MARK: Invitations

    enum InvitationState: CaseIterable { case expired, spent, revoked, unknown }

    func invite(
        _ email: String, name: String? = nil, groups: [GroupID] = [], roles: [RoleID] = [],
        state: InvitationState? = nil
    ) async throws -> InvitationID {
        let invitation = Invitation(
            id: .make(at: now, .system), email: email, name: name, groups: groups, roles: roles, createdBy: "test",
            createdAt: now - 3600,
            expiresAt: state == .expired ? now : now + 3600, acceptedAt: nil, revokedAt: nil)
        guard state != .unknown else { return invitation.id }
        let inviter = state == .spent ? try await addUser(address("spender-\(UUID().uuidString)")).id : nil
        try await database.transaction(id) { transaction in
            try await users.insert(
                invitation, tokenDigest: SecretDigest(of: Secret.random()), of: id, in: transaction)
            if let inviter { _ = try await users.accept(invitation.id, by: inviter, in: id, at: now, transaction) }
            if state == .revoked { _ = try await users.revoke(invitation.id, in: id, at: now, transaction) }
        }
        return invitation.id
    }

    func invitation(_ invitation: InvitationID) async throws -> Invitation? {
        try await users.invitation(invitation, in: id)
    }

    // MARK: Signing in

    func key(_ subject: String, of record: IdentityProviderRecord? = nil) -> IdentityKey {
        let record = record ?? self.record
        return IdentityKey(identityProvider: record.id, provider: record.population, subject: subject)
    }

    func signIn(
        _ subject: String, _ email: String?, verified: Bool = true, invitation: InvitationID? = nil,
        by record: IdentityProviderRecord? = nil
    ) async throws -> SignInResult {
        let identity = VerifiedIdentity(
            key: key(subject, of: record), email: email, emailVerified: verified, name: "Ada Lovelace", authTime: now,
            mfa: false, scopeCeiling: nil)
        return try await SignIn(database: database).complete(
            identity, by: record ?? self.record, organization: organization, invitation: invitation, request: nil,
            client: "cli_test", at: now)
    }

    // MARK: The log

    struct Event {
        let type: String
        let outcome: String
        let actor: String
        let target: String
        /// The leaf around its sequence number.
        let leaf: String
        let disclosures: [String]
    }

    /// What the organization's log says, oldest first, whether or not it has been given its sequence numbers.
    func events() async throws -> [Event] {
        try await database.read(
            id,
            """
            SELECT type, outcome, actor_id, target_id, convert_from(leaf_prefix || leaf_suffix, 'UTF8') AS leaf,
                   disclosures, recorded_at
              FROM audit_outbox WHERE organization_id = \(id)
            UNION ALL
            SELECT type, outcome, actor_id, target_id, convert_from(leaf, 'UTF8'), disclosures, recorded_at
              FROM audit_event WHERE organization_id = \(id) ORDER BY recorded_at
            """
        ) { row in
            Event(
                type: try row.decode("type"), outcome: try row.decode("outcome"), actor: try row.decode("actor_id"),
                target: try row.decode("target_id"), leaf: try row.decode("leaf"),
                disclosures: try row.decode("disclosures"))
        }
    }

    func sessionCount() async throws -> Int {
        try await database.read(id, "SELECT id FROM session WHERE organization_id = \(id)") { _ in }.count
    }

    func userCount() async throws -> Int {
        try await database.read(id, "SELECT id FROM \"user\" WHERE organization_id = \(id)") { _ in }.count
    }
}

extension SignInResult {
    var user: User? {
        if case .signedIn(let user, _, _) = self { user } else { nil }
    }
    var word: String {
        switch self {
        case .signedIn: "signed in"
        case .pendingLink: "pending"
        case .disabled: "disabled"
        }
    }
}
