/// One JSON value (RFC 8259).
package enum JSONValue: Sendable, Hashable {
    case null
    case bool(Bool)
    /// A number without fraction and exponent that fits 64 bits.
    case integer(Int)
    /// Any other number, as it was written.
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    /// The text of a string, else nil.
    package var string: String? {
        if case .string(let text) = self { text } else { nil }
    }

    /// The value of an integer, else nil: a time claim spelt as text, fraction or with an exponent is none.
    package var integer: Int? {
        if case .integer(let value) = self { value } else { nil }
    }

    /// The value of a truth value, else nil.
    package var bool: Bool? {
        if case .bool(let value) = self { value } else { nil }
    }

    /// The members of an object, else nil.
    package var object: [String: JSONValue]? {
        if case .object(let members) = self { members } else { nil }
    }

    /// The elements of an array of strings, else nil.
    package var strings: [String]? {
        guard case .array(let elements) = self else { return nil }
        let texts = elements.compactMap(\.string)
        return texts.count == elements.count ? texts : nil
    }
}

/// A strict JSON reader for signed texts, where two readers that disagree would be a hole.
///
/// Refuses what lenient readers let pass: repeated member names at any depth, compared after unescaping (RFC 7515 §4: "names
/// within the JOSE Header MUST be unique"), invalid UTF-8, lone surrogates, anything behind the value. Memory is bounded
/// by the text's length, recursion by `maximumDepth`.
package struct JSONText {
    /// What every failure is, since no caller tells malformed texts apart.
    package struct Malformed: Error, Hashable, Sendable {}

    private let bytes: ArraySlice<UInt8>
    private var position: Int
    private let maximumDepth: Int

    /// - Throws: ``Malformed``.
    package static func parse(_ bytes: [UInt8], maximumDepth: Int = 8) throws(Malformed) -> JSONValue {
        var reader = JSONText(bytes: bytes[...], position: 0, maximumDepth: maximumDepth)
        reader.skipSpace()
        let value = try reader.value(depth: 0)
        reader.skipSpace()
        guard reader.position == bytes.count else { throw Malformed() }
        return value
    }

    private var next: UInt8? { position < bytes.endIndex ? bytes[position] : nil }

    private mutating func take() throws(Malformed) -> UInt8 {
        guard let byte = next else { throw Malformed() }
        position += 1
        return byte
    }

    private mutating func takes(_ character: Unicode.Scalar) -> Bool {
        guard next == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    private mutating func expect(_ text: StaticString) throws(Malformed) {
        for offset in 0..<text.utf8CodeUnitCount {
            guard try take() == text.utf8Start[offset] else { throw Malformed() }
        }
    }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
            position += 1
        }
    }

    private mutating func value(depth: Int) throws(Malformed) -> JSONValue {
        switch next {
        case UInt8(ascii: "{"): return .object(try object(depth: depth + 1))
        case UInt8(ascii: "["): return .array(try array(depth: depth + 1))
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"):
            try expect("true")
            return .bool(true)
        case UInt8(ascii: "f"):
            try expect("false")
            return .bool(false)
        case UInt8(ascii: "n"):
            try expect("null")
            return .null
        default: return try number()
        }
    }

    private mutating func object(depth: Int) throws(Malformed) -> [String: JSONValue] {
        guard depth <= maximumDepth else { throw Malformed() }
        try expect("{")
        var members: [String: JSONValue] = [:]
        skipSpace()
        if takes("}") { return members }
        repeat {
            skipSpace()
            let name = try string()
            skipSpace()
            try expect(":")
            skipSpace()
            guard members.updateValue(try value(depth: depth), forKey: name) == nil else { throw Malformed() }
            skipSpace()
        } while takes(",")
        try expect("}")
        return members
    }

    private mutating func array(depth: Int) throws(Malformed) -> [JSONValue] {
        guard depth <= maximumDepth else { throw Malformed() }
        try expect("[")
        var elements: [JSONValue] = []
        skipSpace()
        if takes("]") { return elements }
        repeat {
            skipSpace()
            elements.append(try value(depth: depth))
            skipSpace()
        } while takes(",")
        try expect("]")
        return elements
    }

    private mutating func string() throws(Malformed) -> String {
        try expect("\"")
        var text: [UInt8] = []
        while true {
            let byte = try take()
            switch byte {
            case UInt8(ascii: "\""):
                guard let result = String(validating: text, as: UTF8.self) else { throw Malformed() }
                return result
            case UInt8(ascii: "\\"):
                text.append(contentsOf: try escape().utf8)
            case 0..<0x20:
                throw Malformed()
            default:
                text.append(byte)
            }
        }
    }

    private mutating func escape() throws(Malformed) -> Character {
        switch try take() {
        case UInt8(ascii: "\""): return "\""
        case UInt8(ascii: "\\"): return "\\"
        case UInt8(ascii: "/"): return "/"
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{C}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"):
            var code = try hexadecimal()
            if (0xD800..<0xDC00).contains(code) {
                try expect(#"\u"#)
                let low = try hexadecimal()
                guard (0xDC00..<0xE000).contains(low) else { throw Malformed() }
                code = 0x1_0000 + (code - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(code) else { throw Malformed() }
            return Character(scalar)
        default: throw Malformed()
        }
    }

    private mutating func hexadecimal() throws(Malformed) -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            let byte = try take()
            guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else { throw Malformed() }
            code = code << 4 | UInt32(digit)
        }
        return code
    }

    private mutating func number() throws(Malformed) -> JSONValue {
        let start = position
        _ = takes("-")
        if !takes("0") {
            guard digits() > 0 else { throw Malformed() }
        }
        var isInteger = true
        if takes(".") {
            isInteger = false
            guard digits() > 0 else { throw Malformed() }
        }
        if takes("e") || takes("E") {
            isInteger = false
            if !takes("+") { _ = takes("-") }
            guard digits() > 0 else { throw Malformed() }
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if isInteger, let value = Int(text) { return .integer(value) }
        // What no double can hold (1e400) is read as different things by different readers.
        guard let value = Double(text), value.isFinite else { throw Malformed() }
        return .number(text)
    }

    private mutating func digits() -> Int {
        let start = position
        while let byte = next, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
            position += 1
        }
        return position - start
    }
}
