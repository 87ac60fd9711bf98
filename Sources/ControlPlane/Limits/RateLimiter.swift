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

/// Decides how often things may happen, for all nodes together: buckets in Redis, asked with every demand. Demands that come
/// while a call is under way go as one call.
///
/// Each bucket is one number, the theoretical arrival time of the generic cell rate algorithm (ITU-T I.371): when it would
/// be empty again if nothing more came. So a bucket is a key that ends by itself, there are no windows whose edges let
/// twice as many through, and any number of limits is decided together or not at all.
///
/// The time is Redis's own, so that nodes whose clocks differ agree. When Redis is away, slow or full, this process
/// decides for itself with as strict rates (F-01): never an error of its own, and never without limit. Once Redis did not
/// answer in time, it is asked again only once a second until it does.
package final class RateLimiter: Sendable {
    /// Whether the parts of a demand stand or fall together.
    package enum Mode: Sendable {
        /// Nothing is taken unless every bucket has room.
        case together
        /// Each bucket is changed as far as it has room.
        case each
    }

    package let settings: RateLimitSettings
    private let redis: [RedisClient]
    private let scripts: [GatheredScript]
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
    ///   - redis: clients of its own, at least one, whose command timeout is how long a request may be held, or twice that
    ///     behind a call that is under way. Who asks on the thread of one is answered there.
    ///   - goesByClock: buckets in Redis go by `clock` too, for tests that move it.
    package init(
        redis: [RedisClient], settings: RateLimitSettings, clock: WallClock = .system, goesByClock: Bool = false,
        localBuckets: Int = 50_000
    ) {
        precondition(!redis.isEmpty, "a limiter needs a client")
        self.redis = redis
        scripts = redis.map { GatheredScript(Self.script, over: $0) }
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
        _ = try? await redis[0].send(RedisCommand("DEL", demand.parts.map { .bytes($0.key) }))
    }

    // MARK: Redis

    /// - Returns: nil when Redis gave no answer, or is not asked just now.
    private func askRedis(_ demand: RateLimitDemand, _ mode: Mode) async -> RateLimitVerdict? {
        guard mayAsk() else { return nil }
        var keys = RedisArgumentBytes(capacity: 160 * demand.parts.count)
        for part in demand.parts { keys.append(part.key) }
        var arguments = RedisArgumentBytes(capacity: 48 * demand.parts.count + 48)
        arguments.append(goesByClock ? Int64(clock.now().timeIntervalSince1970 * 1e6) : 0)
        arguments.append(mode == .together ? 1 : 0)
        arguments.append(Int64(demand.parts.count))
        for part in demand.parts {
            arguments.append(part.rate.interval)
            arguments.append(part.rate.span)
            arguments.append(Int64(part.count))
        }
        let script = scripts.first { $0.isHere } ?? scripts[0]
        do {
            let reply = try await script.ask(
                GatheredScript.Question(at: demand.place, keys: keys, arguments: arguments))
            guard let verdict = RateLimitVerdict(reply, demand.parts) else {
                throw RedisError(.protocolViolation, "the script answered another shape")
            }
            if quietUntil.load(ordering: .relaxed) != 0 { quietUntil.store(0, ordering: .relaxed) }
            return verdict
        } catch {
            quietUntil.store(uptime + Self.pause, ordering: .relaxed)
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

    /// Keys: the buckets of all demands. Arguments, for each demand: now in microseconds, or 0 for Redis's own time; 1 if its
    /// buckets stand or fall together; how many they are; then for each the interval of its rate, its span, and how many to
    /// take. Answers, for each demand: the position of the bucket that has no room and takes longest to have some, or 0; its
    /// wait; the position of the bucket with the least left, or 0; what is left there; and when it is untouched again; times
    /// in microseconds. A demand sees what those before it took.
    ///
    /// An arrival time further away than the span cannot be right (a clock was set back); it counts as a full bucket.
    private static let script = RedisScript(
        """
        local stored = redis.call('MGET', unpack(KEYS))
        local arrivals, existing, changed, answers = {}, {}, {}, {}
        for i, key in ipairs(KEYS) do
            local arrival = tonumber(stored[i])
            arrivals[key], existing[key] = arrival, arrival
        end
        local clock, now = 0, 0
        local key, argument = 0, 1
        while key < #KEYS do
            now = tonumber(ARGV[argument])
            if now == 0 then
                if clock == 0 then
                    local time = redis.call('TIME')
                    clock = time[1] * 1000000 + time[2]
                end
                now = clock
            end
            local together, parts = ARGV[argument + 1] == '1', tonumber(ARGV[argument + 2])
            argument = argument + 3
            local after, worst, wait, scarcest, left, rest = {}, 0, 0, 0, 0, 0
            for i = 1, parts do
                local interval, span = tonumber(ARGV[argument]), tonumber(ARGV[argument + 1])
                local count, full = tonumber(ARGV[argument + 2]), now + span
                argument = argument + 3
                local arrival = arrivals[KEYS[key + i]] or now
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
            if worst > 0 and together then
                scarcest, left, rest = 0, 0, 0
            else
                for i, arrival in pairs(after) do
                    arrivals[KEYS[key + i]], changed[KEYS[key + i]] = arrival, now
                end
            end
            local n = #answers
            answers[n + 1], answers[n + 2], answers[n + 3] = worst, wait, scarcest
            answers[n + 4], answers[n + 5] = left, rest
            key = key + parts
        end
        for key, now in pairs(changed) do
            local arrival = arrivals[key]
            if arrival > now then
                redis.call('PSETEX', key, math.ceil((arrival - now) / 1000), arrival)
            elseif existing[key] then
                redis.call('DEL', key)
            end
        end
        return answers
        """)
}

extension RateLimitVerdict {
    /// Reads the script's answer; nil if it is none.
    fileprivate init?(_ values: ArraySlice<RESPValue>, _ parts: [RateLimitDemand.Part]) {
        let first = values.startIndex
        guard values.count == 5, case .integer(let worst) = values[first],
            case .integer(let wait) = values[first + 1], case .integer(let scarcest) = values[first + 2],
            case .integer(let left) = values[first + 3], case .integer(let rest) = values[first + 4],
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
