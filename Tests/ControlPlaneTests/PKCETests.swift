import ControlPlane
import Foundation
import Keys
import Tenancy
import Testing

@Suite("PKCE")
struct PKCETests {
    @Test("PK-04 the RFC's verifier matches its challenge (RFC 7636 appendix B)")
    func vector() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        #expect(PKCE.matches(verifier: verifier, challenge: challenge))
        #expect(!PKCE.matches(verifier: verifier + "a", challenge: challenge))
        #expect(!PKCE.matches(verifier: challenge, challenge: challenge))
    }

    @Test(
        "PK-03 a challenge is 43 characters of base64url",
        arguments: [
            (43, true), (42, false), (44, false), (129, false), (0, false),
        ])
    func challengeLength(count: Int, isValid: Bool) {
        #expect(PKCE.isChallenge(String(repeating: "A", count: count)) == isValid)
    }

    @Test("PK-03 no padding, no other alphabet", arguments: ["=", "+", "/", " ", "\u{e9}", "~"])
    func challengeAlphabet(character: String) {
        #expect(!PKCE.isChallenge(String(repeating: "A", count: 42) + character))
    }

    @Test(
        "PK-04 a verifier has 43 to 128 unreserved characters",
        arguments: [(42, false), (43, true), (128, true), (129, false)])
    func verifierLength(count: Int, isValid: Bool) {
        #expect(PKCE.isVerifier(String(repeating: "~", count: count)) == isValid)
    }
}

@Suite("Refresh tokens and codes as text")
struct TokenTextTests {
    private let organization = OrganizationID.make(at: Date(), .system)
    private let grant = GrantID.make(at: Date(), .system)

    @Test("a refresh token reads back, and its successor opens only with it")
    func refreshToken() throws {
        let first = RefreshToken(organization: organization, grant: grant, .system)
        let read = try #require(RefreshToken(first.secret))
        #expect(read.organization == organization)
        #expect(read.grant == grant)
        #expect(read.generation == 1)
        #expect(read.digest == first.digest)
        let second = first.successor(.system)
        #expect(second.generation == 2)
        #expect(second.familyDigest == first.familyDigest)
        #expect(second.digest != first.digest)
        let sealed = try first.seal(second, .system)
        #expect(try first.successor(sealed: sealed).digest == second.digest)
        #expect(throws: SealError.self) { try second.successor(sealed: sealed) }
    }

    @Test(
        "K-04 nothing else is a refresh token or a code",
        arguments: ["", "gr_", "gc_", "gr_AAAA", "eyJhbGciOiJub25lIn0..", "\u{0}"])
    func malformed(text: String) {
        #expect(RefreshToken(Secret(text)) == nil)
        #expect(AuthorizationCode(text) == nil)
    }

    @Test("AZ-16 a thousand codes share no pattern but their route")
    func entropy() {
        let tag = Base64URL.encode(RandomBytes.system.generate(16))
        let codes = (0..<1000).map { _ in AuthorizationCode(organization: organization, tag: tag, .system) }
        #expect(Set(codes.map(\.secret.revealed)).count == 1000)
        #expect(codes.allSatisfy { AuthorizationCode($0.secret.revealed)?.tag == tag })
        #expect(codes.allSatisfy { AuthorizationCode($0.secret.revealed)?.organization == organization })
    }
}
