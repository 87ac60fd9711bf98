package import Foundation
import Logging
import Synchronization

/// How far a transaction is kept apart from others. The default of PostgreSQL and of this room is `readCommitted`.
package enum PostgresIsolation: Sendable {
    case readCommitted
    case repeatableRead
    case serializable

    fileprivate var begin: SQL {
        switch self {
        case .readCommitted: "BEGIN"
        case .repeatableRead: "BEGIN ISOLATION LEVEL REPEATABLE READ"
        case .serializable: "BEGIN ISOLATION LEVEL SERIALIZABLE"
        }
    }
}

/// Events that a transaction inserts. If the COMMIT gets lost, any of them existing proves it; none proves nothing.
package struct CommitProof: Sendable {
    package let organization: UUID
    package let eventIDs: [UUID]

    package init(organization: UUID, eventIDs: [UUID]) {
        self.organization = organization
        self.eventIDs = eventIDs
    }
}

extension PostgresPool {
    /// Runs `body` in a transaction: BEGIN and `settings` travel with its first statement, COMMIT follows its return,
    /// ROLLBACK its throw.
    ///
    /// `body` may run several times: after a collision (40001, 40P01) or a connection lost before the COMMIT
    /// everything it did is undone and it starts again, at most `maxAttempts` times in all. It must therefore change
    /// nothing but the database. Cancellation is noticed between statements; a COMMIT is never cancelled.
    ///
    /// - Parameter proof: the event that shows, under the same settings, whether a lost COMMIT happened.
    /// - Throws: what `body` throws, after the rollback; ``PostgresError``, of kind `outcomeUnknown` when the COMMIT
    ///   got lost and nothing proves whether it happened.
    package func transaction<T: Sendable>(
        settings: PostgresLocalSettings = [], isolation: PostgresIsolation = .readCommitted, maxAttempts: Int = 3,
        proof: CommitProof? = nil, _ body: @Sendable (PostgresTransaction) async throws -> T
    ) async throws -> T {
        var attempt = 1
        var staleAttemptsLeft = linkCount
        while true {
            let transaction = PostgresTransaction(
                pool: self, lease: try await lease(), settings: settings, isolation: isolation)
            switch await transaction.run(body) {
            case .committed(let value):
                return value
            case .lostCommit(let value):
                return try await settle(value, settings, isolation, proof, attemptsLeft: maxAttempts - attempt, body)
            case .undone(let error, let mayRetry):
                if (error as? PostgresError)?.isStalePlan == true, staleAttemptsLeft > 0 {
                    // Every connection may have a plan from before the same change: such attempts are not counted.
                    staleAttemptsLeft -= 1
                    attempt -= 1
                } else if !mayRetry || attempt >= maxAttempts {
                    throw error
                }
            }
            countRetry()
            try await Task.sleep(for: .milliseconds(Int64.random(in: 1...(4 << min(attempt, 5)))))
            attempt += 1
        }
    }

    /// Finds out what became of a COMMIT whose answer was lost, and does the work again only while it seems not to have
    /// happened. From here on nothing but a proof of either outcome ends in another way than `outcomeUnknown`.
    ///
    /// The lost connection's server process may still be committing, so an event that does not exist proves nothing
    /// yet; but its unique key lets only one of the two attempts commit.
    private func settle<T: Sendable>(
        _ value: T, _ settings: PostgresLocalSettings, _ isolation: PostgresIsolation, _ proof: CommitProof?,
        attemptsLeft: Int, _ body: @Sendable (PostgresTransaction) async throws -> T
    ) async throws(PostgresError) -> T {
        guard let proof else { throw PostgresError(.outcomeUnknown) }
        for attempt in 0...max(0, attemptsLeft) {
            guard let isCommitted = await isCommitted(proof, under: settings) else { break }
            if isCommitted { return value }
            guard attempt < attemptsLeft, !Task.isCancelled, let lease = try? await lease() else { break }
            countRetry()
            let transaction = PostgresTransaction(pool: self, lease: lease, settings: settings, isolation: isolation)
            if case .committed(let value) = await transaction.run(body) { return value }
        }
        throw PostgresError(.outcomeUnknown)
    }
}

