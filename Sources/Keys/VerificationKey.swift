import Crypto
import CryptoExtras
import FoundationEssentials

/// The public half of a signing key: checks signatures, and shows itself as JWK, PEM and thumbprint.
///
/// Every key that exists has passed the checks of its `init`: RSA modulus 2048…8192 bits and odd exponent 65537…2³³,
/// EC point on the curve, Ed25519 point not of small order (RFC 8725 §3.4). Equal keys have equal thumbprints.
package struct VerificationKey: Sendable {
    /// The public members of a JWK (RFC 7518 §6, RFC 8037 §2), as bytes.
    package enum Members: Sendable, Hashable {
        /// `kty` EC, `crv` P-256; 32 bytes each.
        case ec(x: [UInt8], y: [UInt8])
        /// `kty` RSA; big-endian without leading zeros.
        case rsa(modulus: [UInt8], exponent: [UInt8])
        /// `kty` OKP, `crv` Ed25519; 32 bytes.
        case okp(x: [UInt8])
    }

    /// Which spellings of a signature count.
    package enum SignatureForm: Sendable {
        /// Every signature that the algorithm's standard accepts. For signatures of others.
        case any
        /// Only the form ``SigningKey`` makes. ECDSA accepts n − s wherever it accepts s, so anybody could turn a token
        /// into a second valid one; for tokens of our own that second spelling is refused.
        case unique
    }

    private enum Material: Sendable {
        case es256(P256.Signing.PublicKey)
        case rs256(_RSA.Signing.PublicKey)
        case eddsa(Curve25519.Signing.PublicKey)
    }

    package let members: Members
    /// SHA-256 of the required JWK members in canonical form, base64url (RFC 7638 §3).
    package let thumbprint: String
    private let material: Material

    /// - Throws: ``KeyError``.
    package init(_ members: Members) throws(KeyError) {
        switch members {
        case .ec(let x, let y):
            guard x.count == 32, y.count == 32 else { throw .malformed }
            do {
                self.init(try P256.Signing.PublicKey(rawRepresentation: x + y))
            } catch {
                throw .inconsistent
            }
        case .rsa(let modulus, let exponent):
            guard modulus.first ?? 0 != 0, exponent.first ?? 0 != 0 else { throw .malformed }
            try self.init(modulus: modulus, exponent: exponent)
        case .okp(let x):
            guard x.count == 32 else { throw .malformed }
            try self.init(ed25519: x)
        }
    }

    /// Reads a public JWK whose members are all strings (RFC 7517 §4); `alg` and `use`, where given, must fit.
    ///
    /// - Throws: ``KeyError``; ``KeyError/malformed`` also for a JWK with private members, which nobody may send about.
    package init(jwk: [String: String]) throws(KeyError) {
        func bytes(_ name: String) throws(KeyError) -> [UInt8] {
            guard let bytes = jwk[name].flatMap(Base64URL.decode) else { throw .malformed }
            return bytes
        }
        guard Set(["d", "p", "q", "dp", "dq", "qi", "oth", "k"]).isDisjoint(with: jwk.keys) else { throw .malformed }
        switch (jwk["kty"], jwk["crv"]) {
        case ("EC", "P-256"): try self.init(.ec(x: bytes("x"), y: bytes("y")))
        case ("OKP", "Ed25519"): try self.init(.okp(x: bytes("x")))
        case ("RSA", nil): try self.init(.rsa(modulus: bytes("n"), exponent: bytes("e")))
        default: throw .unsupported
        }
        guard jwk["alg"] ?? algorithm.rawValue == algorithm.rawValue, jwk["use"] ?? "sig" == "sig" else {
            throw .unsupported
        }
    }

    /// Reads a PEM file with one public key: SPKI (`PUBLIC KEY`) or PKCS#1 (`RSA PUBLIC KEY`).
    ///
    /// - Throws: ``KeyError``; ``KeyError/unsupported`` for certificates and for private keys.
    package init(pem: String) throws(KeyError) {
        let block = try PEMBlock(pem, labels: ["PUBLIC KEY", "RSA PUBLIC KEY"])
        if block.label == "RSA PUBLIC KEY" {
            try self.init(rsaDocument: block.der)
            return
        }
        switch try KeyAlgorithmIdentifier(of: block.der, isPrivate: false) {
        case .rsa:
            try self.init(rsaDocument: block.der)
        case .ec:
            do {
                self.init(try P256.Signing.PublicKey(derRepresentation: block.der))
            } catch {
                throw .inconsistent
            }
        case .ed25519:
            let prefix = VerificationKey.ed25519Prefix
            guard block.der.starts(with: prefix), block.der.count == prefix.count + 32 else { throw .malformed }
            try self.init(ed25519: [UInt8](block.der.dropFirst(prefix.count)))
        }
    }

    init(_ key: P256.Signing.PublicKey) {
        let point = [UInt8](key.rawRepresentation)
        self.init(members: .ec(x: [UInt8](point[..<32]), y: [UInt8](point[32...])), material: .es256(key))
    }

    private init(ed25519 point: [UInt8]) throws(KeyError) {
        // Under a point of small order one signature fits many messages, so it proves nothing.
        var encoded = point
        encoded[31] &= 0x7F
        guard !VerificationKey.smallOrderPoints.contains(encoded) else { throw .weak }
        do {
            let key = try Curve25519.Signing.PublicKey(rawRepresentation: point)
            self.init(members: .okp(x: point), material: .eddsa(key))
        } catch {
            throw .malformed
        }
    }

    private init(rsaDocument der: [UInt8]) throws(KeyError) {
        do {
            let primitives = try _RSA.Signing.PublicKey(unsafeDERRepresentation: der).getKeyPrimitives()
            let modulus = [UInt8](primitives.modulus.drop { $0 == 0 })
            let exponent = [UInt8](primitives.publicExponent.drop { $0 == 0 })
            try self.init(modulus: modulus, exponent: exponent)
        } catch let error as KeyError {
            throw error
        } catch {
            throw .malformed
        }
    }

    private init(modulus: [UInt8], exponent: [UInt8]) throws(KeyError) {
        guard let first = modulus.first, let last = modulus.last, last & 1 == 1 else { throw .weak }
        let bits = modulus.count * 8 - first.leadingZeroBitCount
        guard (2048...8192).contains(bits), exponent.count <= 5 else { throw .weak }
        // RFC 8017 §3.1 would allow 3; nothing made today uses less than 65537, and 1 makes every signature valid.
        let value = exponent.reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
        guard (65_537...(1 << 33)).contains(value), value & 1 == 1 else { throw .weak }
        do {
            let key = try _RSA.Signing.PublicKey(n: modulus, e: exponent)
            self.init(members: .rsa(modulus: modulus, exponent: exponent), material: .rs256(key))
        } catch {
            throw .malformed
        }
    }

    private init(members: Members, material: Material) {
        self.members = members
        self.material = material
        // The members of RFC 7638 §3.2 in lexicographic order, which is also how `write(to:)` writes them.
        thumbprint = Base64URL.encode(sha256(JSONWriter.object { members.write(to: &$0) }))
    }

    /// The algorithm this key's signatures have.
    package var algorithm: SigningAlgorithm {
        switch material {
        case .es256: .es256
        case .rs256: .rs256
        case .eddsa: .eddsa
        }
    }

    /// The key as a JSON object with the public members, `alg`, `use` = `sig`, and `kid` if it has one (RFC 7517 §4).
    package func jwk(keyID: String?) -> [UInt8] {
        JSONWriter.object(capacity: 512) { json in
            members.write(to: &json)
            json.string("alg", algorithm.rawValue)
            if let keyID { json.string("kid", keyID) }
            json.string("use", "sig")
        }
    }

    /// The key as SPKI in PEM, the form `PUBLIC_KEY_PEM` settings take (RFC 7468 §13).
    package var pem: String {
        switch material {
        case .es256(let key): PEMBlock.encode(label: "PUBLIC KEY", der: [UInt8](key.derRepresentation))
        case .rs256(let key): PEMBlock.encode(label: "PUBLIC KEY", der: [UInt8](key.derRepresentation))
        case .eddsa(let key):
            PEMBlock.encode(label: "PUBLIC KEY", der: VerificationKey.ed25519Prefix + [UInt8](key.rawRepresentation))
        }
    }

    /// Whether `signature` is this key's signature of `message`.
    ///
    /// ES256 signatures are r ‖ s (RFC 7518 §3.4); DER is refused by its length.
    package func isValid(_ signature: [UInt8], for message: [UInt8], form: SignatureForm) -> Bool {
        switch material {
        case .es256(let key):
            guard let parsed = try? P256.Signing.ECDSASignature(rawRepresentation: signature) else { return false }
            if case .unique = form, LowS.isHigh(signature[32...]) { return false }
            return key.isValidSignature(parsed, for: message)
        case .rs256(let key):
            let parsed = _RSA.Signing.RSASignature(rawRepresentation: signature)
            return key.isValidSignature(parsed, for: message, padding: .insecurePKCS1v1_5)
        case .eddsa(let key):
            return signature.count == 64 && key.isValidSignature(signature, for: message)
        }
    }

    /// SPKI of Ed25519 up to the 32 bytes of the point (RFC 8410 §4).
    private static let ed25519Prefix: [UInt8] = [
        0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00,
    ]

    /// Encodings, sign bit cleared, of the eight points whose order divides 8, canonical or not.
    private static let smallOrderPoints: Set<[UInt8]> = {
        let zeros = [UInt8](repeating: 0, count: 31)
        let ones = [UInt8](repeating: 0xFF, count: 30)
        let eighth: [UInt8] = [
            0x26, 0xE8, 0x95, 0x8F, 0xC2, 0xB2, 0x27, 0xB0, 0x45, 0xC3, 0xF4, 0x89, 0xF2, 0xEF, 0x98, 0xF0,
            0xD5, 0xDF, 0xAC, 0x05, 0xD3, 0xC6, 0x33, 0x39, 0xB1, 0x38, 0x02, 0x88, 0x6D, 0x53, 0xFC, 0x05,
        ]
        let otherEighth: [UInt8] = [
            0xC7, 0x17, 0x6A, 0x70, 0x3D, 0x4D, 0xD8, 0x4F, 0xBA, 0x3C, 0x0B, 0x76, 0x0D, 0x10, 0x67, 0x0F,
            0x2A, 0x20, 0x53, 0xFA, 0x2C, 0x39, 0xCC, 0xC6, 0x4E, 0xC7, 0xFD, 0x77, 0x92, 0xAC, 0x03, 0x7A,
        ]
        // y = 0, 1, −1, and then p and p + 1, which are 0 and 1 again.
        return [
            [0] + zeros, [1] + zeros, [0xEC] + ones + [0x7F], [0xED] + ones + [0x7F], [0xEE] + ones + [0x7F],
            eighth, otherEighth,
        ]
    }()
}

