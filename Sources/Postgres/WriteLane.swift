package import Foundation
package import Logging
import Synchronization

/// Asks which of these events exist: one row for each that does, its id in the first column. Runs under the settings
/// of the members.
package typealias EventQuestion = @Sendable (_ organization: UUID, _ eventIDs: [UUID]) -> SQL

/// One write: one statement that makes a change and records its event, both or neither.
///
/// The statement must not do its work twice when it is sent twice: its event id is a unique key of what it inserts,
/// and a change that has already happened makes it touch no row.
package final class WriteMember: Sendable {
    /// All nodes write in this order, so that they lock alike: the organization, then the grant or whatever is locked.
    package let orderKey: (organization: UUID, order: UUID)
    /// Set before the statement, wherever they differ from those of the member before it.
    package let settings: PostgresLocalSettings
    /// The statement makes the settings itself; one it is combined in makes each member's before it touches that member's
    /// rows.
    package let makesSettings: Bool
    package let statement: SQL
    /// The id, chosen by the request, of the event this statement records.
    package let eventID: UUID
    /// Set where statements like this one may go as one.
    package let combination: WriteCombination?

    package init(
        orderKey: (organization: UUID, order: UUID), settings: PostgresLocalSettings, makesSettings: Bool = false,
        statement: SQL, eventID: UUID, combination: WriteCombination? = nil
    ) {
        self.orderKey = orderKey
        self.settings = settings
        self.makesSettings = makesSettings
        self.statement = statement
        self.eventID = eventID
        self.combination = combination
    }
}

/// How members that lock nothing and differ only in their values become one statement of many rows: most of what a small
/// statement costs is being a statement.
package struct WriteCombination: Sendable {
    /// Members with equal keys may go together, whatever their organizations: what the statement asserts for all of them.
    package let key: [Int64]
    /// This member's values.
    package let values: [PostgresBind]
    /// The statement of several members, at most ``most``; the first column of each row it returns is the event id of a
    /// member that took effect.
    package let statement: @Sendable (_ members: [[PostgresBind]]) -> SQL
    package static let most = 16

    package init(
        key: [Int64], values: [PostgresBind], statement: @escaping @Sendable (_ members: [[PostgresBind]]) -> SQL
    ) {
        self.key = key
        self.values = values
        self.statement = statement
    }
}

package enum WriteResult: Sendable {
    /// Committed; the rows the statement returned. None is an answer: the statement changed nothing.
    case rows([Row])
    /// Committed, but the connection was lost before its rows arrived; the event proves it.
    case recovered
}

