import Crypto
import Foundation
import Testing

@testable import Keys

@Suite struct SigningKeyTests {
    private let message = [UInt8]("what is signed".utf8)

    @Test(
        "AT-01 each algorithm signs what its public half verifies, also after storage (RFC 7518 §3)",
        arguments: SigningAlgorithm.allCases)
    func roundTrip(algorithm: SigningAlgorithm) throws {
        let key = try SigningKey.generate(algorithm)
        #expect(key.algorithm == algorithm)
        let restored = try SigningKey(pkcs8: key.privateKeyBytes)
        #expect(restored.publicKey == key.publicKey)
        #expect(restored.privateKeyBytes == key.privateKeyBytes)
        let signature = try restored.sign(message)
        #expect(signature.count == (algorithm == .rs256 ? 256 : 64))
        #expect(key.publicKey.isValid(signature, for: message, form: .unique))
        #expect(!key.publicKey.isValid(signature, for: message + [0], form: .any))
        let other = try SigningKey.generate(algorithm).publicKey
        #expect(!other.isValid(signature, for: message, form: .any))
        #expect(other != key.publicKey && other.thumbprint != key.publicKey.thumbprint)
    }

    @Test("AT-01 a public key survives PEM and JWK (RFC 7517 §4, RFC 7468 §13)", arguments: SigningAlgorithm.allCases)
    func publicForms(algorithm: SigningAlgorithm) throws {
        let key = try SigningKey.generate(algorithm).publicKey
        #expect(try VerificationKey(pem: key.pem) == key)
        #expect(try VerificationKey(pem: key.pem.replacingOccurrences(of: "\n", with: "\r\n")) == key)
        #expect(try VerificationKey(pem: key.pem.replacingOccurrences(of: "\n", with: #"\n"#)) == key)
        #expect(try VerificationKey(key.members) == key)
        let jwk = try #require(JSONText.parse(key.jwk(keyID: "sig_1")).object)
        #expect(try VerificationKey(jwk: jwk.compactMapValues(\.string)) == key)
    }

    @Test(
        "MD-10 a JWK has the public members, use, alg and kid, and nothing else (RFC 7517 §4, §9.3)",
        arguments: [
            (SigningAlgorithm.es256, ["kty", "crv", "x", "y", "alg", "kid", "use"]),
            (.rs256, ["kty", "n", "e", "alg", "kid", "use"]),
            (.eddsa, ["kty", "crv", "x", "alg", "kid", "use"]),
        ])
    func jwkMembers(algorithm: SigningAlgorithm, names: [String]) throws {
        let jwk = try #require(JSONText.parse(SigningKey.generate(algorithm).publicKey.jwk(keyID: "sig_1")).object)
        #expect(Set(jwk.keys) == Set(names))
        #expect(jwk["use"]?.string == "sig")
        #expect(jwk["alg"]?.string == algorithm.rawValue)
        #expect(jwk["kid"]?.string == "sig_1")
    }

    @Test(
        "AT-08 RSA keys of 2048, 3072 and 4096 bits import as PKCS#8 and as PKCS#1 (RFC 5208, RFC 8017 A.1.2)",
        arguments: [2048, 3072, 4096])
    func importRSA(bits: Int) throws {
        let openssl = try OpenSSLCommand()
        let pkcs8 = try openssl.run("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:\(bits)")
        try openssl.write([UInt8](pkcs8.utf8), to: "key.pem")
        let pkcs1 = try openssl.run("rsa", "-in", "key.pem", "-traditional")
        let publicPEM = try openssl.run("pkey", "-in", "key.pem", "-pubout")
        let publicPKCS1 = try openssl.run("rsa", "-in", "key.pem", "-RSAPublicKey_out")
        #expect(pkcs1.hasPrefix("-----BEGIN RSA PRIVATE KEY-----"))

        let key = try SigningKey(pem: pkcs8)
        #expect(key.algorithm == .rs256)
        #expect(try SigningKey(pem: pkcs1).publicKey == key.publicKey)
        // Whoever checks with the old PUBLIC_KEY_PEM goes on as before.
        #expect(key.publicKey.pem == publicPEM)
        #expect(try VerificationKey(pem: publicPEM) == key.publicKey)
        #expect(try VerificationKey(pem: publicPKCS1) == key.publicKey)
        let signature = try key.sign(message)
        #expect(signature.count == bits / 8)
        #expect(try VerificationKey(pem: publicPEM).isValid(signature, for: message, form: .any))
    }

