/// Base64 with the URL-safe alphabet and without padding (RFC 4648 §5, RFC 7515 §2).
package enum Base64URL {
    private static let alphabet: StaticString = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    private static let invalid: UInt8 = 0xFF

    /// Value of each ASCII byte, or `invalid`.
    private static let values: [UInt8] = {
        var table = [UInt8](repeating: invalid, count: 256)
        for value in 0..<64 {
            table[Int(alphabet.utf8Start[value])] = UInt8(value)
        }
        return table
    }()

    /// The text form of some bytes.
    package static func encode(_ bytes: [UInt8]) -> String {
        String(unsafeUninitializedCapacity: encodedCount(bytes.count)) { target in
            bytes.withUnsafeBufferPointer { write($0, to: target) }
        }
    }

    /// Appends the text form of some bytes, as ASCII.
    package static func append(_ bytes: [UInt8], to target: inout [UInt8]) {
        let start = target.count
        target.append(contentsOf: repeatElement(0, count: encodedCount(bytes.count)))
        target.withUnsafeMutableBufferPointer { target in
            bytes.withUnsafeBufferPointer { bytes in
                _ = write(bytes, to: UnsafeMutableBufferPointer(rebasing: target[start...]))
            }
        }
    }

    /// The bytes of a text form, or nil unless it is the one spelling that ``encode(_:)`` gives: no padding, no white
    /// space, no foreign characters, and unused trailing bits zero (RFC 4648 §3.5), so that a token has one spelling.
    package static func decode(_ text: String) -> [UInt8]? {
        var text = text
        return text.withUTF8 { decode($0) }
    }

    /// The same for ASCII bytes.
    package static func decode(_ ascii: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
        let count = ascii.count
        let remainder = count % 4
        guard remainder != 1 else { return nil }
        return values.withUnsafeBufferPointer { values -> [UInt8]? in
            var sawInvalid: UInt8 = 0
            var spareBits: UInt8 = 0
            let bytes = [UInt8](unsafeUninitializedCapacity: count / 4 * 3 + 2) { target, written in
                var source = 0
                var out = 0
                while source + 4 <= count {
                    let a = values[Int(ascii[source])]
                    let b = values[Int(ascii[source + 1])]
                    let c = values[Int(ascii[source + 2])]
                    let d = values[Int(ascii[source + 3])]
                    sawInvalid |= a | b | c | d
                    target[out] = a << 2 | b >> 4
                    target[out + 1] = b << 4 | c >> 2
                    target[out + 2] = c << 6 | d
                    source += 4
                    out += 3
                }
                if remainder >= 2 {
                    let a = values[Int(ascii[source])]
                    let b = values[Int(ascii[source + 1])]
                    sawInvalid |= a | b
                    target[out] = a << 2 | b >> 4
                    out += 1
                    spareBits = b << 4
                    if remainder == 3 {
                        let c = values[Int(ascii[source + 2])]
                        sawInvalid |= c
                        target[out] = b << 4 | c >> 2
                        out += 1
                        spareBits = c << 6
                    }
                }
                written = out
            }
            // A valid value has six bits, so the top bit shows that some byte was foreign.
            return sawInvalid & 0x80 == 0 && spareBits == 0 ? bytes : nil
        }
    }

    private static func encodedCount(_ count: Int) -> Int {
        (count * 4 + 2) / 3
    }

    /// Writes the text form of `bytes`, for which `target` has room, and returns its length.
    private static func write(
        _ bytes: UnsafeBufferPointer<UInt8>, to target: UnsafeMutableBufferPointer<UInt8>
    ) -> Int {
        let digits = alphabet.utf8Start
        var source = 0
        var out = 0
        while source + 3 <= bytes.count {
            let a = bytes[source]
            let b = bytes[source + 1]
            let c = bytes[source + 2]
            target[out] = digits[Int(a >> 2)]
            target[out + 1] = digits[Int((a & 0x03) << 4 | b >> 4)]
            target[out + 2] = digits[Int((b & 0x0F) << 2 | c >> 6)]
            target[out + 3] = digits[Int(c & 0x3F)]
            source += 3
            out += 4
        }
        switch bytes.count - source {
        case 1:
            let a = bytes[source]
            target[out] = digits[Int(a >> 2)]
            target[out + 1] = digits[Int((a & 0x03) << 4)]
            out += 2
        case 2:
            let a = bytes[source]
            let b = bytes[source + 1]
            target[out] = digits[Int(a >> 2)]
            target[out + 1] = digits[Int((a & 0x03) << 4 | b >> 4)]
            target[out + 2] = digits[Int((b & 0x0F) << 2)]
            out += 3
        default:
            break
        }
        return out
    }
}
