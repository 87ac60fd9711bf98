import CLibpq
import Foundation

/// One connection in pipeline mode: what was sent, and what the server still owes, in order.
///
/// Confined to the thread of its link; nothing here blocks. For every statement libpq gives one result and one NULL,
/// for every Sync one `PGRES_PIPELINE_SYNC`; after an error it gives `PGRES_PIPELINE_ABORTED` for everything up to
/// the Sync. An error at the Sync itself (a deferred constraint) comes as an extra result just before it.
final class Pipeline<Ticket: Sendable> {
    private enum Expected: Sendable {
        case parse(PreparedStatements.Key)
        case settings
        case statement(PreparedStatements.Key?)
        case sync
        case scriptEnd
    }

    private struct Flight: Sendable {
        let ticket: Ticket
        let patience: Duration?
        let isSent: Bool
        var results: [PostgresResult] = []
        var failure: (error: PostgresError, place: Int)?
    }

    private let connection: OpaquePointer
    private let meter: LaneMeter
    private var prepared = PreparedStatements()
    private var parameters = ParameterBuffer()
    private var expected = FIFO<Expected>()
    private var flights = FIFO<Flight>()
    /// How many chains were sent, to tell them apart.
    private var chainCount = 0
    /// When the server last said something, or when something was sent to a server that owed nothing.
    private var lastProgress = ContinuousClock.now

    /// Whether the connection can no longer be used. Once true, only ``lose(_:)`` makes sense.
    private(set) var isBroken = false

    /// Takes over a connection that was just opened.
    init(owning connection: OpaquePointer, meter: LaneMeter) {
        self.connection = connection
        self.meter = meter
        gatehouse_ignore_notices(connection)
        isBroken = PQsetnonblocking(connection, 1) != 0 || PQenterPipelineMode(connection) != 1
    }

    deinit {
        PQfinish(connection)
    }

    var inFlight: Int { flights.count }
    var socket: Int32 { PQsocket(connection) }

    /// Whether the server has been silent for longer than the oldest chain in flight allows.
    func isOverdue(at now: ContinuousClock.Instant) -> Bool {
        guard let patience = flights.first?.patience else { return false }
        return lastProgress + patience < now
    }

    func forEachTicket(_ body: (Ticket) -> Void) {
        flights.forEach { body($0.ticket) }
    }

    // MARK: Sending

    func send(_ body: ChainBody, ticket: Ticket, patience: Duration?) {
        if flights.isEmpty { lastProgress = .now }
        flights.append(Flight(ticket: ticket, patience: patience, isSent: !isBroken))
        chainCount += 1
        guard !isBroken else { return }
        switch body {
        case .pipeline(let steps):
            for step in steps where !isBroken {
                switch step {
                case .settings(let settings): send(settings.statement, then: { _ in .settings })
                case .statement(let statement):
                    meter.count(meter.statements)
                    send(statement, then: { .statement($0) })
                }
            }
            guard !isBroken, PQpipelineSync(connection) == 1 else { return isBroken = true }
            expected.append(.sync)
        case .script(let text):
            meter.count(meter.statements)
            // The lane gives a script only to a connection with nothing in flight, so leaving pipeline mode succeeds.
            guard PQexitPipelineMode(connection) == 1, PQsendQuery(connection, text) == 1 else {
                return isBroken = true
            }
            expected.append(.scriptEnd)
        }
        meter.count(meter.roundTrips)
    }

    private func send(_ statement: SQL, then expectation: (PreparedStatements.Key?) -> Expected) {
        let (key, lookup) = prepared.lookUp(statement, in: chainCount)
        let isSent = parameters.withParameters(of: statement) { count, types, values, lengths, formats in
            switch lookup {
            case .new(let name):
                guard PQsendPrepare(connection, name, statement.text, count, types) == 1 else { return false }
                expected.append(.parse(key))
                return PQsendQueryPrepared(connection, name, count, values, lengths, formats, 0) == 1
            case .known(let name):
                return PQsendQueryPrepared(connection, name, count, values, lengths, formats, 0) == 1
            case .unprepared:
                return PQsendQueryParams(connection, statement.text, count, types, values, lengths, formats, 0) == 1
            }
        }
        guard isSent else { return isBroken = true }
        if case .unprepared = lookup { expected.append(expectation(nil)) } else { expected.append(expectation(key)) }
    }

    /// Writes what the socket takes. - Returns: whether something is left, so that the link must wait for the socket
    /// to be writable.
    func flush() -> Bool {
        guard !isBroken else { return false }
        switch PQflush(connection) {
        case 0: return false
        case 1: return true
        default:
            // What the server said before it closed is still to be read; reading finds the end of the connection
            // itself.
            return false
        }
    }

    // MARK: Receiving

    /// Reads what the socket has.
    func consume() {
        if !isBroken, PQconsumeInput(connection) != 1 { isBroken = true }
    }