/// The door for single writes that many requests make: group commit over a few shared connections.
///
/// Each connection has one flight in the air. What gathered meanwhile, at most ``PostgresSettings/batchLimit``, is
/// the next batch: one implicit transaction, one Sync, one commit. Few members wait a moment for company while others
/// come fast (``Company``). When any member fails, nothing of the batch was committed and its members are sent again
/// alone, each with a Sync of its own. When the connection is lost, every member asks on another one whether its event exists before anything is sent again. Answers are given
/// only after the commit.
package final class PostgresWriteLane: Sendable {
    struct Job: LaneJob {
        /// Why it must be asked whether the event exists, and what to do if it does not.
        enum Doubt: Sendable {
            /// The connection was lost: send it again.
            case lostLink
            /// It touched no row when it was sent again; that is its answer unless the lost connection had committed
            /// it.
            case noRows([Row])
            /// It was refused when it was sent again, perhaps by what the lost connection had committed, such as its
            /// own key.
            case refused(PostgresError)
        }

        let member: WriteMember
        let deadline: ContinuousClock.Instant
        let reply: Reply<WriteResult>
        /// Must be in a transaction of its own.
        var isAlone = false
        /// Was on a connection that got lost: an earlier sending of it may still take effect.
        var isResent = false
        var doubt: Doubt?
        var attempts = 1
        var questions = 0

        var isAnswered: Bool { reply.isAnswered }
        func fail(_ error: PostgresError) { reply.answer(.failure(error)) }
    }

    enum Ticket: Sendable {
        /// Each element is one statement of the transaction, of one member or of several.
        case batch([[Job]])
        case question([Job])
    }

    private struct State: Sendable {
        var lane: LaneState<Job>
        /// Members whose outcome must be asked for.
        var doubtful: [Job] = []
        /// Members of the newest batch.
        var newestBatch = 0

        var isDrained: Bool { lane.isDrained && doubtful.isEmpty }

        /// Whether a free link had better wait for more than there is.
        func awaitsCompany(_ settings: PostgresSettings) -> Bool {
            newestBatch >= Company.crowd && doubtful.isEmpty
                && lane.hasFew(Company.enough, youngerThan: Company.patience, under: settings)
        }
    }

    /// When members wait for each other. A commit costs PostgreSQL as much as ten small statements, and each one wakes
    /// threads on both sides: many requests at a time are served faster in fewer commits.
    private enum Company {
        /// Members of one batch that show a crowd; who comes alone does not wait, unless as the first after one.
        static let crowd = 4
        /// So many wait for nobody.
        static let enough = 16
        /// How long a free link waits at most; a member, up to twice that.
        static let patience = Duration.milliseconds(1)
    }

    private let settings: PostgresSettings
    private let eventsExist: EventQuestion
    private let logger: Logger
    private let engine: LinkEngine
    private let state: Mutex<State>

    /// How often one member is sent in a transaction of its own before its collision is the answer.
    private static let attemptLimit = 4
    /// How often the server may refuse the question before the outcome is called unknown.
    private static let questionLimit = 5

    package init(settings: PostgresSettings, eventsExist: @escaping EventQuestion, logger: Logger) {
        self.settings = settings
        self.eventsExist = eventsExist
        self.logger = logger
        engine = LinkEngine(links: settings.writeConnections)
        state = Mutex(State(lane: LaneState(links: settings.writeConnections)))
    }

    /// Opens the connections, in the background. Members may be given at once; they wait for a connection.
    package func start() {
        state.withLock { $0.lane.board.begin() }
        let session: PostgresLocalSettings = [
            ("statement_timeout", "\(settings.statementTimeout.milliseconds)"),
            ("lock_timeout", "\(settings.lockTimeout.milliseconds)"),
        ]
        engine.start(self, LinkProfile(settings, door: "write", session: session), logger: logger)
    }

    /// Refuses new members, lets those under way finish within `limit`, then closes the connections.
    package func shutdown(within limit: Duration = .seconds(5)) async {
        state.withLock { $0.lane.isClosed = true }
        await engine.stop(within: limit) { state.withLock { $0.isDrained } }
        sweep(before: .now + .seconds(3_600))
    }

    /// Carries out one member and answers after its commit.
    ///
    /// - Throws: `overloaded` at once when the queue is full; `unavailable` or `timedOut` by the answer deadline when
    ///   it was never sent; `outcomeUnknown` when it was sent and nobody could tell in time what became of it;
    ///   `cancelled` when the task is, though the member may still be committed; the server's errors, after which
    ///   nothing of it is committed.
    package func execute(_ member: WriteMember) async throws(PostgresError) -> WriteResult {
        if let defect = member.statement.defect { throw defect }
        let job = Job(member: member, deadline: .now + settings.answerDeadline, reply: Reply())
        let sleeper: Int? = try state.withLock { state throws(PostgresError) in
            try state.lane.admit(job, under: settings)
            let isAwaited = !state.lane.gathering.isEmpty && state.lane.queue.count < Company.enough
            return isAwaited ? nil : state.lane.board.takeSleeper()
        }
        engine.wake(sleeper)
        return try await job.reply.value()
    }

    package var counters: PostgresCounters {
        let (depth, up) = state.withLock { ($0.lane.queue.count + $0.doubtful.count, $0.lane.board.linksUp) }
        return engine.meter.snapshot(queueDepth: depth, linksUp: up, links: engine.links)
    }
}

