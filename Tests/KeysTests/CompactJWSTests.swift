import Crypto
import Testing

@testable import Keys

@Suite struct CompactJWSTests {
    private static let all = Set(SigningAlgorithm.allCases)

    private static func encode(_ text: String) -> String {
        Base64URL.encode([UInt8](text.utf8))
    }

    @Test(
        "AT-01 a token has alg, kid and typ and verifies only under its own key (RFC 9068 §2.1)",
        arguments: SigningAlgorithm.allCases)
    func signAndParse(algorithm: SigningAlgorithm) throws {
        let key = try SigningKey.generate(algorithm)
        let signer = JWSSigner(key: key, keyID: "sig_1", type: "at+jwt")
        let token = try signer.sign(JSONWriter.object { $0.string("sub", "usr_1") })
        let jws = try CompactJWS.parse(token, expecting: [algorithm])
        #expect(jws.algorithm == algorithm && jws.keyID == "sig_1" && jws.type == "at+jwt")
        #expect(jws.header.count == 3)
        #expect(jws.claims == ["sub": .string("usr_1")])
        #expect(jws.isSigned(by: key.publicKey, form: .unique))
        for other in SigningAlgorithm.allCases {
            #expect(!jws.isSigned(by: try SigningKey.generate(other).publicKey, form: .any))
        }
    }

