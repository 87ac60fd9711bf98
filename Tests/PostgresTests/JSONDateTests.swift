import Foundation
import Testing

@testable import Postgres

@Suite struct JSONDateTests {
    private struct Box: Codable, Equatable { var date: Date }

    @Test(
        "whatever date goes into jsonb comes out again, the nearest of the years 0001 to 9999 (RFC 3339 §1)",
        arguments: [
            (0, "1970-01-01T00:00:00.000000Z"), (-62_135_596_800, "0001-01-01T00:00:00.000000Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000000Z"), (253_402_300_800, "9999-12-31T23:59:59.999999Z"),
            (-62_135_596_801, "0001-01-01T00:00:00.000000Z"), (1e300, "9999-12-31T23:59:59.999999Z"),
            (-1e300, "0001-01-01T00:00:00.000000Z"), (.infinity, "9999-12-31T23:59:59.999999Z"),
            (.nan, "0001-01-01T00:00:00.000000Z"),
        ] as [(TimeInterval, String)])
    func far(seconds: TimeInterval, text: String) throws {
        let json = try PostgresJSON.encode(Box(date: Date(timeIntervalSince1970: seconds)))
        #expect(String(decoding: json, as: UTF8.self) == #"{"date":"\#(text)"}"#)
        let read = try PostgresJSON.decode(Box.self, from: Data(json))
        #expect(try PostgresJSON.encode(read).count == json.count)
        #expect(abs(read.date.timeIntervalSince1970) < 253_402_300_801)
    }

    @Test(
        "a text that is no date, or one too far to count, is an error and no trap",
        arguments: [
            "+292278994-08-17T07:12:55Z", "99999999999999-01-01T00:00:00Z", "2026-01-99999999999999T00:00:00Z",
            "2026-01-01T99999999999999:00:00Z", "2026-01-01T00:99999999999999:00Z", "2026-13-01T00:00:00Z",
            "0000-01-01T00:00:00Z", "infinity", "",
        ])
    func unreadable(text: String) {
        #expect(throws: DecodingError.self) {
            try PostgresJSON.decode(Box.self, from: Data(#"{"date":"\#(text)"}"#.utf8))
        }
    }
}