extension PostgresWriteLane: LinkLane {
    func linkIsUp(_ link: Int) {
        state.withLock { $0.lane.board.markUp(link) }
    }

    func linkIsDown(_ link: Int) {
        let sleeper = state.withLock { state -> Int? in
            state.lane.gathering.remove(link)
            state.lane.board.markDown(link)
            // What it waited with, or was woken for, is another's now.
            return state.lane.queue.isEmpty && state.doubtful.isEmpty ? nil : state.lane.board.takeSleeper()
        }
        engine.wake(sleeper)
    }

    // MARK: What to send

    func takeWork(for link: Int, inFlight: Int) -> LinkWork<Ticket> {
        guard inFlight == 0 else { return .none }
        let (doubtful, jobs, isWaiting) = state.withLock { state -> ([Job], [Job], Bool) in
            if state.awaitsCompany(settings) {
                state.lane.gathering.insert(link)
                state.lane.board.markAsleep(link, inFlight: 0)
                return ([], [], true)
            }
            state.lane.gathering.remove(link)
            let doubtful = state.doubtful.filter { !$0.isAnswered }
            state.doubtful = []
            var jobs: [Job] = []
            while jobs.count < settings.batchLimit, let job = state.lane.queue.popFirst() {
                if !job.isAnswered { jobs.append(job) }
            }
            if doubtful.isEmpty, jobs.isEmpty {
                state.lane.board.markAsleep(link, inFlight: 0)
            } else {
                state.lane.board.markBusy(link, inFlight: doubtful.count + jobs.count)
                state.newestBatch = jobs.count
            }
            return (doubtful, jobs, false)
        }
        if isWaiting { return .later(Company.patience) }
        guard !doubtful.isEmpty || !jobs.isEmpty else { return .none }
        var chains = questions(about: doubtful)
        let together = jobs.filter { !$0.isAlone }
        if !together.isEmpty { chains.append(batch(together)) }
        for job in jobs where job.isAlone { chains.append(batch([job])) }
        return .chains(chains)
    }

    /// One transaction of all these members, in the order every node uses.
    private func batch(_ jobs: [Job]) -> Chain<Ticket> {
        let statements = combined(jobs.count == 1 ? jobs : jobs.sorted { $0.member.precedes($1.member) })
        var steps: [ChainBody.Step] = []
        steps.reserveCapacity(statements.count * 2)
        var current: PostgresLocalSettings = []
        for members in statements {
            let first = members[0].member
            if !members.allSatisfy({ $0.member.settings.changes(from: current).isEmpty }) {
                if first.makesSettings {
                    // Those of one of its members, or none: a statement that does nothing may not get as far.
                    current = first.settings.map { ($0.name, "unknown") }
                } else {
                    steps.append(.settings(first.settings.changes(from: current)))
                    current = first.settings
                }
            }
            if members.count > 1, let combination = first.combination {
                let values = members.compactMap { $0.member.combination?.values }
                steps.append(.statement(combination.statement(values)))
            } else {
                steps.append(.statement(first.statement))
            }
        }
        let meter = engine.meter
        meter.count(meter.batches)
        meter.count(meter.batchMembers, jobs.count)
        meter.largestBatch.max(jobs.count, ordering: .relaxed)
        return Chain(body: .pipeline(steps), ticket: .batch(statements), patience: settings.lanePatience)
    }

    /// Members that may go as one statement are put where the first of them is; the others keep their places.
    private func combined(_ jobs: [Job]) -> [[Job]] {
        var statements: [[Job]] = []
        statements.reserveCapacity(jobs.count)
        var open: [[Int64]: Int] = [:]
        for job in jobs {
            if !job.isAlone, let key = job.member.combination?.key {
                if let place = open[key], statements[place].count < WriteCombination.most {
                    statements[place].append(job)
                    continue
                }
                open[key] = statements.count
            }
            statements.append([job])
        }
        return statements
    }