    /// Takes over every result that is there and reports each chain whose Sync was confirmed.
    func receive(_ finish: (Ticket, ChainOutcome) -> Void) {
        var silences = 0
        while !isBroken, let next = expected.first, PQisBusy(connection) == 0 {
            guard let raw = PQgetResult(connection) else {
                if case .scriptEnd = next {
                    isBroken = PQenterPipelineMode(connection) != 1
                    complete(finish)
                    continue
                }
                // One NULL parts the results of two statements; more of them mean that libpq and this queue disagree.
                silences += 1
                isBroken = silences > 2
                continue
            }
            silences = 0
            lastProgress = .now
            accept(PostgresResult(owning: raw), for: next, finish)
        }
    }

    private func accept(_ result: PostgresResult, for next: Expected, _ finish: (Ticket, ChainOutcome) -> Void) {
        switch result.status {
        case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY:
            switch next {
            case .statement:
                flights.updateFirst { $0.results.append(result) }
                advance()
            case .parse(let key):
                prepared.confirm(key)
                advance()
            case .settings: advance()
            case .scriptEnd: flights.updateFirst { $0.results.append(result) }
            case .sync: isBroken = true
            }
        case PGRES_FATAL_ERROR:
            // An error of severity FATAL, or one that libpq made up, is the end of the connection.
            guard let error = result.serverError else { return isBroken = true }
            flights.updateFirst { if $0.failure == nil { $0.failure = (error, $0.results.count) } }
            forget(next, because: error)
        case PGRES_PIPELINE_ABORTED:
            forget(next, because: nil)
        case PGRES_PIPELINE_SYNC:
            guard case .sync = next else { return isBroken = true }
            complete(finish)
        default:
            // COPY and its like have no place here.
            isBroken = true
        }
    }

    /// Goes past a statement that failed or was skipped.
    private func forget(_ next: Expected, because error: PostgresError?) {
        switch next {
        case .parse(let key):
            prepared.forget(key)
            advance()
        case .statement(let key):
            if let key, error?.isStalePlan == true { prepared.forget(key) }
            advance()
        case .settings: advance()
        case .sync, .scriptEnd: break
        }
    }

    private func advance() {
        _ = expected.popFirst()
    }

    private func complete(_ finish: (Ticket, ChainOutcome) -> Void) {
        advance()
        guard let flight = flights.popFirst() else { return isBroken = true }
        if let failure = flight.failure {
            finish(flight.ticket, .failed(failure.error, at: failure.place))
        } else {
            finish(flight.ticket, .completed(flight.results))
        }
    }

    /// Reports everything in flight as lost.
    func lose(_ finish: (Ticket, ChainOutcome) -> Void) {
        isBroken = true
        while let flight = flights.popFirst() {
            finish(flight.ticket, .lost(nothingDone: !flight.isSent || flight.failure != nil))
        }
    }
}

/// The prepared statements of one connection, by text and parameter types.
///
/// Bounded by refusing newcomers: statements are written in the program, so their number is finite and small.
private struct PreparedStatements {
    enum Key: Hashable, Sendable {
        case text(String, types: [PostgresType])
        /// ``PreparedSQL/number``.
        case number(Int)
    }

    enum LookUp {
        case known(name: String)
        /// To be parsed under this name before its first use.
        case new(name: String)
        /// To be sent as text: there are too many, or another chain is just having it parsed and may fail.
        case unprepared
    }

    private struct Entry {
        let name: String
        /// The chain whose parsing of it the server has not confirmed yet. Within that chain the name may be used:
        /// the two fail together.
        var parsingChain: Int?
    }

    private static let limit = 1_024
    private var entries: [Key: Entry] = [:]
    private var counter = 0

    mutating func lookUp(_ statement: SQL, in chain: Int) -> (Key, LookUp) {
        let key: Key
        if let prepared = statement.prepared {
            key = .number(prepared.number)
        } else {
            var types: [PostgresType] = []
            types.reserveCapacity(statement.parameterCount)
            statement.forEachBind { types.append($0.type) }
            key = .text(statement.text, types: types)
        }
        if let entry = entries[key] {
            let isUsable = entry.parsingChain == nil || entry.parsingChain == chain
            return (key, isUsable ? .known(name: entry.name) : .unprepared)
        }
        guard entries.count < Self.limit else { return (key, .unprepared) }
        counter += 1
        let entry = Entry(name: "s\(counter)", parsingChain: chain)
        entries[key] = entry
        return (key, .new(name: entry.name))
    }

    mutating func confirm(_ key: Key) {
        entries[key]?.parsingChain = nil
    }

    /// Names are never used twice, so a name that is still in flight cannot be mistaken for its successor.
    mutating func forget(_ key: Key) {
        entries[key] = nil
    }
}

private let oneSetting = PreparedSQL("SELECT set_config($1, $2, true)", [.text, .text])

extension PostgresLocalSettings {
    /// One statement that sets them all for the length of the transaction.
    fileprivate var statement: SQL {
        if count == 1 { return oneSetting([.text(self[0].name), .text(self[0].value)]) }
        var calls: SQL = "SELECT set_config(\(self[0].name), \(self[0].value), true)"
        for setting in dropFirst() {
            calls = "\(calls), set_config(\(setting.name), \(setting.value), true)"
        }
        return calls
    }
}
