import Foundation
import Glibc
import Logging
import Redis
import Synchronization
import Tenancy
import TestSupport
import Testing

@testable import ControlPlane

/// A clock that stands still until it is moved.
final class MovedClock: Sendable {
    private let time = Mutex(Date(timeIntervalSince1970: 1_800_000_000))

    var clock: WallClock { WallClock { self.time.withLock { $0 } } }
    func move(by seconds: Double) { time.withLock { $0 += seconds } }
}

/// A limiter with a link of its own.
struct Limits {
    /// Where its buckets are: in the shared Redis, or in the process because there is none.
    enum Home: String, Sendable, CaseIterable { case redis, process }

    let limiter: RateLimiter
    let redis: RedisClient
    /// Nobody else's buckets.
    let place = UUID().uuidString

    /// Runs `body` with a limiter whose link is up.
    static func with(
        _ rates: [RateLimit: Rate], at url: String, clock: WallClock = .system, goesByClock: Bool = false,
        timeout: Duration = .seconds(5), localBuckets: Int = 50_000, connected: Bool = true,
        _ body: (Limits) async throws -> Void
    ) async throws {
        var settings = try RedisSettings(url: url)
        settings.commandTimeout = timeout
        let redis = RedisClient(settings: settings, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let running = Task { await redis.run() }
        if connected { try await eventually { redis.isConnected } }
        var chosen = RateLimitSettings()
        for limit in RateLimit.allCases { chosen[limit] = rates[limit] }
        let limiter = RateLimiter(
            redis: [redis], settings: chosen, clock: clock, goesByClock: goesByClock, localBuckets: localBuckets)
        do {
            try await body(Limits(limiter: limiter, redis: redis))
        } catch {
            await redis.shutdown()
            throw error
        }
        await redis.shutdown()
        await running.value
    }

    /// The same at either home, with a clock that moves both.
    static func with(
        _ rates: [RateLimit: Rate], in home: Home, clock: MovedClock, _ body: (Limits) async throws -> Void
    ) async throws {
        switch home {
        case .redis:
            try await with(
                rates, at: try TestEnvironment.require("REDIS_URL"), clock: clock.clock, goesByClock: true, body)
        case .process:
            try await with(
                rates, at: "redis://127.0.0.1:1", clock: clock.clock, timeout: .milliseconds(1), connected: false, body)
        }
    }

    func demand(_ count: Int, _ limit: RateLimit, of subject: String = "a") -> RateLimitDemand {
        var demand = RateLimitDemand(at: place, limiter.settings)
        demand.add(count, limit, of: subject)
        return demand
    }

    /// Takes one.
    func take(_ limit: RateLimit, of subject: String = "a") async -> RateLimitVerdict {
        await limiter.decide(demand(1, limit, of: subject))
    }

    /// How many of `tries` are let through.
    func admitted(of tries: Int, _ limit: RateLimit, of subject: String = "a") async -> Int {
        var admitted = 0
        for _ in 0..<tries where await take(limit, of: subject).exceeded == nil { admitted += 1 }
        return admitted
    }
}

/// Waits until `condition` holds, at most `limit`.
func eventually(within limit: Duration = .seconds(10), _ condition: () async -> Bool) async throws {
    let end = ContinuousClock.now + limit
    while await !condition() {
        try #require(.now < end, "the condition did not come true in \(limit)")
        try await Task.sleep(for: .milliseconds(5))
    }
}

@Suite("Rate limits: the algorithm, in Redis and in the process")
struct RateLimiterTests {
    @Test(
        "RL-03 so many at once, then one more for each part of the span; the numbers say how many and when",
        arguments: Limits.Home.allCases)
    func arithmetic(home: Limits.Home) async throws {
        let clock = MovedClock()
        let rate = Rate(6, per: 60)
        try await Limits.with([.tokenClient: rate], in: home, clock: clock) { limits in
            for left in [5, 4, 3, 2, 1, 0] {
                let verdict = await limits.take(.tokenClient)
                #expect(verdict.exceeded == nil)
                #expect(verdict.scarcest?.remaining == left)
                #expect(verdict.scarcest?.wait == .seconds(10 * (6 - left)))
            }
            let refused = await limits.take(.tokenClient)
            #expect(
                refused.exceeded
                    == RateLimitState(limit: .tokenClient, rate: rate, remaining: 0, wait: .seconds(10)))
            clock.move(by: 9.5)
            #expect(await limits.take(.tokenClient).exceeded?.wait == .milliseconds(500))
            // Being refused costs nothing: half a second later there is room for exactly one.
            clock.move(by: 0.5)
            #expect(await limits.admitted(of: 3, .tokenClient) == 1)
            clock.move(by: 35)
            #expect(await limits.admitted(of: 9, .tokenClient) == 3)
            clock.move(by: 3_600)
            #expect(await limits.admitted(of: 9, .tokenClient) == 6)
            // Another subject has a bucket of its own.
            #expect(await limits.admitted(of: 9, .tokenClient, of: "b") == 6)
        }
    }

