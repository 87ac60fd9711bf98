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

    /// - Returns: nil for what is not RFC 3339 with an offset (§5.6), lies outside the years 0001…9999, or is on no clock:
    ///   the 30th of February, 12:99, a leap second.
    static func parse(_ text: String) -> Date? {
        var rest = Array(text.utf8)[...]
        guard (20...40).contains(rest.count) else { return nil }
        if rest[10] == UInt8(ascii: "t") { rest[10] = UInt8(ascii: "T") }
        let second = String(decoding: rest[..<19], as: UTF8.self)
        rest = rest[19...]
        var fraction: [UInt8] = []
        if rest.first == UInt8(ascii: ".") {
            fraction = Array(rest.dropFirst().prefix { (0x30...0x39).contains($0) })
            guard !fraction.isEmpty else { return nil }
            rest = rest.dropFirst(1 + fraction.count)
        }
        let zeros = "000000"
        // Written again a whole second is what was read, unless some part of it overflowed. Digits beyond the sixth have no
        // column to go to.
        guard let offset = offset(rest), let whole = Timestamp.date("\(second).\(zeros)Z"),
            Timestamp.text(whole) == "\(second).\(zeros)Z",
            let time = Timestamp.date("\(second).\((String(decoding: fraction, as: UTF8.self) + zeros).prefix(6))Z"),
            range.contains(whole.timeIntervalSince1970 - offset)
        else { return nil }
        // By the same division as a time that comes out of its column, so that the two are equal.
        let microseconds = ((time.timeIntervalSince1970 - offset) * 1e6).rounded()
        return Date(
            timeIntervalSinceReferenceDate: (microseconds - Date.timeIntervalBetween1970AndReferenceDate * 1e6) / 1e6)
    }

    /// The seconds of `Z`, `+01:00` or `-23:59`.
    private static func offset(_ bytes: ArraySlice<UInt8>) -> TimeInterval? {
        let text = String(decoding: bytes, as: UTF8.self)
        if text == "Z" || text == "z" { return 0 }
        let parts = text.dropFirst().split(separator: ":", omittingEmptySubsequences: false)
        guard let sign = text.first, sign == "+" || sign == "-", parts.count == 2,
            parts.allSatisfy({ $0.utf8.count == 2 && $0.utf8.allSatisfy { (0x30...0x39).contains($0) } }),
            let hours = Double(parts[0]), let minutes = Double(parts[1]), hours < 24, minutes < 60
        else { return nil }
        return (sign == "-" ? -1 : 1) * (hours * 3_600 + minutes * 60)
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