    @Test(
        "AT-01 the openssl command accepts the signatures of all three algorithms",
        arguments: SigningAlgorithm.allCases)
    func checkedByOpenSSL(algorithm: SigningAlgorithm) throws {
        let openssl = try OpenSSLCommand()
        let key = try SigningKey.generate(algorithm)
        var signature = try key.sign(message)
        if algorithm == .es256 {
            signature = [UInt8](try P256.Signing.ECDSASignature(rawRepresentation: signature).derRepresentation)
        }
        try openssl.write([UInt8](key.publicKey.pem.utf8), to: "public.pem")
        try openssl.write(signature, to: "signature")
        try openssl.write(message, to: "message")
        let arguments = ["-pubin", "-inkey", "public.pem", "-rawin", "-in", "message", "-sigfile", "signature"]
        let digest = algorithm == .eddsa ? [] : ["-digest", "sha256"]
        #expect(try openssl.run(["pkeyutl", "-verify"] + arguments + digest).contains("Verified Successfully"))
    }

    @Test("AT-08 EC and Ed25519 keys made by openssl import (RFC 5915, RFC 8410 §7)")
    func importCurves() throws {
        let openssl = try OpenSSLCommand()
        let sec1 = try openssl.run("ecparam", "-name", "prime256v1", "-genkey")
        #expect(sec1.contains("EC PARAMETERS"))
        #expect(try SigningKey(pem: sec1).algorithm == .es256)
        let pkcs8 = try openssl.run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        #expect(try SigningKey(pem: pkcs8).algorithm == .es256)
        let ed25519 = try openssl.run("genpkey", "-algorithm", "ED25519")
        #expect(try SigningKey(pem: ed25519).algorithm == .eddsa)
    }

    @Test("AT-08 private keys of the wrong kind, length or protection are refused (RFC 8725 §3.5)")
    func refusedPrivateKeys() throws {
        let openssl = try OpenSSLCommand()
        let short = try openssl.run("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024")
        #expect(throws: KeyError.weak) { try SigningKey(pem: short) }
        #expect(throws: KeyError.weak) { try SigningKey.generate(.rs256, rsaBits: 1024) }
        let pss = try openssl.run("genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048")
        #expect(throws: KeyError.unsupported) { try SigningKey(pem: pss) }
        let p384 = try openssl.run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384")
        #expect(throws: KeyError.malformed) { try SigningKey(pem: p384) }
        let ed448 = try openssl.run("genpkey", "-algorithm", "ED448")
        #expect(throws: KeyError.unsupported) { try SigningKey(pem: ed448) }

        let good = try openssl.run("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
        try openssl.write([UInt8](good.utf8), to: "key.pem")
        let encrypted = try openssl.run("pkey", "-in", "key.pem", "-aes256", "-passout", "pass:four")
        #expect(throws: KeyError.encrypted) { try SigningKey(pem: encrypted) }
        let traditional = try openssl.run(
            "rsa", "-in", "key.pem", "-traditional", "-aes256", "-passout", "pass:four")
        #expect(throws: KeyError.encrypted) { try SigningKey(pem: traditional) }
        let publicPEM = try openssl.run("pkey", "-in", "key.pem", "-pubout")
        #expect(throws: KeyError.unsupported) { try SigningKey(pem: publicPEM) }
        #expect(throws: KeyError.unsupported) { try VerificationKey(pem: good) }
        #expect(throws: KeyError.malformed) { try SigningKey(pem: good + good) }
        #expect(throws: KeyError.malformed) { try SigningKey(pem: "") }
        #expect(throws: KeyError.malformed) { try SigningKey(pem: String(good.dropLast(30))) }
        let key = try SigningKey(pem: good)
        #expect(throws: KeyError.malformed) { try SigningKey(pkcs8: key.privateKeyBytes + [0]) }
        #expect(throws: KeyError.malformed) { try SigningKey(pkcs8: Array(key.privateKeyBytes.dropLast())) }
    }

    @Test("K-11 RSA private keys with exponent 1 or another key's modulus are refused (RFC 8725 §3.5)")
    func inconsistentRSA() throws {
        let openssl = try OpenSSLCommand()
        func numbers() throws -> [[UInt8]] {
            let pem = try openssl.run("genrsa", "-traditional", "2048")
            return try DER.pkcs1Numbers(PEMBlock(pem, labels: ["RSA PRIVATE KEY"]).der)
        }
        let numbersOfOne = try numbers()
        #expect(throws: Never.self) { try SigningKey(pem: DER.pkcs1PEM(numbersOfOne)) }
        var exponentOne = numbersOfOne
        exponentOne[2] = [1]
        exponentOne[3] = [1]
        #expect(throws: KeyError.weak) { try SigningKey(pem: DER.pkcs1PEM(exponentOne)) }
        var exponentThree = numbersOfOne
        exponentThree[2] = [3]
        #expect(throws: KeyError.weak) { try SigningKey(pem: DER.pkcs1PEM(exponentThree)) }
        var foreignModulus = numbersOfOne
        foreignModulus[1] = try numbers()[1]
        #expect(throws: KeyError.self) { try SigningKey(pem: DER.pkcs1PEM(foreignModulus)) }
        // Signs correctly by way of its factors; only the thorough check sees that d is not what it should be.
        var wrongExponent = numbersOfOne
        wrongExponent[3][wrongExponent[3].count - 1] ^= 2
        #expect(throws: KeyError.inconsistent) { try SigningKey(pem: DER.pkcs1PEM(wrongExponent)) }
    }

    @Test("K-11 public keys off the curve, of small order or with weak RSA numbers are refused (RFC 8725 §3.4)")
    func refusedPublicKeys() throws {
        guard case .ec(let x, var y) = try SigningKey.generate(.es256).publicKey.members,
            case .rsa(let modulus, let exponent) = try SigningKey.generate(.rs256).publicKey.members
        else { return #expect(Bool(false)) }
        y[31] ^= 1
        #expect(throws: KeyError.inconsistent) { try VerificationKey(.ec(x: x, y: y)) }
        let zeros = [UInt8](repeating: 0, count: 32)
        #expect(throws: KeyError.inconsistent) { try VerificationKey(.ec(x: zeros, y: zeros)) }
        #expect(throws: KeyError.malformed) { try VerificationKey(.ec(x: Array(x.dropLast()), y: y)) }
        let offCurve = PEMBlock.encode(
            label: "PUBLIC KEY", der: hex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + [4] + x + y)
        #expect(throws: KeyError.inconsistent) { try VerificationKey(pem: offCurve) }

        for weak in [[1], [3], [0x01, 0x00, 0x00], [0x02, 0, 0, 0, 1], [1, 0, 0, 0, 0, 1]] as [[UInt8]] {
            #expect(throws: KeyError.weak) { try VerificationKey(.rsa(modulus: modulus, exponent: weak)) }
        }
        #expect(throws: KeyError.weak) {
            try VerificationKey(.rsa(modulus: [UInt8](modulus.prefix(127)) + [1], exponent: exponent))
        }
        #expect(throws: KeyError.weak) {
            try VerificationKey(.rsa(modulus: modulus.dropLast() + [modulus[255] ^ 1], exponent: exponent))
        }
        #expect(throws: KeyError.malformed) { try VerificationKey(.rsa(modulus: [0] + modulus, exponent: exponent)) }

        for sign in [0x00, 0x80] as [UInt8] {
            for var point in [
                hex("0000000000000000000000000000000000000000000000000000000000000000"),
                hex("0100000000000000000000000000000000000000000000000000000000000000"),
                hex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
                hex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
                hex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
                hex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
                hex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
            ] {
                point[31] |= sign
                #expect(throws: KeyError.weak) { try VerificationKey(.okp(x: point)) }
            }
        }
    }

