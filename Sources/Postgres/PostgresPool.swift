import Foundation
package import Logging
import Synchronization

/// The door for transactions of several statements: a few connections, each lent out whole to one task at a time.
package final class PostgresPool: Sendable {
    /// What travels on a lent connection; the reply gets the results in order.
    struct Job: Sendable {
        let body: ChainBody
        let patience: Duration?
        let reply: Reply<[PostgresResult]>
        /// What a connection lost on the way means: nothing happened, or nobody knows.
        let lossMeans: PostgresError.Kind
    }

    /// The right to use one connection until it is given back. A connection that was lost does not come back under
    /// the same lease.
    struct Lease: Sendable {
        let link: Int
        let generation: Int
    }

    fileprivate struct Waiter: Sendable {
        let reply: Reply<Lease>
        let deadline: ContinuousClock.Instant
    }

    fileprivate struct Place: Sendable {
        var isUp = false
        var isLent = false
        var mustDisconnect = false
        var generation = 0
        var jobs = FIFO<Job>()
    }

    fileprivate struct State: Sendable {
        var places: [Place]
        var waiters = FIFO<Waiter>()
        var downSince: ContinuousClock.Instant? = .now
        var isClosed = false

        var linksUp: Int { places.count(where: \.isUp) }
        var isDrained: Bool { waiters.isEmpty && places.allSatisfy { !$0.isLent } }
    }

    let settings: PostgresSettings
    private let eventsExist: EventQuestion?
    let logger: Logger
    private let engine: LinkEngine
    private let state: Mutex<State>

    /// - Parameter eventsExist: how to find out whether a transaction whose COMMIT got lost was committed.
    package init(settings: PostgresSettings, eventsExist: EventQuestion? = nil, logger: Logger) {
        self.settings = settings
        self.eventsExist = eventsExist
        self.logger = logger
        engine = LinkEngine(links: settings.pinnedConnections)
        state = Mutex(State(places: Array(repeating: Place(), count: engine.links)))
    }

    /// Opens the connections, in the background. Transactions may be asked for at once; they wait for a connection.
    package func start() {
        state.withLock { $0.downSince = .now }
        let session: PostgresLocalSettings = [
            ("statement_timeout", "\(settings.pinnedStatementTimeout.milliseconds)"),
            ("lock_timeout", "\(settings.pinnedLockTimeout.milliseconds)"),
            // A task that never comes back to its transaction must not hold its locks for ever.
            ("idle_in_transaction_session_timeout", "30000"),
        ]
        engine.start(self, LinkProfile(settings, door: "pinned", session: session), logger: logger)
    }

    /// Refuses new transactions, lets those under way finish within `limit`, then closes the connections.
    package func shutdown(within limit: Duration = .seconds(5)) async {
        let waiters = state.withLock { state in
            state.isClosed = true
            let waiters = state.waiters
            state.waiters = FIFO()
            return waiters
        }
        waiters.forEach { $0.reply.answer(.failure(PostgresError(.unavailable))) }
        await engine.stop(within: limit) { state.withLock { $0.isDrained } }
    }

    package var counters: PostgresCounters {
        let (depth, up) = state.withLock { ($0.waiters.count, $0.linksUp) }
        return engine.meter.snapshot(queueDepth: depth, linksUp: up, links: engine.links)
    }

    var linkCount: Int { engine.links }

    func countRetry() {
        engine.meter.count(engine.meter.retries)
    }

    // MARK: Lending

    /// Takes a connection for the caller alone, waiting for one until the answer deadline. Every lease ends with
    /// ``giveBack(_:closing:)``.
    func lease() async throws(PostgresError) -> Lease {
        let waiter = Waiter(reply: Reply(), deadline: .now + settings.answerDeadline)
        try state.withLock { state throws(PostgresError) in
            if state.isClosed { throw PostgresError(.unavailable) }
            if let link = state.places.firstIndex(where: { $0.isUp && !$0.isLent && !$0.mustDisconnect }) {
                state.places[link].isLent = true
                waiter.reply.answer(.success(Lease(link: link, generation: state.places[link].generation)))
                return
            }
            if let downSince = state.downSince, downSince.duration(to: .now) >= settings.absenceLimit {
                throw PostgresError(.unavailable)
            }
            guard state.waiters.count < settings.queueLimit else { throw PostgresError(.overloaded) }
            state.waiters.append(waiter)
        }
        return try await waiter.reply.value()
    }

    /// Ends a lease. - Parameter closing: whether the connection must not be used again, because its session may have
    /// changed.
    func giveBack(_ lease: Lease, closing: Bool) {
        let mustWake = state.withLock { state in
            guard state.places[lease.link].generation == lease.generation else { return false }
            state.places[lease.link].isLent = false
            if closing {
                state.places[lease.link].mustDisconnect = true
                return true
            }
            state.lend(lease.link)
            return false
        }
        if mustWake { engine.wake(lease.link) }
    }

    /// Sends steps up to one Sync on the lent connection. Jobs of one lease run one after the other, in the order of
    /// these calls.
    func submit(
        _ body: ChainBody, on lease: Lease, patience: Patience = .usual,
        lossMeans: PostgresError.Kind = .unavailable
    ) -> Reply<[PostgresResult]> {
        let limit: Duration? =
            switch patience {
            case .usual: settings.pinnedStatementTimeout + .milliseconds(200)
            case .limited(let limit): limit + .milliseconds(200)
            case .endless: nil
            }
        let job = Job(body: body, patience: limit, reply: Reply(), lossMeans: lossMeans)
        let isAccepted = state.withLock { state in
            let place = state.places[lease.link]
            guard place.isUp, place.generation == lease.generation, !place.mustDisconnect else { return false }
            state.places[lease.link].jobs.append(job)
            return true
        }
        if isAccepted {
            engine.wake(lease.link)
        } else {
            job.reply.answer(.failure(PostgresError(.unavailable)))
        }
        return job.reply
    }

    /// Asks on another connection whether the event of a transaction whose COMMIT got lost exists.
    /// - Returns: `nil` when that cannot be found out by the answer deadline.
    func isCommitted(_ proof: CommitProof, under local: PostgresLocalSettings) async -> Bool? {
        guard let eventsExist, !proof.eventIDs.isEmpty else { return nil }
        let question = eventsExist(proof.organization, proof.eventIDs)
        let deadline = ContinuousClock.now + settings.answerDeadline
        while .now < deadline {
            // The question is asked even for a cancelled task: its caller must learn what became of the commit.
            let answer = await Task { () async throws(PostgresError) -> Bool in
                let lease = try await self.lease()
                let result = await self.submit(.single(question, under: local), on: lease).uncancelledResult()
                self.giveBack(lease, closing: false)
                return try result.get().last?.rows.isEmpty == false
            }.result
            if case .success(let exists) = answer { return exists }
            _ = await Task { try? await Task.sleep(for: .milliseconds(20)) }.value
        }
        return nil
    }
}

