import Crypto

/// A key that proves texts of ours to be ours, such as page cursors: HMAC-SHA-256 (RFC 2104) under a key derived from the
/// master key by HKDF (RFC 5869), so that every node has the same and no purpose shares another's.
package struct AuthenticationKey: Sendable, Redacted {
    private let key: SymmetricKey

    /// - Parameter purpose: what it authenticates; another purpose is another key.
    package init(derivedFrom master: MasterKey, purpose: StaticString) {
        key = HKDF<SHA256>.deriveKey(
            inputKeyMaterial: master.key, info: [UInt8]("gatehouse|\(purpose)".utf8), outputByteCount: 32)
    }

    /// The 32 bytes that prove a message.
    package func tag(of message: [UInt8]) -> [UInt8] {
        [UInt8](HMAC<SHA256>.authenticationCode(for: message, using: key))
    }

    /// Compares in constant time.
    package func isValid(_ tag: [UInt8], of message: [UInt8]) -> Bool {
        ConstantTime.equal(self.tag(of: message), tag)
    }
}
