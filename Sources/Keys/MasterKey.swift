import Crypto
package import FoundationEssentials

/// Names a sealing key without telling anything about it: 8 bytes derived from the key itself.
package struct SealingKeyID: Sendable, Hashable, CustomStringConvertible {
    static let length = 8

    package let bytes: [UInt8]

    init(of key: SymmetricKey) {
        let label = [UInt8]("gatehouse sealing key id 1".utf8)
        bytes = [UInt8](HMAC<SHA256>.authenticationCode(for: label, using: key).prefix(SealingKeyID.length))
    }

    init(bytes: ArraySlice<UInt8>) {
        self.bytes = [UInt8](bytes)
    }

    /// 16 hexadecimal digits.
    package var description: String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}

/// Why something sealed did not open. Carries nothing of the content.
package enum SealError: Error, Hashable, Sendable {
    /// Not of the shape or version that sealing writes.
    case malformed
    /// Sealed under a key that is not at hand.
    case unknownKey(SealingKeyID)
    /// The key is right but the bytes or their context are not: altered, or moved from another row.
    case refused
    /// The library failed to seal.
    case sealingFailed
}

/// The key that wraps every organization's data key; it exists only in memory and in the operator's file.
package struct MasterKey: Sendable, Redacted {
    /// Why a master key file was refused.
    package enum FileError: Error, Hashable, Sendable {
        case unreadable
        /// Not 32 bytes as 64 hexadecimal digits, as base64 (either alphabet) or raw.
        case malformed
        /// 32 bytes of text, or bytes that hardly differ: too little entropy for a key.
        case predictable
    }

    package let id: SealingKeyID
    let key: SymmetricKey

    /// - Parameter bytes: exactly 32 random bytes.
    package init?(bytes: [UInt8]) {
        guard bytes.count == 32 else { return nil }
        key = SymmetricKey(data: bytes)
        id = SealingKeyID(of: key)
    }

    /// A fresh key, for a new installation or a rotation.
    package static func generateBytes(from random: RandomBytes = .system) -> [UInt8] {
        random.generate(32)
    }

    /// Reads the file an operator keeps the key in; see ``FileError/malformed`` for its forms.
    ///
    /// - Throws: ``FileError``.
    package init(file path: String) throws(FileError) {
        guard let content = FileManager.default.contents(atPath: path) else { throw .unreadable }
        try self.init(fileContent: [UInt8](content))
    }

    /// The same for the content of such a file.
    ///
    /// - Throws: ``FileError``.
    package init(fileContent content: [UInt8]) throws(FileError) {
        let bytes: [UInt8]
        if content.count == 32 {
            // A 128-bit key in hexadecimal is as long as a raw 256-bit key; random bytes are never all printable.
            guard content.contains(where: { !(0x09...0x7E).contains($0) }) else { throw .predictable }
            bytes = content
        } else {
            let text = String(decoding: content, as: UTF8.self).filter { !$0.isWhitespace }
            guard let decoded = MasterKey.decode(text), decoded.count == 32 else { throw .malformed }
            bytes = decoded
        }
        guard Set(bytes).count >= 8 else { throw .predictable }
        guard let key = MasterKey(bytes: bytes) else { throw .malformed }
        self = key
    }

    private static func decode(_ text: String) -> [UInt8]? {
        let digits = text.utf8.compactMap { UInt8(String(UnicodeScalar($0)), radix: 16) }
        if digits.count == 64, text.utf8.count == 64 {
            return stride(from: 0, to: 64, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
        }
        let urlSafe = text.replacing("+", with: "-").replacing("/", with: "_")
        return Base64URL.decode(urlSafe.hasSuffix("=") ? String(urlSafe.dropLast()) : urlSafe)
    }
}

/// The master key in use and those it replaced: wraps with the first, unwraps with any.
///
/// Wrapped data key: version 1 (1 byte) ‖ master key id (8) ‖ nonce (12) ‖ data key (32, encrypted) ‖ tag (16), by
/// AES-256-GCM; authenticated with it are the first nine bytes and the organization, so that a wrapped key copied to another
/// organization's row does not open. To rotate: start with a new current key and the old one among `older`, pass every
/// wrapped key through ``rewrap(_:for:random:)``, then drop the old one. What the data keys sealed stays as it is.
package struct MasterKeyring: Sendable, Redacted {
    private static let version: UInt8 = 1

    private let current: MasterKey
    private let known: [SealingKeyID: MasterKey]

    package init(current: MasterKey, older: [MasterKey] = []) {
        self.current = current
        known = Dictionary(([current] + older).map { ($0.id, $0) }) { first, _ in first }
    }

    /// The id of the key that new wraps are made with.
    package var currentID: SealingKeyID { current.id }

    /// The stored form of an organization's data key, under the current master key.
    ///
    /// - Throws: ``SealError/sealingFailed``.
    package func wrap(
        _ dataKey: DataKey, for organization: UUID, random: RandomBytes = .system
    ) throws(SealError) -> [UInt8] {
        let header = [MasterKeyring.version] + current.id.bytes
        let plaintext = dataKey.key.withUnsafeBytes { [UInt8]($0) }
        return try Envelope.seal(
            plaintext, under: current.key, header: header, context: MasterKeyring.context(organization), random: random)
    }

    /// The data key of a stored form.
    ///
    /// - Throws: ``SealError``.
    package func unwrap(_ wrapped: [UInt8], for organization: UUID) throws(SealError) -> DataKey {
        let id = try MasterKeyring.masterKeyID(of: wrapped)
        guard let master = known[id] else { throw .unknownKey(id) }
        let bytes = try Envelope.open(
            wrapped, headerLength: 1 + SealingKeyID.length, under: master.key,
            context: MasterKeyring.context(organization))
        guard bytes.count == 32 else { throw .malformed }
        return DataKey(SymmetricKey(data: bytes))
    }

    /// The stored form under the current master key, or nil if it already is.
    ///
    /// - Throws: ``SealError``.
    package func rewrap(
        _ wrapped: [UInt8], for organization: UUID, random: RandomBytes = .system
    ) throws(SealError) -> [UInt8]? {
        guard try MasterKeyring.masterKeyID(of: wrapped) != current.id else { return nil }
        return try wrap(try unwrap(wrapped, for: organization), for: organization, random: random)
    }

    /// Which master key a stored form needs.
    ///
    /// - Throws: ``SealError/malformed``.
    package static func masterKeyID(of wrapped: [UInt8]) throws(SealError) -> SealingKeyID {
        guard wrapped.first == version, wrapped.count > SealingKeyID.length else { throw .malformed }
        return SealingKeyID(bytes: wrapped[1...SealingKeyID.length])
    }

    private static func context(_ organization: UUID) -> [UInt8] {
        [UInt8]("data key|\(organization.uuidString.lowercased())".utf8)
    }
}
