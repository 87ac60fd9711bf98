import Audit
import Foundation
import Keys
import Logging
import Synchronization
import Tenancy
import TestSupport
import Testing

@testable import ControlPlane

@Suite("Rate limits: whose budget a request uses")
struct EndpointLimitsTests {
    private static let acme = OrganizationID.make(at: Date(), .system)
    private static let globex = OrganizationID.make(at: Date(), .system)
    private static let rates: [RateLimit: Rate] = [
        .tokenClient: Rate(50, per: 60), .tokenOrganization: Rate(80, per: 60), .tokenGrant: Rate(10, per: 60),
        .failuresClient: Rate(100, per: 60), .failuresSource: Rate(200, per: 60), .registerSource: Rate(20, per: 3_600),
        .authorizeSource: Rate(30, per: 60), .otherClient: Rate(40, per: 60), .introspectMisses: Rate(15, per: 60),
        .adminKey: Rate(5, per: 60), .adminOrganization: Rate(8, per: 60), .introspectOrganization: Rate(60, per: 60),
        .otherOrganization: Rate(60, per: 60), .unknownSource: Rate(60, per: 60),
    ]

    /// What the node of these tests knows of a client, by the beginning of its name.
    @Sendable private static func acquaintance(_ name: String, _ issuer: OrganizationID) -> ClientAcquaintance {
        switch name.split(separator: ":").first {
        case "stranger": .stranger
        case "connected": .connected
        case "unknown": .unknown
        default: .vouchedFor
        }
    }

    /// Requests of many parties, against limits whose clock stands still.
    struct Scene: Sendable {
        let limits: EndpointLimits
        let limiter: RateLimiter
        let events: Events
        let now: Date

        final class Events: Sendable {
            private let all = Mutex<[OutboxEvent]>([])
            func add(_ event: OutboxEvent) { all.withLock { $0.append(event) } }
            var texts: [String] {
                all.withLock { $0.map { String(decoding: $0.leafPrefix + $0.leafSuffix, as: UTF8.self) } }
            }
        }

        func request(from source: String) -> AuditEvent.RequestInfo {
            AuditEvent.RequestInfo(
                id: RequestID.make(at: now, .system), method: "POST", route: "/oauth/token", ip: source)
        }

        /// One request; `outcome` is how it ends once admitted. Returns the error's reason, nil when it succeeded.
        func ask(
            _ client: String, at issuer: OrganizationID, for organization: OrganizationID? = nil,
            grant: GrantID? = nil, from source: String = "192.0.2.1", outcome: OAuthError? = nil
        ) async -> String? {
            let call = EndpointLimits.ClientCall(
                .token, at: issuer, for: organization, by: .none(clientID: client), grant: grant,
                request: request(from: source),
                at: now)
            do {
                try await limits.admit(call) { if let outcome { throw outcome } }
                return nil
            } catch let error as OAuthError {
                #expect(error.reason == outcome?.reason || error.limit != nil)
                #expect(error.limit == nil || error.code == .temporarilyUnavailable)
                return error.reason
            } catch {
                return "\(error)"
            }
        }

        func admitted(of tries: Int, _ ask: (Int) async -> String?) async -> Int {
            var admitted = 0
            for number in 0..<tries where await ask(number) == nil { admitted += 1 }
            return admitted
        }
    }

    private func scene(_ clock: MovedClock = MovedClock(), _ body: (Scene) async throws -> Void) async throws {
        let events = Scene.Events()
        try await Limits.with(Self.rates, in: .process, clock: clock) { limits in
            let refusals = RefusalLog(clock: clock.clock, random: .system, logger: Logger(label: "test")) {
                events.add($0)
            }
            try await body(
                Scene(
                    limits: EndpointLimits(
                        limiter: limits.limiter, acquaintance: Self.acquaintance, refusals: refusals),
                    limiter: limits.limiter,
                    events: events, now: clock.clock.now()))
        }
    }

    private static let wrongSecret = OAuthError(.invalidClient, "no", reason: "wrong_secret")
    private static let wrongCode = OAuthError(.invalidGrant, "no", reason: "code_unknown")

