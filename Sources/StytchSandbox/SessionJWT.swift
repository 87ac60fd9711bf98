import Crypto
import CryptoExtras
import Foundation

/// A project's RS256 key: signs its session JWTs and publishes itself as a JWK.
struct SessionSigner: Sendable {
    private let keyID: String
    private let key: _RSA.Signing.PrivateKey

    /// A fresh 2048-bit key.
    init(environment: ProjectID.Environment) throws {
        keyID = environment.newID("jwk")
        key = try _RSA.Signing.PrivateKey(keySize: .bits2048)
    }

    /// The claims as a compact JWS.
    func sign(_ claims: JSON) throws -> String {
        let header: JSON = ["alg": "RS256", "typ": "JWT", "kid": .string(keyID)]
        let input = base64URL(try header.encoded()) + "." + base64URL(try claims.encoded())
        let signature = try key.signature(for: Data(input.utf8), padding: .insecurePKCS1v1_5)
        return input + "." + base64URL(signature.rawRepresentation)
    }

    /// The claims of a token this key signed; nil for every other string. Lifetimes are not checked: a session outlives
    /// its JWTs.
    func claims(of token: String) -> JSON? {
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let payload = bytes(base64URL: parts[1]), let signature = bytes(base64URL: parts[2])
        else { return nil }
        let isOurs = key.publicKey.isValidSignature(
            .init(rawRepresentation: signature), for: Data("\(parts[0]).\(parts[1])".utf8), padding: .insecurePKCS1v1_5)
        return isOurs ? try? JSON(parsing: payload) : nil
    }

    /// The public half with the member names of Stytch's JWKS endpoint (`x5tS256` is its spelling).
    func publicJWK() throws -> JSON {
        let numbers = try key.publicKey.getKeyPrimitives()
        return [
            "kty": "RSA", "use": "sig", "key_ops": ["verify"], "alg": "RS256", "kid": .string(keyID),
            "x5c": [], "x5tS256": "",
            "n": .string(base64URL(numbers.modulus)), "e": .string(base64URL(numbers.publicExponent)),
        ]
    }
}