extension VerificationKey: Hashable {
    package static func == (left: VerificationKey, right: VerificationKey) -> Bool {
        left.members == right.members
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(members)
    }
}

extension VerificationKey.Members {
    /// The members RFC 7638 §3.2 and RFC 8037 §2 require, in lexicographic order.
    fileprivate func write(to json: inout JSONWriter) {
        switch self {
        case .ec(let x, let y):
            json.string("crv", "P-256")
            json.string("kty", "EC")
            json.string("x", Base64URL.encode(x))
            json.string("y", Base64URL.encode(y))
        case .rsa(let modulus, let exponent):
            json.string("e", Base64URL.encode(exponent))
            json.string("kty", "RSA")
            json.string("n", Base64URL.encode(modulus))
        case .okp(let x):
            json.string("crv", "Ed25519")
            json.string("kty", "OKP")
            json.string("x", Base64URL.encode(x))
        }
    }
}

/// The choice between s and n − s in P-256 signatures.
enum LowS {
    /// The order n of the P-256 group (FIPS 186-5, SP 800-186 §3.2.1.3), big-endian words.
    private static let order: [4 of UInt64] = [
        0xFFFF_FFFF_0000_0000, 0xFFFF_FFFF_FFFF_FFFF, 0xBCE6_FAAD_A717_9E84, 0xF3B9_CAC2_FC63_2551,
    ]
    /// ⌊n / 2⌋.
    private static let half: [4 of UInt64] = [
        0x7FFF_FFFF_8000_0000, 0x7FFF_FFFF_FFFF_FFFF, 0xDE73_7D56_D38B_CF42, 0x79DC_E561_7E31_92A8,
    ]

