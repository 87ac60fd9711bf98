import Crypto
package import FoundationEssentials

/// An organization's own 256-bit key, under which its secrets are sealed; stored only as wrapped by ``MasterKeyring``.
///
/// Nonces are random, so one key may seal 2³² boxes (SP 800-38D §8.3), far more than an organization has secrets.
package struct DataKey: Sendable, Redacted {
    package let id: SealingKeyID
    let key: SymmetricKey

    init(_ key: SymmetricKey) {
        self.key = key
        id = SealingKeyID(of: key)
    }

    package static func generate(from random: RandomBytes = .system) -> DataKey {
        DataKey(SymmetricKey(data: random.generate(32)))
    }
}

/// The one place where a sealed value may stand. Its text `organization|table|column|id` is authenticated with the
/// value, so that nobody with write access to the database can move a secret to another row and have it used there.
package struct SealContext: Sendable, CustomStringConvertible {
    /// The text that is authenticated. Unambiguous: the organization has a fixed length, table and column are literals
    /// of ours without a bar, and the id comes last.
    package let description: String

    package init(organization: UUID, table: StaticString, column: StaticString, id: String) {
        description = "\(organization.uuidString.lowercased())|\(table)|\(column)|\(id)"
    }
}

/// Values sealed under a data key: version 1 (1 byte) ‖ data key id (8) ‖ nonce (12) ‖ ciphertext ‖ tag (16), by
/// AES-256-GCM. Authenticated with it: the first nine bytes and the context.
package enum SealedBox {
    private static let version: UInt8 = 1

    /// Bytes a sealed value has more than the plain one.
    package static let overhead = 1 + SealingKeyID.length + Envelope.overhead

    /// - Throws: ``SealError/sealingFailed``.
    package static func seal(
        _ plaintext: [UInt8], under key: DataKey, context: SealContext, random: RandomBytes = .system
    ) throws(SealError) -> [UInt8] {
        try Envelope.seal(
            plaintext, under: key.key, header: [version] + key.id.bytes, context: [UInt8](context.description.utf8),
            random: random)
    }

    /// - Throws: ``SealError``; ``SealError/refused`` for the wrong context as for altered bytes.
    package static func open(
        _ sealed: [UInt8], under key: DataKey, context: SealContext
    ) throws(SealError) -> [UInt8] {
        let id = try keyID(of: sealed)
        guard id == key.id else { throw .unknownKey(id) }
        return try Envelope.open(
            sealed, headerLength: 1 + SealingKeyID.length, under: key.key, context: [UInt8](context.description.utf8))
    }

    /// Which data key a sealed value needs.
    ///
    /// - Throws: ``SealError/malformed``.
    package static func keyID(of sealed: [UInt8]) throws(SealError) -> SealingKeyID {
        guard sealed.first == version, sealed.count >= overhead else { throw .malformed }
        return SealingKeyID(bytes: sealed[1...SealingKeyID.length])
    }
}

/// What all sealed forms share: a clear header, then nonce (12) ‖ ciphertext ‖ tag (16) of AES-256-GCM (SP 800-38D)
/// with header ‖ context as additional authenticated data. The header has a fixed length in each form.
enum Envelope {
    static let nonceLength = 12
    static let tagLength = 16
    static let overhead = nonceLength + tagLength

    static func seal(
        _ plaintext: [UInt8], under key: SymmetricKey, header: [UInt8], context: [UInt8], random: RandomBytes
    ) throws(SealError) -> [UInt8] {
        do {
            let nonce = random.generate(nonceLength)
            let box = try AES.GCM.seal(
                plaintext, using: key, nonce: AES.GCM.Nonce(data: nonce), authenticating: header + context)
            return header + nonce + box.ciphertext + box.tag
        } catch {
            throw .sealingFailed
        }
    }

    static func open(
        _ sealed: [UInt8], headerLength: Int, under key: SymmetricKey, context: [UInt8]
    ) throws(SealError) -> [UInt8] {
        guard sealed.count >= headerLength + overhead else { throw .malformed }
        do {
            let box = try AES.GCM.SealedBox(combined: sealed[headerLength...])
            return [UInt8](try AES.GCM.open(box, using: key, authenticating: sealed[..<headerLength] + context))
        } catch {
            throw .refused
        }
    }
}
