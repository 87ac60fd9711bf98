import Synchronization

/// Names and values set for the length of one transaction before its statements run, such as the tenant.
package typealias PostgresLocalSettings = [(name: String, value: String)]

/// Numbers of one database, chosen by an operator. One value makes the lanes and the pool of one role.
package struct PostgresSettings: Sendable {
    /// Passed whole to libpq: a URL or `key=value` pairs, several hosts, `target_session_attrs`, `sslmode` … It may
    /// hold a password.
    package var conninfo: String
    /// Shown in `pg_stat_activity`, followed by the door's name, unless `conninfo` names another.
    package var applicationName = "gatehouse"
    /// Connections of the read lane. On few cores, fewer are faster. Default 2, allowed 1…16.
    package var readConnections = 2
    /// Connections of the write lane, each with one batch in flight. Default 2, allowed 1…16.
    package var writeConnections = 2
    /// Connections lent out whole for transactions. Default 4, allowed 1…64.
    package var pinnedConnections = 4
    /// `statement_timeout` of both lanes. Default 2 s.
    package var statementTimeout: Duration = .seconds(2)
    /// `lock_timeout` of both lanes. Default 100 ms.
    package var lockTimeout: Duration = .milliseconds(100)
    /// `statement_timeout` of pinned connections: a little less than ``answerDeadline``, so that the server's answer
    /// comes first.
    package var pinnedStatementTimeout: Duration = .milliseconds(1800)
    /// `lock_timeout` of pinned connections. Default 1 s.
    package var pinnedLockTimeout: Duration = .seconds(1)
    /// How many may wait at one door; more are answered `overloaded` at once. Default 1,024.
    package var queueLimit = 1_024
    /// Members of one flight of a lane at most, on the write lane of one group commit. Default 64.
    package var batchLimit = 64
    /// Nobody waits longer for an answer, whatever happens to the database. Default 2 s.
    package var answerDeadline: Duration = .seconds(2)

    package init(conninfo: String) {
        self.conninfo = conninfo
    }

    /// After that long without any connection, nobody is made to wait for one: those who did were answered just now.
    var absenceLimit: Duration { answerDeadline - .milliseconds(200) }

    /// How long a lane's server may say nothing at all before its connection is given up.
    var lanePatience: Duration { statementTimeout + .seconds(1) }
}

extension PostgresSettings: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String { "PostgresSettings(\(applicationName))" }
    package var debugDescription: String { description }
    /// Without children: the connection string may hold a password and must not be dumped.
    package var customMirror: Mirror { Mirror(self, children: []) }
}

/// What one door has done since it was opened, and how it stands now.
package struct PostgresCounters: Sendable, Equatable {
    /// Statements of callers sent, resent ones included. Settings are not counted.
    package var statements = 0
    /// Syncs sent, that is round trips: each ends one implicit transaction on a lane.
    package var roundTrips = 0
    /// Group commits sent by the write lane, and the members in them.
    package var batches = 0
    package var batchMembers = 0
    package var largestBatch = 0
    /// Statements and transactions tried again: collisions, neighbours of a failed member, lost links.
    package var retries = 0
    /// Connections that were up and got lost.
    package var lostLinks = 0
    /// Waiting and not yet sent.
    package var queueDepth = 0
    /// Connections that are up, out of ``links``.
    package var linksUp = 0
    package var links = 0

    /// Whether the door can serve at all.
    package var isReady: Bool { linksUp > 0 }
}

/// The counting side of ``PostgresCounters``.
final class LaneMeter: Sendable {
    let statements = Atomic(0)
    let roundTrips = Atomic(0)
    let batches = Atomic(0)
    let batchMembers = Atomic(0)
    let largestBatch = Atomic(0)
    let retries = Atomic(0)
    let lostLinks = Atomic(0)

    func snapshot(queueDepth: Int, linksUp: Int, links: Int) -> PostgresCounters {
        PostgresCounters(
            statements: statements.load(ordering: .relaxed), roundTrips: roundTrips.load(ordering: .relaxed),
            batches: batches.load(ordering: .relaxed), batchMembers: batchMembers.load(ordering: .relaxed),
            largestBatch: largestBatch.load(ordering: .relaxed), retries: retries.load(ordering: .relaxed),
            lostLinks: lostLinks.load(ordering: .relaxed), queueDepth: queueDepth, linksUp: linksUp, links: links)
    }

    func count(_ counter: borrowing Atomic<Int>, _ amount: Int = 1) {
        counter.add(amount, ordering: .relaxed)
    }
}
