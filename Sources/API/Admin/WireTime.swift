import Audit
import Foundation
import Keys

/// Times as the admin API writes them: RFC 3339, UTC, milliseconds.
enum WireTime {
    static func text(_ time: Date) -> String {
        // The log's form has six fraction digits.
        String(Timestamp.text(time).dropLast(4)) + "Z"
    }

    /// From the first second of the year 0001 to the last of 9999, in UTC: what RFC 3339 can write.
    private static let range: ClosedRange<TimeInterval> = -62_135_596_800...253_402_300_799

    /// - Returns: nil for what is not RFC 3339 with an offset, or lies outside the years 0001…9999.
    static func parse(_ text: String) -> Date? {
        guard text.utf8.count <= 40 else { return nil }
        let time =
            (try? Date.ISO8601FormatStyle(includingFractionalSeconds: true).parse(text))
            ?? (try? Date.ISO8601FormatStyle().parse(text))
        return time.flatMap { range.contains($0.timeIntervalSince1970) ? $0 : nil }
    }
}

extension JSONWriter {
    mutating func time(_ name: String, _ time: Date) {
        string(name, WireTime.text(time))
    }

    mutating func optional(_ name: String, _ text: String?) {
        if let text { string(name, text) } else { null(name) }
    }

    mutating func optional(_ name: String, time: Date?) {
        optional(name, time.map(WireTime.text))
    }

    mutating func optional(_ name: String, _ texts: [String]?) {
        if let texts { strings(name, texts) } else { null(name) }
    }

    mutating func null(_ name: String) {
        raw(name, Array("null".utf8))
    }
}
