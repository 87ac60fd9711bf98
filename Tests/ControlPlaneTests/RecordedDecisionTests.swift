import Audit
import Foundation
import Keys
import Tenancy
import Testing

@testable import ControlPlane

/// Decisions as the log keeps them, put again.
@Suite("Recorded decisions") struct RecordedDecisionTests {
    private static let names = ["read", "write", "admin", "list", "purge"]

    /// How many histories each property is tried with; `ops/proof` tries more.
    private static var histories: Int {
        ProcessInfo.processInfo.environment["GATEHOUSE_TEST_HISTORIES"].flatMap(Int.init) ?? 50
    }

    /// A world of a few of everything, so that statements and requests meet.
    private struct World {
        var random: SplitMix
        let moment = Date(timeIntervalSince1970: 1_800_000_000)
        let users: [UserID]
        let groups: [GroupID]
        let roles: [RoleID]
        let resources: [ResourceID]
        let clients: [ScopeRequest.Through]

        init(seed: UInt64) {
            random = SplitMix(state: seed)
            let now = moment
            users = (0..<3).map { _ in .make(at: now, .system) }
            groups = (0..<2).map { _ in .make(at: now, .system) }
            roles = (0..<2).map { _ in .make(at: now, .system) }
            resources = (0..<2).map { _ in .make(at: now, .system) }
            clients = [
                ScopeRequest.Through(id: "cli_a", kind: .dynamic, hosts: ["chat.example"]),
                ScopeRequest.Through(id: "https://doc.example/c", kind: .metadataDocument, hosts: ["doc.example"]),
                ScopeRequest.Through(id: "cli_s", kind: .service, scopeCeiling: ["read", "list"]),
                ScopeRequest.Through(id: nil, kind: .registered),
            ]
        }

        mutating func chance(_ part: Int, of whole: Int = 10) -> Bool {
            Int.random(in: 0..<whole, using: &random) < part
        }
        mutating func some<Element>(_ elements: [Element]) -> [Element] { elements.filter { _ in chance(4) } }
        mutating func one<Element>(_ elements: [Element]) -> Element {
            elements[Int.random(in: 0..<elements.count, using: &random)]
        }

        mutating func statement(_ index: Int) -> ScopePolicyStatement {
            var conditions = ScopePolicyStatement.Conditions()
            if chance(2) { conditions.ipRanges = [one(["192.0.2.0/24", "10.0.0.0/8", "2001:db8::/32"])] }
            if chance(2) { conditions.maxAuthAgeSeconds = one([60, 3_600]) }
            if chance(2) { conditions.mfa = chance(5) }
            if chance(1) { conditions.validFrom = moment + Double(one([-100, 100])) }
            if chance(1) { conditions.validUntil = moment + Double(one([-50, 500])) }
            if chance(1) { conditions.exchangedFrom = [resources[0]] }
            return ScopePolicyStatement(
                id: .make(at: moment, .system), name: "statement \(index)", effect: chance(7) ? .allow : .deny,
                principals: .init(
                    everyone: chance(4), users: some(users), groups: some(groups), roles: some(roles),
                    services: chance(3) ? ["cli_s"] : []),
                clients: .init(
                    kinds: chance(2) ? [one([.dynamic, .metadataDocument, .service])] : nil,
                    ids: chance(1) ? ["cli_a"] : nil, hosts: chance(1) ? ["doc.example"] : nil),
                resources: chance(3) ? [one(resources)] : [],
                scopes: some(RecordedDecisionTests.names) + (chance(2) ? ["*"] : ["re*"]), conditions: conditions,
                version: 1, createdAt: moment, updatedAt: moment)
        }

        mutating func request() -> ScopeRequest {
            let client = one(clients)
            let isService = client.kind == .service
            let implications: [String: [String]] = chance(5) ? ["admin": ["write"], "write": ["read"]] : [:]
            return ScopeRequest(
                principal: isService
                    ? .service("cli_s") : .user(one(users), Membership(groups: some(groups), roles: some(roles))),
                client: client,
                resource: ScopeRequest.Target(
                    id: one(resources), scopes: RecordedDecisionTests.names, implications: implications),
                scopes: chance(5) ? .all : .named(some(RecordedDecisionTests.names)),
                address: chance(7) ? one(["192.0.2.9", "10.1.2.3", "2001:db8::1", "198.51.100.7"]) : nil,
                authTime: isService ? nil : moment - Double(one([10, 600, 9_000])), mfa: chance(3),
                upstreamCeiling: chance(2) ? some(RecordedDecisionTests.names) : nil,
                offered: chance(2) ? some(RecordedDecisionTests.names) : nil,
                held: chance(2) ? some(RecordedDecisionTests.names) : nil,
                exchangedFrom: chance(2) ? resources[0] : nil)
        }