    @Test("several buckets are taken from together or not at all", arguments: Limits.Home.allCases)
    func together(home: Limits.Home) async throws {
        let clock = MovedClock()
        let rates: [RateLimit: Rate] = [
            .tokenClient: Rate(2, per: 60), .tokenOrganization: Rate(3, per: 30), .failuresClient: Rate(1, per: 10),
        ]
        try await Limits.with(rates, in: home, clock: clock) { limits in
            func both(_ client: String) -> RateLimitDemand {
                var demand = limits.demand(1, .tokenClient, of: client)
                demand.add(1, .tokenOrganization, of: "o")
                demand.add(0, .failuresClient, of: client)
                return demand
            }
            #expect(await limits.limiter.decide(both("a")).scarcest?.limit == .tokenClient)
            #expect(await limits.limiter.decide(both("a")).exceeded == nil)
            // Refused by its own bucket, so nothing is taken from the organization's.
            #expect(await limits.limiter.decide(both("a")).exceeded?.limit == .tokenClient)
            #expect(await limits.limiter.decide(both("a")).exceeded?.limit == .tokenClient)
            #expect(await limits.limiter.decide(both("b")).exceeded == nil)
            #expect(await limits.limiter.decide(both("b")).exceeded?.limit == .tokenOrganization)
            // The one that takes longest is named.
            #expect(await limits.limiter.decide(both("a")).exceeded?.wait == .seconds(30))
            // A bucket that is only looked at refuses when it is full, and is never taken from.
            clock.move(by: 60)
            #expect(await limits.take(.failuresClient).exceeded == nil)
            #expect(await limits.limiter.decide(both("a")).exceeded?.limit == .failuresClient)
            #expect(await limits.limiter.decide(both("b")).exceeded == nil)
            clock.move(by: 10)
            #expect(await limits.limiter.decide(both("a")).exceeded == nil)
            #expect(await limits.limiter.decide(both("a")).exceeded == nil)
        }
    }

    @Test("what is given back is there again, and no more than that", arguments: Limits.Home.allCases)
    func givingBack(home: Limits.Home) async throws {
        let clock = MovedClock()
        let rates: [RateLimit: Rate] = [.tokenClient: Rate(3, per: 60), .failuresClient: Rate(12, per: 60)]
        try await Limits.with(rates, in: home, clock: clock) { limits in
            #expect(await limits.admitted(of: 3, .tokenClient) == 3)
            // A wrong secret weighs ten: the first fits, the second fills the bucket and says so.
            for fits in [true, false] {
                var demand = limits.demand(-1, .tokenClient)
                demand.add(10, .failuresClient, of: "a")
                let verdict = await limits.limiter.decide(demand, .each)
                #expect((verdict.exceeded == nil) == fits)
                #expect(verdict.exceeded.map { $0.limit == .failuresClient } ?? true)
            }
            #expect(await limits.admitted(of: 9, .tokenClient) == 2)
            #expect(await limits.take(.failuresClient).exceeded?.wait == .seconds(5))
            for _ in 0..<50 { _ = await limits.limiter.decide(limits.demand(-1, .tokenClient), .each) }
            #expect(await limits.admitted(of: 9, .tokenClient) == 3)
            await limits.limiter.forget(limits.demand(0, .tokenClient))
            #expect(await limits.admitted(of: 9, .tokenClient) == 3)
        }
    }

    @Test("F-09 a clock that is set back locks nobody out for longer than the span", arguments: Limits.Home.allCases)
    func clockSetBack(home: Limits.Home) async throws {
        let clock = MovedClock()
        try await Limits.with([.tokenClient: Rate(2, per: 60)], in: home, clock: clock) { limits in
            #expect(await limits.admitted(of: 3, .tokenClient) == 2)
            clock.move(by: -86_400)
            #expect(await limits.take(.tokenClient).exceeded?.wait == .seconds(30))
        }
    }

