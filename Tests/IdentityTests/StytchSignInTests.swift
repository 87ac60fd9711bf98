import Foundation
import Keys
import Tenancy
import TestSupport
import Testing

@testable import Identity

/// Signing in through the running sandbox.
@Suite(.timeLimit(.minutes(2))) struct StytchSignInTests {
    private static let organization = "organization-test-\(UUID().uuidString.lowercased())"

    /// A B2B project whose organization has the member ada@acme.example and admits nobody else.
    private func b2b(_ project: String = "", organization: String = "") async throws -> SandboxProject {
        let projectMore = project.isEmpty ? "" : ", \(project)"
        let organizationMore = organization.isEmpty ? "" : ", \(organization)"
        return try await SandboxProject(
            "b2b",
            """
            "organizations": [{"organization_id": "\(Self.organization)", "organization_name": "Acme",
              "organization_slug": "acme"\(organizationMore),
              "members": [{"email_address": "ada@acme.example", "name": "Ada Lovelace"}]}]\(projectMore)
            """)
    }

    private func providers(_ project: SandboxProject) throws -> IdentityProviders {
        var settings = IdentitySettings()
        settings.allowTestProjects = true
        settings.stytchBaseURL = project.baseURL
        return IdentityProviders(
            outbound: try SandboxProject.client(), secrets: TestDatabase.secrets, settings: settings)
    }

    private func provider(
        _ kind: IdentityProviderRecord.Kind, _ project: SandboxProject, secret: String? = nil,
        from providers: IdentityProviders? = nil
    ) throws -> any IdentityProvider {
        let organization = try sampleOrganization()
        let id = IdentityProviderID.make(at: noon, .system)
        let sealed = try TestDatabase.secrets.seal(
            Array((secret ?? project.secret).utf8), for: organization, .providerSecret(id))
        let record = sampleRecord(
            kind, project: project.id, upstream: kind == .stytchB2B ? Self.organization : nil, sealedSecret: sealed,
            id: id)
        return try (providers ?? self.providers(project)).provider(record, of: organization)
    }

    @Test("a mailed code proves a member, and the session made on the way is ended (Stytch B2B otps/email)")
    func member() async throws {
        let project = try await b2b()
        let stytch = try provider(.stytchB2B, project)
        let challenge = try await stytch.start(email: " Ada@ACME.example ")
        let code = try await project.requireCode(for: "ada@acme.example")
        let now = Date()
        let identity = try await stytch.finish(challenge, code: "\(code.prefix(3)) \(code.suffix(3))", at: now)
        #expect(identity.key.provider == "\(project.id)/\(Self.organization)")
        #expect(identity.key.subject.hasPrefix("member-test-"))
        #expect(identity.email == "ada@acme.example")
        #expect(identity.emailVerified)
        #expect(identity.name == "Ada Lovelace")
        #expect(identity.authTime == now)
        #expect(!identity.mfa)
        for _ in 0..<100 where try await project.sessions(of: identity.key.subject, in: Self.organization) > 0 {
            try await Task.sleep(for: .milliseconds(20))
        }
        #expect(try await project.sessions(of: identity.key.subject, in: Self.organization) == 0)
    }

    @Test("a mailed code proves a user, whoever asks (Stytch consumer otps/email)")
    func user() async throws {
        let project = try await SandboxProject("consumer")
        let stytch = try provider(.stytchConsumer, project)
        let challenge = try await stytch.start(email: "bob@globex.example")
        let identity = try await stytch.finish(
            challenge, code: try await project.requireCode(for: "bob@globex.example"), at: Date())
        #expect(identity.key.provider == project.id)
        #expect(identity.key.subject.hasPrefix("user-test-"))
        #expect(identity.email == "bob@globex.example")
        #expect(identity.emailVerified)
        #expect(identity.scopeCeiling == nil)
    }

    @Test(
        "a wrong, a spent and a replaced code are refused alike (Stytch unable_to_auth_otp_code, otp_code_not_found)",
        arguments: ["unable_to_auth_otp_code", "otp_code_not_found"])
    func wrongCode(type: String) async throws {
        let project = try await b2b(#""wrong_passcode_error": "\#(type)""#)
        let stytch = try provider(.stytchB2B, project)
        let challenge = try await stytch.start(email: "ada@acme.example")
        let first = try await project.requireCode(for: "ada@acme.example")
        let wrong = first == "123456" ? "654321" : "123456"
        for code in [wrong, "", "12345", "1234567", "１２３４５６", "abcdef"] {
            #expect(await refusal(of: stytch, challenge, code: code) == .wrongCode)
        }
        _ = try await stytch.start(email: "ada@acme.example")
        let second = try await project.requireCode(for: "ada@acme.example")
        if first != second {
            #expect(await refusal(of: stytch, challenge, code: first) == .wrongCode)
        }
        _ = try await stytch.finish(challenge, code: second, at: Date())
        #expect(await refusal(of: stytch, challenge, code: second) == .wrongCode)
    }

    @Test("an address that the organization does not admit gets the same answer and no mail (design §3.4)")
    func unknownAddress() async throws {
        let project = try await b2b()
        let stytch = try provider(.stytchB2B, project)
        let known = try await stytch.start(email: "ada@acme.example")
        let unknown = try await stytch.start(email: "eve@elsewhere.example")
        #expect(known.upstream == unknown.upstream)
        #expect(known.recordVersion == unknown.recordVersion)
        #expect(try await project.code(for: "eve@elsewhere.example") == nil)
        #expect(await refusal(of: stytch, unknown, code: "123456") == .wrongCode)
    }

    @Test("a code ends with its challenge and its provider's configuration, and is no other's (RFC 9700 §4.4)")
    func staleChallenge() async throws {
        let project = try await SandboxProject("consumer")
        let stytch = try provider(.stytchConsumer, project)
        let challenge = try await stytch.start(email: "ada@acme.example")
        let code = try await project.requireCode(for: "ada@acme.example")
        func with(provider: IdentityProviderID? = nil, version: Int64? = nil) -> SignInChallenge {
            SignInChallenge(
                email: challenge.email, upstream: challenge.upstream,
                identityProvider: provider ?? challenge.identityProvider,
                recordVersion: version ?? challenge.recordVersion, sentAt: challenge.sentAt)
        }
        let now = Date()
        let later = challenge.sentAt + 600
        #expect(await refusal(of: stytch, challenge, code: code, at: later) == .codeExpired)
        #expect(await refusal(of: stytch, with(version: 2), code: code, at: now) == .codeExpired)
        let foreign = with(provider: .make(at: noon, .system))
        #expect(await refusal(of: stytch, foreign, code: code, at: now)?.reason == "refused")
        let stored = try JSONDecoder().decode(SignInChallenge.self, from: JSONEncoder().encode(challenge))
        _ = try await stytch.finish(stored, code: code, at: now)
    }

    @Test("a code that Stytch let expire is wrong (Stytch expiration_minutes)")
    func expiredUpstream() async throws {
        let project = try await SandboxProject("consumer")
        let stytch = try provider(.stytchConsumer, project)
        let challenge = try await stytch.start(email: "ada@acme.example")
        let code = try await project.requireCode(for: "ada@acme.example")
        try await project.advanceClock(by: 601)
        #expect(await refusal(of: stytch, challenge, code: code) == .wrongCode)
    }

    @Test("HTTP 200 without member_authenticated is no login (Stytch B2B MFA)")
    func secondFactor() async throws {
        let project = try await b2b(organization: #""mfa_policy": "REQUIRED_FOR_ALL""#)
        let stytch = try provider(.stytchB2B, project)
        let challenge = try await stytch.start(email: "ada@acme.example")
        let code = try await project.requireCode(for: "ada@acme.example")
        #expect(await refusal(of: stytch, challenge, code: code) == .additionalFactorRequired)
    }

    @Test("Stytch's lock after failed attempts is told (Stytch user_lock_limit_reached)")
    func locked() async throws {
        let project = try await SandboxProject("consumer", #""user_lock_threshold": 2"#)
        let stytch = try provider(.stytchConsumer, project)
        let challenge = try await stytch.start(email: "ada@acme.example")
        let code = try await project.requireCode(for: "ada@acme.example")
        let wrong = code == "123456" ? "654321" : "123456"
        for _ in 0..<2 {
            #expect(await refusal(of: stytch, challenge, code: wrong) == .wrongCode)
        }
        #expect(await refusal(of: stytch, challenge, code: code) == .tooManyAttempts)
    }

    @Test("Stytch's public test address opens nothing, not even where its code does (facts/stytch.md §7)")
    func publicAddress() async throws {
        let project = try await SandboxProject("consumer")
        let stytch = try provider(.stytchConsumer, project)
        #expect(await refusal(of: stytch, start: "Sandbox@Stytch.com")?.reason == "refused")
        let real = try await stytch.start(email: "ada@acme.example")
        for email in ["sandbox@stytch.com", "ada@acme.example"] {
            let forged = SignInChallenge(
                email: email, upstream: "email-test-81bf03a8-86e1-4d95-bd44-bb3495224953",
                identityProvider: real.identityProvider, recordVersion: real.recordVersion, sentAt: real.sentAt)
            #expect(await refusal(of: stytch, forged, code: "000000")?.reason == "refused")
        }
    }

    @Test("what is not an address is refused before anybody is asked")
    func malformedAddress() async throws {
        let project = try await SandboxProject("consumer")
        try await project.fault("down")
        let stytch = try provider(.stytchConsumer, project)
        for email in ["", "ada", "ada@", "ada@acme.example\u{0}", "a@b.example,c@d.example"] {
            #expect(await refusal(of: stytch, start: email)?.reason == "refused")
        }
    }

    @Test("wrong credentials and projects of the other kind are told apart, without the secret (facts/stytch.md §1)")
    func misconfigured() async throws {
        let project = try await SandboxProject("consumer")
        let error = await refusal(
            of: try provider(.stytchConsumer, project, secret: "not-the-secret"), start: "ada@acme.example")
        #expect(error?.reason == "provider_rejects_credentials")
        #expect(!String(reflecting: error).contains("not-the-secret"))
        let other = await refusal(of: try provider(.stytchB2B, project), start: "ada@acme.example")
        #expect(other?.reason == "provider_project_of_other_kind")
        let absent = try await SandboxProject("b2b")
        let noOrganization = await refusal(of: try provider(.stytchB2B, absent), start: "ada@acme.example")
        #expect(noOrganization?.reason == "provider_organization_unknown")
    }

    @Test(
        "one organization's failing project is cut off by itself; others on the same host go on (design §8)",
        arguments: ["error_500", "down"])
    func outage(mode: String) async throws {
        let failing = try await SandboxProject("consumer")
        let healthy = try await SandboxProject("consumer")
        let providers = try providers(failing)
        let broken = try provider(.stytchConsumer, failing, from: providers)
        let other = try provider(.stytchConsumer, healthy, from: providers)
        try await failing.fault(mode)
        for _ in 0..<5 {
            #expect(await refusal(of: broken, start: "ada@acme.example")?.reason == "provider_unavailable")
        }
        try await failing.fault("none")
        let open = await refusal(of: broken, start: "ada@acme.example")
        guard case .unavailable(let retryAfter?) = open else {
            Issue.record("the breaker let a call through: \(String(describing: open))")
            return
        }
        #expect(retryAfter > .zero && retryAfter <= .seconds(10))
        _ = try await other.start(email: "bob@globex.example")
    }

    @Test("Stytch's limit on mails to one address does not show that the address is known (Stytch too_many_requests)")
    func limited() async throws {
        let members = try await b2b()
        let users = try await SandboxProject("consumer")
        try await members.fault("too_many_requests")
        try await users.fault("too_many_requests")
        _ = try await provider(.stytchB2B, members).start(email: "ada@acme.example")
        let stytch = try provider(.stytchConsumer, users)
        #expect(await refusal(of: stytch, start: "ada@acme.example")?.reason == "provider_unavailable")
    }
}
