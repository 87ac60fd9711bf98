import Crypto
import FoundationEssentials

/// A private key of one of the three algorithms, with its public half. Prints as "redacted".
///
/// Immutable; any number of tasks may sign with one key at the same time.
package struct SigningKey: Sendable, Redacted {
    private enum Material: Sendable {
        case es256(P256.Signing.PrivateKey)
        case rs256(RSAPrivateKey)
        case eddsa(Curve25519.Signing.PrivateKey)
    }

    private let material: Material
    /// The public half.
    package let publicKey: VerificationKey
    /// The key as an unencrypted PKCS#8 document (RFC 5208): only ever to be sealed, never to be stored or sent as it is.
    package let privateKeyBytes: [UInt8]

    /// The algorithm of this key's signatures.
    package var algorithm: SigningAlgorithm { publicKey.algorithm }

    /// A fresh key. RSA takes tens to hundreds of milliseconds of CPU; the other two are instant.
    ///
    /// - Parameter rsaBits: length of an RSA modulus, 2048…8192; ignored by the other algorithms.
    /// - Throws: ``KeyError``.
    package static func generate(_ algorithm: SigningAlgorithm, rsaBits: Int = 2048) throws(KeyError) -> SigningKey {
        switch algorithm {
        case .es256: try SigningKey(P256.Signing.PrivateKey())
        case .rs256: try SigningKey(RSAPrivateKey.generate(bits: rsaBits))
        case .eddsa: try SigningKey(Curve25519.Signing.PrivateKey())
        }
    }

    /// Reads back what ``privateKeyBytes`` gave.
    ///
    /// - Throws: ``KeyError``.
    package init(pkcs8 der: [UInt8]) throws(KeyError) {
        switch try KeyAlgorithmIdentifier(of: der, isPrivate: true) {
        case .rsa:
            try self.init(RSAPrivateKey(pkcs8: der))
        case .ec:
            try self.init(ec: der)
        case .ed25519:
            let prefix = SigningKey.ed25519Prefix
            guard der.starts(with: prefix), der.count == prefix.count + 32 else { throw .malformed }
            do {
                let key = try Curve25519.Signing.PrivateKey(rawRepresentation: der.dropFirst(prefix.count))
                try self.init(key)
            } catch {
                throw .malformed
            }
        }
    }

    /// Imports a private key from a PEM file: PKCS#8 of any of the three kinds, PKCS#1 (`RSA PRIVATE KEY`) or SEC 1
    /// (`EC PRIVATE KEY`), unencrypted. Checks an RSA key's arithmetic completely, which takes some milliseconds.
    ///
    /// - Throws: ``KeyError``.
    package init(pem: String) throws(KeyError) {
        let block = try PEMBlock(pem, labels: ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"])
        switch block.label {
        case "RSA PRIVATE KEY": try self.init(RSAPrivateKey(pkcs1: block.der))
        case "EC PRIVATE KEY": try self.init(ec: block.der)
        default: try self.init(pkcs8: block.der)
        }
        if case .rs256(let key) = material {
            try key.checkThoroughly()
        }
    }

    private init(ec der: [UInt8]) throws(KeyError) {
        do {
            try self.init(P256.Signing.PrivateKey(derRepresentation: der))
        } catch {
            throw .malformed
        }
    }

    private init(_ key: P256.Signing.PrivateKey) throws(KeyError) {
        try self.init(
            .es256(key), publicKey: VerificationKey(key.publicKey), privateKeyBytes: [UInt8](key.derRepresentation))
    }

    private init(_ key: Curve25519.Signing.PrivateKey) throws(KeyError) {
        try self.init(
            .eddsa(key), publicKey: VerificationKey(.okp(x: [UInt8](key.publicKey.rawRepresentation))),
            privateKeyBytes: SigningKey.ed25519Prefix + [UInt8](key.rawRepresentation))
    }

    private init(_ key: RSAPrivateKey) throws(KeyError) {
        let (modulus, exponent) = try key.publicMembers()
        try self.init(
            .rs256(key), publicKey: VerificationKey(.rsa(modulus: modulus, exponent: exponent)),
            privateKeyBytes: key.pkcs8())
    }

    /// Signs once and checks it, so that halves which do not belong together never get to sign a token.
    private init(_ material: Material, publicKey: VerificationKey, privateKeyBytes: [UInt8]) throws(KeyError) {
        self.material = material
        self.publicKey = publicKey
        self.privateKeyBytes = privateKeyBytes
        let message = [UInt8]("gatehouse key check".utf8)
        guard publicKey.isValid(try sign(message), for: message, form: .unique) else { throw .inconsistent }
    }

    /// The signature of `message` in its JWS form: r ‖ s with the lower s, PKCS#1 v1.5, or Ed25519 (RFC 7518 §3.3, §3.4;
    /// RFC 8037 §3.1).
    ///
    /// - Throws: ``KeyError/signingFailed``.
    package func sign(_ message: [UInt8]) throws(KeyError) -> [UInt8] {
        do {
            switch material {
            case .es256(let key): return LowS.normalized([UInt8](try key.signature(for: message).rawRepresentation))
            case .rs256(let key): return try key.sign(message)
            case .eddsa(let key): return [UInt8](try key.signature(for: message))
            }
        } catch {
            throw .signingFailed
        }
    }

    /// PKCS#8 of Ed25519 up to the 32 bytes of the seed (RFC 8410 §7).
    private static let ed25519Prefix: [UInt8] = [
        0x30, 0x2E, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
    ]
}