    @Test(
        "K-07 an algorithm that is not expected is refused, whatever it is called (RFC 8725 §3.1)",
        arguments: [
            "none", "None", "nOnE", "NONE", "", "HS256", "HS384", "HS512", "ES384", "PS256", "es256", "RS256", "EdDSA",
        ])
    func unexpectedAlgorithm(name: String) {
        for signature in ["", "AAAA"] {
            let token = Self.encode(#"{"alg":"\#(name)"}"#) + "." + Self.encode("{}") + "." + signature
            #expect(throws: CompactJWS.ParseError.self) { try CompactJWS.parse(token, expecting: [.es256]) }
        }
        let unsigned = Self.encode(#"{"alg":"\#(name)"}"#) + "." + Self.encode("{}") + ".AAAA"
        #expect(throws: CompactJWS.ParseError.unexpectedAlgorithm) {
            try CompactJWS.parse(unsigned, expecting: [.es256])
        }
    }

    @Test("K-08 a public RSA key never serves as an HMAC secret, nor under another algorithm's name (RFC 8725 §3.1)")
    func algorithmConfusion() throws {
        let rsa = try SigningKey.generate(.rs256)
        let input = Self.encode(#"{"alg":"HS256","kid":"k"}"#) + "." + Self.encode("{}")
        let secret = SymmetricKey(data: [UInt8](rsa.publicKey.pem.utf8))
        let mac = [UInt8](HMAC<SHA256>.authenticationCode(for: [UInt8](input.utf8), using: secret))
        #expect(throws: CompactJWS.ParseError.unexpectedAlgorithm) {
            try CompactJWS.parse(input + "." + Base64URL.encode(mac), expecting: Self.all)
        }
        // The RSA key's true signature over a header that says ES256.
        let renamed = try CompactJWS.sign(
            header: [UInt8](Self.encode(#"{"alg":"ES256"}"#).utf8), payload: [UInt8]("{}".utf8), key: rsa)
        let jws = try CompactJWS.parse(renamed, expecting: Self.all)
        #expect(!jws.isSigned(by: rsa.publicKey, form: .any))
    }

    @Test(
        "K-12 whatever is not exactly a compact JWS is refused (RFC 7515 §5.2)",
        arguments: [
            "", ".", "..", "...", "a.b", "a.b.c", "A.A.A",
            "{H}.{P}", "{H}.{P}.", "{H}..{S}.", ".{P}.{S}", "{H}.{P}.{S}.{S}", "{H}.{P}.{S}.", ".{H}.{P}.{S}",
            "{H}=.{P}.{S}", "{H}.{P}==.{S}", "{H}.{P}.{S}=", " {H}.{P}.{S}", "{H}.{P}.{S}\n", "{H}. {P}.{S}",
            "{H}.{P}.{S}\0", "{H}.{P}.+/+/", "{H}.{P}.é", "{H}.{P}.AAAAB", "{H}.{P}.AB", "{H}.{P}.AAB",
        ])
    func malformedForms(pattern: String) {
        let token =
            pattern
            .replacing("{H}", with: Self.encode(#"{"alg":"ES256"}"#))
            .replacing("{P}", with: Self.encode(#"{"a":1}"#))
            .replacing("{S}", with: Base64URL.encode([UInt8](repeating: 1, count: 64)))
        #expect(throws: CompactJWS.ParseError.malformed) { try CompactJWS.parse(token, expecting: [.es256]) }
    }

    @Test(
        "K-12 a header that two readers could understand differently is refused (RFC 7515 §4, §5.2)",
        arguments: [
            #"{"alg":"ES256","alg":"ES256"}"#, #"{"alg":"none","alg":"ES256"}"#, #"{"alg":"ES256","\u0061lg":"none"}"#,
            #"{"alg":"ES256","x":{"a":1,"a":2}}"#, #"{"alg":"ES256"}{}"#, #"{"alg":"ES256"} x"#, #"["ES256"]"#,
            #""ES256""#, "ES256", "{", #"{"alg":"ES256""#, #"{"alg":"ES256",}"#, #"{'alg':'ES256'}"#, #"{alg:"ES256"}"#,
            #"{"alg":"ES256","kid":1}"#, #"{"alg":"ES256","kid":null}"#, #"{"alg":"ES256","typ":["at+jwt"]}"#,
            #"{"alg":"ES256","a":01}"#, #"{"alg":"ES256","a":"\ud800"}"#, "{\"alg\":\"ES256\",\"a\":\"\u{1}\"}",
            "\u{FEFF}{\"alg\":\"ES256\"}",
            #"{"alg":"ES256","a":"# + String(repeating: "[", count: 500) + String(repeating: "]", count: 500) + "}",
        ])
    func malformedHeaders(header: String) {
        let token = Self.encode(header) + "." + Self.encode("{}") + ".AAAA"
        #expect(throws: CompactJWS.ParseError.malformed) { try CompactJWS.parse(token, expecting: [.es256]) }
    }

    @Test("K-12 a header with bytes that are no UTF-8 is refused (RFC 7515 §5.2)")
    func invalidUTF8() {
        let header = [UInt8](#"{"alg":"ES256","a":""#.utf8) + [0xFF] + [UInt8](#""}"#.utf8)
        let token = Base64URL.encode(header) + "." + Self.encode("{}") + ".AAAA"
        #expect(throws: CompactJWS.ParseError.malformed) { try CompactJWS.parse(token, expecting: [.es256]) }
    }

    @Test("K-12 an absent alg and any crit are refused (RFC 7515 §4.1.1, §4.1.11)")
    func requiredAndCriticalMembers() {
        for header in [#"{"kid":"k"}"#, #"{"alg":null}"#, #"{"alg":["ES256"]}"#, #"{"alg":{"ES256":1}}"#] {
            #expect(throws: CompactJWS.ParseError.unexpectedAlgorithm) {
                try CompactJWS.parse(Self.encode(header) + "." + Self.encode("{}") + ".AAAA", expecting: Self.all)
            }
        }
        for critical in [#"["b64"]"#, "[]", "null", #"["exp"]"#] {
            let header = #"{"alg":"ES256","b64":false,"crit":\#(critical)}"#
            #expect(throws: CompactJWS.ParseError.criticalExtension) {
                try CompactJWS.parse(Self.encode(header) + "." + Self.encode("{}") + ".AAAA", expecting: Self.all)
            }
        }
    }

    @Test("K-12 a text longer than its bound is refused unread")
    func oversize() throws {
        let signer = JWSSigner(key: try SigningKey.generate(.es256), keyID: "k", type: "at+jwt")
        let token = try signer.sign([UInt8](repeating: UInt8(ascii: " "), count: 5900))
        #expect(token.utf8.count <= CompactJWS.defaultMaximumBytes)
        #expect(throws: Never.self) { try CompactJWS.parse(token, expecting: [.es256]) }
        let longer = try signer.sign([UInt8](repeating: UInt8(ascii: " "), count: 6200))
        #expect(throws: CompactJWS.ParseError.tooLong) { try CompactJWS.parse(longer, expecting: [.es256]) }
        #expect(throws: Never.self) { try CompactJWS.parse(longer, expecting: [.es256], maximumBytes: 9000) }
    }

    @Test("K-10 a key in the header is not looked at (RFC 8725 §3.10)")
    func embeddedKey() throws {
        let attacker = try SigningKey.generate(.es256)
        let jwk = String(decoding: attacker.publicKey.jwk(keyID: "k"), as: UTF8.self)
        let header = #"{"alg":"ES256","kid":"k","jwk":\#(jwk),"jku":"https://attacker.example/keys"}"#
        let token = try CompactJWS.sign(
            header: [UInt8](Self.encode(header).utf8), payload: [UInt8]("{}".utf8), key: attacker)
        let jws = try CompactJWS.parse(token, expecting: [.es256])
        #expect(!jws.isSigned(by: try SigningKey.generate(.es256).publicKey, form: .any))
    }

    @Test("K-11 ECDSA signatures in DER, of zeros, out of range or with the other s are refused (RFC 7518 §3.4)")
    func ecdsaForms() throws {
        let key = try SigningKey.generate(.es256)
        let message = [UInt8]("message".utf8)
        let signature = try key.sign(message)
        let order = hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
        let zeros = [UInt8](repeating: 0, count: 32)
        let ones = [UInt8](repeating: 0xFF, count: 32)
        let r = Array(signature[..<32])
        let s = Array(signature[32...])
        let der = [UInt8](try P256.Signing.ECDSASignature(rawRepresentation: signature).derRepresentation)
        for forged in [
            der, zeros + zeros, r + zeros, zeros + s, order + order, r + order, ones + ones, s + r, [], [0] + signature,
            signature + [0], Array(signature.dropLast()),
        ] {
            #expect(!key.publicKey.isValid(forged, for: message, form: .any))
            #expect(!key.publicKey.isValid(forged, for: message, form: .unique))
        }
        // n − s, computed by hand: valid by the standard, but not a form of ours.
        var other = [UInt8](repeating: 0, count: 32)
        var borrow = 0
        for index in stride(from: 31, through: 0, by: -1) {
            let difference = Int(order[index]) - Int(s[index]) - borrow
            borrow = difference < 0 ? 1 : 0
            other[index] = UInt8((difference + 256) % 256)
        }
        #expect(key.publicKey.isValid(r + other, for: message, form: .any))
        #expect(!key.publicKey.isValid(r + other, for: message, form: .unique))
        #expect(LowS.normalized(r + other) == signature)
    }

    @Test("K-11 altered Ed25519 and RSA signatures, and an s beyond the order, are refused (RFC 8032 §5.1.7)")
    func otherForms() throws {
        let message = [UInt8]("message".utf8)
        let ed = try SigningKey.generate(.eddsa)
        let signature = try ed.sign(message)
        // s + L, little-endian: the second spelling that RFC 8032 forbids.
        let order = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
        var moved = signature
        var carry = 0
        for index in 0..<32 {
            let sum = Int(signature[32 + index]) + Int(order[index]) + carry
            moved[32 + index] = UInt8(sum % 256)
            carry = sum / 256
        }
        #expect(!ed.publicKey.isValid(moved, for: message, form: .any))
        #expect(!ed.publicKey.isValid([UInt8](repeating: 0, count: 64), for: message, form: .any))
        #expect(!ed.publicKey.isValid([], for: message, form: .any))
        let rsa = try SigningKey.generate(.rs256)
        for forged in [[], [0], [UInt8](repeating: 0, count: 256), [UInt8](repeating: 0xFF, count: 256)] as [[UInt8]] {
            #expect(!rsa.publicKey.isValid(forged, for: message, form: .any))
        }
    }

    @Test(
        "K-12 time claims spelt as text, fraction, exponent or beyond 64 bits are no integers",
        arguments: [#""1300819380""#, "1.5", "1e300", "1E3", "99999999999999999999", "true", "null", "[1]", "-1"])
    func timeClaims(spelling: String) throws {
        let token = Self.encode(#"{"alg":"ES256"}"#) + "." + Self.encode(#"{"exp":\#(spelling)}"#) + ".AAAA"
        let claims = try #require(CompactJWS.parse(token, expecting: [.es256]).claims)
        #expect(claims["exp"]?.integer == (spelling == "-1" ? -1 : nil))
    }

    @Test(
        "K-12 a payload with repeated members or behind an object has no claims (RFC 7519 §4)",
        arguments: [#"{"sub":"a","sub":"b"}"#, #"{"sub":"a"}{"sub":"b"}"#, #"[{"sub":"a"}]"#, "", "null"])
    func payloads(payload: String) throws {
        let token = Self.encode(#"{"alg":"ES256"}"#) + "." + Self.encode(payload) + ".AAAA"
        #expect(try CompactJWS.parse(token, expecting: [.es256]).claims == nil)
    }
}
