import Synchronization

// The Postgres room: the only place that speaks libpq. It owns statements and their parameters, rows, the pipelined
// lanes, the pinned pool and the migrator. It knows nothing of organizations but a name and value to set before a
// statement.

/// A statement whose values can only travel as parameters: `"… WHERE id = \(id)"` becomes `… WHERE id = $1`.
///
/// An interpolated ``SQL`` is spliced in and its parameters renumbered. Nothing else can reach the text: there is no
/// way to interpolate a string into it. Literal text must not contain `$n` of its own.
package struct SQL: ExpressibleByStringInterpolation, Sendable {
    /// A parameter, and where its `$n` begins in the text (offset in UTF-8 bytes), so that splicing can renumber it.
    fileprivate struct Parameter: Sendable {
        let bind: PostgresBind
        let offset: Int
    }

    /// The statement as the server sees it, with `$1`, `$2` … for its parameters.
    package fileprivate(set) var text: String
    fileprivate var parameters: [Parameter] = []
    /// Set where the text was written once, for many uses; it then names text and types.
    fileprivate(set) var prepared: PreparedSQL?
    /// Why this statement must not be sent at all: a NUL in a string, a value that has no JSON.
    fileprivate(set) var defect: PostgresError?

    /// The parameters in the order of their numbers.
    package var binds: [PostgresBind] { parameters.map(\.bind) }

    var parameterCount: Int { parameters.count }

    func forEachBind(_ body: (PostgresBind) -> Void) {
        for parameter in parameters { body(parameter.bind) }
    }

    package init(stringLiteral value: String) {
        text = value
    }

    package init(stringInterpolation: StringInterpolation) {
        self = stringInterpolation.statement
        if parameters.count > SQL.parameterLimit { defect = PostgresError(.invalidParameter("too many parameters")) }
    }

    fileprivate init(_ prepared: PreparedSQL, _ binds: [PostgresBind]) {
        text = prepared.text
        self.prepared = prepared
        parameters.reserveCapacity(binds.count)
        for bind in binds {
            if bind.containsNUL { defect = .nulInParameter }
            parameters.append(Parameter(bind: bind, offset: 0))
        }
        guard binds.count == prepared.types.count, zip(binds, prepared.types).allSatisfy({ $0.type == $1 }) else {
            defect = PostgresError(.invalidParameter("the parameters of a prepared statement are of other types"))
            return
        }
    }

    /// A name quoted as an identifier. For the names of tables and roles in tests and administration, never for values.
    package static func identifier(_ name: String) -> SQL {
        var statement = SQL(stringLiteral: "\"" + name.replacing("\"", with: "\"\"") + "\"")
        if name.utf8.contains(0) { statement.defect = .nulInParameter }
        return statement
    }

    /// The protocol counts parameters in 16 bits.
    private static let parameterLimit = 65_535

    package struct StringInterpolation: StringInterpolationProtocol {
        fileprivate var statement = SQL(stringLiteral: "")

        package init(literalCapacity: Int, interpolationCount: Int) {
            statement.text.reserveCapacity(literalCapacity + 4 * interpolationCount)
            statement.parameters.reserveCapacity(interpolationCount)
        }

        package mutating func appendLiteral(_ literal: String) {
            statement.text += literal
        }

        /// Binds a value as the next parameter.
        package mutating func appendInterpolation(_ value: some PostgresEncodable) {
            append(value.postgresBind)
        }

        /// Binds a value or NULL as the next parameter.
        package mutating func appendInterpolation<Value: PostgresEncodable>(_ value: Value?) {
            append(value.postgresBind)
        }

        /// Binds a value as `jsonb`. Dates are RFC 3339 strings in UTC with six fraction digits.
        package mutating func appendInterpolation(json value: some Encodable) {
            do {
                append(.json(try PostgresJSON.encode(value)))
            } catch {
                append(.null(.jsonb))
                statement.defect = PostgresError(.invalidParameter("a value cannot be encoded as JSON"))
            }
        }

        /// Binds bytes that already are JSON text as `jsonb`.
        package mutating func appendInterpolation(jsonBytes: [UInt8]) {
            append(.json(jsonBytes))
        }

        /// Splices a fragment in; its parameters are renumbered to follow those already here.
        package mutating func appendInterpolation(_ fragment: SQL) {
            statement.splice(fragment)
        }

        private mutating func append(_ bind: PostgresBind) {
            if bind.containsNUL { statement.defect = .nulInParameter }
            statement.appendParameter(bind)
        }
    }

    private mutating func appendParameter(_ bind: PostgresBind) {
        parameters.append(Parameter(bind: bind, offset: text.utf8.count))
        text += "$"
        text += String(parameters.count)
    }

    private mutating func splice(_ fragment: SQL) {
        defect = defect ?? fragment.defect
        // Its numbers were written by hand and cannot be moved.
        if fragment.prepared != nil { defect = PostgresError(.invalidParameter("a prepared statement stands alone")) }
        let source = fragment.text.utf8
        var position = source.startIndex
        for (index, parameter) in fragment.parameters.enumerated() {
            let mark = source.index(source.startIndex, offsetBy: parameter.offset)
            text += fragment.text[position..<mark]
            appendParameter(parameter.bind)
            position = source.index(mark, offsetBy: 1 + String(index + 1).utf8.count)
        }
        text += fragment.text[position...]
    }
}

/// A statement of a hot path, written once with its parameters numbered by hand: using it costs no text at all.
///
/// Made once for the life of the process, as a `static let` of its store. Everywhere else ``SQL`` with its
/// interpolations is the form, since there nothing can be miscounted.
package struct PreparedSQL: Sendable {
    let text: String
    let types: [PostgresType]
    /// Different for each made in this process; connections find what they prepared by it.
    let number: Int

    private static let made = Atomic(0)

    /// - Parameter types: of `$1`, `$2` …, so that the statement needs no casts.
    package init(_ text: String, _ types: [PostgresType]) {
        self.text = text
        self.types = types
        number = Self.made.wrappingAdd(1, ordering: .relaxed).oldValue
    }

    /// The statement with its parameters, in the order of their numbers and of exactly the types it was made with.
    package func callAsFunction(_ binds: [PostgresBind]) -> SQL { SQL(self, binds) }
}