    /// Whether the 32 bytes of s are more than half the order.
    static func isHigh(_ s: ArraySlice<UInt8>) -> Bool {
        let words = words(s)
        for index in 0..<4 where words[index] != half[index] {
            return words[index] > half[index]
        }
        return false
    }

    /// The signature r ‖ s with the smaller of s and n − s. Both are public, so time may depend on them.
    static func normalized(_ signature: [UInt8]) -> [UInt8] {
        guard isHigh(signature[32...]) else { return signature }
        let s = words(signature[32...])
        var result = signature
        var borrow: UInt64 = 0
        for index in stride(from: 3, through: 0, by: -1) {
            let (partial, below) = order[index].subtractingReportingOverflow(s[index])
            let (word, belowAgain) = partial.subtractingReportingOverflow(borrow)
            borrow = below || belowAgain ? 1 : 0
            for byte in 0..<8 {
                result[32 + index * 8 + byte] = UInt8(truncatingIfNeeded: word >> UInt64(56 - 8 * byte))
            }
        }
        return result
    }

    private static func words(_ bytes: ArraySlice<UInt8>) -> [4 of UInt64] {
        var words: [4 of UInt64] = [0, 0, 0, 0]
        for (offset, byte) in bytes.enumerated() {
            words[offset / 8] = words[offset / 8] << 8 | UInt64(byte)
        }
        return words
    }
}