/// A transaction under way. Its statements run one after the other; after its closure has ended they are refused.
package final class PostgresTransaction: Sendable {
    private struct State: Sendable {
        var hasBegun = false
        var isOver = false
        var failure: PostgresError?
    }

    private let pool: PostgresPool
    private let lease: PostgresPool.Lease
    private let settings: PostgresLocalSettings
    private let isolation: PostgresIsolation
    private let state = Mutex(State())

    init(pool: PostgresPool, lease: PostgresPool.Lease, settings: PostgresLocalSettings, isolation: PostgresIsolation) {
        self.pool = pool
        self.lease = lease
        self.settings = settings
        self.isolation = isolation
    }

    /// How one attempt ended.
    enum Ending<Value: Sendable>: Sendable {
        case committed(Value)
        /// The connection was lost between sending the COMMIT and its answer.
        case lostCommit(Value)
        /// Nothing was committed.
        case undone(any Error, mayRetry: Bool)
    }

    /// Runs `body`, then commits or rolls back, and gives the connection back.
    func run<T: Sendable>(_ body: @Sendable (PostgresTransaction) async throws -> T) async -> Ending<T> {
        let value: T
        do {
            value = try await body(self)
        } catch {
            await rollBack()
            return undone(by: error)
        }
        switch await commit() {
        case .success: return .committed(value)
        case .failure(let error) where error.kind == .outcomeUnknown: return .lostCommit(value)
        case .failure(let error): return undone(by: error)
        }
    }

    /// The statement that failed decides whether to try again, whatever `body` made of its error.
    private func undone<T>(by error: any Error) -> Ending<T> {
        let (cause, hasBegun) = state.withLock { ($0.failure ?? (error as? PostgresError), $0.hasBegun) }
        let mayRetry = cause.map { $0.isCollision || ($0.kind == .unavailable && hasBegun) } ?? false
        return .undone(error, mayRetry: mayRetry)
    }

    /// Runs one statement and returns its rows. One round trip.
    ///
    /// - Throws: ``PostgresError``. The transaction is then lost: it can only be left, and is rolled back.
    @discardableResult
    package func query(_ statement: SQL) async throws(PostgresError) -> [Row] {
        try await run(statement).rows
    }

    /// Runs one statement. - Returns: how many rows it inserted, updated or deleted.
    @discardableResult
    package func execute(_ statement: SQL) async throws(PostgresError) -> Int {
        try await run(statement).affectedRows
    }

    private func run(_ statement: SQL) async throws(PostgresError) -> PostgresResult {
        if let defect = statement.defect { throw defect }
        if Task.isCancelled { throw PostgresError(.cancelled) }
        // Under the lock, so that of two statements started at once the first one sent carries the BEGIN.
        let reply = try state.withLock { state throws(PostgresError) in
            if state.isOver { throw PostgresError(.unavailable) }
            var steps: [ChainBody.Step] = []
            if !state.hasBegun {
                steps.append(.statement(isolation.begin))
                if !settings.isEmpty { steps.append(.settings(settings)) }
                state.hasBegun = true
            }
            steps.append(.statement(statement))
            return pool.submit(.pipeline(steps), on: lease)
        }
        switch await reply.uncancelledResult() {
        case .success(let results):
            guard let result = results.last else { throw PostgresError(.decoding("no result")) }
            return result
        case .failure(let error):
            state.withLock { if $0.failure == nil { $0.failure = error } }
            throw error
        }
    }

    /// Commits, whether or not the task is cancelled.
    private func commit() async -> Result<Void, PostgresError> {
        guard end() else {
            pool.giveBack(lease, closing: false)
            return .success(())
        }
        let reply = pool.submit(.pipeline([.statement("COMMIT")]), on: lease, lossMeans: .outcomeUnknown)
        switch await reply.uncancelledResult() {
        case .success(let results):
            pool.giveBack(lease, closing: false)
            // The COMMIT of a transaction in which a statement failed is answered by ROLLBACK, not by an error.
            if results.last?.commandTag == "COMMIT" { return .success(()) }
            return .failure(state.withLock(\.failure) ?? PostgresError(.server("25P02")))
        case .failure(let error):
            // A refused COMMIT (a deferred constraint, a serialization failure) has ended the transaction.
            pool.giveBack(lease, closing: error.sqlState == nil)
            return .failure(error)
        }
    }

    /// Undoes everything, whether or not the task is cancelled.
    private func rollBack() async {
        guard end() else { return pool.giveBack(lease, closing: false) }
        let result = await pool.submit(.pipeline([.statement("ROLLBACK")]), on: lease).uncancelledResult()
        if case .success = result {
            pool.giveBack(lease, closing: false)
        } else {
            pool.giveBack(lease, closing: true)
        }
    }

    /// - Returns: whether there is anything to commit or undo.
    private func end() -> Bool {
        state.withLock { state in
            state.isOver = true
            return state.hasBegun
        }
    }
}

