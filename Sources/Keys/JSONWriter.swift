/// Writes one JSON object into bytes without intermediate values: token claims, JWS headers, JWKs (RFC 8259).
///
/// Members appear in the order of the calls; the caller gives each name once. Text is written as UTF-8 with the
/// escapes RFC 8259 §7 demands and no others.
package struct JSONWriter: Sendable {
    private var bytes: [UInt8] = []
    private var isFirst = true

    /// The JSON text of an object whose members `body` writes.
    package static func object(capacity: Int = 256, _ body: (inout JSONWriter) -> Void) -> [UInt8] {
        var writer = JSONWriter()
        writer.bytes.reserveCapacity(capacity)
        writer.braces(body)
        return writer.bytes
    }

    package mutating func string(_ name: String, _ value: String) {
        begin(name)
        quote(value)
    }

    package mutating func int(_ name: String, _ value: Int) {
        begin(name)
        bytes.append(contentsOf: String(value).utf8)
    }

    package mutating func bool(_ name: String, _ value: Bool) {
        begin(name)
        bytes.append(contentsOf: (value ? "true" : "false").utf8)
    }

    package mutating func strings(_ name: String, _ values: [String]) {
        begin(name)
        list(values) { writer, value in writer.quote(value) }
    }

    /// A member whose value is a nested object.
    package mutating func object(_ name: String, _ body: (inout JSONWriter) -> Void) {
        begin(name)
        braces(body)
    }

    /// A member whose value is already JSON text; the caller answers for its form.
    package mutating func raw(_ name: String, _ json: [UInt8]) {
        begin(name)
        bytes.append(contentsOf: json)
    }

    /// A member whose value is an array of values that are already JSON text.
    package mutating func raws(_ name: String, _ values: [[UInt8]]) {
        begin(name)
        list(values) { writer, json in writer.bytes.append(contentsOf: json) }
    }

    private mutating func begin(_ name: String) {
        if !isFirst { bytes.append(UInt8(ascii: ",")) }
        isFirst = false
        quote(name)
        bytes.append(UInt8(ascii: ":"))
    }

    private mutating func braces(_ body: (inout JSONWriter) -> Void) {
        bytes.append(UInt8(ascii: "{"))
        isFirst = true
        body(&self)
        bytes.append(UInt8(ascii: "}"))
        isFirst = false
    }

    private mutating func list<Element>(_ values: [Element], _ write: (inout JSONWriter, Element) -> Void) {
        bytes.append(UInt8(ascii: "["))
        for (index, value) in values.enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: ",")) }
            write(&self, value)
        }
        bytes.append(UInt8(ascii: "]"))
    }

    private mutating func quote(_ text: String) {
        bytes.append(UInt8(ascii: "\""))
        var text = text
        text.withUTF8 { utf8 in
            if utf8.contains(where: JSONWriter.mustEscape) {
                for byte in utf8 { appendEscaping(byte) }
            } else {
                bytes.append(contentsOf: utf8)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private static func mustEscape(_ byte: UInt8) -> Bool {
        byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\")
    }

    private mutating func appendEscaping(_ byte: UInt8) {
        guard JSONWriter.mustEscape(byte) else { return bytes.append(byte) }
        switch byte {
        case UInt8(ascii: "\""): bytes.append(contentsOf: #"\""#.utf8)
        case UInt8(ascii: "\\"): bytes.append(contentsOf: #"\\"#.utf8)
        case UInt8(ascii: "\n"): bytes.append(contentsOf: #"\n"#.utf8)
        case UInt8(ascii: "\r"): bytes.append(contentsOf: #"\r"#.utf8)
        case UInt8(ascii: "\t"): bytes.append(contentsOf: #"\t"#.utf8)
        default:
            let digits: StaticString = "0123456789abcdef"
            bytes.append(contentsOf: #"\u00"#.utf8)
            bytes.append(digits.utf8Start[Int(byte >> 4)])
            bytes.append(digits.utf8Start[Int(byte & 0x0F)])
        }
    }
}
