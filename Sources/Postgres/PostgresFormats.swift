import Foundation

/// The server's text format of values, read from the bytes of a result.
enum PostgresText {
    static func integer<I: FixedWidthInteger>(_ bytes: UnsafeBufferPointer<UInt8>, as type: I.Type = I.self) -> I? {
        var digits = bytes[...]
        let isNegative = digits.first == UInt8(ascii: "-")
        if isNegative { digits = digits.dropFirst() }
        guard !digits.isEmpty else { return nil }
        var value: I = 0
        for byte in digits {
            guard let digit = digit(byte) else { return nil }
            let (tens, overflowed) = value.multipliedReportingOverflow(by: 10)
            let (next, overflowedToo) =
                isNegative
                ? tens.subtractingReportingOverflow(I(digit)) : tens.addingReportingOverflow(I(digit))
            guard !overflowed, !overflowedToo else { return nil }
            value = next
        }
        return value
    }

    /// `\x0aff…`
    static func bytea(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
        guard text.count >= 2, text.count % 2 == 0, text[0] == UInt8(ascii: "\\"), text[1] == UInt8(ascii: "x") else {
            return nil
        }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count / 2 - 1)
        for index in stride(from: 2, to: text.count, by: 2) {
            guard let high = nibble(text[index]), let low = nibble(text[index + 1]) else { return nil }
            bytes.append(high << 4 | low)
        }
        return bytes
    }

    /// A one-dimensional array without NULLs: `{plain,"with \"quotes\" and \\"}`.
    static func array(_ text: UnsafeBufferPointer<UInt8>) -> [String]? {
        guard text.count >= 2, text[0] == UInt8(ascii: "{"), text[text.count - 1] == UInt8(ascii: "}") else {
            return nil
        }
        var elements: [String] = []
        var element: [UInt8] = []
        var index = 1
        let end = text.count - 1
        while index < end {
            element.removeAll(keepingCapacity: true)
            if text[index] == UInt8(ascii: "\"") {
                index += 1
                while index < end, text[index] != UInt8(ascii: "\"") {
                    if text[index] == UInt8(ascii: "\\") { index += 1 }
                    element.append(text[index])
                    index += 1
                }
                index += 1
            } else {
                while index < end, text[index] != UInt8(ascii: ",") {
                    guard text[index] != UInt8(ascii: "{") else { return nil }
                    element.append(text[index])
                    index += 1
                }
                // An unquoted NULL is the absent element; the string of that name is always quoted.
                guard element != Array("NULL".utf8) else { return nil }
            }
            elements.append(String(decoding: element, as: UTF8.self))
            guard index <= end, index == end || text[index] == UInt8(ascii: ",") else { return nil }
            index += 1
        }
        return elements
    }

    static func digit(_ byte: UInt8) -> UInt8? {
        byte &- UInt8(ascii: "0") < 10 ? byte &- UInt8(ascii: "0") : nil
    }

    static func nibble(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
}

extension UUID {
    /// The 36 characters the server writes.
    init?(hyphenated text: UnsafeBufferPointer<UInt8>) {
        guard text.count == 36 else { return nil }
        var value = uuid_t(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        let isValid = withUnsafeMutableBytes(of: &value) { bytes in
            var index = 0
            for position in bytes.indices {
                if position == 4 || position == 6 || position == 8 || position == 10 {
                    guard text[index] == UInt8(ascii: "-") else { return false }
                    index += 1
                }
                guard let high = PostgresText.nibble(text[index]), let low = PostgresText.nibble(text[index + 1]) else {
                    return false
                }
                bytes[position] = high << 4 | low
                index += 2
            }
            return true
        }
        guard isValid else { return nil }
        self.init(uuid: value)
    }
}

/// `timestamptz` as whole microseconds since 2000-01-01 00:00 UTC. Sessions run with `TimeZone=UTC` and
/// `DateStyle=ISO`.
enum PostgresTime {
    /// Foundation's reference date, 2001-01-01, in PostgreSQL's microseconds.
    static let referenceEpochMicros: Int64 = 366 * 86_400 * 1_000_000

    /// The years after Christ that `timestamptz` knows; microseconds of any of them fit.
    private static let years: ClosedRange<Int64> = 1...294_276