        /// What the log keeps of a decision.
        mutating func recorded(_ request: ScopeRequest, _ policy: ScopePolicy) throws -> RecordedDecision {
            let decision = policy.decide(request, at: moment)
            let event = AuditEvent(
                .tokenIssued, organization: .make(at: moment, .system), id: .make(at: moment, .system), time: moment,
                actor: .anonymous, targets: [],
                request: AuditEvent.RequestInfo(
                    id: .make(at: moment, .system), method: "POST", route: "/oauth/token", ip: request.address),
                policy: decision.record
            ).outboxEvent(.system)
            return try #require(
                RecordedDecision(
                    leaf: event.leafPrefix + Array("7".utf8) + event.leafSuffix, disclosures: event.disclosures))
        }
    }

    @Test("Design 5 a recorded decision put to the policy it was taken by comes out as it did")
    func unchanged() throws {
        for seed in 0..<Self.histories {
            var world = World(seed: UInt64(seed))
            let policy = ScopePolicy((0..<6).map { world.statement($0) })
            for _ in 0..<20 {
                let request = world.request()
                let recorded = try world.recorded(request, policy)
                #expect(!recorded.lacksAddress)
                #expect(recorded.effective(under: policy) == recorded.effective, "seed \(seed)")
                var simulation = Simulation()
                simulation.count(recorded, under: policy, asksForAddress: true)
                #expect(simulation.unchanged == 1 && simulation.gains.isEmpty && simulation.losses.isEmpty)
            }
        }
        print("figure: \(Self.histories) random policies, \(Self.histories * 20) decisions come out as they did")
    }

    @Test("Design 5 to remove an allow never grants anything, to remove a deny never takes anything away")
    func removals() throws {
        for seed in 0..<Self.histories {
            var world = World(seed: UInt64(seed) &+ 1_000_000)
            let statements = (0..<6).map { world.statement($0) }
            let policy = ScopePolicy(statements)
            for _ in 0..<10 {
                let recorded = try world.recorded(world.request(), policy)
                for removed in statements {
                    var simulation = Simulation()
                    let draft = ScopePolicy(statements.filter { $0.id != removed.id })
                    simulation.count(recorded, under: draft, asksForAddress: true)
                    switch removed.effect {
                    case .allow: #expect(simulation.gains.isEmpty, "seed \(seed)")
                    case .deny: #expect(simulation.losses.isEmpty, "seed \(seed)")
                    }
                }
            }
        }
        print("figure: \(Self.histories) random policies, any statement removed, \(Self.histories * 10) decisions")
    }

    @Test("Design 5 a decision whose address was erased is left undecided by a policy that asks for it")
    func erasedAddress() throws {
        var world = World(seed: 1)
        var statement = world.statement(0)
        statement.conditions = .init(ipRanges: ["192.0.2.0/24"])
        let request = ScopeRequest(
            principal: .user(world.users[0], Membership()), client: world.clients[0],
            resource: ScopeRequest.Target(id: world.resources[0], scopes: Self.names, implications: [:]),
            scopes: .all, address: "192.0.2.1", authTime: world.moment, mfa: false, upstreamCeiling: nil)
        let event = AuditEvent(
            .tokenIssued, organization: .platform, id: .make(at: world.moment, .system), time: world.moment,
            actor: .anonymous, targets: [],
            request: AuditEvent.RequestInfo(
                id: .make(at: world.moment, .system), method: "POST", route: "/oauth/token", ip: "192.0.2.1"),
            policy: ScopePolicy([statement]).decide(request, at: world.moment).record
        ).outboxEvent(.system)
        let leaf = event.leafPrefix + Array("0".utf8) + event.leafSuffix
        #expect(!String(decoding: leaf, as: UTF8.self).contains("192.0.2.1"))
        let recorded = try #require(RecordedDecision(leaf: leaf, disclosures: []))
        #expect(recorded.lacksAddress)
        var simulation = Simulation()
        simulation.count(recorded, under: ScopePolicy([statement]), asksForAddress: true)
        #expect(simulation.undecidable == 1 && simulation.losses.isEmpty)
    }

    @Test("an instant that the log wrote is read back as it was")
    func instants() {
        for seconds in [0, 951_782_399.5, 951_868_800, 1_800_000_000.123456, 4_102_444_799.999999, -62_135_596_800] {
            let text = Timestamp.text(Date(timeIntervalSince1970: seconds))
            #expect(Timestamp.date(text).map(Timestamp.text) == text)
        }
        for text in ["", "2026-01-02T03:04:05Z", "2026-13-02T03:04:05.000000Z", "2026-01-02 03:04:05.000000Z"] {
            #expect(Timestamp.date(text) == nil)
        }
    }
}

/// Random choices that a seed repeats.
private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