    @Test("F-01 the process decides as Redis does, whatever comes")
    func sameDecisions() async throws {
        var random = SystemRandomNumberGenerator()
        let seed = UInt64.random(in: 0...UInt64.max, using: &random)
        var numbers = SplitMix(state: seed)
        let rates: [RateLimit: Rate] = [
            .tokenClient: Rate(7, per: 60), .tokenOrganization: Rate(11, per: 13), .failuresClient: Rate(3, per: 7),
        ]
        let clock = MovedClock()
        try await Limits.with(rates, in: .redis, clock: clock) { redis in
            try await Limits.with(rates, in: .process, clock: clock) { process in
                for step in 0..<400 {
                    clock.move(by: Double(numbers.below(4_000)) / 1_000)
                    var demands = [redis, process].map { RateLimitDemand(at: $0.place, $0.limiter.settings) }
                    for limit in [RateLimit.tokenClient, .tokenOrganization, .failuresClient]
                    where numbers.below(4) > 0 {
                        let count = Int(numbers.below(7)) - 2
                        for index in demands.indices { demands[index].add(count, limit, of: "a") }
                    }
                    let mode: RateLimiter.Mode = numbers.below(2) == 0 ? .together : .each
                    let there = await redis.limiter.decide(demands[0], mode)
                    let here = await process.limiter.decide(demands[1], mode)
                    #expect(there == here, "step \(step) of seed \(seed)")
                    guard there == here else { return }
                }
                #expect(redis.limiter.counters.decidedHere == 0)
            }
        }
    }

    @Test("one script call for each demand, however many buckets, and again after Redis forgot the script")
    func oneCall() async throws {
        let url = try TestEnvironment.require("REDIS_URL")
        let rates: [RateLimit: Rate] = [
            .tokenClient: Rate(1_000, per: 60), .tokenOrganization: Rate(1_000, per: 60), .tokenGrant: Rate(9, per: 60),
        ]
        try await Limits.with(rates, at: url) { limits in
            var demand = limits.demand(1, .tokenClient)
            demand.add(1, .tokenOrganization, of: "o")
            demand.add(1, .tokenGrant, of: "g")
            // Limits that are off are not asked about.
            demand.add(1, .adminKey, of: "k")
            _ = await limits.limiter.decide(demand)
            let before = limits.redis.counters.commands
            #expect(await limits.limiter.decide(demand).scarcest?.limit == .tokenGrant)
            #expect(limits.redis.counters.commands - before == 1)
            #expect(await limits.limiter.decide(limits.demand(1, .adminKey)) == .unlimited)
            #expect(limits.redis.counters.commands - before == 1)
            _ = try await limits.redis.send(RedisCommand("SCRIPT", ["FLUSH"]))
            #expect(await limits.limiter.decide(demand).scarcest?.remaining == 6)
            #expect(limits.limiter.counters.decidedHere == 0)
            // One slot of a cluster, and gone by itself within the span.
            for part in demand.parts {
                let key = String(decoding: part.key, as: UTF8.self)
                #expect(key.hasPrefix("gatehouse:{\(limits.place)}:rate:\(part.limit.rawValue):"))
                let left = try await limits.redis.send(RedisCommand("PTTL", [.string(key)])).integer ?? -3
                #expect((1...60_000).contains(left), "\(key) lives \(left) ms")
            }
        }
    }

    @Test("nodes whose clocks differ by a day share a bucket: the time is Redis's")
    func clocksDiffer() async throws {
        let url = try TestEnvironment.require("REDIS_URL")
        let tomorrow = WallClock { Date() + 86_400 }
        try await Limits.with([.tokenClient: Rate(4, per: 3_600)], at: url) { here in
            try await Limits.with([.tokenClient: Rate(4, per: 3_600)], at: url, clock: tomorrow) { there in
                var admitted = 0
                for _ in 0..<5 {
                    for limiter in [here.limiter, there.limiter] {
                        if await limiter.decide(here.demand(1, .tokenClient)).exceeded == nil { admitted += 1 }
                    }
                }
                #expect(admitted == 4)
            }
        }
    }

    @Test("many at once take no more than there is", .tags(.race))
    func parallel() async throws {
        let url = try TestEnvironment.require("REDIS_URL")
        try await Limits.with([.tokenClient: Rate(100, per: 86_400)], at: url) { limits in
            let admitted = await withTaskGroup(of: Bool.self) { group in
                for _ in 0..<1_000 {
                    group.addTask { await limits.take(.tokenClient).exceeded == nil }
                }
                return await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
            }
            #expect(admitted == 100)
        }
    }
}

