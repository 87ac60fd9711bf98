/// The buckets of one process, for while Redis does not answer: the script's algorithm over a table of bounded size.
struct LocalBuckets {
    /// Theoretical arrival times in microseconds; only those in the future mean anything.
    private var arrivals: [[UInt8]: Int64] = [:]
    private let capacity: Int
    private var sweptAt = Int64.min

    init(capacity: Int) {
        self.capacity = max(1, capacity)
    }

    var count: Int { arrivals.count }

    mutating func decide(
        _ parts: [RateLimitDemand.Part], _ mode: RateLimiter.Mode, at now: Int64
    ) -> RateLimitVerdict {
        var changes: [(key: [UInt8], arrival: Int64)] = []
        var exceeded: RateLimitState?
        var scarcest: RateLimitState?
        for part in parts {
            let (interval, span) = (part.rate.interval, part.rate.span)
            let key = place(for: part, at: now)
            var arrival = min(max(arrivals[key] ?? now, now), now + span)
            let over = arrival + interval * Int64(max(part.count, 1)) - now - span
            if part.count >= 0, over > 0, exceeded.map({ $0.wait < .microseconds(over) }) ?? true {
                exceeded = RateLimitState(part, remaining: 0, microseconds: over)
            }
            arrival = min(max(arrival + interval * Int64(part.count), now), now + span)
            if part.count != 0 { changes.append((key, arrival)) }
            let room = Int((now + span - arrival) / interval)
            if part.count > 0, scarcest.map({ room < $0.remaining }) ?? true {
                scarcest = RateLimitState(part, remaining: room, microseconds: arrival - now)
            }
        }
        if mode == .together, exceeded != nil { return RateLimitVerdict(exceeded: exceeded, scarcest: nil) }
        for (key, arrival) in changes { arrivals[key] = arrival > now ? arrival : nil }
        return RateLimitVerdict(exceeded: exceeded, scarcest: scarcest)
    }

    mutating func forget(_ key: [UInt8]) {
        arrivals[key] = nil
    }

    /// The bucket's own key while there is room for it. Beyond that, all new ones of a limit share one bucket: memory stays
    /// bounded and nobody is without limit.
    private mutating func place(for part: RateLimitDemand.Part, at now: Int64) -> [UInt8] {
        // A demand has few parts: leaving room for them here keeps the table within its bound.
        guard arrivals.count >= capacity, arrivals[part.key] == nil else { return part.key }
        if now >= sweptAt &+ 1_000_000 || now < sweptAt {
            sweptAt = now
            arrivals = arrivals.filter { $0.value > now }
        }
        return arrivals.count < capacity ? part.key : Array(part.limit.rawValue.utf8)
    }
}