/// How long a lent connection may be silent over one statement.
enum Patience: Sendable {
    case usual
    case limited(Duration)
    case endless
}

extension PostgresPool.State {
    /// Hands a free connection to the next task that still waits for one.
    fileprivate mutating func lend(_ link: Int) {
        guard places[link].isUp, !places[link].isLent, !places[link].mustDisconnect else { return }
        while let waiter = waiters.popFirst() {
            let lease = PostgresPool.Lease(link: link, generation: places[link].generation)
            if waiter.reply.answer(.success(lease)) {
                places[link].isLent = true
                return
            }
        }
    }
}

extension PostgresPool: LinkLane {
    func linkIsUp(_ link: Int) {
        state.withLock { state in
            state.places[link].isUp = true
            state.downSince = nil
            state.lend(link)
        }
    }

    func linkIsDown(_ link: Int) {
        let orphans = state.withLock { state in
            let orphans = state.places[link].jobs
            state.places[link] = Place(generation: state.places[link].generation + 1)
            if state.linksUp == 0 { state.downSince = .now }
            return orphans
        }
        orphans.forEach { $0.reply.answer(.failure(PostgresError(.unavailable))) }
    }

    func takeWork(for link: Int, inFlight: Int) -> LinkWork<Job> {
        guard inFlight == 0 else { return .none }
        return state.withLock { state in
            if let job = state.places[link].jobs.popFirst() {
                return .chains([Chain(body: job.body, ticket: job, patience: job.patience)])
            }
            return state.places[link].mustDisconnect ? .disconnect : .none
        }
    }

    func finish(_ job: Job, _ outcome: ChainOutcome) {
        switch outcome {
        case .completed(let results): job.reply.answer(.success(results))
        case .failed(let error, _): job.reply.answer(.failure(error))
        case .lost(nothingDone: true): job.reply.answer(.failure(PostgresError(.unavailable)))
        case .lost(nothingDone: false): job.reply.answer(.failure(PostgresError(job.lossMeans)))
        }
    }

    /// Nothing: a lent connection answers when its statement ends, fails or is given up for silence.
    func expire(_ job: Job, before limit: ContinuousClock.Instant) {}

    func sweep(before limit: ContinuousClock.Instant) {
        state.withLock { state in
            let reason: PostgresError.Kind = state.linksUp == 0 ? .unavailable : .overloaded
            state.waiters.removeAll { waiter in
                if waiter.deadline <= limit { waiter.reply.answer(.failure(PostgresError(reason))) }
                return waiter.reply.isAnswered
            }
        }
    }
}
