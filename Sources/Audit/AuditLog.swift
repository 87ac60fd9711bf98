package import Foundation
import Postgres
package import Tenancy

/// The sequenced log of an organization, for reading. Events still in the outbox are not part of it.
package struct AuditLog: Sendable {
    let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    /// One entry as it is stored.
    package struct Entry: Sendable {
        /// Its place: dense from zero, never reused; also the cursor.
        package let seq: Int
        package let id: EventID
        /// The bytes that are hashed. They are handed on as they are and never written anew.
        package let leaf: [UInt8]
        /// The personal fields whose digests stand in the leaf, less the erased ones; base64url of canonical
        /// `[salt, path, value]` each.
        package let disclosures: [String]
        /// When it was given its place; not part of the leaf.
        package let loggedTime: Date
    }

    /// Which entries; every member that is set must match.
    package struct Filter: Sendable, Hashable {
        /// Any of these; empty means all.
        package var types: [AuditEventType] = []
        package var outcome: AuditEvent.Outcome?
        package var actor: String?
        package var client: String?
        /// The primary target's id.
        package var target: String?
        /// Event time, this instant included.
        package var from: Date?
        /// Event time, this instant excluded.
        package var until: Date?

        package init() {}
    }

    package enum Order: Sendable { case oldestFirst, newestFirst }

    /// A page of the log in the order of its sequence numbers.
    ///
    /// - Parameter seq: where the last page ended; nil begins at the beginning of the order.
    /// - Returns: at most `limit` entries; fewer mean that the log has no more of them for now.
    package func events(
        of organization: OrganizationID, after seq: Int? = nil, limit: Int, filter: Filter = Filter(),
        order: Order = .oldestFirst
    ) async throws -> [Entry] {
        var condition: SQL = "organization_id = \(organization)"
        if let seq {
            condition = order == .oldestFirst ? "\(condition) AND seq > \(seq)" : "\(condition) AND seq < \(seq)"
        }
        if !filter.types.isEmpty { condition = "\(condition) AND type = ANY(\(filter.types.map(\.rawValue)))" }
        if let outcome = filter.outcome { condition = "\(condition) AND outcome = \(outcome.rawValue)" }
        if let actor = filter.actor { condition = "\(condition) AND actor_id = \(actor)" }
        if let client = filter.client { condition = "\(condition) AND client_id = \(client)" }
        if let target = filter.target { condition = "\(condition) AND target_id = \(target)" }
        if let from = filter.from { condition = "\(condition) AND time >= \(from)" }
        if let until = filter.until { condition = "\(condition) AND time < \(until)" }
        let direction: SQL = order == .oldestFirst ? "ASC" : "DESC"
        return try await database.read(
            organization,
            """
            SELECT seq, id, leaf, disclosures, logged_time FROM audit_event
             WHERE \(condition) ORDER BY seq \(direction) LIMIT \(limit)
            """, as: Entry.init(row:))
    }

    /// One entry by the id of its event.
    ///
    /// - Returns: nil if this organization has no such event, or it has no place in the log yet.
    package func event(_ id: EventID, of organization: OrganizationID) async throws -> Entry? {
        try await database.read(
            organization,
            """
            SELECT seq, id, leaf, disclosures, logged_time FROM audit_event
             WHERE organization_id = \(organization) AND id = \(id)
            """, as: Entry.init(row:)
        ).first
    }

    /// How many entries the log has.
    package func size(of organization: OrganizationID) async throws -> Int {
        try await database.read(
            organization,
            """
            SELECT size FROM audit_head WHERE organization_id = \(organization)
            """
        ) { try $0.decode("size", as: Int.self) }.first ?? 0
    }
}

extension AuditLog.Entry {
    init(row: Row) throws {
        self.init(
            seq: try row.decode("seq"), id: try row.id("id"), leaf: try row.decode("leaf"),
            disclosures: try row.decode("disclosures"), loggedTime: try row.decode("logged_time"))
    }
}
