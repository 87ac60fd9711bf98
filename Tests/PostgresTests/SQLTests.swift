import Foundation
import Testing

@testable import Postgres

@Suite("Statements and values")
struct SQLTests {
    @Test("interpolated values become numbered parameters and never text")
    func interpolation() {
        let name = "'; DROP TABLE client; --"
        let id = UUID()
        let sql: SQL = "SELECT * FROM client WHERE id = \(id) AND name = \(name) AND x = \("literal")"
        #expect(sql.text == "SELECT * FROM client WHERE id = $1 AND name = $2 AND x = $3")
        #expect(sql.binds == [.uuid(id), .text(name), .text("literal")])
    }

    @Test("fragments are spliced in and their parameters renumbered, literal dollars left alone")
    func fragments() {
        let inner: SQL = "a = \(1) AND note = '$1' AND b = \("two")"
        let outer: SQL = "SELECT \(true), \(inner) OR \(inner) LIMIT \(5)"
        #expect(
            outer.text
                == "SELECT $1, a = $2 AND note = '$1' AND b = $3 OR a = $4 AND note = '$1' AND b = $5 LIMIT $6")
        #expect(outer.binds == [.bool(true), .int8(1), .text("two"), .int8(1), .text("two"), .int8(5)])
        let many: SQL = (1...12).reduce("x") { (sql: SQL, number: Int) in "\(sql), \(number)" }
        let twice: SQL = "\(many) \(many)"
        #expect(twice.text.hasSuffix("x, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24"))
    }

    @Test("identifiers are quoted, quotes in them doubled")
    func identifiers() {
        #expect(SQL.identifier("a\"b").text == "\"a\"\"b\"")
    }

    @Test("NUL in a string, an array or JSON marks the statement as unsendable")
    func nul() {
        let statements: [SQL] = [
            "SELECT \("a\0b")", "SELECT \(["a", "\0"])", "SELECT \(json: ["a\0"])", "x \("SELECT \("\0")" as SQL)",
        ]
        for statement in statements { #expect(statement.defect?.kind == .invalidParameter("a string contains NUL")) }
        let harmless: SQL = "SELECT \(json: ["\\u0000"])"
        #expect(harmless.defect == nil)
    }

    @Test("values of every type come back as they went, whatever is in the strings")
    func roundTrip() async throws {
        let strings = [
            "", "plain", "quote ' \" \\ {} , NULL $1 %", "NULL", "äöü 漢字 🇨🇭 \u{202E}", "line\nfeed\ttab\r", "{a,b}",
            "\\x00",
        ]
        let dates = [
            Date(timeIntervalSinceReferenceDate: 0), Date(timeIntervalSince1970: 1_700_000_000.123456),
            Date(timeIntervalSince1970: -86_400.5), Date(timeIntervalSince1970: 951_782_400),
        ]
        let bytes: [UInt8] = Array(0...255)
        let uuids = [UUID(), UUID()]
        try await withReadLane(PostgresSettings(conninfo: try ScratchDatabase.adminConninfo())) { lane in
            for string in strings {
                let row = try #require(
                    try await lane.query("SELECT \(string) AS v, \([string, "x", string]) AS a").first)
                #expect(try row.decode("v") == string)
                #expect(try row.decode("a") == [string, "x", string])
            }
            for date in dates {
                let row = try #require(
                    try await lane.query("SELECT \(date) AS v, extract(epoch from \(date))::text AS epoch").first)
                #expect(try row.decode("v", as: Date.self) == date)
                let epoch = try #require(Double(try row.decode("epoch", as: String.self)))
                #expect(abs(epoch - date.timeIntervalSince1970) < 1e-6)
            }
            let row = try #require(
                try await lane.query(
                    """
                    SELECT \(bytes) AS bytes, \([UInt8]()) AS none, \(uuids[0]) AS id, \(uuids) AS ids, \([UUID]()) AS no_ids,
                           \(Int.min) AS low, \(Int64.max) AS high, \(Int32(-7)) AS small, \(true) AS yes, \(false) AS no,
                           \(nil as String?) AS null, \(nil as UUID?) AS null_id, \(Optional("some")) AS some,
                           \([String]()) AS no_strings, 1::int2 AS tiny
                    """
                ).first)
            #expect(try row.decode("bytes") == bytes)
            #expect(try row.decode("none", as: [UInt8].self).isEmpty)
            #expect(try row.decode("id") == uuids[0])
            #expect(try row.decode("ids") == uuids)
            #expect(try row.decode("no_ids", as: [UUID].self).isEmpty)
            #expect(try row.decode("low") == Int.min)
            #expect(try row.decode("high") == Int64.max)
            #expect(try row.decode("small") == Int32(-7))
            #expect(try row.decode("tiny") == 1)
            #expect(try row.decode("yes") == true)
            #expect(try row.decode("no") == false)
            #expect(try row.decode("null", as: String?.self) == nil)
            #expect(try row.decode("null_id", as: UUID?.self) == nil)
            #expect(try row.decode("some", as: String?.self) == "some")
            #expect(try row.decode("no_strings", as: [String].self).isEmpty)
        }
    }

    @Test("JSON goes in and out, with times to the microsecond")
    func json() async throws {
        struct Value: Codable, Equatable, Sendable {
            let name: String
            let at: Date
            let tags: [String: Int]
        }
        let value = Value(
            name: "\"quoted\" \\ ünï", at: Date(timeIntervalSince1970: 1_763_877_600.654321), tags: ["a": 1])
        try await withReadLane(PostgresSettings(conninfo: try ScratchDatabase.adminConninfo())) { lane in
            let row = try #require(
                try await lane.query(
                    """
                    SELECT \(json: value) AS v, \(json: value)->>'at' AS at, \(jsonBytes: Array("[1, 2]".utf8)) AS list,
                           NULL::jsonb AS none
                    """
                ).first)
            #expect(try row.decodeJSON("v", as: Value.self) == value)
            #expect(try row.decode("at") == "2025-11-23T06:00:00.654321Z")
            #expect(try row.decodeJSON("list", as: [Int].self) == [1, 2])
            #expect(try row.decodeJSON("none", as: Value?.self) == nil)
            #expect(try row.jsonBytes("list") == Array("[1, 2]".utf8))
            #expect(throws: PostgresError.self) { try row.decodeJSON("list", as: Value.self) }
        }
    }

    @Test("a wrong column, a wrong type and NULL are errors that name the column and no value")
    func decodingErrors() async throws {
        try await withReadLane(PostgresSettings(conninfo: try ScratchDatabase.adminConninfo())) { lane in
            let row = try #require(try await lane.query("SELECT 'secret' AS word, NULL AS nothing").first)
            for error in [
                #expect(throws: PostgresError.self) { try row.decode("wrod", as: String.self) },
                #expect(throws: PostgresError.self) { try row.decode("word", as: Int.self) },
                #expect(throws: PostgresError.self) { try row.decode("word", as: UUID.self) },
                #expect(throws: PostgresError.self) { try row.decode("word", as: Date.self) },
                #expect(throws: PostgresError.self) { try row.decode("nothing", as: String.self) },
            ] {
                #expect(error.map { "\($0) \(String(reflecting: $0))" }?.contains("secret") == false)
            }
        }
    }

    @Test("a refused statement shows its SQLSTATE, its constraint to stores, and never a value")
    func serverErrors() async throws {
        let schema =
            "CREATE TABLE person (name text CONSTRAINT person_name_once UNIQUE); INSERT INTO person VALUES ('hidden')"
        try await ScratchDatabase.with(schema: schema) { database in
            try await withPool(database.settings) { pool in
                let error = await postgresError {
                    _ = try await pool.transaction { try await $0.execute("INSERT INTO person VALUES (\("hidden"))") }
                }
                #expect(error?.kind == .server("23505"))
                #expect(error?.constraint == "person_name_once")
                #expect(error?.description == "PostgreSQL refused the statement (SQLSTATE 23505)")
                #expect(error.map { String(reflecting: $0) }?.contains("hidden") == false)
                let typo = await postgresError {
                    try await pool.transaction { _ = try await $0.query("SELECT nmae FROM person") }
                }
                #expect(typo.map { String(reflecting: $0) }?.contains("nmae") == true)
                let unsendable = await postgresError {
                    try await pool.transaction { _ = try await $0.query("SELECT \("\0")") }
                }
                #expect(unsendable?.kind == .invalidParameter("a string contains NUL"))
            }
        }
    }

    @Test("calendar arithmetic agrees with Foundation over six centuries")
    func calendar() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2_000 {
            let date = Date(
                timeIntervalSince1970: Double(Int64.random(in: -9_000_000_000...9_000_000_000, using: &generator)))
            #expect(PostgresTime.date(rfc3339: PostgresTime.rfc3339(date)) == date)
            #expect(PostgresTime.rfc3339(date) == date.formatted(.iso8601).replacing("Z", with: ".000000Z"))
        }
    }
}
