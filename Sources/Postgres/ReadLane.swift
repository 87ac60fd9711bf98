package import Foundation
package import Logging
import Synchronization

/// The door for single SELECTs: a few shared connections, each carrying many statements at once.
///
/// Each connection has one flight in the air. What gathered meanwhile, at most ``PostgresSettings/batchLimit``, is the
/// next one; a free connection leaves the first few of them to one that is under way (``Company``). A flight is one
/// implicit transaction and one Sync, each statement under its own settings and with a snapshot of its own (READ
/// COMMITTED). When one fails, the others are sent again alone. Statements must not change anything (the sessions are
/// read-only), because a member whose connection is lost is sent once more. A slow statement delays those that share its
/// flight, so nothing here may lock or run long; `statement_timeout` bounds it.
package final class PostgresReadLane: Sendable {
    struct Job: LaneJob {
        let settings: PostgresLocalSettings
        let statement: SQL
        let deadline: ContinuousClock.Instant
        let reply: Reply<[Row]>
        var attempts = 0
        /// Shared a flight with one that failed.
        var isAlone = false

        var isAnswered: Bool { reply.isAnswered }
        func fail(_ error: PostgresError) { reply.answer(.failure(error)) }
    }

    /// When a free connection leaves what came to another that is under way: a flight costs PostgreSQL more than the
    /// statements in it, and each one wakes threads on both sides.
    private enum Company {
        /// So many wait for nobody.
        static let enough = 16
        /// A flight that takes longer is left to itself: nobody waits for that connection any more. Far longer than most
        /// take. A member waits up to twice as long, since a free connection looks as often.
        static let patience = Duration.milliseconds(2)
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
        let sleeper: Int? = try state.withLock { state throws(PostgresError) in
            try state.admit(job, under: settings)
            let isAwaited =
                !state.gathering.isEmpty && state.board.isAnyUnderWay(since: Company.patience)
                && state.queue.count < Company.enough
            return isAwaited ? nil : state.board.takeSleeper()
        }
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
        let sleeper = state.withLock { state -> Int? in
            state.gathering.remove(link)
            state.board.markDown(link)
            // What it waited with, or was woken for, is another's now.
            return state.queue.isEmpty ? nil : state.board.takeSleeper()
        }
        engine.wake(sleeper)
    }

    func takeWork(for link: Int, inFlight: Int) -> LinkWork<[Job]> {
        guard inFlight == 0 else { return .none }
        let (jobs, isWaiting, sleeper) = state.withLock { state -> ([Job], Bool, Int?) in
            if state.board.isAnyUnderWay(besides: link, since: Company.patience),
                state.queue.isEmpty || state.hasFew(Company.enough, youngerThan: Company.patience, under: settings)
            {
                // One that looks again is enough.
                let isFirst = state.gathering.isEmpty || state.gathering.contains(link)
                if isFirst { state.gathering.insert(link) }
                state.board.markAsleep(link, inFlight: 0)
                return ([], isFirst, nil)
            }
            state.gathering.remove(link)
            var jobs: [Job] = []
            while jobs.count < settings.batchLimit, let job = state.queue.popFirst() {
                if !job.isAnswered { jobs.append(job) }
            }
            if jobs.isEmpty {
                state.board.markAsleep(link, inFlight: 0)
            } else {
                state.board.markBusy(link, inFlight: jobs.count)
            }
            return (jobs, false, state.queue.isEmpty ? nil : state.board.takeSleeper())
        }
        engine.wake(sleeper)
        if isWaiting { return .later(Company.patience) }
        guard !jobs.isEmpty else { return .none }
        var chains: [Chain<[Job]>] = []
        let together = jobs.filter { !$0.isAlone }
        if !together.isEmpty { chains.append(flight(together)) }
        for job in jobs where job.isAlone { chains.append(flight([job])) }
        return .chains(chains)
    }

    private func flight(_ jobs: [Job]) -> Chain<[Job]> {
        var steps: [ChainBody.Step] = []
        steps.reserveCapacity(jobs.count * 2)
        var current: PostgresLocalSettings = []
        for job in jobs {
            let changes = job.settings.changes(from: current)
            if !changes.isEmpty { steps.append(.settings(changes)) }
            current = job.settings
            steps.append(.statement(job.statement))
        }
        return Chain(body: .pipeline(steps), ticket: jobs, patience: settings.lanePatience)
    }

    func finish(_ jobs: [Job], _ outcome: ChainOutcome) {
        switch outcome {
        case .completed(let results):
            for (job, result) in zip(jobs, results) { job.reply.answer(.success(result.rows)) }
        case .failed(_, let place) where jobs.count > 1:
            // The culprit last, so that it holds nobody up twice.
            var alone = jobs
            for index in alone.indices { alone[index].isAlone = true }
            if alone.indices.contains(place) { alone.append(alone.remove(at: place)) }
            queueAgain(alone)
        case .failed(let error, _): for job in jobs { failed(job, error) }
        case .lost:
            for job in jobs {
                if job.attempts == 0 { sendAgain(job) } else { job.fail(PostgresError(.unavailable)) }
            }
        }
    }

    private func failed(_ job: Job, _ error: PostgresError) {
        // Every connection may have a plan from before the same change.
        let mayPass = (error.isCollision && job.attempts == 0) || (error.isStalePlan && job.attempts <= engine.links)
        if mayPass { sendAgain(job) } else { job.fail(error) }
    }

    private func sendAgain(_ job: Job) {
        var job = job
        job.attempts += 1
        queueAgain([job])
    }

    private func queueAgain(_ jobs: [Job]) {
        let live = jobs.filter { !$0.isAnswered }
        guard !live.isEmpty else { return }
        engine.meter.count(engine.meter.retries, live.count)
        let sleeper = state.withLock { state in
            state.queue.prepend(live)
            return state.board.takeSleeper()
        }
        engine.wake(sleeper)
    }

    func expire(_ jobs: [Job], before limit: ContinuousClock.Instant) {
        for job in jobs where job.deadline <= limit { job.fail(PostgresError(.timedOut)) }
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
    /// Free links that wait for company; each looks again by itself.
    var gathering: Set<Int> = []
    var isClosed = false

    init(links: Int) {
        board = LinkBoard(links: max(1, links))
    }

    var isDrained: Bool { queue.isEmpty && board.isIdle }

    /// Takes a job into the queue. Whoever calls wakes a link for it.
    mutating func admit(_ job: Job, under settings: PostgresSettings) throws(PostgresError) {
        guard !isClosed, !board.hasBeenDown(for: settings.absenceLimit) else { throw PostgresError(.unavailable) }
        guard queue.count < settings.queueLimit else { throw PostgresError(.overloaded) }
        queue.append(job)
    }

    /// Whether there are jobs, but fewer than `enough`, and none has waited for `patience`.
    func hasFew(_ enough: Int, youngerThan patience: Duration, under settings: PostgresSettings) -> Bool {
        guard queue.count < enough, let first = queue.first else { return false }
        // A job that comes back has waited already.
        return first.deadline - settings.answerDeadline + patience > .now
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