    /// One question per organization, each under its own settings: row-level security hides the events of the others.
    private func questions(about jobs: [Job]) -> [Chain<Ticket>] {
        Dictionary(grouping: jobs, by: \.member.orderKey.organization).map { organization, jobs in
            let question = eventsExist(organization, jobs.map(\.member.eventID))
            return Chain(
                body: .single(question, under: jobs[0].member.settings), ticket: .question(jobs),
                patience: settings.lanePatience)
        }
    }

    // MARK: What came of it

    func finish(_ ticket: Ticket, _ outcome: ChainOutcome) {
        switch (ticket, outcome) {
        case (.batch(let statements), .completed(let results)):
            for (members, result) in zip(statements, results) { committed(members, result.rows) }
        case (.batch(let statements), .failed(let error, _)) where statements.count == 1 && statements[0].count == 1:
            refused(statements[0][0], error)
        case (.batch(let statements), .failed(_, let place)): separate(statements, culprit: place)
        case (.batch(let statements), .lost(nothingDone: true)): queueAgain(statements.flatMap { $0 })
        case (.batch(let statements), .lost(nothingDone: false)): doubt(statements.flatMap { $0 }, because: .lostLink)
        case (.question(let jobs), .completed(let results)): resolve(jobs, results.last?.rows ?? [])
        case (.question(let jobs), .failed): askAgain(jobs, isRefused: true)
        case (.question(let jobs), .lost): askAgain(jobs, isRefused: false)
        }
    }

    private func committed(_ members: [Job], _ rows: [Row]) {
        guard members.count > 1 else { return committed(members[0], rows) }
        var own: [UUID: Row] = [:]
        for row in rows {
            guard let id = try? row.firstColumn(as: UUID.self) else {
                logger.error("a combined statement answered no event ids")
                return doubt(members, because: .lostLink)
            }
            own[id] = row
        }
        for job in members { committed(job, own[job.member.eventID].map { [$0] } ?? []) }
    }

    private func committed(_ job: Job, _ rows: [Row]) {
        if job.isResent, rows.isEmpty {
            doubt([job], because: .noRows(rows))
        } else {
            job.reply.answer(.success(.rows(rows)))
        }
    }

    /// A member in a transaction of its own was refused.
    private func refused(_ job: Job, _ error: PostgresError) {
        // What holds up a member that was sent again may be its own first sending: only the deadline ends that.
        if error.isCollision || error.sqlState == "55P03", job.attempts < Self.attemptLimit || job.isResent {
            var job = job
            job.attempts += 1
            job.isAlone = true
            queueAgain([job], atEnd: true)
        } else if job.isResent {
            doubt([job], because: .refused(error))
        } else {
            job.fail(error)
        }
    }

    /// One statement spoiled a batch: all members are sent again alone, those of the culprit last, so that it holds nobody
    /// up twice.
    private func separate(_ statements: [[Job]], culprit: Int) {
        var statements = statements
        if statements.indices.contains(culprit) { statements.append(statements.remove(at: culprit)) }
        var jobs = statements.flatMap { $0 }
        for index in jobs.indices { jobs[index].isAlone = true }
        queueAgain(jobs)
    }

    private func queueAgain(_ jobs: [Job], atEnd: Bool = false) {
        let live = jobs.filter { !$0.isAnswered }
        guard !live.isEmpty else { return }
        engine.meter.count(engine.meter.retries, live.count)
        let sleeper = state.withLock { state in
            if atEnd {
                for job in live { state.lane.queue.append(job) }
            } else {
                state.lane.queue.prepend(live)
            }
            return state.lane.board.takeSleeper()
        }
        engine.wake(sleeper)
    }

    // MARK: Lost connections