// MARK: Session work

extension PostgresPool {
    /// Lends a connection for work that is no transaction: advisory locks, migrations, scripts, the sequencer.
    ///
    /// Each statement is committed by itself unless a script opens a transaction. The connection is closed
    /// afterwards, so nothing of the session survives; session locks are released before this returns.
    ///
    /// - Parameter statementTimeout: for this session; `nil` for none at all.
    package func withConnection<T: Sendable>(
        statementTimeout: Duration?, _ body: @Sendable (PostgresConnection) async throws -> T
    ) async throws -> T {
        let connection = PostgresConnection(pool: self, lease: try await lease(), timeout: statementTimeout)
        let result: Result<T, any Error>
        do {
            let timeout = "\(statementTimeout?.milliseconds ?? 0)"
            _ = try await connection.query(
                """
                SELECT set_config('statement_timeout', \(timeout), false),
                       set_config('idle_in_transaction_session_timeout', \(timeout), false)
                """)
            result = .success(try await body(connection))
        } catch {
            result = .failure(error)
        }
        await connection.close()
        return try result.get()
    }

    /// The same, under the pool's own statement timeout.
    package func withConnection<T: Sendable>(
        _ body: @Sendable (PostgresConnection) async throws -> T
    ) async throws -> T {
        try await withConnection(statementTimeout: settings.pinnedStatementTimeout, body)
    }
}

/// A connection lent out whole.
package final class PostgresConnection: Sendable {
    private let pool: PostgresPool
    private let lease: PostgresPool.Lease
    private let patience: Patience

    init(pool: PostgresPool, lease: PostgresPool.Lease, timeout: Duration?) {
        self.pool = pool
        self.lease = lease
        patience = timeout.map(Patience.limited) ?? .endless
    }

    /// Runs one statement and returns its rows. One round trip.
    package func query(
        settings: PostgresLocalSettings = [], _ statement: SQL
    ) async throws(PostgresError) -> [Row] {
        try await run(settings, statement).rows
    }

    /// Runs one statement. - Returns: how many rows it inserted, updated or deleted.
    @discardableResult
    package func execute(
        settings: PostgresLocalSettings = [], _ statement: SQL
    ) async throws(PostgresError) -> Int {
        try await run(settings, statement).affectedRows
    }

    private func run(_ settings: PostgresLocalSettings, _ statement: SQL) async throws(PostgresError) -> PostgresResult
    {
        if let defect = statement.defect { throw defect }
        let results = try await send(.single(statement, under: settings))
        guard let result = results.last else { throw PostgresError(.decoding("no result")) }
        return result
    }

    /// Runs the text of any number of statements, without parameters. Unless it opens transactions of its own, several
    /// statements are one transaction.
    package func script(_ text: String) async throws(PostgresError) {
        if text.utf8.contains(0) { throw .nulInParameter }
        _ = try await send(.script(text))
    }

    private func send(_ body: ChainBody) async throws(PostgresError) -> [PostgresResult] {
        if Task.isCancelled { throw PostgresError(.cancelled) }
        let reply = pool.submit(body, on: lease, patience: patience, lossMeans: .outcomeUnknown)
        return try await reply.uncancelledResult().get()
    }

    /// Releases session locks, then the connection.
    fileprivate func close() async {
        let unlock = pool.submit(
            .pipeline([.statement("SELECT pg_advisory_unlock_all()")]), on: lease, patience: .usual)
        _ = await unlock.uncancelledResult()
        pool.giveBack(lease, closing: true)
    }
}
