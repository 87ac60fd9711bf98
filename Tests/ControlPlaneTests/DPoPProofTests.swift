import Foundation
import Keys
import TestSupport
import Testing

@testable import ControlPlane

@Suite("Proofs of possession", .tags(.token))
struct DPoPProofTests {
    /// RFC 9449 §4.1 and §5.
    private static let vector = (
        text:
            "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa"
            + "0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6Il"
            + "AtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY2"
            + "9tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FN"
            + "yJK70nfbV37xRZT3Lg",
        url: "https://server.example.com/token",
        thumbprint: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
    )

    private func proof(
        _ text: String = Self.vector.text, method: String = "POST", url: String = Self.vector.url,
        accessToken: String? = nil
    ) throws(OAuthError) -> DPoPProof {
        try DPoPProof(text, of: DPoPProof.Subject(method: method, url: url, accessToken: accessToken))
    }

    @Test("DP-01 DP-02 the RFC's own proof is right at its place and time, and nowhere else (RFC 9449 §4.1, §6.1)")
    func vector() throws {
        let proof = try proof()
        #expect(proof.key == Self.vector.thumbprint)
        #expect(proof.id == "-BwC3ESc6acc2lTc" && proof.nonce == nil)
        #expect(try self.proof(url: "HTTPS://SERVER.example.com:443/token").key == proof.key)
        for url in [
            "https://server.example.com/token/", "https://server.example.com:8443/token",
            "http://server.example.com/token",
        ] {
            #expect(throws: OAuthError.self) { try self.proof(url: url) }
        }
        #expect(throws: OAuthError.self) { try self.proof(method: "GET") }
        #expect(throws: OAuthError.self) { try self.proof(accessToken: "token") }
        #expect(throws: OAuthError.self) { try self.proof(Self.vector.text + "A") }
    }

    @Test("DP-03 a nonce is good for a minute, at every node, and for no key but ours")
    func nonces() throws {
        let nonces = DPoPNonces(key: AuthenticationKey(derivedFrom: TestDatabase.masterKey, purpose: "dpop nonce"))
        let node = DPoPNonces(key: AuthenticationKey(derivedFrom: TestDatabase.masterKey, purpose: "dpop nonce"))
        let other = DPoPNonces(key: AuthenticationKey(derivedFrom: TestDatabase.masterKey, purpose: "something else"))
        let now = Date(timeIntervalSince1970: 1_800_000_000)
        let nonce = nonces.fresh(at: now)
        for age in [-5.0, 0, 30, 60] { #expect(node.isFresh(nonce, at: now + age)) }
        for age in [-6.0, 61, 3_600] { #expect(!node.isFresh(nonce, at: now + age)) }
        #expect(!other.isFresh(nonce, at: now))
        #expect(nonces.fresh(at: now + 1) != nonce)
    }
}
