// Keys is the lowest room: signing and verification keys, compact JWS, envelope encryption, secrets and their digests,
// randomness, base64url and the two small JSON tools that tokens need. It knows no SQL, no network and no tenant rules.

/// The three signature algorithms Gatehouse makes and accepts (RFC 7518 §3.1, RFC 8037 §3.1).
///
/// `none` and the HMAC family are not refused by a check: they cannot be written down (RFC 8725 §3.1, §3.2).
package enum SigningAlgorithm: String, Sendable, Hashable, Codable, CaseIterable {
    /// ECDSA over P-256 with SHA-256; signatures are r ‖ s, 64 bytes.
    case es256 = "ES256"
    /// RSASSA-PKCS1-v1_5 with SHA-256; signatures are as long as the modulus.
    case rs256 = "RS256"
    /// Ed25519; signatures are 64 bytes.
    case eddsa = "EdDSA"
}
