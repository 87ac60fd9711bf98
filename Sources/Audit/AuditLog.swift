package import Foundation
package import Postgres
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

        /// Whether no index leads to what it wants.
        fileprivate var needsSearch: Bool {
            outcome != nil || client != nil || target != nil || from != nil || until != nil
                || types.count + (actor == nil ? 0 : 1) > 1
        }
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
        let statement: SQL = """
            SELECT seq, id, leaf, disclosures, logged_time FROM audit_event
             WHERE \(condition) ORDER BY seq \(direction) LIMIT \(limit)
            """
        return filter.needsSearch
            ? try await database.search(organization, statement, as: Entry.init(row:))
            : try await database.read(organization, statement, as: Entry.init(row:))
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

    // MARK: Erasure

    /// Whose personal fields go. Proofs stay valid: what goes is what opens the digests in the leaves.
    package struct Person: Sendable, Codable {
        /// As the log names them.
        package let id: String
        /// In lower case; what others said of them before they had an id.
        package let address: String?
        /// Other things of theirs that are targets of events, such as invitations.
        package let also: [String]

        package init(id: String, address: String?, also: [String]) {
            self.id = id
            self.address = address
            self.also = also
        }
    }

    /// Entries that one ``erase(_:in:from:_:)`` looks at.
    private static let erasureStep = 2_000

    /// Erases what a stretch of the log and, first of all, events without a place in it hold of a person.
    ///
    /// - Parameter seq: where to begin; zero looks at the events without a place too.
    /// - Returns: where to go on, how long the log is, and how many disclosures went. The log is done where both are equal.
    package func erase(
        _ person: Person, in organization: OrganizationID, from seq: Int, _ transaction: PostgresTransaction
    ) async throws -> (next: Int, size: Int, erased: Int) {
        var erased = 0
        if seq == 0 { erased += try await eraseQueued(person, transaction) }
        // Later than that: what got its place in between is in the log by now.
        var size = try await Self.size(of: organization, transaction)
        let next = min(seq + Self.erasureStep, size)
        if next > seq {
            erased +=
                try await transaction.query(
                    """
                    SELECT erase_disclosures(\(person.id), \(person.address), \(person.also), \(seq), \(next)) AS erased
                    """
                ).first?.decode("erased", as: Int.self) ?? 0
        }
        if next == size {
            erased += try await eraseQueued(person, transaction)
            size = try await Self.size(of: organization, transaction)
        }
        return (next, size, erased)
    }

    private func eraseQueued(_ person: Person, _ transaction: PostgresTransaction) async throws -> Int {
        try await transaction.query(
            "SELECT erase_queued_disclosures(\(person.id), \(person.address), \(person.also)) AS erased"
        ).first?.decode("erased", as: Int.self) ?? 0
    }

    private static func size(
        of organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws -> Int {
        try await transaction.query(
            "SELECT size FROM audit_head WHERE organization_id = \(organization)"
        ).first?.decode("size", as: Int.self) ?? 0
    }
}

extension AuditLog.Entry {
    init(row: Row) throws {
        self.init(
            seq: try row.decode("seq"), id: try row.id("id"), leaf: try row.decode("leaf"),
            disclosures: try row.decode("disclosures"), loggedTime: try row.decode("logged_time"))
    }
}
