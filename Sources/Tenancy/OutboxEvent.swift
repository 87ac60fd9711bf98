package import Foundation
package import Postgres

/// An audit event in the form that is stored: made by the Audit room, carried by stores into the statement it records.
///
/// The leaf's canonical bytes are `leafPrefix ‖ decimal seq ‖ leafSuffix`; the sequence number is given later, so that
/// writers never queue behind one another.
package struct OutboxEvent: Sendable {
    package let organization: OrganizationID
    package let id: EventID
    package let type: String
    package let time: Date
    package let outcome: String
    package let severity: Int
    package let actorID: String
    package let clientID: String?
    package let targetID: String
    package let leafPrefix: [UInt8]
    package let leafSuffix: [UInt8]
    /// base64url of JCS `[salt, path, value]`, one for each personal field; their digests stand in the leaf.
    package let disclosures: [String]

    package init(
        organization: OrganizationID, id: EventID, type: String, time: Date, outcome: String, severity: Int,
        actorID: String, clientID: String?, targetID: String, leafPrefix: [UInt8], leafSuffix: [UInt8],
        disclosures: [String]
    ) {
        self.organization = organization
        self.id = id
        self.type = type
        self.time = time
        self.outcome = outcome
        self.severity = severity
        self.actorID = actorID
        self.clientID = clientID
        self.targetID = targetID
        self.leafPrefix = leafPrefix
        self.leafSuffix = leafSuffix
        self.disclosures = disclosures
    }

    /// `SELECT` list of this event's columns, in the order of ``outboxColumns``.
    private var values: SQL {
        """
        \(organization), \(id), \(type), \(time), \(outcome), \(severity), \(actorID), \(clientID), \(targetID), \
        \(leafPrefix), \(leafSuffix), \(disclosures)
        """
    }

    /// Inserts this event alone: for refusals, which change nothing else, and inside a transaction.
    package var insertion: SQL { Self.insertion(binds) }

    /// Inserts events of one organization, many in each statement.
    package static func insertions(_ events: [OutboxEvent]) -> [SQL] {
        let most = PreparedEvent.plainInsertions.count
        return stride(from: 0, to: events.count, by: most).map { start in
            let chunk = events[start..<min(start + most, events.count)]
            return PreparedEvent.plainInsertions[chunk.count - 1](chunk.flatMap(\.binds))
        }
    }

    private static let insertion = PreparedSQL(PreparedEvent.insertion(where: "true"), PreparedEvent.types)

    /// Inserts this event only if the statement's `change` touched a row.
    fileprivate func insertion(ifAnyRowOf change: SQL) -> SQL {
        "INSERT INTO audit_outbox (\(outboxColumns)) SELECT \(values) WHERE EXISTS (SELECT FROM \(change))"
    }
}

private let outboxColumns: SQL = """
    organization_id, id, type, time, outcome, severity, actor_id, client_id, target_id, \
    leaf_prefix, leaf_suffix, disclosures
    """

/// The event as the first twelve parameters of a ``PreparedSQL``; `$1` is the organization of everything else in the
/// statement too.
enum PreparedEvent {
    static let types: [PostgresType] = [
        .uuid, .uuid, .text, .timestamptz, .text, .int8, .text, .text, .text, .bytea, .bytea, .textArray,
    ]

    /// Inserts the event where `condition` holds.
    static func insertion(where condition: String) -> String {
        "INSERT INTO audit_outbox (\(outboxColumns.text)) "
            + "SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 WHERE \(condition)"
    }

    /// Inserts so many events, one after the other in the parameters. With a guard each is followed by the epoch of its
    /// organization, without which it is left out, and all by the platform's, without which none is inserted. Returns the
    /// ids of those it inserted.
    ///
    /// The events may be of several organizations: each row makes its own one's setting before it meets the policy, which
    /// looks at the setting for each row.
    static func insertions(_ count: Int, isGuarded: Bool) -> PreparedSQL {
        let own = types + (isGuarded ? [.int8] : [])
        let rows = (0..<count).map { row in
            "(" + (1...own.count).map { "$\(row * own.count + $0)" }.joined(separator: ", ") + ")"
        }
        let guards = isGuarded ? " AND " + EpochGuard.condition(of: "event", platform: "$\(count * own.count + 1)") : ""
        return PreparedSQL(
            """
            INSERT INTO audit_outbox (\(outboxColumns.text)) SELECT \(outboxColumns.text)
              FROM (VALUES \(rows.joined(separator: ", "))) AS event (\(outboxColumns.text)\(isGuarded ? ", epoch" : ""))
             WHERE set_config('app.organization_id', event.organization_id::text, true) <> ''\(guards) RETURNING id
            """, Array(repeating: own, count: count).flatMap { $0 } + (isGuarded ? [.int8] : []))
    }

    /// By count, beginning with one.
    static let plainInsertions = (1...WriteCombination.most).map { insertions($0, isGuarded: false) }
    static let guardedInsertions = (1...WriteCombination.most).map { insertions($0, isGuarded: true) }

    /// The prepared form of ``recorded(_:as:after:with:)``.
    static func recorded(_ change: String, after before: String = "") -> String {
        """
        WITH \(before.isEmpty ? "" : before + ", ")change AS (\(change)),
             event AS (\(insertion(where: "EXISTS (SELECT FROM change)")))
        SELECT change.* FROM change
        """
    }
}

extension OutboxEvent {
    /// The parameters of ``PreparedEvent/types``.
    var binds: [PostgresBind] {
        [
            .uuid(organization.uuid), .uuid(id.uuid), .text(type), time.postgresBind, .text(outcome),
            .int8(Int64(severity)), .text(actorID), clientID.postgresBind, .text(targetID), .bytes(leafPrefix),
            .bytes(leafSuffix), .textArray(disclosures),
        ]
    }
}

/// One statement that makes a change and its event, or neither.
///
/// - Parameters:
///   - change: a data-modifying statement with `RETURNING`; no row returned means nothing changed, and then no event.
///   - event: what the log says of it.
///   - before: further common table expressions that `change` reads from, each `name AS (…)`.
///   - consequences: common table expressions that change something else because of the rows of `change`.
/// - Returns: a statement that yields the rows of `change`.
package func recorded(
    _ change: SQL, as event: OutboxEvent, after before: [SQL] = [], with consequences: [SQL] = []
) -> SQL {
    var expressions: SQL = ""
    for expression in before { expressions = "\(expressions)\(expression), " }
    var following: SQL = ""
    for expression in consequences { following = "\(following), \(expression)" }
    return """
        WITH \(expressions)change AS (\(change)), event AS (\(event.insertion(ifAnyRowOf: "change")))\(following)
        SELECT change.* FROM change
        """
}
