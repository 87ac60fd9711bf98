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
        self = try PresentedSigningKey(pem: pem).checked()
    }

    fileprivate init(ec der: [UInt8]) throws(KeyError) {
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

    fileprivate init(_ key: RSAPrivateKey) throws(KeyError) {
        try self.init(.rs256(key), publicKey: VerificationKey(key), privateKeyBytes: key.pkcs8())
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

/// A private key from outside, read and not believed yet: reading is cheap, ``checked()`` is not. Prints as "redacted".
///
/// So a caller can turn a key away by its algorithm, length or thumbprint before it spends anything on it.
package struct PresentedSigningKey: Sendable, Redacted {
    private enum Material: Sendable {
        case rsa(RSAPrivateKey)
        /// Elliptic curves: checked at once, since that is instant.
        case checked(SigningKey)
    }

    private let material: Material
    /// The public half that the file claims; ``checked()`` makes sure that it belongs to the private one.
    package let publicKey: VerificationKey

    /// Whether ``checked()`` takes long: up to a second of CPU for RSA, nothing for the others.
    package var isExpensive: Bool {
        if case .rsa = material { true } else { false }
    }

    /// Reads what ``SigningKey/init(pem:)`` reads.
    ///
    /// - Throws: ``KeyError``.
    package init(pem: String) throws(KeyError) {
        let block = try PEMBlock(pem, labels: ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"])
        switch block.label {
        case "RSA PRIVATE KEY": try self.init(RSAPrivateKey(pkcs1: block.der))
        case "EC PRIVATE KEY": try self.init(SigningKey(ec: block.der))
        default:
            switch try KeyAlgorithmIdentifier(of: block.der, isPrivate: true) {
            case .rsa: try self.init(RSAPrivateKey(pkcs8: block.der))
            case .ec, .ed25519: try self.init(SigningKey(pkcs8: block.der))
            }
        }
    }

    private init(_ key: RSAPrivateKey) throws(KeyError) {
        material = .rsa(key)
        publicKey = try VerificationKey(key)
    }

    private init(_ key: SigningKey) {
        material = .checked(key)
        publicKey = key.publicKey
    }

    /// The key, once its arithmetic was checked completely: for RSA up to a second of CPU.
    ///
    /// - Throws: ``KeyError``.
    package func checked() throws(KeyError) -> SigningKey {
        switch material {
        case .checked(let key): return key
        case .rsa(let key):
            let checked = try SigningKey(key)
            try key.checkThoroughly()
            return checked
        }
    }
}

extension VerificationKey {
    fileprivate init(_ key: RSAPrivateKey) throws(KeyError) {
        let (modulus, exponent) = try key.publicMembers()
        try self.init(.rsa(modulus: modulus, exponent: exponent))
    }

    /// Length of an RSA key's modulus in bits; nil for the other kinds.
    package var rsaBits: Int? {
        guard case .rsa(let modulus, _) = members, let first = modulus.first else { return nil }
        return modulus.count * 8 - first.leadingZeroBitCount
    }
}
