/// SHA-256 of a secret with 256 random bits: what is stored so that a stolen database opens nothing.
///
/// A plain digest suffices because nobody can guess the input; passwords chosen by people must never come here.
/// Equality takes constant time.
package struct SecretDigest: Sendable, Hashable, Redacted {
    /// The 32 bytes of the digest, as stored.
    package let bytes: [UInt8]

    /// The digest of the UTF-8 bytes of a secret.
    package init(of secret: Secret) {
        bytes = sha256(secret.bytes)
    }

    /// The digest of secret bytes.
    package init(of secret: [UInt8]) {
        bytes = sha256(secret)
    }

    /// A digest read back from storage, or nil unless it has 32 bytes.
    package init?(stored bytes: [UInt8]) {
        guard bytes.count == 32 else { return nil }
        self.bytes = bytes
    }

    package static func == (left: SecretDigest, right: SecretDigest) -> Bool {
        ConstantTime.equal(left.bytes, right.bytes)
    }
}