    private func doubt(_ jobs: [Job], because doubt: Job.Doubt) {
        var jobs = jobs
        for index in jobs.indices { jobs[index].doubt = doubt }
        ask(jobs)
    }

    private func ask(_ jobs: [Job]) {
        let live = jobs.filter { !$0.isAnswered }
        guard !live.isEmpty else { return }
        let sleeper = state.withLock { state in
            state.doubtful += live
            return state.lane.board.takeSleeper()
        }
        engine.wake(sleeper)
    }

    private func askAgain(_ jobs: [Job], isRefused: Bool) {
        var again: [Job] = []
        for var job in jobs {
            if isRefused { job.questions += 1 }
            if job.questions < Self.questionLimit {
                again.append(job)
            } else {
                job.fail(PostgresError(.outcomeUnknown))
            }
        }
        ask(again)
    }

    /// An event that exists proves the commit. One that does not exist proves nothing while the lost connection's
    /// server process may still be at work; but the event's unique key lets only one of the two sendings take effect,
    /// and a second sending that finds the work done (no row, or an error) asks once more.
    private func resolve(_ jobs: [Job], _ rows: [Row]) {
        let existing: Set<UUID>
        do {
            existing = Set(try rows.map { row throws(PostgresError) in try row.firstColumn(as: UUID.self) })
        } catch {
            logger.error("the question for events answered no ids", metadata: ["error": "\(String(reflecting: error))"])
            return jobs.forEach { $0.fail(PostgresError(.outcomeUnknown)) }
        }
        var again: [Job] = []
        for var job in jobs {
            if existing.contains(job.member.eventID) {
                job.reply.answer(.success(.recovered))
                continue
            }
            switch job.doubt {
            case .noRows(let rows): job.reply.answer(.success(.rows(rows)))
            case .refused(let error): job.fail(error)
            case .lostLink, nil:
                job.doubt = nil
                job.isResent = true
                again.append(job)
            }
        }
        queueAgain(again)
    }

    // MARK: The clock

    func expire(_ ticket: Ticket, before limit: ContinuousClock.Instant) {
        let jobs =
            switch ticket {
            case .batch(let statements): statements.flatMap { $0 }
            case .question(let jobs): jobs
            }
        for job in jobs where job.deadline <= limit { job.fail(PostgresError(.outcomeUnknown)) }
    }

    func sweep(before limit: ContinuousClock.Instant) {
        state.withLock { state in
            for job in state.doubtful where job.deadline <= limit { job.fail(PostgresError(.outcomeUnknown)) }
            state.doubtful.removeAll(where: \.isAnswered)
            // A member that was sent before may have taken effect even though it now waits in the queue.
            state.lane.queue.forEach { job in
                if job.isResent, job.deadline <= limit { job.fail(PostgresError(.outcomeUnknown)) }
            }
            state.lane.expireQueue(before: limit)
        }
    }
}

extension WriteMember {
    fileprivate func precedes(_ other: WriteMember) -> Bool {
        orderKey.organization == other.orderKey.organization
            ? orderKey.order < other.orderKey.order : orderKey.organization < other.orderKey.organization
    }
}

extension PostgresLocalSettings {
    /// What to set so that these settings and no others hold after `current` did. An empty value is how an unset one
    /// reads.
    func changes(from current: PostgresLocalSettings) -> PostgresLocalSettings {
        if current.isEmpty { return self }
        let needed = filter { setting in !current.contains { $0.name == setting.name && $0.value == setting.value } }
        let stale = current.filter { old in !contains { $0.name == old.name } }
        return needed + stale.map { ($0.name, "") }
    }
}

extension Row {
    /// The first column, for questions whose column has no agreed name.
    func firstColumn<T: PostgresDecodable>(as type: T.Type) throws(PostgresError) -> T {
        guard result.columnCount > 0 else { throw PostgresError(.decoding("there is no column")) }
        return try T(postgres: PostgresField(result: result, row: index, column: 0))
    }
}
