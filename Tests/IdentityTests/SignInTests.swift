import Foundation
import Keys
import Tenancy
import TestSupport
import Testing

@testable import Identity

/// When a proven identity may stand for a user (design §3.4), on a real database.
@Suite(.timeLimit(.minutes(2))) struct SignInTests {
    // MARK: Linked already

    @Test("once linked, the e-mail address never decides who somebody is (design §3.4)")
    func emailNeverDecides() async throws {
        let tenant = try await Tenant()
        let ada = try await tenant.addUser(tenant.address("ada"), linkedTo: tenant.key("s-ada"))
        let bob = try await tenant.addUser(tenant.address("bob"))
        // Ada's account at the provider now carries Bob's address; Bob has no identity yet and is in a verified domain.
        #expect(try await tenant.signIn("s-ada", tenant.address("bob")).user?.id == ada.id)
        #expect(try await tenant.signIn("s-ada", tenant.address("bob"), verified: false).user?.id == ada.id)
        #expect(try await tenant.signIn("s-ada", nil).user?.id == ada.id)
        let invitation = try await tenant.invite(tenant.address("bob"))
        #expect(try await tenant.signIn("s-ada", tenant.address("bob"), invitation: invitation).user?.id == ada.id)
        #expect(try await tenant.invitation(invitation)?.acceptedAt == nil)
        #expect(try await tenant.identities(of: bob).isEmpty)
        #expect(try await tenant.user(ada.id)?.email == tenant.address("ada"))
    }

    @Test("a sign-in leaves one event, by the user, about the provider (facts/audit.md login.succeeded)")
    func succeededEvent() async throws {
        let tenant = try await Tenant()
        let ada = try await tenant.addUser(tenant.address("ada"), linkedTo: tenant.key("s-ada"))
        _ = try await tenant.signIn("s-ada", tenant.address("ada"))
        let events = try await tenant.events()
        let event = try #require(events.first)
        #expect(events.count == 1)
        #expect(event.type == "login.succeeded")
        #expect(event.outcome == "success")
        #expect(event.actor == ada.id.description)
        #expect(event.target == tenant.record.id.description)
        #expect(event.leaf.contains(#""client":"cli_test""#))
        #expect(!event.leaf.contains(tenant.domain), "the address is personal and only in disclosures")
        let disclosed = event.disclosures.compactMap(Base64URL.decode).map { String(decoding: $0, as: UTF8.self) }
        #expect(disclosed.contains { $0.contains(tenant.address("ada")) })
    }

    @Test("the session opens with its secret alone and ends when the organization says (design §6)")
    func session() async throws {
        var settings = OrganizationSettings()
        settings.sessionLifetimeSeconds = 900
        let tenant = try await Tenant(settings: settings)
        _ = try await tenant.addUser(tenant.address("ada"), linkedTo: tenant.key("s-ada"))
        guard case .signedIn(let user, let session, let secret) = try await tenant.signIn("s-ada", nil),
            case .signedIn(_, let second, let otherSecret) = try await tenant.signIn("s-ada", nil)
        else {
            Issue.record("nobody was signed in")
            return
        }
        #expect(session.expiresAt == tenant.now + 900)
        #expect(session.authTime == tenant.now)
        #expect(session.id != second.id)
        #expect(Base64URL.decode(secret.revealed)?.count == 32)
        #expect(secret != otherSecret)
        let store = SessionStore(database: tenant.database)
        let organization = tenant.organization.id
        let found = try await store.find(
            session.id, secret: SecretDigest(of: secret), in: organization, at: tenant.now + 899)
        #expect(found?.user == user.id)
        #expect(found?.identityProvider == tenant.record.id)
        for (digest, moment) in [(SecretDigest(of: otherSecret), 0.0), (SecretDigest(of: secret), 900.0)] {
            #expect(try await store.find(session.id, secret: digest, in: organization, at: tenant.now + moment) == nil)
        }
    }

    // MARK: (a) Invitations

    @Test("an invitation and the same verified address make and link a user, once (design §3.4a)")
    func invitationMakesUser() async throws {
        let tenant = try await Tenant(domainStatus: nil, isAuthoritative: false)
        let invitation = try await tenant.invite("Ada@\(tenant.domain.uppercased())", name: "Countess")
        let user = try #require(
            try await tenant.signIn("s-ada", tenant.address("ada"), invitation: invitation).user)
        #expect(user.email == tenant.address("ada"))
        #expect(user.emailVerified)
        #expect(user.name == "Countess")
        #expect(try await tenant.identities(of: user) == [tenant.key("s-ada")])
        #expect(try await tenant.invitation(invitation)?.acceptedAt == tenant.now)
        #expect(
            try await tenant.events().map(\.type)
                == ["user.created", "invitation.accepted", "user.identity_linked", "login.succeeded"])
        // Another identity with the same address cannot use it again.
        #expect(try await tenant.signIn("s-eve", tenant.address("ada"), invitation: invitation).word == "pending")
        #expect(try await tenant.identities(of: user) == [tenant.key("s-ada")])
    }

    @Test("whoever accepts an invitation is in its groups and has its roles, as far as those still exist (design §4)")
    func invitationGives() async throws {
        let tenant = try await Tenant(domainStatus: nil, isAuthoritative: false)
        let id = tenant.organization.id
        let roles = RoleStore(database: tenant.database)
        let auditor = try #require(
            try await roles.list(Page(limit: 10), of: id).first { $0.kind == .builtIn(.auditor) })
        let group = Group(
            id: .make(at: tenant.now, .system), name: "Guests", version: 1, createdAt: tenant.now, updatedAt: tenant.now
        )
        let gone = (GroupID.make(at: tenant.now, .system), RoleID.make(at: tenant.now, .system))
        try await tenant.database.transaction(id) { transaction in
            _ = try await GroupStore(database: tenant.database).insert(group, of: id, in: transaction)
        }
        let invitation = try await tenant.invite(
            tenant.address("ada"), groups: [group.id, gone.0], roles: [auditor.id, gone.1])
        // Whoever the invitation does not name gets nothing of it.
        #expect(try await tenant.signIn("s-eve", tenant.address("eve"), invitation: invitation).word == "pending")
        let user = try #require(
            try await tenant.signIn("s-ada", tenant.address("ada"), invitation: invitation).user)
        let member = try await UserStore(database: tenant.database).member(user.id, in: id)
        #expect(member?.membership.membership == Membership(groups: [group.id], roles: [auditor.id]))
        let accepted = try #require(try await tenant.events().first { $0.type == "invitation.accepted" })
        #expect(accepted.leaf.contains(auditor.id.description) && accepted.leaf.contains(group.id.description))
    }

    @Test("an invitation links the user who has that address (design §3.4a)")
    func invitationLinksUser() async throws {
        let tenant = try await Tenant(domainStatus: nil, isAuthoritative: false)
        let ada = try await tenant.addUser(tenant.address("Ada"), verified: false)
        let invitation = try await tenant.invite(tenant.address("ada"))
        let user = try await tenant.signIn("s-ada", tenant.address("ADA"), invitation: invitation).user
        #expect(user?.id == ada.id)
        let stored = try #require(try await tenant.user(ada.id))
        #expect(stored == user)
        #expect(stored.emailVerified)
        #expect(stored.name == "Ada Lovelace")
        #expect(try await tenant.events().map(\.type).contains("user.created") == false)
    }

    @Test(
        "an invitation that is not open lets nobody in (design §3.4a)", arguments: Tenant.InvitationState.allCases)
    func closedInvitation(state: Tenant.InvitationState) async throws {
        let tenant = try await Tenant(domainStatus: nil, isAuthoritative: false)
        let invitation = try await tenant.invite(tenant.address("ada"), state: state)
        #expect(try await tenant.signIn("s-ada", tenant.address("ada"), invitation: invitation).word == "pending")
        #expect(try await tenant.user(email: tenant.address("ada")) == nil)
    }

    @Test("an invitation lets in only the person it names, by a verified address (design §3.4a)")
    func foreignInvitation() async throws {
        let tenant = try await Tenant(domainStatus: nil, isAuthoritative: false)
        let invitation = try await tenant.invite(tenant.address("ada"))
        #expect(try await tenant.signIn("s-eve", tenant.address("eve"), invitation: invitation).word == "pending")
        #expect(
            try await tenant.signIn("s-eve", tenant.address("ada"), verified: false, invitation: invitation).word
                == "pending")
        #expect(try await tenant.signIn("s-eve", nil, invitation: invitation).word == "pending")
        let other = try await Tenant(domainStatus: nil, isAuthoritative: false)
        #expect(try await other.signIn("s-ada", tenant.address("ada"), invitation: invitation).word == "pending")
        #expect(try await tenant.invitation(invitation)?.acceptedAt == nil)
        #expect(try await tenant.userCount() == 0)
        #expect(try await other.userCount() == 0)
    }

    // MARK: (b) Verified domains

    @Test("a verified address in the organization's own domain makes a user just in time (design §3.4b)")
    func domainMakesUser() async throws {
        let tenant = try await Tenant()
        let user = try #require(try await tenant.signIn("s-ada", tenant.address("ada")).user)
        #expect(user.email == tenant.address("ada"))
        #expect(user.name == "Ada Lovelace")
        #expect(try await tenant.user(user.id) == user)
        #expect(try await tenant.identities(of: user) == [tenant.key("s-ada")])
        #expect(
            try await tenant.events().map(\.type) == ["user.created", "user.identity_linked", "login.succeeded"])
        #expect(try await tenant.signIn("s-ada", tenant.address("ada")).user?.id == user.id)
    }

    @Test("a verified address in the organization's own domain links the user who has no identity yet (design §3.4b)")
    func domainLinksUser() async throws {
        let tenant = try await Tenant()
        let ada = try await tenant.addUser(tenant.address("Ada"))
        #expect(try await tenant.signIn("s-ada", tenant.address("ada")).user?.id == ada.id)
    }

    @Test("a user with an identity gets no other by e-mail; adding a provider re-links nobody (design §3.4)")
    func secondIdentity() async throws {
        let tenant = try await Tenant()
        let ada = try await tenant.addUser(tenant.address("ada"), linkedTo: tenant.key("s-ada"))
        #expect(try await tenant.signIn("s-eve", tenant.address("ada")).word == "pending")
        let second = sampleRecord(
            .stytchConsumer, project: "project-test-\(UUID().uuidString)", authoritative: [tenant.domain])
        try await tenant.add(second)
        #expect(try await tenant.signIn("s-ada", tenant.address("ada"), by: second).word == "pending")
        #expect(try await tenant.identities(of: ada) == [tenant.key("s-ada")])
    }

    @Test(
        "a domain that is not verified, or a provider not authoritative for it, links nobody (design §3.4b)",
        arguments: [(.pending, true), (nil, true), (.verified, false)] as [(Domain.Status?, Bool)])
    func noAuthority(status: Domain.Status?, isAuthoritative: Bool) async throws {
        let tenant = try await Tenant(domainStatus: status, isAuthoritative: isAuthoritative)
        let ada = try await tenant.addUser(tenant.address("ada"))
        #expect(try await tenant.signIn("s-ada", tenant.address("ada")).word == "pending")
        #expect(try await tenant.signIn("s-new", tenant.address("new")).word == "pending")
        #expect(try await tenant.identities(of: ada).isEmpty)
        #expect(try await tenant.userCount() == 1)
    }

    @Test("neither an unverified address nor one in a subdomain or another's domain links anybody (design §3.4b)")
    func otherAddresses() async throws {
        let tenant = try await Tenant()
        let other = try await Tenant()
        #expect(try await tenant.signIn("s-1", tenant.address("ada"), verified: false).word == "pending")
        #expect(try await tenant.signIn("s-2", "ada@sub.\(tenant.domain)").word == "pending")
        #expect(try await tenant.signIn("s-3", "ada@\(other.domain)").word == "pending")
        #expect(try await tenant.signIn("s-4", "ada@\(tenant.domain).example").word == "pending")
        #expect(try await tenant.signIn("s-5", nil).word == "pending")
        #expect(try await tenant.userCount() == 0)
        #expect(try await tenant.sessionCount() == 0)
    }

    // MARK: Refusals

    @Test("a pending link is remembered, named in the refusal, and works once it is accepted (design §3.4)")
    func pendingLink() async throws {
        let tenant = try await Tenant(domainStatus: nil, isAuthoritative: false)
        let ada = try await tenant.addUser(tenant.address("ada"))
        #expect(try await tenant.signIn("s-ada", tenant.address("ada")).word == "pending")
        #expect(try await tenant.signIn("s-ada", tenant.address("ada")).word == "pending")
        #expect(try await tenant.pending() == [tenant.key("s-ada")])
        let event = try #require(try await tenant.events().first)
        #expect(event.type == "login.failed")
        #expect(event.outcome == "denied")
        #expect(event.actor == "-")
        #expect(event.leaf.contains(#""reason":"identity_not_linked""#))
        #expect(event.leaf.contains(tenant.record.id.description))
        #expect(event.leaf.contains(#""s-ada""#))
        #expect(event.leaf.contains(tenant.record.population))
        #expect(!event.leaf.contains(tenant.domain))
        #expect(try await tenant.sessionCount() == 0)
        try await tenant.link(tenant.key("s-ada"), to: ada)
        #expect(try await tenant.signIn("s-ada", tenant.address("ada")).user?.id == ada.id)
        #expect(try await tenant.pending().isEmpty)
    }

    @Test("a disabled user is refused with an event, linked or not, and no invitation is spent on one")
    func disabledUser() async throws {
        let tenant = try await Tenant()
        let ada = try await tenant.addUser(tenant.address("ada"), status: .disabled, linkedTo: tenant.key("s-ada"))
        let bob = try await tenant.addUser(tenant.address("bob"), status: .disabled)
        let invitation = try await tenant.invite(tenant.address("bob"))
        #expect(try await tenant.signIn("s-ada", tenant.address("ada")).word == "disabled")
        #expect(try await tenant.signIn("s-bob", tenant.address("bob")).word == "disabled")
        #expect(try await tenant.signIn("s-bob", tenant.address("bob"), invitation: invitation).word == "disabled")
        #expect(try await tenant.invitation(invitation)?.acceptedAt == nil)
        #expect(try await tenant.identities(of: bob).isEmpty)
        #expect(try await tenant.sessionCount() == 0)
        let events = try await tenant.events()
        #expect(events.map(\.type) == ["login.failed", "login.failed", "login.failed"])
        #expect(events.map(\.actor) == [ada, bob, bob].map(\.id.description))
        #expect(events.allSatisfy { $0.leaf.contains(#""reason":"user_disabled""#) })
    }

    @Test("the same address in two organizations is two people (design §2)")
    func twoOrganizations() async throws {
        let first = try await Tenant()
        let second = try await Tenant(domainStatus: nil)
        let email = first.address("ada")
        let invitation = try await second.invite(email)
        let one = try #require(try await first.signIn("s-ada", email).user)
        let two = try #require(try await second.signIn("s-ada", email, invitation: invitation).user)
        #expect(one.id != two.id)
        #expect(one.email == two.email)
        #expect(try await first.user(two.id) == nil)
        #expect(try await second.user(one.id) == nil)
    }

    @Test("a provider disabled meanwhile, or another provider's identity, signs nobody in and changes nothing")
    func wrongProvider() async throws {
        let tenant = try await Tenant()
        let stranger = sampleRecord(.stytchB2B, upstream: "organization-test-2")
        await #expect(throws: SignInError.self) {
            let identity = VerifiedIdentity(
                key: tenant.key("s-ada", of: stranger), email: tenant.address("ada"), emailVerified: true, name: nil,
                authTime: tenant.now, mfa: false, scopeCeiling: nil)
            _ = try await SignIn(database: tenant.database).complete(
                identity, by: tenant.record, organization: tenant.organization, invitation: nil, request: nil,
                client: nil, at: tenant.now)
        }
        await #expect(throws: SignInError.self, "not this organization's") {
            try await tenant.signIn("s-ada", tenant.address("ada"), by: stranger)
        }
        try await tenant.disableProvider()
        await #expect(throws: SignInError.self) { try await tenant.signIn("s-ada", tenant.address("ada")) }
        #expect(try await tenant.userCount() == 0)
        #expect(try await tenant.events().isEmpty)
    }

    // MARK: Races

    @Test("simultaneous first sign-ins of one person make one user (design §3.4)")
    func onePersonAtOnce() async throws {
        let tenant = try await Tenant()
        let results = try await atOnce(8) { _ in try await tenant.signIn("s-ada", tenant.address("ada")) }
        #expect(Set(results.compactMap(\.user?.id)).count == 1)
        #expect(results.count { $0.user != nil } == 8)
        #expect(try await tenant.userCount() == 1)
        #expect(try await tenant.sessionCount() == 8)
        #expect(try await tenant.events().count { $0.type == "user.created" } == 1)
    }

    @Test("of two identities that claim one address at once, one is linked and the other waits (design §3.4)")
    func twoClaimsAtOnce() async throws {
        let tenant = try await Tenant()
        let results = try await atOnce(6) { try await tenant.signIn("s-\($0)", tenant.address("ada")) }
        #expect(results.count { $0.user != nil } == 1)
        #expect(results.count { $0.word == "pending" } == 5)
        let ada = try #require(try await tenant.user(email: tenant.address("ada")))
        #expect(try await tenant.identities(of: ada).count == 1)
    }

    @Test("an invitation used at once by two identities admits one (design §3.4a)")
    func invitationAtOnce() async throws {
        let tenant = try await Tenant(domainStatus: nil, isAuthoritative: false)
        let invitation = try await tenant.invite(tenant.address("ada"))
        let results = try await atOnce(6) {
            try await tenant.signIn("s-\($0)", tenant.address("ada"), invitation: invitation)
        }
        #expect(results.count { $0.user != nil } == 1)
        #expect(try await tenant.events().count { $0.type == "invitation.accepted" } == 1)
    }

    private func atOnce(
        _ count: Int, _ body: @escaping @Sendable (Int) async throws -> SignInResult
    ) async throws -> [SignInResult] {
        try await withThrowingTaskGroup(of: SignInResult.self) { group in
            for index in 0..<count { group.addTask { try await body(index) } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
    }
}
