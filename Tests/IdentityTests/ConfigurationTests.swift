import Foundation
import Keys
import Synchronization
import Tenancy
import TestSupport
import Testing

@testable import Identity

@Suite struct StytchConfigurationTests {
    private func baseURL(
        _ project: String, own: String? = nil, replacement: String? = nil, development: Bool = false
    ) -> String? {
        var settings = IdentitySettings()
        settings.allowTestProjects = development
        settings.stytchBaseURL = replacement
        let configuration = IdentityProviderRecord.Configuration(projectID: project, baseURL: own)
        return try? StytchAPI.baseURL(of: configuration, settings)
    }

    @Test("the project id's prefix says where its API stands (facts/stytch.md §1)")
    func prefix() {
        #expect(baseURL("project-live-1") == "https://api.stytch.com")
        #expect(baseURL("project-test-1", development: true) == "https://test.stytch.com")
        #expect(baseURL("project-staging-1", development: true) == nil)
        #expect(baseURL("project-live-1:x") == nil)
        #expect(baseURL("project-live-1\r\nX: y") == nil)
    }

    @Test("a test project signs nobody in unless the operator allows it, whatever its base URL (facts/stytch.md §7)")
    func testProjects() {
        #expect(baseURL("project-test-1") == nil)
        #expect(baseURL("project-test-1", own: "https://login.acme.example") == nil)
        #expect(baseURL("project-test-1", replacement: "http://127.0.0.1:9") == nil)
    }

    @Test("a custom domain is https without a path; plain http is for loopback in development (facts/stytch.md §1)")
    func customDomain() {
        #expect(baseURL("project-live-1", own: "https://login.acme.example/") == "https://login.acme.example")
        #expect(baseURL("project-live-1", own: "https://login.acme.example/x") == nil)
        #expect(baseURL("project-live-1", own: "https://user@login.acme.example") == nil)
        #expect(baseURL("project-live-1", own: "http://login.acme.example") == nil)
        #expect(baseURL("project-live-1", own: "http://localhost:9") == nil)
        #expect(baseURL("project-live-1", own: "http://localhost:9", development: true) == "http://localhost:9")
        #expect(baseURL("project-live-1", own: "http://login.acme.example", development: true) == nil)
    }

    @Test("the operator's replacement wins and is loopback only")
    func replacement() {
        #expect(baseURL("project-live-1", replacement: "http://127.0.0.1:9/") == "http://127.0.0.1:9")
        #expect(
            baseURL("project-live-1", own: "https://login.acme.example", replacement: "http://127.0.0.1:9")
                == "http://127.0.0.1:9")
        #expect(baseURL("project-live-1", replacement: "https://example.com") == nil)
    }

    @Test("a provider that is disabled, of an unknown kind or without a readable secret is misconfigured")
    func unusable() throws {
        let organization = try sampleOrganization()
        let other = try sampleOrganization()
        let record = sampleRecord(.stytchConsumer, project: "project-live-1")
        let place = SealedPlace.providerSecret(record.id)
        let sealed = try TestDatabase.secrets.seal(Array("s".utf8), for: organization, place)
        let foreign = try TestDatabase.secrets.seal(Array("s".utf8), for: other, place)
        let providers = IdentityProviders(
            outbound: try SandboxProject.client(), secrets: TestDatabase.secrets, settings: IdentitySettings())
        func reason(_ change: (inout IdentityProviderRecord) -> Void) -> String? {
            var changed = record
            changed.sealedSecret = sealed
            change(&changed)
            do throws(SignInError) {
                _ = try providers.provider(changed, of: organization)
                return nil
            } catch {
                return error.reason
            }
        }
        #expect(reason { _ in } == nil)
        #expect(reason { $0.status = .disabled } == "provider_disabled")
        #expect(reason { $0.kind = .oidc } == "provider_kind_unsupported")
        #expect(reason { $0.kind = .stytchB2B } == "provider_organization_missing")
        #expect(reason { $0.sealedSecret = nil } == "provider_secret_missing")
        #expect(reason { $0.sealedSecret = foreign } == "provider_secret_unreadable")
    }
}