    @Test("RL-03 an organization at ten times its limit takes nothing from another's, at either kind of issuer")
    func noisyNeighbour() async throws {
        for issuers in [(Self.acme, Self.globex), (.platform, .platform)] {
            try await scene { scene in
                let clients = (0..<4).map { _ in ClientID.make(at: Date(), .system).description }
                // 800 requests of acme's clients, and between them 80 of globex's.
                var globex = 0
                let acme = await scene.admitted(of: 800) { number in
                    if number % 10 == 0,
                        await scene.ask(clients[number / 10 % 2 + 2], at: issuers.1, for: Self.globex) == nil
                    {
                        globex += 1
                    }
                    return await scene.ask(clients[number % 2], at: issuers.0, for: Self.acme)
                }
                #expect(acme == 80)
                #expect(globex == 80)
            }
        }
    }

    @Test("RL-03 one client of an organization, and one connection of a client, leave room for the others")
    func withinAnOrganization() async throws {
        try await scene { scene in
            let grants = (0..<2).map { _ in GrantID.make(at: Date(), .system) }
            #expect(await scene.admitted(of: 100) { _ in await scene.ask("wild", at: Self.acme) } == 50)
            #expect(await scene.admitted(of: 15) { _ in await scene.ask("c", at: Self.acme, grant: grants[0]) } == 10)
            #expect(await scene.admitted(of: 15) { _ in await scene.ask("c", at: Self.acme, grant: grants[1]) } == 10)
            #expect(await scene.admitted(of: 15) { _ in await scene.ask("d", at: Self.acme) } == 10)
        }
    }

    @Test("K-17 secret guessing is stopped for the client from that source; the client itself works from another")
    func secretGuessing() async throws {
        try await scene { scene in
            var reasons: [String: Int] = [:]
            for _ in 0..<1_000 {
                let reason = await scene.ask("victim", at: Self.acme, from: "203.0.113.9", outcome: Self.wrongSecret)
                reasons[reason ?? "-", default: 0] += 1
            }
            #expect(reasons == ["wrong_secret": 10, "rate_limited": 990])
            // The right secret is not even looked at from there, so a limited guess tells nothing.
            #expect(await scene.ask("victim", at: Self.acme, from: "203.0.113.9") == "rate_limited")
            // The log has the first refusals of the minute and no thousand.
            let limited = scene.events.texts.filter { $0.contains("rate_limited") }
            #expect(limited.count == RefusalLog.eventsPerMinute)
            #expect(limited.allSatisfy { $0.contains("client.auth_failed") && $0.contains("failures_client") })
            // And none of it came out of the client's own budget, nor of its organization's.
            #expect(await scene.admitted(of: 60) { _ in await scene.ask("victim", at: Self.acme) } == 50)
            #expect(await scene.admitted(of: 60) { _ in await scene.ask("other", at: Self.acme) } == 30)
        }
    }

    @Test("K-17 guesses from a hundred sources use up nothing of the client they name")
    func distributedGuessing() async throws {
        try await scene { scene in
            for number in 0..<1_000 {
                _ = await scene.ask(
                    "victim", at: Self.acme, from: "203.0.113.\(number % 100)", outcome: Self.wrongSecret)
            }
            #expect(await scene.admitted(of: 60) { _ in await scene.ask("victim", at: Self.acme) } == 50)
        }
    }

    @Test("K-04 codes are guessed at a bounded rate, and their client goes on")
    func codeGuessing() async throws {
        try await scene { scene in
            var told = 0
            for _ in 0..<10_000
            where await scene.ask("public", at: Self.acme, from: "203.0.113.9", outcome: Self.wrongCode)
                == "code_unknown"
            {
                told += 1
            }
            #expect(told == 200)
            #expect(await scene.ask("public", at: Self.acme) == nil)
            // A client's back end presents what its people bring: their bad codes do not shut it out.
            #expect(await scene.ask("public", at: Self.acme, from: "203.0.113.9") == nil)
        }
    }

