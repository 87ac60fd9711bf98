import Crypto

/// Seals the reply to a request so that only who repeats that request, with the same credential and the same idempotency
/// key, can open it: a secret that is shown once stays unreadable for the database.
///
/// The key is HKDF-SHA256 (RFC 5869) of the presented credential; label, place and idempotency key go into `info`. Sealed
/// form: version 1 (1 byte) ‖ nonce (12) ‖ ciphertext ‖ tag (16), by AES-256-GCM.
package struct ReplySeal: Sendable, Redacted {
    private static let version: UInt8 = 1
    private static let label = "gatehouse idempotent reply 1|"

    private let key: SymmetricKey

    /// - Parameters:
    ///   - credential: what the caller proves itself with, which must hold at least 256 random bits.
    ///   - place: where the reply belongs, such as the organization.
    package init(credential: Secret, place: String, idempotencyKey: String) {
        key = HKDF<SHA256>.deriveKey(
            inputKeyMaterial: SymmetricKey(data: credential.bytes),
            info: [UInt8]("\(Self.label)\(place.utf8.count)|\(place)|\(idempotencyKey)".utf8), outputByteCount: 32)
    }

    /// - Throws: ``SealError/sealingFailed``.
    package func seal(_ reply: [UInt8], random: RandomBytes = .system) throws(SealError) -> [UInt8] {
        try Envelope.seal(reply, under: key, header: [Self.version], context: [], random: random)
    }

    /// - Throws: ``SealError``; ``SealError/refused`` for another credential, place or key as for altered bytes.
    package func open(_ sealed: [UInt8]) throws(SealError) -> [UInt8] {
        guard sealed.first == Self.version else { throw .malformed }
        return try Envelope.open(sealed, headerLength: 1, under: key, context: [])
    }
}
