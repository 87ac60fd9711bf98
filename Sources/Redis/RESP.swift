internal import NIOCore

/// One reply of Redis (RESP2).
package enum RESPValue: Sendable, Equatable {
    case simple(String)
    /// An error inside an array; an error that is the whole reply is thrown as ``RedisError`` instead.
    case error(String)
    case integer(Int64)
    case bulk([UInt8])
    case array([RESPValue])
    case null

    /// The bytes of a bulk or simple string, else `nil`.
    package var bytes: [UInt8]? {
        switch self {
        case .bulk(let bytes): bytes
        case .simple(let text): Array(text.utf8)
        default: nil
        }
    }

    /// The text of a bulk or simple string that is valid UTF-8, else `nil`.
    package var string: String? {
        switch self {
        case .bulk(let bytes): String(validating: bytes, as: UTF8.self)
        case .simple(let text): text
        default: nil
        }
    }

    /// The number of an integer reply, else `nil`.
    package var integer: Int64? {
        if case .integer(let value) = self { value } else { nil }
    }

    /// The elements of an array reply, else `nil`.
    package var array: [RESPValue]? {
        if case .array(let values) = self { values } else { nil }
    }
}

/// One argument of a command; any bytes are safe, for every argument is sent with its length.
package enum RedisArgument: Sendable, Equatable, ExpressibleByStringLiteral, ExpressibleByIntegerLiteral {
    case string(String)
    case bytes([UInt8])
    case integer(Int64)

    package init(stringLiteral value: String) { self = .string(value) }
    package init(integerLiteral value: Int64) { self = .integer(value) }
}

/// One command: its name and arguments. Blocking and subscribing commands do not belong on the shared link.
package struct RedisCommand: Sendable, Equatable {
    package let name: String
    package let arguments: [RedisArgument]

    package init(_ name: String, _ arguments: [RedisArgument] = []) {
        self.name = name
        self.arguments = arguments
    }

    /// Keys and arguments behind the others, in wire form already.
    var written = RedisArgumentBytes()

    /// Appends the command as a RESP array of bulk strings.
    func encode(into buffer: inout ByteBuffer) {
        buffer.writeRESPHead("*", arguments.count + written.count + 1)
        buffer.writeRESPBulk(name)
        for argument in arguments {
            switch argument {
            case .string(let text): buffer.writeRESPBulk(text)
            case .bytes(let bytes):
                buffer.writeRESPHead("$", bytes.count)
                buffer.writeBytes(bytes)
                buffer.writeStaticString("\r\n")
            case .integer(let value): buffer.writeRESPBulk(String(value))
            }
        }
        buffer.writeBytes(written.bytes)
    }
}

/// Arguments written straight into their wire form: one buffer however many they are, for what every request sends.
package struct RedisArgumentBytes: Sendable, Equatable {
    private(set) var count = 0
    private(set) var bytes: [UInt8] = []

    package init(capacity: Int = 0) {
        bytes.reserveCapacity(capacity)
    }

    package mutating func append(_ value: [UInt8]) {
        appendHead(value.count)
        bytes.append(contentsOf: value)
        appendEnd()
    }

    package mutating func append(_ value: Int64) {
        let digits = value.decimalDigits
        appendHead(digits)
        append(decimal: value)
        appendEnd()
    }

    mutating func append(_ others: RedisArgumentBytes) {
        count += others.count
        bytes.append(contentsOf: others.bytes)
    }

    private mutating func appendHead(_ length: Int) {
        count += 1
        bytes.append(UInt8(ascii: "$"))
        append(decimal: Int64(length))
        appendEnd()
    }

    private mutating func append(decimal value: Int64) {
        if value < 0 { bytes.append(UInt8(ascii: "-")) }
        var rest = value.magnitude
        let start = bytes.count
        repeat {
            bytes.append(UInt8(ascii: "0") + UInt8(rest % 10))
            rest /= 10
        } while rest > 0
        bytes[start...].reverse()
    }

    private mutating func appendEnd() {
        bytes.append(UInt8(ascii: "\r"))
        bytes.append(UInt8(ascii: "\n"))
    }
}

extension Int64 {
    /// How many bytes it has when written.
    fileprivate var decimalDigits: Int {
        var rest = magnitude
        var count = self < 0 ? 2 : 1
        while rest >= 10 {
            rest /= 10
            count += 1
        }
        return count
    }
}

extension ByteBuffer {
    fileprivate mutating func writeRESPHead(_ type: StaticString, _ count: Int) {
        writeStaticString(type)
        writeString(String(count))
        writeStaticString("\r\n")
    }

    fileprivate mutating func writeRESPBulk(_ text: String) {
        writeRESPHead("$", text.utf8.count)
        writeString(text)
        writeStaticString("\r\n")
    }
}
