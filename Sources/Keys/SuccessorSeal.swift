import Crypto

/// Seals the successor of a refresh token so that only who presents the token it replaced can open it: the database
/// alone cannot, since it holds digests only, and a retry inside the grace window gets the same successor.
///
/// The key is HKDF-SHA256 (RFC 5869) of the presented token; label and grant go into `info`, so a seal opens for no other
/// purpose and no other grant. Sealed form: version 1 (1 byte) ‖ nonce (12) ‖ ciphertext ‖ tag (16), by AES-256-GCM.
package struct SuccessorSeal: Sendable, Redacted {
    private static let version: UInt8 = 1
    private static let label = "gatehouse refresh successor 1|"

    private let key: SymmetricKey

    /// - Parameters:
    ///   - presented: the bytes of the presented token, which must hold at least 256 random bits.
    ///   - grant: what names the grant, such as `organization|grant|generation`.
    package init(presented: [UInt8], grant: String) {
        key = HKDF<SHA256>.deriveKey(
            inputKeyMaterial: SymmetricKey(data: presented), info: [UInt8]((SuccessorSeal.label + grant).utf8),
            outputByteCount: 32)
    }

    /// - Throws: ``SealError/sealingFailed``.
    package func seal(_ successor: [UInt8], random: RandomBytes = .system) throws(SealError) -> [UInt8] {
        try Envelope.seal(successor, under: key, header: [SuccessorSeal.version], context: [], random: random)
    }

    /// - Throws: ``SealError``; ``SealError/refused`` for another token or grant as for altered bytes.
    package func open(_ sealed: [UInt8]) throws(SealError) -> [UInt8] {
        guard sealed.first == SuccessorSeal.version else { throw .malformed }
        return try Envelope.open(sealed, headerLength: 1, under: key, context: [])
    }
}