    @Test("P-13 trying many clients, or all addresses of a /64, is stopped by the source's own bucket")
    func manyClients() async throws {
        try await scene { scene in
            var looked = 0
            for number in 0..<2_000 {
                let source = number % 2 == 0 ? "2001:db8:0:1::\(String(number, radix: 16))" : "2001:db8:0:1:9::1"
                let reason = await scene.ask(
                    "made-up-\(number)", at: Self.acme, from: source, outcome: Self.wrongSecret)
                if reason == "wrong_secret" { looked += 1 }
            }
            #expect(looked == 200)
            // Whoever proves itself is not kept out by its neighbours, not even behind the same address.
            #expect(await scene.ask("honest", at: Self.acme, from: "2001:db8:0:1::77") == nil)
            // A name of any length and content is one bucket.
            let strange = String(repeating: "x}:{\r\n", count: 5_000)
            #expect(await scene.admitted(of: 60) { _ in await scene.ask(strange, at: Self.globex) } == 50)
        }
    }

    @Test("RL-03 clients that registered themselves use up nothing that resources and administered clients need")
    func strangers() async throws {
        try await scene { scene in
            func ask(_ client: String, _ endpoint: EndpointLimits.ClientCall.Endpoint) async -> String? {
                let call = EndpointLimits.ClientCall(
                    endpoint, at: Self.acme, by: .post(clientID: client, secret: Secret("s")),
                    request: scene.request(from: "192.0.2.1"), at: scene.now)
                do {
                    try await scene.limits.admit(call) {}
                    return nil
                } catch {
                    return (error as? OAuthError)?.limit?.limit.rawValue
                }
            }
            for (endpoint, limit) in [
                (EndpointLimits.ClientCall.Endpoint.introspect, "introspect_organization"),
                (.other, "other_organization"),
            ] {
                #expect(await scene.admitted(of: 300) { await ask("stranger:\($0)", endpoint) } == 60)
                #expect(await ask("stranger:x", endpoint) == limit)
                #expect(await scene.admitted(of: 60) { await ask("connected:\($0 % 5)", endpoint) } == 60)
                #expect(await scene.admitted(of: 60) { await ask("administered:\($0 % 5)", endpoint) } == 60)
                // And the other way round nobody has more than a share.
                #expect(await ask("administered:0", endpoint) == limit)
            }
        }
    }

    @Test("P-13 names that a node does not know cost a question each: one source asks only so many")
    func unknownNames() async throws {
        try await scene { scene in
            func ask(_ number: Int, from source: String = "203.0.113.9") async -> String? {
                await scene.ask("unknown:\(number)", at: Self.acme, from: source, outcome: Self.wrongSecret)
            }
            var looked = 0
            for number in 0..<300 where await ask(number) == "wrong_secret" { looked += 1 }
            #expect(looked == 60)
            // Whoever is known is not kept out by such neighbours, and nobody is from elsewhere.
            #expect(await scene.ask("honest", at: Self.acme, from: "203.0.113.9") == nil)
            #expect(await ask(1, from: "192.0.2.1") == "wrong_secret")
            #expect(scene.limiter.counters.exceeded[.unknownSource] == 240)
        }
    }

