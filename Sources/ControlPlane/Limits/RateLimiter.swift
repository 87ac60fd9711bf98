import Foundation
package import Redis
import Synchronization
package import Tenancy

/// What the limiter has done since it was made; for metrics.
package struct RateLimitCounters: Sendable {
    /// Refusals by limit.
    package var exceeded: [RateLimit: Int] = [:]
    /// Demands decided in this process because Redis did not answer.
    package var decidedHere = 0
    /// Buckets this process holds for that.
    package var bucketsHere = 0
}

/// Decides how often things may happen, for all nodes together: buckets in Redis, one script call for each demand.
///
/// Each bucket is one number, the theoretical arrival time of the generic cell rate algorithm (ITU-T I.371): when it would
/// be empty again if nothing more came. So a bucket is a key that ends by itself, there are no windows whose edges let
/// twice as many through, and any number of limits is decided together or not at all.
///
/// The time is Redis's own, so that nodes whose clocks differ agree. When Redis is away, slow or full, this process
/// decides for itself with as strict rates (F-01): never an error of its own, and never without limit. It waits for Redis
/// at most the client's command timeout, and once it did, asks again only once a second until an answer comes.
package final class RateLimiter: Sendable {
    /// Whether the parts of a demand stand or fall together.
    package enum Mode: Sendable {
        /// Nothing is taken unless every bucket has room.
        case together
        /// Each bucket is changed as far as it has room.
        case each
    }

    package let settings: RateLimitSettings
    private let redis: RedisClient
    private let clock: WallClock
    private let goesByClock: Bool
    private let here: Mutex<LocalBuckets>
    private let exceeded = Mutex<[RateLimit: Int]>([:])
    private let decidedHere = Atomic(0)
    /// Nanoseconds of `uptime` until which Redis is not asked; 0 while it answers.
    private let quietUntil = Atomic<Int64>(0)
    private let started = ContinuousClock.now
    private static let pause: Int64 = 1_000_000_000

    /// - Parameters:
    ///   - redis: a client of its own, whose command timeout is how long a request may be held.
    ///   - goesByClock: buckets in Redis go by `clock` too, for tests that move it.
    package init(
        redis: RedisClient, settings: RateLimitSettings, clock: WallClock = .system, goesByClock: Bool = false,
        localBuckets: Int = 50_000
    ) {
        self.redis = redis
        self.settings = settings
        self.clock = clock
        self.goesByClock = goesByClock
        here = Mutex(LocalBuckets(capacity: localBuckets))
    }

    /// A snapshot for metrics.
    package var counters: RateLimitCounters {
        RateLimitCounters(
            exceeded: exceeded.withLock { $0 }, decidedHere: decidedHere.load(ordering: .relaxed),
            bucketsHere: here.withLock { $0.count })
    }

    /// Takes what is demanded, or says which bucket has no room. Never fails.
    package func decide(_ demand: RateLimitDemand, _ mode: Mode = .together) async -> RateLimitVerdict {
        guard !demand.isEmpty else { return .unlimited }
        let verdict: RateLimitVerdict
        if let answer = await askRedis(demand, mode) {
            verdict = answer
        } else {
            decidedHere.add(1, ordering: .relaxed)
            let now = Int64(clock.now().timeIntervalSince1970 * 1e6)
            verdict = here.withLock { $0.decide(demand.parts, mode, at: now) }
        }
        if let limit = verdict.exceeded?.limit { exceeded.withLock { $0[limit, default: 0] += 1 } }
        return verdict
    }

    /// Empties buckets; best effort.
    package func forget(_ demand: RateLimitDemand) async {
        here.withLock { buckets in for part in demand.parts { buckets.forget(part.key) } }
        _ = try? await redis.send(RedisCommand("DEL", demand.parts.map { .bytes($0.key) }))
    }

    // MARK: Redis

    /// - Returns: nil when Redis gave no answer, or is not asked just now.
    private func askRedis(_ demand: RateLimitDemand, _ mode: Mode) async -> RateLimitVerdict? {
        guard mayAsk() else { return nil }
        var written = RedisArgumentBytes(capacity: 160 * demand.parts.count + 64)
        for part in demand.parts { written.append(part.key) }
        written.append(goesByClock ? Int64(clock.now().timeIntervalSince1970 * 1e6) : 0)
        written.append(mode == .together ? 1 : 0)
        for part in demand.parts {
            written.append(part.rate.interval)
            written.append(part.rate.span)
            written.append(Int64(part.count))
        }
        do {
            let reply = try await redis.evaluate(Self.script, keyCount: demand.parts.count, written: written)
            guard let verdict = RateLimitVerdict(reply, demand.parts) else {
                throw RedisError(.protocolViolation, "the script answered another shape")
            }
            if quietUntil.load(ordering: .relaxed) != 0 { quietUntil.store(0, ordering: .relaxed) }
            return verdict
        } catch {
            // A request that was given up says nothing about Redis.
            if (error as? RedisError)?.kind != .cancelled {
                quietUntil.store(uptime + Self.pause, ordering: .relaxed)
            }
            return nil
        }
    }

    /// Whether to ask Redis: always while it answers, else one request in each second.
    private func mayAsk() -> Bool {
        let until = quietUntil.load(ordering: .relaxed)
        if until == 0 { return true }
        let now = uptime
        guard now >= until else { return false }
        return quietUntil.compareExchange(expected: until, desired: now + Self.pause, ordering: .relaxed).exchanged
    }

    private var uptime: Int64 {
        let (seconds, attoseconds) = (ContinuousClock.now - started).components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }

    /// Keys: the buckets. Arguments: now in microseconds, or 0 for Redis's own time; 1 if they stand or fall together;
    /// then for each bucket the interval of its rate, its span, and how many to take. Answers the position of the bucket
    /// that has no room and takes longest to have some, or 0; its wait; the position of the bucket with the least left,
    /// or 0; what is left there; and when it is untouched again; times in microseconds.
    ///
    /// An arrival time further away than the span cannot be right (a clock was set back); it counts as a full bucket.
    private static let script = RedisScript(
        """
        local now = tonumber(ARGV[1])
        if now == 0 then
            local time = redis.call('TIME')
            now = time[1] * 1000000 + time[2]
        end
        local stored = redis.call('MGET', unpack(KEYS))
        local after, worst, wait, scarcest, left, rest = {}, 0, 0, 0, 0, 0
        for i = 1, #KEYS do
            local interval, span, count = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])
            local full = now + span
            local arrival = tonumber(stored[i]) or now
            if arrival < now then arrival = now elseif arrival > full then arrival = full end
            if count >= 0 then
                local over = arrival + interval * (count > 0 and count or 1) - full
                if over > wait then worst, wait = i, over end
            end
            if count ~= 0 then
                arrival = arrival + interval * count
                if arrival < now then arrival = now elseif arrival > full then arrival = full end
                after[i] = arrival
                if count > 0 then
                    local room = math.floor((full - arrival) / interval)
                    if scarcest == 0 or room < left then scarcest, left, rest = i, room, arrival - now end
                end
            end
        end
        if worst > 0 and ARGV[2] == '1' then return {worst, wait, 0, 0, 0} end
        for i, arrival in pairs(after) do
            if arrival > now then
                redis.call('PSETEX', KEYS[i], math.ceil((arrival - now) / 1000), arrival)
            elseif stored[i] then
                redis.call('DEL', KEYS[i])
            end
        end
        return {worst, wait, scarcest, left, rest}
        """)
}

extension RateLimitVerdict {
    /// Reads the script's answer; nil if it is none.
    fileprivate init?(_ reply: RESPValue, _ parts: [RateLimitDemand.Part]) {
        guard case .array(let values) = reply, values.count == 5, case .integer(let worst) = values[0],
            case .integer(let wait) = values[1], case .integer(let scarcest) = values[2],
            case .integer(let left) = values[3], case .integer(let rest) = values[4],
            (0...parts.count).contains(Int(worst)), (0...parts.count).contains(Int(scarcest))
        else { return nil }
        self.init(
            exceeded: worst == 0 ? nil : RateLimitState(parts[Int(worst) - 1], remaining: 0, microseconds: wait),
            scarcest: scarcest == 0
                ? nil : RateLimitState(parts[Int(scarcest) - 1], remaining: Int(left), microseconds: rest))
    }
}

extension RateLimitState {
    init(_ part: RateLimitDemand.Part, remaining: Int, microseconds: Int64) {
        self.init(
            limit: part.limit, rate: part.rate, remaining: remaining, wait: .microseconds(microseconds))
    }
}