    /// Reads `2026-11-23 05:52:12.123456+00`; `nil` for `infinity`, BC and anything else.
    static func micros(parsing text: UnsafeBufferPointer<UInt8>) -> Int64? {
        var rest = text[...]
        guard let year = number(&rest, until: "-"), let month = number(&rest, until: "-"),
            let day = number(&rest, until: " "), let hour = number(&rest, until: ":"),
            let minute = number(&rest, until: ":"), years.contains(year), (1...12).contains(month),
            (1...31).contains(day), (0...24).contains(hour), (0...60).contains(minute)
        else { return nil }
        guard rest.count >= 5 else { return nil }
        let secondEnd = rest.startIndex + 2
        guard let second = PostgresText.integer(UnsafeBufferPointer(rebasing: rest[..<secondEnd]), as: Int64.self),
            (0...60).contains(second)
        else { return nil }
        rest = rest[secondEnd...]
        var fraction: Int64 = 0
        if rest.first == UInt8(ascii: ".") {
            rest = rest.dropFirst()
            var unit: Int64 = 100_000
            while let byte = rest.first, let digit = PostgresText.digit(byte) {
                fraction += Int64(digit) * unit
                unit /= 10
                rest = rest.dropFirst()
            }
        }
        guard rest.elementsEqual("+00".utf8) else { return nil }
        let seconds = daysSince2000(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second
        return seconds * 1_000_000 + fraction
    }

    /// First and last microsecond of the years 0001…9999, counted from 2000.
    private static let rfc3339Range: ClosedRange<Int64> = -63_082_281_600_000_000...252_455_615_999_999_999

    /// Writes RFC 3339 in UTC with six fraction digits, for dates inside JSON. RFC 3339 has four digits for a year: a
    /// date before 0001 or after 9999 becomes the nearest one inside, so that whatever is written can be read.
    static func rfc3339(_ date: Date) -> String {
        let nearest = (date.timeIntervalSinceReferenceDate * 1e6).rounded() + Double(referenceEpochMicros)
        let micros =
            Int64(exactly: nearest).map { min(max($0, rfc3339Range.lowerBound), rfc3339Range.upperBound) }
            ?? (nearest > 0 ? rfc3339Range.upperBound : rfc3339Range.lowerBound)
        let day = micros.dividingRounding(by: 86_400_000_000)
        let inDay = micros - day * 86_400_000_000
        let (year, month, dayOfMonth) = civil(daysSince2000: day)
        func padded(_ value: Int64, _ width: Int) -> String {
            let digits = String(value)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        let time = [inDay / 3_600_000_000, inDay / 60_000_000 % 60, inDay / 1_000_000 % 60].map { padded($0, 2) }
        return "\(padded(year, 4))-\(padded(month, 2))-\(padded(dayOfMonth, 2))T\(time.joined(separator: ":"))"
            + ".\(padded(inDay % 1_000_000, 6))Z"
    }

    /// Reads what ``rfc3339(_:)`` writes.
    static func date(rfc3339 text: String) -> Date? {
        guard text.utf8.last == UInt8(ascii: "Z") else { return nil }
        var bytes = Array(text.utf8.dropLast()) + Array("+00".utf8)
        guard let separator = bytes.firstIndex(of: UInt8(ascii: "T")) else { return nil }
        bytes[separator] = UInt8(ascii: " ")
        return bytes.withUnsafeBufferPointer { micros(parsing: $0) }
            .map { Date(timeIntervalSinceReferenceDate: Double($0 - referenceEpochMicros) / 1e6) }
    }

    private static func number(_ text: inout Slice<UnsafeBufferPointer<UInt8>>, until separator: Character) -> Int64? {
        guard let end = text.firstIndex(of: separator.asciiValue ?? 0) else { return nil }
        let digits = UnsafeBufferPointer(rebasing: text[..<end])
        guard digits.first != UInt8(ascii: "-") else { return nil }
        text = text[(end + 1)...]
        return PostgresText.integer(digits)
    }

    // Days are counted in 400-year cycles of years that begin in March, so that the leap day comes last.

    /// Days from 0000-03-01 to 2000-01-01.
    private static let daysTo2000: Int64 = 730_425

    private static func daysSince2000(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let marchYear = month > 2 ? year : year - 1
        let cycle = marchYear.dividingRounding(by: 400)
        let yearOfCycle = marchYear - cycle * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return cycle * 146_097 + yearOfCycle * 365 + yearOfCycle / 4 - yearOfCycle / 100 + dayOfYear - daysTo2000
    }

    private static func civil(daysSince2000 days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = days + daysTo2000
        let cycle = shifted.dividingRounding(by: 146_097)
        let dayOfCycle = shifted - cycle * 146_097
        let yearOfCycle = (dayOfCycle - dayOfCycle / 1_460 + dayOfCycle / 36_524 - dayOfCycle / 146_096) / 365
        let dayOfYear = dayOfCycle - (365 * yearOfCycle + yearOfCycle / 4 - yearOfCycle / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfCycle + cycle * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }
}

extension Int64 {
    /// Division that rounds towards negative infinity.
    fileprivate func dividingRounding(by divisor: Int64) -> Int64 {
        let quotient = self / divisor
        return self % divisor < 0 ? quotient - 1 : quotient
    }
}

/// JSON as `jsonb` columns hold it.
enum PostgresJSON {
    static func encode(_ value: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.withoutEscapingSlashes]
        encoder.dateEncodingStrategy = .custom { date, encoder in
            var container = encoder.singleValueContainer()
            try container.encode(PostgresTime.rfc3339(date))
        }
        return Array(try encoder.encode(value))
    }

    static func decode<T: Decodable>(_ type: T.Type, from json: Data) throws -> T {
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .custom { decoder in
            let container = try decoder.singleValueContainer()
            guard let date = PostgresTime.date(rfc3339: try container.decode(String.self)) else {
                throw DecodingError.dataCorruptedError(in: container, debugDescription: "not RFC 3339 in UTC")
            }
            return date
        }
        return try decoder.decode(type, from: json)
    }

    /// Whether JSON text holds U+0000, which JSON can write (`\u0000`) and `jsonb` cannot keep.
    static func containsNUL(_ json: [UInt8]) -> Bool {
        let escape = Array("u0000".utf8)
        var index = json.startIndex
        while let byte = index < json.endIndex ? json[index] : nil {
            if byte == 0 { return true }
            guard byte == UInt8(ascii: "\\") else {
                index += 1
                continue
            }
            if json[(index + 1)...].starts(with: escape) { return true }
            index += 2
        }
        return false
    }
}

/// The parameters of one statement laid out for libpq in memory that is reused from statement to statement.
struct ParameterBuffer {
    private var bytes: [UInt8] = [0]
    private var offsets: [Int] = []
    private var lengths: [Int32] = []
    private var types: [UInt32] = []
    private var formats: [Int32] = []
    private var pointers: [UnsafePointer<CChar>?] = []

    /// Marks a NULL among the offsets.
    private static let absent = -1

    /// Lays out the parameters of `statement` and lends them in libpq's shape: count, types, values, lengths, formats.
    mutating func withParameters<R>(
        of statement: SQL,
        _ body: (
            _ count: Int32, _ types: UnsafePointer<UInt32>?, _ values: UnsafePointer<UnsafePointer<CChar>?>?,
            _ lengths: UnsafePointer<Int32>?, _ formats: UnsafePointer<Int32>?
        ) -> R
    ) -> R {
        // A statement with a huge parameter must not keep its memory for ever.
        if bytes.capacity > 1 << 20 { bytes = [] }
        bytes.removeAll(keepingCapacity: true)
        bytes.append(0)
        offsets.removeAll(keepingCapacity: true)
        lengths.removeAll(keepingCapacity: true)
        types.removeAll(keepingCapacity: true)
        pointers.removeAll(keepingCapacity: true)
        statement.forEachBind { append($0) }
        while formats.count < offsets.count { formats.append(1) }
        return bytes.withUnsafeBytes { bytes in
            for offset in offsets {
                let value = offset == Self.absent ? nil : bytes.baseAddress?.advanced(by: offset)
                pointers.append(value?.assumingMemoryBound(to: CChar.self))
            }
            return types.withUnsafeBufferPointer { types in
                pointers.withUnsafeBufferPointer { pointers in
                    lengths.withUnsafeBufferPointer { lengths in
                        formats.withUnsafeBufferPointer { formats in
                            body(
                                Int32(types.count), types.baseAddress, pointers.baseAddress, lengths.baseAddress,
                                formats.baseAddress)
                        }
                    }
                }
            }
        }
    }

    private mutating func append(_ bind: PostgresBind) {
        types.append(bind.type.rawValue)
        if case .null = bind {
            offsets.append(Self.absent)
            lengths.append(0)
            return
        }
        let start = bytes.count
        offsets.append(start)
        switch bind {
        case .null: break
        case .bool(let value): bytes.append(value ? 1 : 0)
        case .int8(let value), .timestamp(let value): append(value)
        case .int4(let value): append(value)
        case .text(let value): bytes.append(contentsOf: value.utf8)
        case .uuid(let value): append(value)
        case .bytes(let value): bytes.append(contentsOf: value)
        case .json(let value):
            bytes.append(1)  // the version of jsonb's binary form
            bytes.append(contentsOf: value)
        case .textArray(let values):
            appendArrayHeader(of: .text, count: values.count)
            for value in values {
                append(Int32(value.utf8.count))
                bytes.append(contentsOf: value.utf8)
            }
        case .uuidArray(let values):
            appendArrayHeader(of: .uuid, count: values.count)
            for value in values {
                append(Int32(16))
                append(value)
            }
        }
        lengths.append(Int32(bytes.count - start))
    }

    /// Dimensions, whether there are NULLs, element type, then length and lower bound of the one dimension.
    private mutating func appendArrayHeader(of element: PostgresType, count: Int) {
        append(Int32(count == 0 ? 0 : 1))
        append(Int32(0))
        append(Int32(element.rawValue))
        if count > 0 {
            append(Int32(count))
            append(Int32(1))
        }
    }

    private mutating func append(_ value: UUID) {
        withUnsafeBytes(of: value.uuid) { bytes.append(contentsOf: $0) }
    }

    private mutating func append<I: FixedWidthInteger>(_ value: I) {
        withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
    }
}
