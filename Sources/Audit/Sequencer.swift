import Foundation
package import Logging
package import Postgres
import ServiceLifecycle
import Synchronization

/// Moves events from the outbox into each organization's log and gives them their sequence numbers.
///
/// Organizations are spread over 16 shards. A session advisory lock per shard selects one worker, however many
/// processes run; the others wait for it as stand-bys. One statement takes up to 2,000 rows of all shards a worker has, each
/// shard's oldest first, and is a transaction of its own: it deletes them, appends them and advances the heads, or does
/// nothing. Should two workers ever believe to hold one shard, the guard on the heads lets only one of them
/// commit.
///
/// It takes whatever is visible rather than advancing a cursor, so an event that commits late is sequenced late and
/// never lost. Connects as the role `gatehouse_sequencer`, over a connection of its own.
package final class Sequencer: Service {
    /// How it goes, for metrics and alarms.
    package struct Status: Sendable, Hashable {
        /// Whether it reaches the database. If not, the other members show the last known state.
        package var isConnected = false
        /// Shards this process works on, of 16; the rest belong to other processes.
        package var shards = 0
        /// Age of the oldest event without a place in its log, in any shard; zero when there is none.
        package var lag: Duration = .zero
        /// Events given a place by this process.
        package var sequenced = 0
        /// Transactions that gave places to events.
        package var batches = 0
        /// How often the database's clock was found behind an event it had stamped before: order may be affected.
        package var clockSteps = 0
        /// Connections lost or given up.
        package var lostConnections = 0
        /// Whether the clock is behind at this moment.
        package var clockIsBehind = false
    }

    package static let shardCount = 16
    /// Rows of one transaction; the literal stands in ``batch(of:)``.
    package static let batchSize = 2_000

    private let pool: PostgresPool
    private let logger: Logger
    private let state = Mutex(Status())
    private let shortestPause: Duration = .milliseconds(100)
    private let longestPause: Duration = .milliseconds(500)

    /// - Parameter settings: with the `conninfo` of the role `gatehouse_sequencer`; its numbers of connections do not
    ///   matter.
    package init(settings: PostgresSettings, logger: Logger) {
        var settings = settings
        settings.pinnedConnections = 1
        settings.applicationName = "gatehouse-sequencer"
        pool = PostgresPool(settings: settings, logger: logger)
        self.logger = logger
    }

    package var status: Status { state.withLock { $0 } }

    /// Works until shutdown; a batch under way is finished.
    package func run() async throws {
        pool.start()
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    try await self.pool.withConnection(statementTimeout: .seconds(30)) { try await self.work(on: $0) }
                } catch {
                    if Task.isCancelled { break }
                    self.logger.warning(
                        "sequencer starts again on a new connection",
                        metadata: ["error": "\(String(reflecting: error))"])
                }
                self.state.withLock { status in
                    if status.isConnected { status.lostConnections += 1 }
                    status.isConnected = false
                    status.shards = 0
                }
                try? await Task.sleep(for: .milliseconds(Int.random(in: 200...400)))
            }
        }
        await pool.shutdown()
    }

    /// Works on one connection until it is lost. The shards' locks live and die with it.
    private func work(on connection: PostgresConnection) async throws {
        _ = try await connection.query(Self.session)
        var held: Set<Int> = []
        var newest: Date?
        var pause = shortestPause
        while true {
            for row in try await connection.query(Self.lock(allBut: held)) {
                held.insert(try row.decode("shard", as: Int.self))
            }
            // A statement of its own, so that its snapshot is younger than the locks.
            let pending = try await survey(connection, holding: held, newest: newest).filter(held.contains)
            var taken = 0
            if !pending.isEmpty {
                let done = try await sequence(pending, on: connection)
                taken = done.events
                newest = [newest, done.newest].compactMap { $0 }.max()
            }
            // Perhaps there is more.
            if taken >= Self.batchSize { continue }
            pause = taken > 0 ? shortestPause : min(pause * 2, longestPause)
            try await Task.sleep(for: pause)
        }
    }

    /// Gives places to the oldest events of these shards, by one statement: most of what one costs with few events is being a
    /// statement. What cannot be done together is done shard by shard, so that one cannot hold up the others for good.
    private func sequence(
        _ shards: [Int], on connection: PostgresConnection
    ) async throws -> (events: Int, newest: Date?) {
        // Any may be first, since the first ones may leave no room for the others.
        let order = shards.shuffled()
        do {
            return try await take(order, on: connection)
        } catch let error as PostgresError where error.sqlState != nil && order.count > 1 {
            var all: (events: Int, newest: Date?) = (0, nil)
            for shard in order {
                let done = try await take([shard], on: connection)
                all = (all.events + done.events, [all.newest, done.newest].compactMap { $0 }.max())
            }
            return all
        }
    }

    private func take(_ shards: [Int], on connection: PostgresConnection) async throws -> (events: Int, newest: Date?) {
        guard let row = try await connection.query(Self.batch(of: shards)).first else { return (0, nil) }
        let events = try row.decode("events", as: Int.self)
        state.withLock { status in
            status.sequenced += events
            status.batches += events > 0 ? 1 : 0
        }
        return (events, try row.decode("newest", as: Date?.self))
    }

    /// Looks at all shards, brings ``status`` up to date and watches the database's clock.
    ///
    /// - Parameter newest: the highest time the database has given to an event that this connection sequenced.
    /// - Returns: the shards that have events.
    private func survey(
        _ connection: PostgresConnection, holding held: Set<Int>, newest: Date?
    ) async throws -> [Int] {
        var pending: [Int] = []
        var oldest: Date?
        var now = Date.distantPast
        for row in try await connection.query(Self.survey) {
            now = try row.decode("now")
            guard let recorded = try row.decode("oldest", as: Date?.self) else { continue }
            pending.append(try row.decode("shard"))
            oldest = min(oldest ?? recorded, recorded)
        }
        let steppedBack = newest.map { now < $0 } ?? false
        let isFirst = state.withLock { status in
            status.isConnected = true
            status.shards = held.count
            status.lag = oldest.map { max(.zero, .seconds(now.timeIntervalSince($0))) } ?? .zero
            let isFirst = steppedBack && !status.clockIsBehind
            status.clockIsBehind = steppedBack
            if isFirst { status.clockSteps += 1 }
            return isFirst
        }
        if isFirst { logger.error("the database's clock stepped back; events may be logged out of order") }
        return pending
    }

    // MARK: Statements

    /// First key of the advisory locks, "gate" in ASCII; the second is the shard.
    package static let lockNamespace = 0x6761_7465

    /// A queue's statistics are always out of date, so the planner is told what is known: walk the indexes, plan once.
    private static let session: SQL = """
        SELECT set_config('enable_seqscan', 'off', false), set_config('enable_bitmapscan', 'off', false),
               set_config('jit', 'off', false), set_config('plan_cache_mode', 'force_generic_plan', false)
        """

    /// Tries the locks this session lacks; yields those it got. Asking twice for one would count twice.
    private static func lock(allBut held: Set<Int>) -> SQL {
        let mask = held.reduce(0) { $0 | 1 << $1 }
        return """
            SELECT shard FROM generate_series(0, 15) AS shard
             WHERE CASE WHEN (\(mask) >> shard) & 1 = 0 THEN pg_try_advisory_lock(\(lockNamespace)::int, shard)
                        ELSE false END
            """
    }

    private static let survey: SQL = """
        SELECT shard, clock_timestamp() AS now,
               (SELECT recorded_at FROM audit_outbox o WHERE o.shard = s.shard
                 ORDER BY o.recorded_at, o.id LIMIT 1) AS oldest
          FROM generate_series(0, 15) AS s (shard)
        """

    /// Sequences the oldest events of each of these shards, at most 2,000 in all, all or none; where there are more, those
    /// of the shards named first.
    ///
    /// One row: `events` taken and the `newest` of their times. Division by zero aborts the statement when a head is
    /// not where the snapshot showed it, that is when another worker was faster; so does a head that appears meanwhile.
    package static func batch(of shards: [Int]) -> SQL {
        """
        WITH taken AS (
            DELETE FROM audit_outbox
             WHERE ctid = ANY (ARRAY(
                       SELECT oldest.ctid FROM unnest(\(shards.map(String.init))::smallint[]) AS due (shard),
                              LATERAL (SELECT ctid FROM audit_outbox o WHERE o.shard = due.shard
                                        ORDER BY o.recorded_at, o.id LIMIT 2000) AS oldest LIMIT 2000))
            RETURNING organization_id, id, recorded_at, type, time, outcome, severity, actor_id, client_id, target_id,
                      leaf_prefix, leaf_suffix, disclosures
        ), numbered AS (
            SELECT t.*, h.size AS before,
                   coalesce(h.size, 0) - 1
                       + row_number() OVER (PARTITION BY t.organization_id ORDER BY t.recorded_at, t.id) AS seq
              FROM taken t LEFT JOIN audit_head h ON h.organization_id = t.organization_id
        ), logged AS (
            INSERT INTO audit_event (organization_id, seq, id, recorded_at, type, time, outcome, severity, actor_id,
                                     client_id, target_id, leaf, leaf_hash, disclosures)
            SELECT organization_id, seq, id, recorded_at, type, time, outcome, severity, actor_id, client_id, target_id,
                   leaf, sha256('\\x00'::bytea || leaf), disclosures
              FROM (SELECT *, leaf_prefix || convert_to(seq::text, 'UTF8') || leaf_suffix AS leaf
                      FROM numbered OFFSET 0) spelled
        ), grown AS (
            SELECT organization_id, before, max(seq) + 1 AS size FROM numbered GROUP BY organization_id, before
        ), begun AS (
            INSERT INTO audit_head (organization_id, size)
            SELECT organization_id, size FROM grown WHERE before IS NULL RETURNING 1
        ), advanced AS (
            UPDATE audit_head h SET size = g.size FROM grown g
             WHERE h.organization_id = g.organization_id AND h.size = g.before RETURNING 1
        )
        SELECT (SELECT count(*) FROM taken)
                   / (CASE WHEN (SELECT count(*) FROM begun) + (SELECT count(*) FROM advanced)
                                = (SELECT count(*) FROM grown) THEN 1 ELSE 0 END) AS events,
               (SELECT max(recorded_at) FROM taken) AS newest
        """
    }
}
