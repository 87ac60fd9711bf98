package import Foundation
package import Logging
import Synchronization

/// The door for single SELECTs: a few shared connections, each carrying many statements at once.
///
/// One member is the settings, one statement and one Sync: one implicit transaction and one round trip. Statements must
/// not change anything (the sessions are read-only), because a member whose connection is lost is sent once more. A
/// slow statement delays those behind it on its connection, so nothing here may lock or run long; `statement_timeout`
/// bounds it.
package final class PostgresReadLane: Sendable {
    struct Job: LaneJob {
        let settings: PostgresLocalSettings
        let statement: SQL
        let deadline: ContinuousClock.Instant
        let reply: Reply<[Row]>
        var attempts = 0

        var isAnswered: Bool { reply.isAnswered }
        func fail(_ error: PostgresError) { reply.answer(.failure(error)) }
    }

    private let settings: PostgresSettings
    private let logger: Logger
    private let engine: LinkEngine
    private let state: Mutex<LaneState<Job>>

    package init(settings: PostgresSettings, logger: Logger) {
        self.settings = settings
        self.logger = logger
        engine = LinkEngine(links: settings.readConnections)
        state = Mutex(LaneState(links: settings.readConnections))
    }

    /// Opens the connections, in the background. Statements may be asked for at once; they wait for a connection.
    package func start() {
        state.withLock { $0.board.begin() }
        let session: PostgresLocalSettings = [
            ("statement_timeout", "\(settings.statementTimeout.milliseconds)"),
            ("lock_timeout", "\(settings.lockTimeout.milliseconds)"),
            ("default_transaction_read_only", "on"),
        ]
        engine.start(self, LinkProfile(settings, door: "read", session: session), logger: logger)
    }

    /// Refuses new statements, lets those under way finish within `limit`, then closes the connections.
    package func shutdown(within limit: Duration = .seconds(5)) async {
        state.withLock { $0.isClosed = true }
        await engine.stop(within: limit) { state.withLock { $0.isDrained } }
        sweep(before: .now + .seconds(3_600))
    }

    /// Runs one SELECT with `settings` made for it alone.
    ///
    /// - Throws: `overloaded` at once when the queue is full; `unavailable` or `timedOut` by the answer deadline;
    ///   `cancelled` when the task is, while the statement itself is left alone; the server's errors.
    package func query(
        settings local: PostgresLocalSettings = [], _ statement: SQL
    ) async throws(PostgresError) -> [Row] {
        if let defect = statement.defect { throw defect }
        let job = Job(
            settings: local, statement: statement, deadline: .now + settings.answerDeadline, reply: Reply())
        let sleeper: Int? = try state.withLock { state throws(PostgresError) in try state.admit(job, under: settings) }
        engine.wake(sleeper)
        return try await job.reply.value()
    }

    /// The database's clock, by one cheap round trip: readiness and clock checks.
    package func clock() async throws(PostgresError) -> Date {
        let rows = try await query("SELECT clock_timestamp() AS now")
        guard let row = rows.first else { throw PostgresError(.decoding("no clock")) }
        return try row.decode("now")
    }

    package var counters: PostgresCounters {
        let (depth, up) = state.withLock { ($0.queue.count, $0.board.linksUp) }
        return engine.meter.snapshot(queueDepth: depth, linksUp: up, links: engine.links)
    }
}

extension PostgresReadLane: LinkLane {
    func linkIsUp(_ link: Int) {
        state.withLock { $0.board.markUp(link) }
    }

    func linkIsDown(_ link: Int) {
        state.withLock { $0.board.markDown(link) }
    }

    func takeWork(for link: Int, inFlight: Int) -> LinkWork<Job> {
        let jobs = state.withLock { state in
            let room = settings.pipelineLimit - inFlight
            var jobs: [Job] = []
            while jobs.count < room, let job = state.queue.popFirst() {
                if !job.isAnswered { jobs.append(job) }
            }
            if jobs.isEmpty, room > 0 {
                state.board.markAsleep(link, inFlight: inFlight)
            } else {
                state.board.markBusy(link, inFlight: inFlight + jobs.count)
            }
            return jobs
        }
        guard !jobs.isEmpty else { return .none }
        return .chains(
            jobs.map { job in
                Chain(
                    body: .single(job.statement, under: job.settings), ticket: job, patience: settings.lanePatience)
            })
    }

    func finish(_ job: Job, _ outcome: ChainOutcome) {
        switch outcome {
        case .completed(let results): job.reply.answer(.success(results.last?.rows ?? []))
        case .failed(let error, _) where error.isCollision && job.attempts == 0: sendAgain(job)
        // Every connection may have a plan from before the same change.
        case .failed(let error, _) where error.isStalePlan && job.attempts <= engine.links: sendAgain(job)
        case .failed(let error, _): job.fail(error)
        case .lost where job.attempts == 0: sendAgain(job)
        case .lost: job.fail(PostgresError(.unavailable))
        }
    }

    private func sendAgain(_ job: Job) {
        guard !job.isAnswered else { return }
        engine.meter.count(engine.meter.retries)
        var job = job
        job.attempts += 1
        let sleeper = state.withLock { state in
            state.queue.prepend([job])
            return state.board.takeSleeper()
        }
        engine.wake(sleeper)
    }

    func expire(_ job: Job, before limit: ContinuousClock.Instant) {
        if job.deadline <= limit { job.fail(PostgresError(.timedOut)) }
    }

    func sweep(before limit: ContinuousClock.Instant) {
        state.withLock { $0.expireQueue(before: limit) }
    }
}

/// A member waiting in a lane.
protocol LaneJob: Sendable {
    var deadline: ContinuousClock.Instant { get }
    var isAnswered: Bool { get }
    func fail(_ error: PostgresError)
}

/// What both lanes keep under their lock.
struct LaneState<Job: LaneJob>: Sendable {
    var queue = FIFO<Job>()
    var board: LinkBoard
    var isClosed = false

    init(links: Int) {
        board = LinkBoard(links: max(1, links))
    }

    var isDrained: Bool { queue.isEmpty && board.isIdle }

    /// Takes a job into the queue. - Returns: the link that must be woken for it.
    mutating func admit(_ job: Job, under settings: PostgresSettings) throws(PostgresError) -> Int? {
        guard !isClosed, !board.hasBeenDown(for: settings.absenceLimit) else { throw PostgresError(.unavailable) }
        guard queue.count < settings.queueLimit else { throw PostgresError(.overloaded) }
        queue.append(job)
        return board.takeSleeper()
    }

    /// Answers queued jobs whose time is up and drops those that were answered meanwhile.
    mutating func expireQueue(before limit: ContinuousClock.Instant) {
        guard !queue.isEmpty else { return }
        let reason: PostgresError.Kind = board.linksUp == 0 ? .unavailable : .timedOut
        queue.removeAll { job in
            if job.deadline <= limit { job.fail(PostgresError(reason)) }
            return job.isAnswered
        }
    }
}
