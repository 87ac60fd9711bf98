import Crypto
import Foundation
import HummingbirdTesting
import Keys
import Postgres
import Tenancy
import TestSupport
import Testing

@testable import API
@testable import ControlPlane

/// What an attacker sends who knows the public key, the shape of our tokens, and sometimes even has something signed by the
/// right key. The answer is always the same.
@Suite(.tags(.token)) struct ForgedTokenTests {
    private static func encode(_ text: String) -> String { Base64URL.encode([UInt8](text.utf8)) }

    /// Asks about each; a right token of the same world before and after shows that nothing else refuses them.
    private static func refuse(_ forge: (TokenFixture) throws -> [(String, String)]) async throws {
        let world = try await TokenFixture.make()
        let right = try world.sign(world.claims())
        let forged = try forge(world)
        try await TestServices.live.get().test { http in
            for (name, token) in [("right", right)] + forged + [("right", right)] {
                let reply = try await world.introspect(token, http)
                #expect(reply.status == 200)
                if name == "right" {
                    #expect(reply.members["active"] == .bool(true))
                } else {
                    #expect(reply.text == TokenFixture.inactive, "\(name)")
                }
            }
        }
    }

    @Test("K-07 no algorithm, by whatever spelling, is no signature (RFC 8725 §3.1)")
    func unsigned() async throws {
        try await Self.refuse { world in
            let right = try world.sign(world.claims())
            let signature = String(right.split(separator: ".")[2])
            var forged: [(String, String)] = []
            for name in ["none", "None", "nOnE", "NONE", "", "HS256", "ES384", "PS256", "es256"] {
                let header = Self.encode(#"{"alg":"\#(name)","kid":"\#(world.kid)","typ":"at+jwt"}"#)
                for end in ["", signature, "AAAA"] {
                    forged.append(("\(name) \(end.prefix(4))", "\(header).\(Self.encode(world.claims())).\(end)"))
                }
            }
            let parts = right.split(separator: ".")
            forged.append(("signature left out", "\(parts[0]).\(parts[1])."))
            forged.append(("signature of another", "\(parts[0]).\(Self.encode(world.claims())).\(signature)"))
            return forged
        }
    }

    @Test("K-08 the public key is no secret, and another key's algorithm is not ours (RFC 8725 §3.1)")
    func confusion() async throws {
        try await Self.refuse { world in
            let claims = Self.encode(world.claims())
            var forged: [(String, String)] = []
            for (name, material) in [
                ("PEM", [UInt8](world.key.publicKey.pem.utf8)),
                ("JWK", world.key.publicKey.jwk(keyID: world.kid)),
            ] {
                let input = Self.encode(#"{"alg":"HS256","kid":"\#(world.kid)","typ":"at+jwt"}"#) + "." + claims
                let mac = HMAC<SHA256>.authenticationCode(for: [UInt8](input.utf8), using: SymmetricKey(data: material))
                forged.append((name, "\(input).\(Base64URL.encode([UInt8](mac)))"))
            }
            for algorithm in SigningAlgorithm.allCases {
                let own = try SigningKey.generate(algorithm)
                for kid in [world.kid, own.publicKey.thumbprint] {
                    let header = #"{"alg":"\#(algorithm.rawValue)","kid":"\#(kid)","typ":"at+jwt"}"#
                    forged.append(("own \(algorithm)", try world.sign(world.claims(), header: header, by: own)))
                }
            }
            forged.append(
                (
                    "renamed",
                    try world.sign(world.claims(), header: #"{"alg":"RS256","kid":"\#(world.kid)","typ":"at+jwt"}"#)
                ))
            return forged
        }
    }

    @Test("K-09 a kid chooses among the issuer's keys and nothing else (RFC 8725 §3.10)")
    func keyIDs() async throws {
        let foreign = try await TokenFixture.make()
        try await Self.refuse { world in
            try [
                "../../dev/null", "' OR 1=1 --", "https://evil.example/key", String(repeating: "k", count: 10_240), "",
                foreign.kid, "\(world.kid) ", world.kid.uppercased(),
            ].map { kid in
                (kid, try world.sign(world.claims(), header: #"{"alg":"ES256","kid":"\#(kid)","typ":"at+jwt"}"#))
            } + [
                ("missing", try world.sign(world.claims(), header: #"{"alg":"ES256","typ":"at+jwt"}"#)),
                ("no text", try world.sign(world.claims(), header: #"{"alg":"ES256","kid":1,"typ":"at+jwt"}"#)),
                (
                    "another tenant's key",
                    try world.sign(
                        world.claims(), header: #"{"alg":"ES256","kid":"\#(foreign.kid)","typ":"at+jwt"}"#,
                        by: foreign.key)
                ),
            ]
        }
    }

    @Test("K-10 a key that the token brings along is not looked at (RFC 8725 §3.10)")
    func broughtKeys() async throws {
        try await Self.refuse { world in
            let own = try SigningKey.generate(.es256)
            let jwk = String(decoding: own.publicKey.jwk(keyID: world.kid), as: UTF8.self)
            return try [
                #""jwk":\#(jwk)"#, #""jku":"http://127.0.0.1:9/keys""#, #""x5u":"http://127.0.0.1:9/chain""#,
                #""x5c":["MIIB"]"#,
            ].map { member in
                let header = #"{"alg":"ES256","kid":"\#(world.kid)","typ":"at+jwt",\#(member)}"#
                return (member, try world.sign(world.claims(), header: header, by: own))
            }
        }
    }

    @Test("K-11 a signature has one form: raw, its lower half, and not zero (RFC 7518 §3.4)")
    func signatures() async throws {
        try await Self.refuse { world in
            let parts = try world.sign(world.claims()).split(separator: ".").map(String.init)
            let raw = try #require(Base64URL.decode(parts[2]))
            let der = try P256.Signing.ECDSASignature(rawRepresentation: raw).derRepresentation
            let malleated = Self.otherHalf(raw)
            let key = try P256.Signing.PublicKey(pemRepresentation: world.key.publicKey.pem)
            let input = [UInt8]("\(parts[0]).\(parts[1])".utf8)
            #expect(
                key.isValidSignature(try P256.Signing.ECDSASignature(rawRepresentation: malleated), for: input),
                "another verifier would take it")
            return [
                ("zero", [UInt8](repeating: 0, count: 64)), ("DER", [UInt8](der)), ("the other half", malleated),
                ("short", Array(raw.dropLast())), ("long", raw + [0]), ("r alone", Array(raw[..<32])),
                ("swapped", Array(raw[32...] + raw[..<32])),
            ].map { ($0.0, "\(parts[0]).\(parts[1]).\(Base64URL.encode($0.1))") }
        }
    }

    /// r ‖ n − s, which every other verifier of P-256 takes too.
    private static func otherHalf(_ signature: [UInt8]) -> [UInt8] {
        let order: [UInt8] = [
            0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
            0xBC, 0xE6, 0xFA, 0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
        ]
        var result = signature
        var borrow = 0
        for index in stride(from: 31, through: 0, by: -1) {
            var digit = Int(order[index]) - Int(signature[32 + index]) - borrow
            borrow = digit < 0 ? 1 : 0
            if digit < 0 { digit += 256 }
            result[32 + index] = UInt8(digit)
        }
        return result
    }

    @Test("K-12 what two readers could read in two ways is no token, even signed by the right key (RFC 8725 §2.7)")
    func ambiguous() async throws {
        try await Self.refuse { world in
            let right = world.claims()
            let open = right.dropLast()
            let nested = String(repeating: "[", count: 2000) + String(repeating: "]", count: 2000)
            let later = "\(Int(Date().timeIntervalSince1970) + 600)"
            let payloads: [(String, String)] = [
                ("twice", "\(open),\"aud\":\"\(world.resource.uri)\"}"),
                ("twice, escaped", "\(open),\"\\u0061ud\":\"x\"}"),
                ("trailing", "\(right)x"), ("second object", "\(right){}"), ("leading space", " \(right)"),
                ("array", "[\(right)]"), ("deep", "\(open),\"x\":\(nested)}"), ("empty", "{}"), ("nothing", ""),
                ("exp as text", world.claims(["exp": "\"\(later)\""])),
                ("exp as fraction", world.claims(["exp": "\(later).5"])),
                ("exp beyond numbers", world.claims(["exp": "1e400"])),
                ("exp with exponent", world.claims(["exp": "2e9"])),
                ("exp negative", world.claims(["exp": "-1"])), ("exp missing", world.claims(["exp": nil])),
                ("exp null", world.claims(["exp": "null"])), ("iat missing", world.claims(["iat": nil])),
                ("nbf missing", world.claims(["nbf": nil])), ("jti missing", world.claims(["jti": nil])),
                ("jti of another kind", world.claims(["jti": "\"\(world.user)\""])),
                ("sub missing", world.claims(["sub": nil])), ("sub empty", world.claims(["sub": "\"\""])),
                ("client missing", world.claims(["client_id": nil])),
                ("scope as array", world.claims(["scope": "[\"read\"]"])),
                ("grant of another kind", world.claims(["grant_id": "\"\(world.user)\""])),
                ("grant null", world.claims(["grant_id": "null"])),
                ("cnf of another form", world.claims(["cnf": "{}"])),
                ("answers for itself", world.claims(["active": "true"])),
            ]
            let headers = [
                #"{"alg":"ES256","alg":"ES256","kid":"\#(world.kid)","typ":"at+jwt"}"#,
                #"{"alg":"ES256","kid":"\#(world.kid)","typ":"at+jwt","crit":["exp"],"exp":1}"#,
            ]
            var forged = try payloads.map { ($0.0, try world.sign($0.1)) }
            forged += try headers.map { ($0, try world.sign(right, header: $0)) }
            let token = try world.sign(right)
            forged += [
                ("five parts", "\(token).AAAA.AAAA"), ("padded", "\(token)="), ("space", " \(token)"),
                ("newline", "\(token)\n"), ("JSON form", #"{"payload":"x","signatures":[]}"#),
                ("long", String(repeating: "A", count: 60_000)),
            ]
            return forged
        }
    }

    @Test("K-14 BR-02 a token is over when it is over, and not valid before it is (RFC 7519 §4.1.4, §4.1.5)")
    func times() async throws {
        try await Self.refuse { world in
            let now = Int(Date().timeIntervalSince1970)
            return try [
                ("over for a second", ["exp": "\(now - 1)", "iat": "\(now - 600)", "nbf": "\(now - 600)"]),
                ("over now", ["exp": "\(now)", "iat": "\(now - 600)", "nbf": "\(now - 600)"]),
                ("not yet", ["nbf": "\(now + 61)"]),
                ("from the future", ["iat": "\(now + 61)", "exp": "\(now + 7200)"]),
                ("from far in the future", ["iat": "\(now + 1_000_000)", "exp": "\(now + 2_000_000)"]),
                ("over before it began", ["iat": "\(now + 3)", "exp": "\(now + 2)"]),
            ].map { ($0.0, try world.sign(world.claims($0.1.mapValues { .some($0) }))) }
        }
    }

    @Test("K-13 what is right and remembered is forgotten with its time and its key", .timeLimit(.minutes(1)))
    func remembered() async throws {
        let world = try await TokenFixture.make()
        let now = Int(Date().timeIntervalSince1970)
        let brief = try world.sign(world.claims(["exp": "\(now + 3)"]))
        let lasting = try world.sign(world.claims())
        let database = try TestDatabase.open()
        try await TestServices.live.get().test { http in
            for token in [brief, lasting] {
                #expect(try await world.introspect(token, http).members["active"] == .bool(true))
            }
            let id = world.organization.id
            try await database.transaction(id) { transaction in
                try await transaction.query(
                    """
                    UPDATE signing_key SET status = 'retired', retired_at = now() - interval '2 hours'
                     WHERE organization_id = \(id)
                    """)
                try await OrganizationStore(database: database).bumpEpoch(of: id, in: transaction)
            }
            #expect(try await world.introspect(lasting, http).text == TokenFixture.inactive)
            try await database.transaction(id) { transaction in
                try await transaction.query(
                    "UPDATE signing_key SET status = 'active', retired_at = NULL WHERE organization_id = \(id)")
                try await OrganizationStore(database: database).bumpEpoch(of: id, in: transaction)
            }
            #expect(try await world.introspect(lasting, http).members["active"] == .bool(true))
            try await Task.sleep(
                until: .now + .milliseconds(max(0, (now + 3) * 1000 - Int(Date().timeIntervalSince1970 * 1000)) + 50))
            #expect(try await world.introspect(brief, http).text == TokenFixture.inactive)
        }
    }
}
