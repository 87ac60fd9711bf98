package import Foundation
import Postgres
package import Tenancy

extension AuditLog {
    /// A page of the entries that may hold decisions.
    package struct DecisionPage: Sendable {
        package let entries: [Entry]
        /// The `seq` after which the next page begins; nil when the window is done.
        package let next: Int?
    }

    /// Types of the events that record a decision with its input.
    private static let decisionTypes: [AuditEventType] = [
        .authorizeGranted, .deviceApproved, .policyDenied, .tokenIssued, .tokenExchanged, .tokenDenied,
        .accessTokenCreated, .accessTokenCreatedForOther, .authorizeDenied, .deviceDenied, .tokenRefreshed,
    ]

    /// What an event with a decision's input has in its leaf.
    private static let mark = Array(#""input":{"#.utf8)

    /// The entries that record decisions taken in a window, oldest first.
    ///
    /// - Parameters:
    ///   - from: event time, this instant included.
    ///   - to: event time, this instant excluded.
    ///   - seq: where the last page ended.
    package func decisions(
        of organization: OrganizationID, from: Date, to: Date, after seq: Int?, limit: Int
    ) async throws -> DecisionPage {
        let begin: Int
        if let seq { begin = seq + 1 } else { begin = try await place(of: from - Self.slack, in: organization) }
        let end = try await place(of: to + Self.slack, in: organization)
        guard begin < end else { return DecisionPage(entries: [], next: nil) }
        var entries: [Entry] = []
        var place = begin
        // In pieces, so that other searches wait for none of them long.
        while entries.count < limit {
            let wanted = min(Self.piece, limit - entries.count)
            let piece = try await database.search(
                organization,
                """
                SELECT seq, id, leaf, disclosures, logged_time FROM audit_event
                 WHERE organization_id = \(organization) AND seq >= \(place) AND seq < \(end)
                   AND type = ANY(\(Self.decisionTypes.map(\.rawValue))) AND time >= \(from) AND time < \(to)
                   AND position(\(Self.mark) IN leaf) > 0
                 ORDER BY seq LIMIT \(wanted)
                """, as: Entry.init(row:))
            entries += piece
            guard piece.count == wanted, let last = piece.last else { return DecisionPage(entries: entries, next: nil) }
            place = last.seq + 1
        }
        return DecisionPage(entries: entries, next: entries.last?.seq)
    }

    private static let piece = 500

    /// Events get their places in the order in which they were committed, which is that of their times but for this.
    private static let slack: TimeInterval = 60

    /// The first place of the log that was written at a moment or later, by halving: no index by time is kept for the sake
    /// of the few who look into the past.
    private func place(of time: Date, in organization: OrganizationID) async throws -> Int {
        var low = 0
        var high = try await size(of: organization)
        while low < high {
            let middle = low + (high - low) / 2
            let found = try await database.read(
                organization,
                "SELECT recorded_at FROM audit_event WHERE organization_id = \(organization) AND seq = \(middle)"
            ) { try $0.decode("recorded_at", as: Date.self) }.first
            if let found, found < time { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
