/// What went wrong between a store and PostgreSQL.
///
/// `description` shows the kind and the SQLSTATE and nothing else: messages of the server may quote values.
/// `debugDescription`, meant for logs, adds the constraint and what names only parts of the statement itself.
package struct PostgresError: Error, Sendable {
    package enum Kind: Sendable, Equatable {
        /// The server refused the statement; the SQLSTATE (five characters) says why. Nothing of it was committed.
        case server(String)
        /// There was no connection, or it was lost before anything could be committed.
        case unavailable
        /// The queue was full. Nothing was sent.
        case overloaded
        /// No answer within the deadline. Only statements that change nothing, or were never sent, end so.
        case timedOut
        /// The waiting task was cancelled. A statement already on its way may still be carried out.
        case cancelled
        /// The connection was lost around the commit and it could not be found out in time whether it happened.
        case outcomeUnknown
        /// A column is missing or does not hold what the caller asked for.
        case decoding(String)
        /// A parameter cannot be sent, such as a string with a NUL in it. Nothing was sent.
        case invalidParameter(String)
    }

    package let kind: Kind
    /// The constraint that refused the statement (`23…`), when the server named one.
    package let constraint: String?
    /// For logs only: names of tables and columns, never values.
    let detail: String?

    package init(_ kind: Kind, constraint: String? = nil) {
        self.init(kind, constraint: constraint, detail: nil)
    }

    init(_ kind: Kind, constraint: String?, detail: String?) {
        self.kind = kind
        self.constraint = constraint
        self.detail = detail
    }

    /// The five characters of the server's SQLSTATE, when the server answered.
    package var sqlState: String? {
        if case .server(let state) = kind { state } else { nil }
    }

    package var isUniqueViolation: Bool { sqlState == "23505" }
    package var isForeignKeyViolation: Bool { sqlState == "23503" }

    /// Whether trying the whole transaction again may succeed: it collided with another (40001, 40P01), or a prepared
    /// statement had to be made anew. Nothing was committed.
    var isCollision: Bool {
        switch sqlState {
        case "40001", "40P01": true
        default: isStalePlan
        }
    }

    /// The prepared statement is gone (26000), or its plan no longer fits the tables (0A000).
    var isStalePlan: Bool {
        sqlState == "26000" || (sqlState == "0A000" && detail == PostgresError.stalePlanDetail)
    }

    static let stalePlanDetail = "cached plan must not change result type"
    static let nulInParameter = PostgresError(.invalidParameter("a string contains NUL"))
}

extension PostgresError: CustomStringConvertible, CustomDebugStringConvertible {
    package var description: String {
        switch kind {
        case .server(let state): "PostgreSQL refused the statement (SQLSTATE \(state))"
        case .unavailable: "PostgreSQL is unavailable"
        case .overloaded: "too much work is waiting for PostgreSQL"
        case .timedOut: "PostgreSQL did not answer in time"
        case .cancelled: "the task waiting for PostgreSQL was cancelled"
        case .outcomeUnknown: "the connection to PostgreSQL was lost and the outcome of the write is unknown"
        case .decoding: "a row of PostgreSQL does not have the expected shape"
        case .invalidParameter(let reason): "a statement was not sent to PostgreSQL: \(reason)"
        }
    }

    package var debugDescription: String {
        var text = description
        if case .decoding(let what) = kind { text += ": \(what)" }
        if let constraint { text += ", constraint \(constraint)" }
        if let detail { text += ", \(detail)" }
        return text
    }
}
