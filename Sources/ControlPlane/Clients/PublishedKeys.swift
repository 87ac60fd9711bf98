package import Foundation
package import Keys
import Synchronization
import Tenancy

/// Key sets that clients and other issuers publish (`jwks_uri`, RFC 7517 §5), as this node last read them.
package final class PublishedKeys: Sendable {
    /// A set as it was read.
    package struct Held: Sendable {
        package let set: JWKSet
        fileprivate let fetchedAt: Date
        fileprivate let freshUntil: Date
    }

    private struct Entry {
        var held: Held?
        var lastAttempt: Date
    }

    /// Room for certificates beside the keys.
    private static let largest = 48 << 10
    /// A key that was taken back is refused within this time.
    private static let longestLifetime: TimeInterval = 3_600
    /// However many unknown keys are named, a set is not asked for more often (RFC 8725 §3.10).
    private static let pause: TimeInterval = 60
    /// How long a set serves that cannot be read any more.
    private static let staleness: TimeInterval = 86_400

    private let fetcher: DocumentFetcher
    private let entries = Mutex(RecentlyUsed<String, Entry>(capacity: 10_000))

    package init(fetcher: DocumentFetcher) {
        self.fetcher = fetcher
    }

    /// The set at a URL: read now, or lately.
    ///
    /// - Throws: ``DocumentFetcher/Failure``.
    package func keys(
        at url: String, for caller: DocumentFetcher.Caller, now: Date
    ) async throws(DocumentFetcher.Failure) -> Held {
        let entry = entries.withLock { $0.value(of: url) }
        guard let entry, let held = entry.held else { return try await fetch(url, for: caller, now) }
        if held.freshUntil > now { return held }
        let mayServe = now.timeIntervalSince(held.freshUntil) < Self.staleness
        if mayServe, now.timeIntervalSince(entry.lastAttempt) < Self.pause { return held }
        do {
            return try await fetch(url, for: caller, now)
        } catch {
            guard mayServe, error.isTemporary else { throw error }
            return held
        }
    }

    /// The set again, for a key that was not in it; at most once a minute.
    ///
    /// - Returns: nil when there is none newer.
    package func keys(
        at url: String, newerThan known: Held, for caller: DocumentFetcher.Caller, now: Date
    ) async -> Held? {
        if let entry = entries.withLock({ $0.value(of: url) }) {
            if let held = entry.held, held.fetchedAt > known.fetchedAt { return held }
            if now.timeIntervalSince(entry.lastAttempt) < Self.pause { return nil }
        }
        return try? await fetch(url, for: caller, now)
    }

    /// Whether one of these keys made the signature; no other key is ever looked for (RFC 8725 §3.10).
    func signed(
        _ jws: CompactJWS, by source: Client.KeySource, for caller: DocumentFetcher.Caller, now: Date
    ) async throws(DocumentFetcher.Failure) -> Bool {
        switch source {
        case .given(let set): return set.signed(jws)
        case .published(let url):
            let held = try await keys(at: url, for: caller, now: now)
            if held.set.signed(jws) { return true }
            let newer = await keys(at: url, newerThan: held, for: caller, now: now)
            return newer?.set.signed(jws) ?? false
        }
    }

    private func fetch(
        _ url: String, for caller: DocumentFetcher.Caller, _ now: Date
    ) async throws(DocumentFetcher.Failure) -> Held {
        entries.withLock { entries in
            var entry = entries.value(of: url) ?? Entry(held: nil, lastAttempt: now)
            entry.lastAttempt = now
            entries.insert(entry, for: url)
        }
        let fetched = try await fetcher.fetch(url, atMost: Self.largest, for: caller, at: now)
        // One that cannot be read says nothing about its keys.
        guard let set = try? JWKSet(bytes: fetched.body) else { throw .mediaType }
        let held = Held(
            set: set, fetchedAt: now, freshUntil: now + min(fetched.lifetime, Self.longestLifetime))
        entries.withLock { $0.insert(Entry(held: held, lastAttempt: now), for: url) }
        return held
    }
}