    @Test("MD-10 a JWK with private members, or of another use, is refused (RFC 7517 §9.3)")
    func refusedJWKs() throws {
        let jwk = try #require(JSONText.parse(SigningKey.generate(.es256).publicKey.jwk(keyID: "k")).object)
            .compactMapValues(\.string)
        func changed(_ name: String, _ value: String?) -> [String: String] {
            var copy = jwk
            copy[name] = value
            return copy
        }
        #expect(throws: KeyError.malformed) { try VerificationKey(jwk: changed("d", "AQ")) }
        #expect(throws: KeyError.malformed) { try VerificationKey(jwk: changed("x", nil)) }
        #expect(throws: KeyError.malformed) { try VerificationKey(jwk: changed("x", "not base64url!")) }
        #expect(throws: KeyError.unsupported) { try VerificationKey(jwk: changed("use", "enc")) }
        #expect(throws: KeyError.unsupported) { try VerificationKey(jwk: changed("alg", "RS256")) }
        #expect(throws: KeyError.unsupported) { try VerificationKey(jwk: changed("crv", "P-384")) }
        #expect(throws: KeyError.malformed) { try VerificationKey(jwk: ["kty": "oct", "k": "AAAA"]) }
    }

    @Test("AT-01 one RSA key signs for 32 tasks at once")
    func concurrentSigning() async throws {
        let key = try SigningKey.generate(.rs256)
        let expected = try key.sign(message)
        let valid = try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<32 {
                group.addTask {
                    var valid = 0
                    // PKCS#1 v1.5 is deterministic: any disturbance would show in the bytes.
                    for _ in 0..<20 where try key.sign(message) == expected { valid += 1 }
                    return valid
                }
            }
            return try await group.reduce(0, +)
        }
        #expect(valid == 640)
        #expect(key.publicKey.isValid(expected, for: message, form: .unique))
    }

    @Test("K-11 ES256 signatures always have the lower s, so a token has one spelling")
    func lowS() throws {
        let key = try SigningKey.generate(.es256)
        for number in 0..<64 {
            let message = [UInt8("\(number)".utf8.count)] + [UInt8]("\(number)".utf8)
            let signature = try key.sign(message)
            #expect(!LowS.isHigh(signature[32...]))
            #expect(key.publicKey.isValid(signature, for: message, form: .unique))
        }
    }
}
