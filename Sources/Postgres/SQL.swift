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
