import Foundation
package import Keys
package import Logging
import ServiceLifecycle
import Synchronization
package import Tenancy

/// Records refusals, and keeps somebody without credentials from filling a log.
///
/// A refusal of an authenticated party is always an event. With none, the first ten per log, type, source and minute
/// are events and the rest of that minute is one summary event with a count. Counts are this process's own.
package final class RefusalLog: Service {
    /// Refusals of one kind in one minute.
    private struct Key: Hashable {
        let organization: OrganizationID
        let type: AuditEventType
        let source: String
        let minute: Int
    }

    private struct Tally {
        var seen = 0
        /// Those that were not written.
        var withheld = 0
        var first = Date.distantPast
        var last = Date.distantPast
        var reason: String?
        var outcome = AuditEvent.Outcome.denied
    }

    /// Events per key before summing up begins.
    package static let eventsPerMinute = 10
    /// Keys remembered; sources beyond them share one per log and type.
    private static let mostKeys = 20_000
    private static let anySource = "*"

    private let append: @Sendable (OutboxEvent) async throws -> Void
    private let clock: WallClock
    private let random: RandomBytes
    private let logger: Logger
    private let tallies = Mutex<[Key: Tally]>([:])

    package convenience init(database: TenantDatabase, clock: WallClock, random: RandomBytes, logger: Logger) {
        self.init(clock: clock, random: random, logger: logger) { try await database.append($0) }
    }

    /// - Parameter append: commits one event.
    package init(
        clock: WallClock, random: RandomBytes, logger: Logger,
        append: @escaping @Sendable (OutboxEvent) async throws -> Void
    ) {
        self.append = append
        self.clock = clock
        self.random = random
        self.logger = logger
    }

    /// Records one refusal; returns when it is committed, or counted towards a summary.
    ///
    /// The actor decides whether somebody was authenticated: a `client_id` that nobody proved belongs into `client`,
    /// with an anonymous actor. When the organization is unknown the event belongs to the platform's log.
    /// - Parameter source: where it came from; the request's address when absent. IPv6 counts by /64.
    /// - Throws: when it cannot be written; the request is then answered as unavailable.
    package func refuse(_ event: AuditEvent, source: String? = nil) async throws {
        if event.actor.kind != .anonymous || mayWrite(event, source ?? event.request?.ip ?? "-") {
            try await append(event.outboxEvent(random))
        }
    }

    private func mayWrite(_ event: AuditEvent, _ source: String) -> Bool {
        tallies.withLock { tallies in
            var key = Key(
                organization: event.organization, type: event.type, source: SourceGroup.name(of: source),
                minute: Self.minute(of: event.time))
            if tallies.count >= Self.mostKeys, tallies[key] == nil {
                key = Key(
                    organization: key.organization, type: key.type, source: Self.anySource, minute: key.minute)
            }
            var tally = tallies[key] ?? Tally(first: event.time, reason: event.reason, outcome: event.outcome)
            tally.seen += 1
            let mayWrite = tally.seen <= Self.eventsPerMinute
            if !mayWrite {
                if tally.withheld == 0 { tally.first = event.time }
                tally.withheld += 1
                tally.last = event.time
                if tally.reason != event.reason { tally.reason = "several" }
            }
            tallies[key] = tally
            return mayWrite
        }
    }

    /// Writes the summaries of minutes that are over, or of all.
    ///
    /// What cannot be written stays for the next time.
    package func flush(everything: Bool = false) async {
        let now = clock.now()
        let current = Self.minute(of: now)
        let due = tallies.withLock { tallies in
            let due = tallies.filter { everything || $0.key.minute < current }
            for key in due.keys { tallies[key] = nil }
            return due.filter { $0.value.withheld > 0 }
        }
        for (key, tally) in due {
            do {
                try await append(summary(of: key, tally, at: now).outboxEvent(random))
            } catch {
                logger.error(
                    "summary of refusals not written", metadata: ["error": "\(error)", "count": "\(tally.withheld)"])
                tallies.withLock { tallies in
                    // Refusals of the same minute may have come in again meanwhile.
                    var kept = tallies[key] ?? Tally(last: tally.last, reason: tally.reason, outcome: tally.outcome)
                    kept.seen += tally.seen
                    kept.withheld += tally.withheld
                    kept.first = tally.first
                    tallies[key] = kept
                }
            }
        }
    }

    private func summary(of key: Key, _ tally: Tally, at now: Date) -> AuditEvent {
        AuditEvent(
            key.type, organization: key.organization, id: .make(at: now, random), time: tally.last,
            outcome: tally.outcome, reason: tally.reason, actor: .anonymous, targets: [],
            metadata: [
                "summary": "true", "count": "\(tally.withheld)", "first_time": Timestamp.text(tally.first),
                "last_time": Timestamp.text(tally.last),
            ],
            personalMetadata: ["source": key.source])
    }

    /// Writes the summaries after each minute, and the last ones at shutdown.
    package func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                let now = self.clock.now().timeIntervalSince1970
                // A little after the minute, so that its last refusals are in.
                try? await Task.sleep(for: .seconds(61 - now.truncatingRemainder(dividingBy: 60)))
                if !Task.isCancelled { await self.flush() }
            }
        }
        // In a task of its own: this one may be cancelled, and the counts must still be written.
        await Task { await self.flush(everything: true) }.value
    }

    private static func minute(of time: Date) -> Int { Int((time.timeIntervalSince1970 / 60).rounded(.down)) }
}
