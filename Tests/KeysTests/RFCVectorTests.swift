import Crypto
import Testing

@testable import Keys

@Suite struct RFCVectorTests {
    @Test("MD-10 the thumbprint of the RFC's RSA key is the RFC's (RFC 7638 §3.1)")
    func rsaThumbprint() throws {
        let modulus = """
            0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs\
            tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5haj\
            rn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw
            """
        let key = try VerificationKey(
            jwk: ["kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"])
        #expect(key.thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")
    }

    private static let rs256Key = [
        "kty": "RSA", "e": "AQAB",
        "n": """
        ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNM\
        sD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtd\
        VMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ
        """,
    ]
    private static let rs256Token = """
        eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
        .cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dn\
        ZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-e\
        OkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw
        """

    @Test("AT-01 the RFC's RS256 token verifies, and no altered one does (RFC 7515 A.2)")
    func rs256() throws {
        let key = try VerificationKey(jwk: Self.rs256Key)
        let jws = try CompactJWS.parse(Self.rs256Token, expecting: [.rs256])
        #expect(jws.isSigned(by: key, form: .any))
        #expect(jws.isSigned(by: key, form: .unique))
        #expect(jws.claims?["iss"]?.string == "joe")
        #expect(jws.claims?["exp"]?.integer == 1_300_819_380)
        var altered = jws.signature
        altered[100] ^= 1
        #expect(!key.isValid(altered, for: jws.signingInput, form: .any))
        #expect(!key.isValid(jws.signature + [0], for: jws.signingInput, form: .any))
        #expect(!key.isValid(jws.signature, for: jws.signingInput + [0], form: .any))
    }

    @Test("K-11 the RFC's ES256 token verifies, but its high s is not our form (RFC 7515 A.3)")
    func es256() throws {
        let key = try VerificationKey(jwk: [
            "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        ])
        let jws = try CompactJWS.parse(
            """
            eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
            .DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q
            """, expecting: [.es256])
        #expect(jws.isSigned(by: key, form: .any))
        #expect(!jws.isSigned(by: key, form: .unique))
        let lowered = LowS.normalized(jws.signature)
        #expect(key.isValid(lowered, for: jws.signingInput, form: .unique))
    }

    @Test("AT-01 the RFC's Ed25519 key has the RFC's thumbprint and verifies its token (RFC 8037 A.2–A.4)")
    func ed25519() throws {
        let key = try VerificationKey(jwk: [
            "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        ])
        #expect(key.thumbprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")
        let token = """
            eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc\
            .hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg
            """
        let jws = try CompactJWS.parse(token, expecting: [.eddsa])
        #expect(jws.isSigned(by: key, form: .unique))
        #expect(String(decoding: jws.payload, as: UTF8.self) == "Example of Ed25519 signing")

        // The signature is deterministic, so signing gives the RFC's token again.
        let seed = try base64URL("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
        let signer = try SigningKey(pkcs8: hex("302e020100300506032b657004220420") + seed)
        #expect(signer.publicKey == key)
        #expect(
            try CompactJWS.sign(header: [UInt8]("eyJhbGciOiJFZERTQSJ9".utf8), payload: jws.payload, key: signer)
                == token)
    }

    @Test("AT-08 sealing is AES-256-GCM: test case 16 of its authors comes out (SP 800-38D)")
    func gcmKnownAnswer() throws {
        let key = SymmetricKey(data: hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"))
        let plaintext = hex(
            """
            d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
            1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39
            """)
        let header = hex("feedfacedeadbeef")
        let context = hex("feedfacedeadbeefabaddad2")
        let sealed = try Envelope.seal(
            plaintext, under: key, header: header, context: context,
            random: RandomBytes { _ in hex("cafebabefacedbaddecaf888") })
        #expect(
            sealed
                == header
                + hex(
                    """
                    cafebabefacedbaddecaf888\
                    522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                    8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662\
                    76fc6ece0f4e1768cddf8853bb2d551b
                    """))
        #expect(try Envelope.open(sealed, headerLength: 8, under: key, context: context) == plaintext)
    }
}