@Suite("Rate limits: Redis away, slow or full", .serialized)
struct RateLimitFallbackTests {
    @Test("F-01 without Redis each process limits by itself, and Redis decides again once it is back")
    func killed() async throws {
        let server = try await RedisServer()
        try await Limits.with(
            [.tokenClient: Rate(5, per: 3_600)], at: server.url, timeout: .milliseconds(50)
        ) { limits in
            #expect(await limits.admitted(of: 9, .tokenClient) == 5)
            server.kill()
            try await eventually { !limits.redis.isConnected }
            let began = ContinuousClock.now
            #expect(await limits.admitted(of: 500, .tokenClient) == 5)
            #expect(await limits.admitted(of: 500, .tokenClient, of: "b") == 5)
            // Hardly anything waited, and no longer than the timeout.
            #expect(ContinuousClock.now - began < .seconds(1))
            #expect(limits.limiter.counters.decidedHere >= 990)
            #expect(limits.limiter.counters.bucketsHere == 2)
            try await server.start()
            try await eventually {
                let before = limits.limiter.counters.decidedHere
                // The new server knows nothing of this subject, nor does the process.
                return await limits.take(.tokenClient, of: UUID().uuidString).exceeded == nil
                    && limits.limiter.counters.decidedHere == before
            }
            #expect(await limits.admitted(of: 9, .tokenClient) == 5)
        }
    }

    @Test("F-01 a Redis that hangs holds one request a second for at most the timeout; nobody else waits")
    func hanging() async throws {
        let server = try await RedisServer()
        try await Limits.with(
            [.tokenClient: Rate(1_000, per: 3_600)], at: server.url, timeout: .milliseconds(50)
        ) { limits in
            #expect(await limits.take(.tokenClient).exceeded == nil)
            #expect(limits.limiter.counters.decidedHere == 0)
            try server.signal(SIGSTOP)
            let began = ContinuousClock.now
            #expect(await limits.take(.tokenClient).exceeded == nil)
            let first = ContinuousClock.now - began
            #expect(first >= .milliseconds(45) && first < .milliseconds(500), "held for \(first)")
            let before = limits.redis.counters.commands
            #expect(await limits.admitted(of: 200, .tokenClient) == 200)
            #expect(limits.redis.counters.commands - before <= 2)
            #expect(limits.limiter.counters.decidedHere >= 200)
            try server.signal(SIGCONT)
            try await eventually {
                let before = limits.limiter.counters.decidedHere
                _ = await limits.take(.tokenClient)
                return limits.limiter.counters.decidedHere == before
            }
        }
    }

    @Test("F-01 a Redis that is full limits nobody less")
    func full() async throws {
        let server = try await RedisServer(["--maxmemory", "1", "--maxmemory-policy", "noeviction"])
        try await Limits.with([.tokenClient: Rate(5, per: 3_600)], at: server.url) { limits in
            #expect(await limits.admitted(of: 50, .tokenClient) == 5)
            #expect(limits.limiter.counters.decidedHere == 50)
        }
    }

    @Test("F-01 memory stays bounded whoever calls, and beyond it newcomers share a bucket")
    func bounded() async throws {
        let clock = MovedClock()
        try await Limits.with(
            [.tokenClient: Rate(5, per: 60)], at: "redis://127.0.0.1:1", clock: clock.clock, timeout: .milliseconds(1),
            localBuckets: 100, connected: false
        ) { limits in
            for number in 0..<100 { _ = await limits.take(.tokenClient, of: "\(number)") }
            var admitted = 0
            for number in 100..<2_000 where await limits.take(.tokenClient, of: "\(number)").exceeded == nil {
                admitted += 1
            }
            #expect(admitted == 5)
            #expect(limits.limiter.counters.bucketsHere <= 101)
            // Who was there before is not hurt.
            #expect(await limits.admitted(of: 9, .tokenClient, of: "7") == 4)
            // Buckets that are empty again make room.
            clock.move(by: 120)
            #expect(await limits.admitted(of: 9, .tokenClient, of: "new") == 5)
            #expect(limits.limiter.counters.bucketsHere <= 2)
            #expect(limits.limiter.counters.exceeded[.tokenClient] == 1_895 + 5 + 4)
        }
    }
}

/// Numbers that a seed decides (splitmix64).
private struct SplitMix {
    var state: UInt64

    mutating func below(_ bound: UInt64) -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return (mixed ^ (mixed >> 31)) % bound
    }
}
