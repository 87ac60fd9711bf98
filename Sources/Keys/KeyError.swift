/// Why a key was refused or could not be used. Carries no key material, so it may be logged.
package enum KeyError: Error, Hashable, Sendable {
    /// Not one PEM block, DER document or JWK of the expected shape.
    case malformed
    /// An encrypted private key: the operator has to decrypt it first.
    case encrypted
    /// A well-formed key of a kind no ``SigningAlgorithm`` uses.
    case unsupported
    /// RSA modulus outside 2048…8192 bits, RSA exponent outside 65537…2³³ or even, or an Ed25519 point of small order.
    case weak
    /// The point is not on the curve, or the private and public halves do not belong together.
    case inconsistent
    /// The library failed to generate a key.
    case generationFailed
    /// The library failed to sign.
    case signingFailed
}
