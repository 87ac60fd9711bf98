package import Foundation
package import Keys

/// Nonces that DPoP proofs have to repeat (RFC 9449 §8): so a proof was made lately, by our clock, whatever its maker's says.
///
/// A nonce is base64url of seconds since 1970 (8 bytes, big-endian) ‖ the first 16 bytes of their tag. Nothing is stored,
/// and every node accepts what any of them gave.
package struct DPoPNonces: Sendable {
    /// How long one is good for.
    static let lifetime: TimeInterval = 60
    /// Clocks of two nodes differ by less.
    private static let clockTolerance: TimeInterval = 5

    private let key: AuthenticationKey

    package init(key: AuthenticationKey) {
        self.key = key
    }

    package func fresh(at now: Date) -> String {
        let seconds = UInt64(now.timeIntervalSince1970)
        let time = (0..<8).map { UInt8(truncatingIfNeeded: seconds >> (56 - 8 * $0)) }
        return Base64URL.encode(time + key.tag(of: time).prefix(16))
    }

    func isFresh(_ nonce: String, at now: Date) -> Bool {
        guard nonce.utf8.count == 32, let bytes = Base64URL.decode(nonce), bytes.count == 24 else { return false }
        let time = Array(bytes[..<8])
        guard ConstantTime.equal(Array(key.tag(of: time).prefix(16)), Array(bytes[8...])) else { return false }
        let age = now.timeIntervalSince1970 - Double(time.reduce(0 as UInt64) { $0 << 8 | UInt64($1) })
        return (-Self.clockTolerance...Self.lifetime).contains(age)
    }
}
