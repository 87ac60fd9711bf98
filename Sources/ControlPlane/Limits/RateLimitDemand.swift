/// What one request takes from which buckets. All of them are in one place, so that one script call reaches them.
///
/// A key is `gatehouse:{place}:rate:` name `:` subject. The place is Redis Cluster's hash tag: all buckets of an issuer,
/// or of the admin API, are on one shard, and those of a source are on the source's.
package struct RateLimitDemand: Sendable {
    struct Part: Sendable {
        let limit: RateLimit
        let rate: Rate
        let key: [UInt8]
        /// Above zero: so many are taken. Zero: there has to be room for one, which is not taken. Below: given back.
        let count: Int
    }

    private(set) var parts: [Part] = []
    let place: String
    private let settings: RateLimitSettings
    private let prefix: [UInt8]

    package init(at place: String, _ settings: RateLimitSettings) {
        self.place = place
        self.settings = settings
        var prefix: [UInt8] = []
        prefix.reserveCapacity(64)
        prefix.append(contentsOf: "gatehouse:{".utf8)
        prefix.append(contentsOf: place.utf8)
        prefix.append(contentsOf: "}:rate:".utf8)
        self.prefix = prefix
    }

    /// Adds a bucket; nothing where the limit is off.
    package mutating func add(_ count: Int, _ limit: RateLimit, of subject: String, _ more: String? = nil) {
        guard let rate = settings[limit] else { return }
        var key: [UInt8] = []
        key.reserveCapacity(prefix.count + limit.rawValue.utf8.count + subject.utf8.count + (more?.utf8.count ?? 0) + 2)
        key.append(contentsOf: prefix)
        key.append(contentsOf: limit.rawValue.utf8)
        key.append(UInt8(ascii: ":"))
        key.append(contentsOf: subject.utf8)
        if let more {
            key.append(UInt8(ascii: ":"))
            key.append(contentsOf: more.utf8)
        }
        parts.append(Part(limit: limit, rate: rate, key: key, count: count))
    }

    var isEmpty: Bool { parts.isEmpty }
}

/// What the buckets said.
package struct RateLimitVerdict: Sendable, Equatable {
    /// The bucket without room that takes longest to have some; nil where all had.
    package let exceeded: RateLimitState?
    /// The bucket with the least left, of those that were taken from.
    package let scarcest: RateLimitState?

    static let unlimited = RateLimitVerdict(exceeded: nil, scarcest: nil)
}
