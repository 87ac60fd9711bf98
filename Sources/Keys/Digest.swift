import Crypto

/// SHA-256 of some bytes, 32 bytes long (FIPS 180-4).
package func sha256(_ bytes: [UInt8]) -> [UInt8] {
    [UInt8](SHA256.hash(data: bytes))
}

/// SHA-256 of the UTF-8 bytes of a text, 32 bytes long.
package func sha256(_ text: String) -> [UInt8] {
    sha256([UInt8](text.utf8))
}

/// SHA-256 of a text as the key of a dictionary: it names the text without keeping it, and lives without an allocation.
package struct TextDigest: Sendable, Hashable {
    private let digest: SHA256.Digest

    package init(of text: String) {
        var text = text
        digest = text.withUTF8 { SHA256.hash(data: UnsafeRawBufferPointer($0)) }
    }
}

/// Comparison whose duration tells nothing about where two values differ.
package enum ConstantTime {
    /// Whether both are the same bytes. Only the lengths, which are never secret here, influence the time it takes.
    package static func equal(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        guard left.count == right.count else { return false }
        var difference: UInt8 = 0
        for index in left.indices {
            difference |= left[index] ^ right[index]
        }
        return difference == 0
    }

    /// Whether both are the same UTF-8 text, under the same promise.
    package static func equal(_ left: String, _ right: String) -> Bool {
        equal([UInt8](left.utf8), [UInt8](right.utf8))
    }
}
