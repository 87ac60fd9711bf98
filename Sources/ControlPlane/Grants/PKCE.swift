import Keys

/// Proof key for code exchange, S256 only (RFC 7636, OAuth 2.1 §4.1.1).
package enum PKCE {
    /// Whether the text can be an S256 challenge: 43 characters of base64url (RFC 7636 §4.2).
    package static func isChallenge(_ text: String) -> Bool {
        text.utf8.count == 43 && Base64URL.decode(text)?.count == 32
    }

    /// Whether the text can be a verifier: 43–128 unreserved characters (RFC 7636 §4.1).
    package static func isVerifier(_ text: String) -> Bool {
        (43...128).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                switch byte {
                case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E: true
                default: false
                }
            }
    }

    /// Whether the verifier hashes to the challenge; takes the same time wherever they differ (RFC 7636 §4.6).
    package static func matches(verifier: String, challenge: String) -> Bool {
        isVerifier(verifier) && ConstantTime.equal(Base64URL.encode(sha256(verifier)), challenge)
    }
}
