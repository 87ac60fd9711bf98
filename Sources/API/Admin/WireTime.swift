import Audit
import Foundation
import Keys

/// Times as the admin API writes them: RFC 3339, UTC, milliseconds.
enum WireTime {
    static func text(_ time: Date) -> String {
        // The log's form has six fraction digits.
        String(Timestamp.text(time).dropLast(4)) + "Z"
    }

    /// - Returns: nil for what is not RFC 3339 with an offset.
    static func parse(_ text: String) -> Date? {
        guard text.utf8.count <= 40 else { return nil }
        if let time = try? Date.ISO8601FormatStyle(includingFractionalSeconds: true).parse(text) { return time }
        return try? Date.ISO8601FormatStyle().parse(text)
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
