import Foundation
import Synchronization
import Tenancy

/// How often strangers may make this node fetch something: by host, registry and source, in each minute.
///
/// Counting is exact and the table small: it is emptied every minute, and beyond its room nothing new is fetched.
final class FetchBudget: Sendable {
    private enum Key: Hashable {
        case knownAtHost(String)
        case knownAtHostFor(OrganizationID, String)
        case strangersAtHost(String)
        case strangersIn(OrganizationID)
        case source(String)
    }

    private struct Minute {
        var started = Date.distantPast
        var counts: [Key: Int] = [:]
        var failures: [String: (count: Int, last: DocumentFetcher.Failure)] = [:]
    }

    /// At one host: our part in anybody's flood stays a trickle (CIMD §8.7).
    private static let strangersAtHost = 30
    /// One organization's keys and documents at a host that many have theirs at leave room for the others'.
    private static let knownAtHostForOne = 60
    private static let knownAtHost = 600
    private static let strangersInRegistry = 600
    private static let fromSource = 20
    /// An error is not remembered, so that a mended document is read at once (CIMD §5.2); but it is not asked for without end.
    private static let failures = 5
    private static let room = 50_000

    private let minute = Mutex(Minute())

    /// Counts one more fetch.
    ///
    /// - Throws: when that would be too many; what a URL failed with last, where it failed too often. Nothing is counted then.
    func take(
        url: String, host: String, for caller: DocumentFetcher.Caller, at now: Date
    ) throws(DocumentFetcher.Failure) {
        var limits: [(Key, Int)] = []
        if let source = caller.source {
            limits = [
                (.strangersAtHost(host), Self.strangersAtHost),
                (.strangersIn(caller.registry), Self.strangersInRegistry),
                (.source(source), Self.fromSource),
            ]
        } else {
            limits = [
                (.knownAtHostFor(caller.registry, host), Self.knownAtHostForOne),
                (.knownAtHost(host), Self.knownAtHost),
            ]
        }
        let refusal = minute.withLock { minute -> DocumentFetcher.Failure? in
            Self.turn(&minute, at: now)
            if let failed = minute.failures[url], failed.count >= Self.failures { return failed.last }
            guard minute.counts.count < Self.room, limits.allSatisfy({ minute.counts[$0.0, default: 0] < $0.1 }) else {
                return .throttled
            }
            for (key, _) in limits { minute.counts[key, default: 0] += 1 }
            return nil
        }
        if let refusal { throw refusal }
    }

    func note(_ failure: DocumentFetcher.Failure, of url: String, at now: Date) {
        minute.withLock { minute in
            Self.turn(&minute, at: now)
            guard minute.failures.count < Self.room || minute.failures[url] != nil else { return }
            minute.failures[url] = ((minute.failures[url]?.count ?? 0) + 1, failure)
        }
    }

    private static func turn(_ minute: inout Minute, at now: Date) {
        if abs(now.timeIntervalSince(minute.started)) >= 60 { minute = Minute(started: now) }
    }
}
