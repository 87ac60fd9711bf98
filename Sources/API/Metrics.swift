import CoreMetrics
import Synchronization

/// Metrics of one name, found by their labels: looking one up in the metrics system builds the labels' text anew, which
/// costs more than counting.
///
/// Labels come from our own code and are few, so nothing is ever forgotten.
final class LabelledMetrics<Labels: Hashable & Sendable, Metric: Sendable>: Sendable {
    private let known = Mutex<[Labels: Metric]>([:])
    private let make: @Sendable (Labels) -> Metric

    init(_ make: @escaping @Sendable (Labels) -> Metric) {
        self.make = make
    }

    subscript(labels: Labels) -> Metric {
        known.withLock { known in
            if let metric = known[labels] { return metric }
            let metric = make(labels)
            known[labels] = metric
            return metric
        }
    }
}

/// What a request is counted and timed under: neither paths nor organizations become labels.
struct RequestLabels: Hashable, Sendable {
    let route: String
    let method: String
    let status: Int

    /// Counts and times one request.
    func record(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        Self.durations[self].recordNanoseconds(seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    }

    private static let durations = LabelledMetrics<RequestLabels, CoreMetrics.Timer> { labels in
        CoreMetrics.Timer(
            label: "http_server_request_duration_seconds",
            dimensions: [("route", labels.route), ("method", labels.method), ("status", String(labels.status))])
    }
}

/// What came of a token request.
struct TokenLabels: Hashable, Sendable {
    let grant: String
    let outcome: String
    let reason: String

    func count() { Self.requests[self].increment() }

    private static let requests = LabelledMetrics<TokenLabels, Counter> { labels in
        Counter(
            label: "oauth_token_requests_total",
            dimensions: [("grant", labels.grant), ("outcome", labels.outcome), ("reason", labels.reason)])
    }
}
