/// A JSON value in the one spelling that RFC 8785 gives it, for text that is hashed.
///
/// There are no fractions: the only numbers are integers, so that every implementation writes them alike.
package enum CanonicalJSON: Sendable, Hashable {
    case null
    case bool(Bool)
    /// Beyond ±(2^53 − 1), where readers of IEEE doubles differ, it is written as a string (RFC 8785 appendix D).
    case int(Int)
    case string(String)
    case array([CanonicalJSON])
    case object([String: CanonicalJSON])

    /// The canonical UTF-8 text.
    package var bytes: [UInt8] {
        var bytes: [UInt8] = []
        write(to: &bytes)
        return bytes
    }

    package func write(to bytes: inout [UInt8]) {
        switch self {
        case .null: bytes.append(contentsOf: "null".utf8)
        case .bool(let value): bytes.append(contentsOf: (value ? "true" : "false").utf8)
        case .int(let value):
            if value.magnitude <= Self.largestInteger {
                bytes.append(contentsOf: String(value).utf8)
            } else {
                Self.write(String(value), to: &bytes)
            }
        case .string(let text): Self.write(text, to: &bytes)
        case .array(let elements):
            bytes.append(UInt8(ascii: "["))
            for (index, element) in elements.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                element.write(to: &bytes)
            }
            bytes.append(UInt8(ascii: "]"))
        case .object(let members):
            bytes.append(UInt8(ascii: "{"))
            Self.write(Self.sorted(members), to: &bytes)
            bytes.append(UInt8(ascii: "}"))
        }
    }

    /// Members in the order of their names' UTF-16 code units (RFC 8785 §3.2.3), which is not the order of `String`.
    static func sorted(_ members: [String: CanonicalJSON]) -> [(key: String, value: CanonicalJSON)] {
        members.sorted { precedesInUTF16($0.key, $1.key) }
    }

    /// The order of UTF-16 code units, told from UTF-8: it differs from that of bytes only where a character beyond
    /// U+FFFF (first byte F0…F4, surrogates in UTF-16) meets one of U+E000…U+FFFF (first byte EE or EF).
    private static func precedesInUTF16(_ left: String, _ right: String) -> Bool {
        var rest = right.utf8.makeIterator()
        for a in left.utf8 {
            guard let b = rest.next() else { return false }
            if a == b { continue }
            return a >= 0xEE && b >= 0xEE && (a >= 0xF0) != (b >= 0xF0) ? a > b : a < b
        }
        return rest.next() != nil
    }

    /// Writes `"name":value` pairs with commas between them and no braces around them.
    static func write(_ members: some Sequence<(key: String, value: CanonicalJSON)>, to bytes: inout [UInt8]) {
        for (index, member) in members.enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: ",")) }
            write(member.key, to: &bytes)
            bytes.append(UInt8(ascii: ":"))
            member.value.write(to: &bytes)
        }
    }

    /// How many bytes a scalar takes inside a JSON string.
    static func cost(of scalar: Unicode.Scalar) -> Int {
        switch scalar.value {
        case 0x08, 0x09, 0x0A, 0x0C, 0x0D, 0x22, 0x5C: 2
        case 0..<0x20: 6
        default: UTF8.width(scalar)
        }
    }

    private static let largestInteger: UInt = 1 << 53 - 1

    /// Writes a quoted string with the shortest escapes and no others (RFC 8785 §3.2.2.2).
    static func write(_ text: String, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        var text = text
        text.withUTF8 { utf8 in
            if utf8.contains(where: mustEscape) {
                for byte in utf8 { writeEscaping(byte, to: &bytes) }
            } else {
                bytes.append(contentsOf: utf8)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private static func mustEscape(_ byte: UInt8) -> Bool {
        byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\")
    }

    private static func writeEscaping(_ byte: UInt8, to bytes: inout [UInt8]) {
        switch byte {
        case 0x08: bytes.append(contentsOf: #"\b"#.utf8)
        case 0x09: bytes.append(contentsOf: #"\t"#.utf8)
        case 0x0A: bytes.append(contentsOf: #"\n"#.utf8)
        case 0x0C: bytes.append(contentsOf: #"\f"#.utf8)
        case 0x0D: bytes.append(contentsOf: #"\r"#.utf8)
        case UInt8(ascii: "\""): bytes.append(contentsOf: #"\""#.utf8)
        case UInt8(ascii: "\\"): bytes.append(contentsOf: #"\\"#.utf8)
        case 0..<0x20:
            let digits: StaticString = "0123456789abcdef"
            bytes.append(contentsOf: #"\u00"#.utf8)
            bytes.append(digits.utf8Start[Int(byte >> 4)])
            bytes.append(digits.utf8Start[Int(byte & 0x0F)])
        default: bytes.append(byte)
        }
    }
}

extension CanonicalJSON: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral,
    ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
    package init(stringLiteral value: String) { self = .string(value) }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(integerLiteral value: Int) { self = .int(value) }
    package init(arrayLiteral elements: CanonicalJSON...) { self = .array(elements) }
    package init(dictionaryLiteral elements: (String, CanonicalJSON)...) {
        self = .object(Dictionary(elements) { _, last in last })
    }
    package init(nilLiteral: ()) { self = .null }
}
