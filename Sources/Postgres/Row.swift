import CLibpq
import Foundation

/// A result of libpq, cleared when the last row of it is gone.
///
/// Unchecked: a `PGresult` never changes once libpq has handed it over, it is read from any thread and freed by the
/// last holder, and libpq's readers of it (`PQgetvalue`, `PQfname` …) touch no connection.
final class PostgresResult: @unchecked Sendable {
    private let result: OpaquePointer

    init(owning result: OpaquePointer) {
        self.result = result
    }

    deinit {
        PQclear(result)
    }

    var status: ExecStatusType { PQresultStatus(result) }
    var rowCount: Int32 { PQntuples(result) }
    var columnCount: Int32 { PQnfields(result) }

    var rows: [Row] {
        let count = rowCount
        guard count > 0 else { return [] }
        return (0..<count).map { Row(result: self, index: $0) }
    }

    /// Rows inserted, updated, deleted or selected by the statement.
    var affectedRows: Int { Int(String(cString: PQcmdTuples(result))) ?? 0 }

    /// What the server says it did, such as `COMMIT`, or `ROLLBACK` for the COMMIT of a failed transaction.
    var commandTag: String { String(cString: PQcmdStatus(result)) }

    func column(named name: String) -> Int32? {
        name.withCString { name in
            (0..<columnCount).first { strcmp(PQfname(result, $0), name) == 0 }
        }
    }

    func columnName(_ column: Int32) -> String { String(cString: PQfname(result, column)) }
    func isNull(_ row: Int32, _ column: Int32) -> Bool { PQgetisnull(result, row, column) != 0 }

    func withBytes<R>(
        _ row: Int32, _ column: Int32, _ body: (UnsafeBufferPointer<UInt8>) throws(PostgresError) -> R
    ) throws(PostgresError) -> R {
        let count = Int(PQgetlength(result, row, column))
        let bytes = UnsafeRawPointer(PQgetvalue(result, row, column))?.assumingMemoryBound(to: UInt8.self)
        defer { withExtendedLifetime(self) {} }
        return try body(UnsafeBufferPointer(start: bytes, count: count))
    }

    /// The server's error, or `nil` when it is not an answer of the server but the end of the connection.
    var serverError: PostgresError? {
        guard let state = field(gatehouse_result_sqlstate), let severity = field(gatehouse_result_severity),
            severity != "FATAL", severity != "PANIC"
        else { return nil }
        return PostgresError(
            .server(state), constraint: field(gatehouse_result_constraint), detail: detail(ofState: state))
    }

    /// Class 42 complains of the statement's own text, which never contains values; of all other errors only names
    /// are kept.
    private func detail(ofState state: String) -> String? {
        if state == "0A000", field(gatehouse_result_function) == "RevalidateCachedQuery" {
            return PostgresError.stalePlanDetail
        }
        if state.hasPrefix("42") { return field(gatehouse_result_message) }
        let names = [("table", field(gatehouse_result_table)), ("column", field(gatehouse_result_column))]
        let known = names.compactMap { label, name in name.map { "\(label) \($0)" } }
        return known.isEmpty ? nil : known.joined(separator: ", ")
    }

    private func field(_ read: (OpaquePointer) -> UnsafePointer<CChar>?) -> String? {
        read(result).map { String(cString: $0) }
    }
}

/// One row. Columns are decoded by name; a missing column or a wrong type is an error, never a default.
package struct Row: Sendable {
    let result: PostgresResult
    let index: Int32

    /// - Throws: ``PostgresError`` of kind `decoding` when there is no such column, it is NULL and `T` is not optional,
    ///   or it does not hold a `T`.
    package func decode<T: PostgresDecodable>(_ column: String, as type: T.Type = T.self) throws(PostgresError) -> T {
        try T(postgres: field(column))
    }

    /// Decodes a `json` or `jsonb` column. NULL decodes as JSON `null`, so only an optional `T` accepts it.
    package func decodeJSON<T: Decodable>(_ column: String, as type: T.Type = T.self) throws(PostgresError) -> T {
        let field = try field(column)
        let json = field.isNull ? Data("null".utf8) : try field.withBytes { Data($0) }
        do {
            return try PostgresJSON.decode(type, from: json)
        } catch {
            throw field.mismatch("JSON of \(type)")
        }
    }

    package func isNull(_ column: String) throws(PostgresError) -> Bool {
        try field(column).isNull
    }

    /// The bytes of a `json` or `jsonb` column as the server writes them.
    package func jsonBytes(_ column: String) throws(PostgresError) -> [UInt8] {
        try field(column).withBytes { Array($0) }
    }

    func field(_ column: String) throws(PostgresError) -> PostgresField {
        guard let number = result.column(named: column) else {
            throw PostgresError(.decoding("there is no column \(column)"))
        }
        return PostgresField(result: result, row: index, column: number)
    }
}

/// One value of one row, in the server's text format.
package struct PostgresField: Sendable {
    let result: PostgresResult
    let row: Int32
    let column: Int32

    package var isNull: Bool { result.isNull(row, column) }

    /// Lends the bytes of the value for the length of the call. - Throws: ``PostgresError`` when it is NULL.
    package func withBytes<R>(
        _ body: (UnsafeBufferPointer<UInt8>) throws(PostgresError) -> R
    ) throws(PostgresError) -> R {
        guard !isNull else { throw mismatch("a value, found NULL") }
        return try result.withBytes(row, column, body)
    }

    /// The error for a value that is not what the caller needs. It names the column, never the value.
    package func mismatch(_ expected: String) -> PostgresError {
        PostgresError(.decoding("column \(result.columnName(column)) is not \(expected)"))
    }

    func integer<I: FixedWidthInteger>() throws(PostgresError) -> I {
        guard let value = try withBytes({ PostgresText.integer($0, as: I.self) }) else { throw mismatch("\(I.self)") }
        return value
    }
}
