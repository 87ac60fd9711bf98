package import Foundation

/// Instants as the log writes them: UTC, exactly six fraction digits, `Z` (RFC 3339).
package enum Timestamp {
    /// The text of an instant, such as `2026-01-02T03:04:05.000000Z`; outside the years 1 to 9999 the nearest one
    /// inside.
    package static func text(_ instant: Date) -> String {
        let microseconds = min(max(microseconds(instant), earliest), latest)
        let day = Int(floor: microseconds, 86_400_000_000)
        let time = microseconds - day * 86_400_000_000

        // Civil date of a day number, in eras of 400 years that begin on 1 March, so that leap days come last.
        let shifted = day + 719_468
        let era = Int(floor: shifted, 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let marchMonth = (5 * dayOfYear + 2) / 153
        let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)

        var text: [UInt8] = []
        text.reserveCapacity(27)
        func append(_ value: Int, _ width: Int, _ end: Unicode.Scalar) {
            var divisor = 1
            for _ in 1..<width { divisor *= 10 }
            while divisor > 0 {
                text.append(UInt8(ascii: "0") + UInt8(value / divisor % 10))
                divisor /= 10
            }
            text.append(UInt8(ascii: end))
        }
        append(year, 4, "-")
        append(month, 2, "-")
        append(dayOfYear - (153 * marchMonth + 2) / 5 + 1, 2, "T")
        append(time / 3_600_000_000, 2, ":")
        append(time / 60_000_000 % 60, 2, ":")
        append(time / 1_000_000 % 60, 2, ".")
        append(time % 1_000_000, 6, "Z")
        return String(decoding: text, as: UTF8.self)
    }

    /// The instant that ``text(_:)`` wrote.
    ///
    /// - Returns: nil for any other form.
    package static func date(_ text: String) -> Date? {
        let digits = Array(text.utf8)
        let form = Array("0000-00-00T00:00:00.000000Z".utf8)
        guard digits.count == form.count,
            zip(digits, form).allSatisfy({ $1 == UInt8(ascii: "0") ? (0x30...0x39).contains($0) : $0 == $1 })
        else { return nil }
        func number(_ range: Range<Int>) -> Int { range.reduce(0) { $0 * 10 + Int(digits[$1] - 0x30) } }
        let (year, month, day) = (number(0..<4), number(5..<7), number(8..<10))
        guard (1...12).contains(month), (1...31).contains(day) else { return nil }
        // The number of the day, by the same eras as above.
        let shifted = month <= 2 ? year - 1 : year
        let era = Int(floor: shifted, 400)
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        let days = era * 146_097 + dayOfEra - 719_468
        let seconds = days * 86_400 + number(11..<13) * 3_600 + number(14..<16) * 60 + number(17..<19)
        return Date(timeIntervalSince1970: Double(seconds * 1_000_000 + number(20..<26)) / 1e6)
    }

    /// The nearest whole microsecond, so that a column and the text beside it cannot disagree.
    static func rounded(_ instant: Date) -> Date {
        Date(timeIntervalSince1970: Double(min(max(microseconds(instant), earliest), latest)) / 1e6)
    }

    private static let earliest = -62_135_596_800_000_000
    private static let latest = 253_402_300_799_999_999

    private static func microseconds(_ instant: Date) -> Int {
        let value = (instant.timeIntervalSince1970 * 1e6).rounded()
        return value.isNaN ? 0 : Int(min(max(value, Double(earliest)), Double(latest)))
    }
}

extension Int {
    /// Division that rounds towards minus infinity.
    fileprivate init(floor dividend: Int, _ divisor: Int) {
        let quotient = dividend / divisor
        self = dividend % divisor < 0 ? quotient - 1 : quotient
    }
}