@Suite struct EmailAddressTests {
    @Test(
        "an address has one spelling (RFC 5321 §4.1.2)",
        arguments: [
            (" Ada@ACME.Example\n", "Ada@acme.example"), ("a.b+c@x.acme.example", "a.b+c@x.acme.example"),
            ("", nil), ("ada", nil), ("ada@", nil), ("@acme.example", nil), ("ada@acme", nil), ("a@b@c.example", nil),
            ("ada@-acme.example", nil), ("ada@acme..example", nil), ("ada@acme.example.", nil),
            ("a da@acme.example", nil),
            ("ada@acme.example\u{0}", nil), ("ada@ac\u{212A}me.example", nil), ("\u{212A}@acme.example", nil),
            ("ada@[127.0.0.1]", nil), ("\"a\"@acme.example", nil), ("<ada@acme.example>", nil),
            ("\(String(repeating: "a", count: 65))@acme.example", nil),
        ] as [(String, String?)])
    func spelling(text: String, spelt: String?) {
        #expect(EmailAddress(text)?.description == spelt)
    }

    @Test("addresses are the same without regard to case")
    func equality() {
        #expect(EmailAddress("ADA@acme.example") == EmailAddress("ada@ACME.example"))
        #expect(EmailAddress("ada@acme.example") != EmailAddress("ada@acme.example.org"))
    }
}

@Suite struct CircuitBreakerTests {
    private final class Clock: Sendable {
        private let instant = Mutex(ContinuousClock.now)
        var now: ContinuousClock.Instant { instant.withLock { $0 } }
        func advance(by duration: Duration) { instant.withLock { $0 += duration } }
    }

    private let clock = Clock()
    private let provider = IdentityProviderID.make(at: noon, .system)

    private func breaker(_ settings: CircuitBreaker.Settings) -> CircuitBreaker {
        CircuitBreaker(settings) { [clock] in clock.now }
    }

    private func admits(_ breaker: CircuitBreaker, _ provider: IdentityProviderID? = nil, version: Int64 = 1) -> Bool {
        guard let permit = try? breaker.admit(provider ?? self.provider, version: version) else { return false }
        breaker.settle(permit, .unknown)
        return true
    }

    private func call(_ breaker: CircuitBreaker, _ health: CircuitBreaker.Health, version: Int64 = 1) throws {
        breaker.settle(try breaker.admit(provider, version: version), health)
    }

    @Test("failures in a row cut one provider off and no other, and one probe brings it back (design §8)")
    func opensAndCloses() throws {
        let breaker = breaker(.init(threshold: 3, openTime: .seconds(10)))
        let straggler = try breaker.admit(provider, version: 1)
        #expect(!breaker.isOpen(provider, version: 1))
        for _ in 0..<3 { try call(breaker, .bad) }
        #expect(!admits(breaker))
        #expect(breaker.isOpen(provider, version: 1))
        #expect(!breaker.isOpen(provider, version: 2), "a mended configuration is tried")
        #expect(admits(breaker, .make(at: noon, .system)))
        do throws(CircuitBreaker.Open) {
            _ = try breaker.admit(provider, version: 1)
        } catch {
            #expect(error.retryAfter == .seconds(10))
        }
        clock.advance(by: .seconds(10))
        #expect(!breaker.isOpen(provider, version: 1))
        let probe = try breaker.admit(provider, version: 1)
        #expect(!admits(breaker), "only one probes")
        breaker.settle(straggler, .unknown)
        #expect(!admits(breaker), "whatever else ends")
        breaker.settle(probe, .bad)
        #expect(!admits(breaker), "a failed probe opens again")
        clock.advance(by: .seconds(10))
        try call(breaker, .unknown)
        try call(breaker, .good)
        #expect(admits(breaker))
        #expect(admits(breaker))
    }

    @Test("a success in between starts the count again, and a mended configuration is tried at once")
    func resets() throws {
        let breaker = breaker(.init(threshold: 2))
        for health in [CircuitBreaker.Health.bad, .good, .bad] { try call(breaker, health) }
        #expect(admits(breaker))
        let old = try breaker.admit(provider, version: 1)
        try call(breaker, .bad)
        #expect(!admits(breaker))
        #expect(admits(breaker, version: 2))
        try call(breaker, .bad, version: 2)
        breaker.settle(old, .bad)
        #expect(admits(breaker, version: 2), "a failure of the old configuration does not count")
    }

    @Test("a slow provider holds a bounded number of calls (design §8)")
    func bulkhead() throws {
        let breaker = breaker(.init(concurrency: 2))
        let first = try breaker.admit(provider, version: 1)
        _ = try breaker.admit(provider, version: 1)
        #expect(!admits(breaker))
        #expect(!admits(breaker, version: 2), "whatever the version")
        #expect(admits(breaker, .make(at: noon, .system)))
        breaker.settle(first, .unknown)
        #expect(admits(breaker))
    }
}