    @Test("RL-04 a device that polls is told slow_down, and waiting is no failure (RFC 8628 §3.5)")
    func devices() async throws {
        try await scene { scene in
            func poll(_ outcome: OAuthError.Code) async -> OAuthError.Code? {
                let call = EndpointLimits.ClientCall(
                    .deviceCode(code: "gd_x", resources: []), by: .none(clientID: "tv"), at: Self.acme,
                    request: scene.request(from: "192.0.2.1"), at: scene.now)
                do {
                    try await scene.limits.admit(call) { throw OAuthError(outcome, "no") }
                    return nil
                } catch {
                    return (error as? OAuthError)?.code
                }
            }
            for _ in 0..<50 { #expect(await poll(.authorizationPending) == .authorizationPending) }
            #expect(await poll(.authorizationPending) == .slowDown)
            #expect(scene.limiter.counters.exceeded == [.tokenClient: 1])
        }
    }

    @Test("RL-03 whoever proves nothing takes from its source's share, not from the client's it names")
    func unprovenRevocations() async throws {
        try await scene { scene in
            func revoke(_ credentials: ClientCredentials, from source: String) async -> String? {
                let call = EndpointLimits.ClientCall(
                    .other, at: Self.acme, by: credentials, request: scene.request(from: source), at: scene.now)
                do {
                    try await scene.limits.admit(call) {}
                    return nil
                } catch {
                    return (error as? OAuthError)?.limit?.limit.rawValue
                }
            }
            let proof = ClientCredentials.post(clientID: "c", secret: Secret("s"))
            #expect(await scene.admitted(of: 50) { _ in await revoke(.none(clientID: "c"), from: "192.0.2.1") } == 30)
            #expect(await revoke(.none(clientID: "d"), from: "192.0.2.1") == "authorize_source")
            #expect(await revoke(.none(clientID: "c"), from: "192.0.2.2") == nil)
            #expect(await scene.admitted(of: 50) { _ in await revoke(proof, from: "192.0.2.1") } == 40)
        }
    }

    @Test("K-27 tokens that are not active are told of at a bounded rate, and the others always")
    func misses() async throws {
        try await scene { scene in
            func introspect(isActive: Bool) async -> String? {
                let call = EndpointLimits.ClientCall(
                    .introspect, at: Self.acme, by: .post(clientID: "rs", secret: Secret("s")),
                    request: scene.request(from: "192.0.2.1"), at: scene.now)
                do {
                    try await scene.limits.admit(call) {}
                    if !isActive { try await scene.limits.missed(call) }
                    return nil
                } catch {
                    return (error as? OAuthError)?.limit?.limit.rawValue
                }
            }
            #expect(await scene.admitted(of: 50) { _ in await introspect(isActive: false) } == 15)
            #expect(await introspect(isActive: false) == "introspect_misses")
            #expect(await introspect(isActive: true) == nil)
        }
    }

    @Test("RG-09 registrations are limited for each issuer and source")
    func registrations() async throws {
        try await scene { scene in
            func register(at issuer: OrganizationID, from source: String) async -> String? {
                do {
                    try await scene.limits.admit(
                        .registerSource, for: issuer, refusing: .clientRegistered, scene.request(from: source),
                        at: scene.now)
                    return nil
                } catch {
                    return "limited"
                }
            }
            #expect(await scene.admitted(of: 100) { _ in await register(at: Self.acme, from: "192.0.2.1") } == 20)
            #expect(await scene.admitted(of: 100) { _ in await register(at: Self.acme, from: "192.0.2.2") } == 20)
            #expect(await scene.admitted(of: 100) { _ in await register(at: Self.globex, from: "192.0.2.1") } == 20)
            #expect(scene.events.texts.allSatisfy { $0.contains("client.registered") && $0.contains("rate_limited") })
        }
    }

    @Test("RL-03 admin keys have budgets of their own and their organization's; wrong ones have neither")
    func administrators() async throws {
        try await scene { scene in
            func credential(of organization: OrganizationID = Self.acme) -> String {
                AdminCredential(
                    organization: organization, key: AdminKeyID.make(at: Date(), .system), .system
                ).secret.revealed
            }
            func call(_ presented: String, isValid: Bool = true, from source: String = "192.0.2.1") async -> String? {
                let call = EndpointLimits.AdminCall(
                    presented: presented, request: scene.request(from: source), at: scene.now)
                do {
                    _ = try await scene.limits.admit(call)
                    if !isValid { try await scene.limits.refused(call, because: .invalidCredential) }
                    return isValid ? nil : "refused"
                } catch AdminError.rateLimited(let state) {
                    return state.limit.rawValue
                } catch {
                    return "\(error)"
                }
            }
            let (first, second, third) = (credential(), credential(), credential(of: Self.globex))
            #expect(await scene.admitted(of: 9) { _ in await call(first) } == 5)
            #expect(await call(first) == "admin_key")
            #expect(await scene.admitted(of: 9) { _ in await call(second) } == 3)
            #expect(await call(second) == "admin_organization")
            for _ in 0..<50 { _ = await call(third, isValid: false, from: "203.0.113.9") }
            #expect(await call(third, isValid: false, from: "203.0.113.9") == "failures_client")
            #expect(await scene.admitted(of: 9) { _ in await call(third) } == 5)
        }
    }

    @Test("RL-03 who needs a nonce, or was proven, failed at nothing; what a nameless call took is given back")
    func refusedAdministrators() async throws {
        try await scene { scene in
            let organization = Self.acme
            let credential = AdminCredential(
                organization: organization, key: AdminKeyID.make(at: Date(), .system), .system
            ).secret.revealed
            func call(_ error: AdminError?) async -> String? {
                let call = EndpointLimits.AdminCall(
                    presented: credential, request: scene.request(from: "192.0.2.1"), at: scene.now)
                do {
                    _ = try await scene.limits.admit(call)
                    if let error { try await scene.limits.refused(call, because: error) }
                    return nil
                } catch AdminError.rateLimited(let state) {
                    return state.limit.rawValue
                } catch {
                    return "\(error)"
                }
            }
            let nonce = AdminError.proofRefused(code: "use_dpop_nonce", nonce: "n")
            for _ in 0..<100 { #expect(await call(nonce) == nil) }
            // Whose sign-in is too old was proven: it takes from its own share, and is no guess.
            #expect(await scene.admitted(of: 9) { _ in await call(.authenticationTooOld) } == 5)
            #expect(await call(.authenticationTooOld) == "admin_key")
        }
    }

    @Test("RL-03 what is as good as many calls counts as many, all or none")
    func manyInOne() async throws {
        try await scene { scene in
            let credential = AdminCredential(
                organization: Self.globex, key: AdminKeyID.make(at: Date(), .system), .system
            ).secret.revealed
            func admits(_ count: Int) async -> Bool {
                let call = EndpointLimits.AdminCall(
                    presented: credential, request: scene.request(from: "192.0.2.1"), at: scene.now)
                return (try? await scene.limits.admit(call, taking: count)) != nil
            }
            #expect(await admits(4))
            #expect(await !admits(2))
            #expect(await admits(1))
            #expect(await !admits(1))
        }
    }

    @Test("K-17 mailed codes: ten from one source, more from elsewhere, and a right one forgives")
    func mailedCodes() async throws {
        let clock = MovedClock()
        let rates: [RateLimit: Rate] = [
            .mailedCodeSource: RateLimit.mailedCodeSource.standard,
            .mailedCodeAddress: RateLimit.mailedCodeAddress.standard,
            .typedCodeSource: RateLimit.typedCodeSource.standard,
            .typedCodeAddress: RateLimit.typedCodeAddress.standard,
        ]
        for home in Limits.Home.allCases {
            try await Limits.with(rates, in: home, clock: clock) { limits in
                let (signIn, _) = Self.signIn(limits.limiter)
                let organization = OrganizationID.make(at: Date(), .system)
                func visitor(_ email: String, _ source: String) -> SignInLimits.Visitor {
                    SignInLimits.Visitor(email, in: organization, from: source, mark: nil, at: clock.clock.now())
                }
                func sent(_ tries: Int, to email: String, from source: String) async -> Int {
                    var count = 0
                    for _ in 0..<tries where await signIn.mayHaveCodeSent(visitor(email, source)) { count += 1 }
                    return count
                }
                #expect(await sent(20, to: "a@example.com", from: "192.0.2.1") == 10)
                // Letters' case and addresses of one /64 make no difference.
                #expect(await sent(20, to: "A@example.com", from: "192.0.2.1") == 0)
                #expect(await sent(5, to: "b@example.com", from: "2001:db8::1") == 5)
                #expect(await sent(20, to: "b@example.com", from: "2001:db8::2") == 5)
                // From elsewhere its owner still gets some, until all sources together are at forty.
                for number in 2...4 { #expect(await sent(20, to: "a@example.com", from: "192.0.2.\(number)") == 10) }
                var guesses = 0
                for _ in 0..<50 where await signIn.mayGuess(visitor("a@example.com", "192.0.2.1")) { guesses += 1 }
                #expect(guesses == 20)
                await signIn.forgive("a@example.com", in: organization, from: "192.0.2.1")
                #expect(await sent(20, to: "a@example.com", from: "192.0.2.1") == 10)
                #expect(await signIn.mayGuess(visitor("a@example.com", "192.0.2.1")))
            }
        }
    }

    @Test(
        "K-17 strangers who flood an address lock nobody out: known browsers and other sources still get codes, few in all"
    )
    func floodedAddress() async throws {
        let clock = MovedClock()
        let rates: [RateLimit: Rate] = [
            .mailedCodeSource: RateLimit.mailedCodeSource.standard,
            .mailedCodeAddress: RateLimit.mailedCodeAddress.standard,
            .typedCodeSource: RateLimit.typedCodeSource.standard,
            .typedCodeAddress: RateLimit.typedCodeAddress.standard,
        ]
        try await Limits.with(rates, in: .process, clock: clock) { limits in
            let (signIn, marks) = Self.signIn(limits.limiter)
            let (email, now) = ("a@example.com", clock.clock.now())
            let mark = marks.mark(for: email, in: Self.acme, at: now, .system)
            func count(
                _ tries: Int, from source: String, mark: String? = nil,
                _ may: (SignInLimits.Visitor) async -> Bool
            ) async -> Int {
                let visitor = SignInLimits.Visitor(email, in: Self.acme, from: source, mark: mark, at: now)
                var count = 0
                for _ in 0..<tries where await may(visitor) { count += 1 }
                return count
            }
            // Five sources take all that the address has, and no more than that and one each.
            var (mails, guesses) = (0, 0)
            for number in 1...10 {
                mails += await count(100, from: "203.0.113.\(number)", signIn.mayHaveCodeSent)
                guesses += await count(100, from: "203.0.113.\(number)", signIn.mayGuess)
            }
            #expect((40...50).contains(mails) && guesses == 200)
            // The person, from a place of their own: slowly.
            #expect(await count(5, from: "192.0.2.1", signIn.mayHaveCodeSent) == 1)
            #expect((1...5).contains(await count(10, from: "192.0.2.1", signIn.mayGuess)))
            // In a browser in which they signed in before: as ever, even from a flooder's address.
            #expect(await count(20, from: "203.0.113.1", mark: mark, signIn.mayHaveCodeSent) == 10)
            #expect(await count(50, from: "203.0.113.1", mark: mark, signIn.mayGuess) == 20)
            // However many sources: mails are bounded.
            for number in 0..<200 { mails += await count(2, from: "198.51.100.\(number)", signIn.mayHaveCodeSent) }
            #expect(mails <= 80)
            // Another's mark, one of another organization, one that was made up: worth nothing.
            for wrong in [
                marks.mark(for: "b@example.com", in: Self.acme, at: now, .system),
                marks.mark(for: email, in: Self.globex, at: now, .system),
                marks.mark(for: email, in: Self.acme, at: now - 401 * 86_400, .system),
                String(mark.reversed()), "x", "",
            ] {
                #expect(await count(1, from: "203.0.113.1", mark: wrong, signIn.mayHaveCodeSent) == 0)
            }
        }
    }

    private static func signIn(_ limiter: RateLimiter) -> (SignInLimits, BrowserMarks) {
        let marks = BrowserMarks(key: AuthenticationKey(derivedFrom: TestDatabase.masterKey, purpose: "browser mark"))
        return (SignInLimits(limiter: limiter, marks: marks), marks)
    }

    @Test(
        "rates are COUNT/SECONDS",
        arguments: [
            ("600/60", true), ("1/86400", true), ("60000000/60", true), ("60000001/60", false), ("0/60", false),
            ("-1/60", false), ("1/0", false), ("1/86401", false), ("60", false), ("a/b", false), ("1/2/3", false),
            ("", false), ("1 / 2", false),
        ])
    func rates(text: String, isValid: Bool) {
        #expect((Rate(text) != nil) == isValid)
    }
}
