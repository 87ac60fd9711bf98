package import Foundation
package import Postgres

/// The doors to PostgreSQL. Every call names one organization, and the database shows that organization's rows
/// alone: row-level security is the wall, the `WHERE organization_id = …` of every statement is the first one.
///
/// Stores are structs over this value; nothing above them sees a connection.
package struct TenantDatabase: Sendable {
    private let readLane: PostgresReadLane
    private let writeLane: PostgresWriteLane
    private let pool: PostgresPool
    private let turns = SearchTurns()

    package init(readLane: PostgresReadLane, writeLane: PostgresWriteLane, pool: PostgresPool) {
        self.readLane = readLane
        self.writeLane = writeLane
        self.pool = pool
    }

    /// The read lane: one statement, one round trip, repeated once after a lost link.
    package func read<Value>(
        _ organization: OrganizationID, _ statement: SQL, as decode: (Row) throws -> Value
    ) async throws -> [Value] {
        try await readLane.query(settings: setting(organization), statement).map(decode)
    }

    /// A pinned connection for one SELECT that may look at many rows: whatever its caller chose to ask, it holds nobody up
    /// but other searches, and of those its own organization's first.
    ///
    /// - Parameter asker: whose search it is, where it looks at what belongs to somebody else: the platform's rows are
    ///   everybody's to read, and its turn is not.
    /// - Throws: `overloaded` when others search too.
    package func search<Value>(
        _ organization: OrganizationID, for asker: OrganizationID? = nil, _ statement: SQL,
        as decode: (Row) throws -> Value
    ) async throws -> [Value] {
        try await turns.take(for: asker ?? organization) {
            try await pool.transaction(settings: setting(organization)) { transaction in
                try await transaction.query(statement)
            }
        }.map(decode)
    }

    /// The write lane: one statement that is a change and its event, committed together with its neighbours' before
    /// this returns.
    ///
    /// - Parameters:
    ///   - organization: whose rows it touches.
    ///   - lockedRow: the row whose lock the statement takes, so that all nodes take locks in one order.
    ///   - event: the id of the event inside the statement, by which an unknown outcome is resolved.
    package func write<Value>(
        _ organization: OrganizationID, lockedRow: UUID? = nil, event: EventID, _ statement: SQL,
        as decode: (Row) throws -> Value
    ) async throws -> WriteOutcome<Value> {
        let member = WriteMember(
            orderKey: (organization.uuid, lockedRow ?? event.uuid), settings: setting(organization),
            statement: statement, eventID: event.uuid)
        switch try await writeLane.execute(member) {
        case .rows(let rows): return .rows(try rows.map(decode))
        case .recovered: return .recovered
        }
    }

    /// Commits one event that records no change: a refusal, or a token of which nothing else is stored. Events that come
    /// together go as one statement.
    ///
    /// - Parameter guardian: of the event's organization; what must not have moved for the event to be true.
    /// - Returns: false when a guard moved, and nothing was written.
    @discardableResult
    package func append(_ event: OutboxEvent, guardedBy guardian: EpochGuard? = nil) async throws -> Bool {
        let forms = guardian == nil ? PreparedEvent.plainInsertions : PreparedEvent.guardedInsertions
        let values = event.binds + (guardian.map { [.int8($0.organizationEpoch)] } ?? [])
        let common: [PostgresBind] = guardian.map { [.int8($0.platformEpoch)] } ?? []
        let member = WriteMember(
            orderKey: (event.organization.uuid, event.id.uuid), settings: setting(event.organization),
            makesSettings: true, statement: forms[0](values + common), eventID: event.id.uuid,
            combination: WriteCombination(
                key: guardian.map { [$0.platformEpoch] } ?? [], values: values
            ) { members in
                forms[members.count - 1](members.flatMap { $0 } + common)
            })
        switch try await writeLane.execute(member) {
        case .rows(let rows): return !rows.isEmpty
        case .recovered: return true
        }
    }

    /// A pinned connection: an explicit transaction of several statements, repeated as a whole when the database asks
    /// for it (SQLSTATE 40001, 40P01), so `body` must have no effects but its statements.
    ///
    /// - Parameter events: the ids of events that `body` writes; any of them resolves a lost COMMIT.
    @discardableResult
    package func transaction<Value: Sendable>(
        _ organization: OrganizationID, events: [EventID] = [],
        _ body: @Sendable (PostgresTransaction) async throws -> Value
    ) async throws -> Value {
        let proof = events.isEmpty ? nil : CommitProof(organization: organization.uuid, eventIDs: events.map(\.uuid))
        return try await pool.transaction(settings: setting(organization), proof: proof, body)
    }

    /// Turns a transaction to another organization's rows. For those that make or restore an organization, whose replies are
    /// kept with the platform: everything else stays with the organization it began with.
    package func turn(_ transaction: PostgresTransaction, to organization: OrganizationID) async throws {
        for (name, value) in setting(organization) {
            try await transaction.query("SELECT set_config(\(name), \(value), true)")
        }
    }

    /// The database's own clock, asked on the read lane; what readiness compares with.
    package func databaseTime() async throws -> Date? {
        try await readLane.query(settings: setting(.platform), "SELECT clock_timestamp() AS now")
            .map { try $0.decode("now", as: Date.self) }.first
    }

    private func setting(_ organization: OrganizationID) -> [(String, String)] {
        [("app.organization_id", organization.uuid.uuidString)]
    }
}

/// What became of a statement on the write lane.
package enum WriteOutcome<Value> {
    /// Committed; the rows it returned. None means that nothing was changed.
    case rows([Value])
    /// The link was lost after sending, and the event proves that the change was committed.
    case recovered

    /// Whether the change stands.
    package var isDone: Bool {
        switch self {
        case .rows(let rows): !rows.isEmpty
        case .recovered: true
        }
    }
}

/// The statement that asks which events of an organization exist, by which lost writes are resolved.
@Sendable package func existingEvents(_ organization: UUID, _ ids: [UUID]) -> SQL {
    """
    SELECT id FROM audit_outbox WHERE organization_id = \(organization) AND id = ANY(\(ids))
    UNION ALL
    SELECT id FROM audit_event WHERE organization_id = \(organization) AND id = ANY(\(ids))
    """
}
