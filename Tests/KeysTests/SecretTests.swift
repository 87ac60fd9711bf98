import Testing

@testable import Keys

@Suite struct SecretTests {
    private struct Holder {
        let secret: Secret
        let optional: Secret?
        let list: [Secret]
    }

    @Test("AT-08 a secret shows itself in no printed form")
    func secretIsRedacted() {
        let text = "gh_very-secret-text"
        let secret = Secret(text)
        let holder = Holder(secret: secret, optional: secret, list: [secret])
        for shown in forms(of: secret) + forms(of: holder) {
            #expect(!shown.contains("very-secret"), "\(shown)")
        }
        #expect("\(secret)" == "redacted")
        #expect(secret.revealed == text)
    }

    @Test("AT-08 keys, digests and seals show nothing but what they are", arguments: SigningAlgorithm.allCases)
    func keysAreRedacted(algorithm: SigningAlgorithm) throws {
        let key = try SigningKey.generate(algorithm)
        let master = try #require(MasterKey(bytes: Array(0..<32)))
        let values: [any Redacted] = [
            key, JWSSigner(key: key, keyID: "k", type: "at+jwt"), master, MasterKeyring(current: master),
            DataKey.generate(), SecretDigest(of: Secret("a")), SuccessorSeal(presented: [1], grant: "g"),
        ]
        for value in values {
            #expect("\(value)" == "redacted")
            #expect(String(reflecting: value) == "redacted")
            #expect(Mirror(reflecting: value).children.isEmpty)
            for shown in forms(of: [value]) {
                #expect(!shown.contains("Material") && !shown.contains("bytes"), "\(shown)")
            }
        }
    }

    private func forms(of value: some Any) -> [String] {
        var dumped = ""
        dump(value, to: &dumped)
        return [
            String(describing: value), String(reflecting: value), "\(value)", dumped,
            String(describing: Optional(value)), String(reflecting: Mirror(reflecting: value).children.map(\.value)),
        ]
    }

    @Test("random secrets have 256 bits, their prefix, and never repeat")
    func randomSecrets() throws {
        let secret = Secret.random(prefix: "gh_")
        #expect(secret.revealed.hasPrefix("gh_"))
        #expect(try base64URL(String(secret.revealed.dropFirst(3))).count == 32)
        #expect(Set((0..<1000).map { _ in Secret.random().revealed }).count == 1000)
        #expect(Secret.random(from: countingBytes) == Secret.random(from: countingBytes))
        #expect(RandomBytes.system.generate(0) == [])
        #expect(RandomBytes.system.generate(33).count == 33)
    }

    @Test("AT-08 a digest is SHA-256 and equals only itself (FIPS 180-4)")
    func digests() throws {
        let digest = SecretDigest(of: Secret("abc"))
        #expect(digest.bytes == hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"))
        #expect(SecretDigest(stored: digest.bytes) == digest)
        #expect(SecretDigest(of: [UInt8]("abc".utf8)) == digest)
        #expect(SecretDigest(of: Secret("abd")) != digest)
        #expect(SecretDigest(stored: Array(digest.bytes.dropLast())) == nil)
        #expect(ConstantTime.equal([1, 2], [1, 2]) && !ConstantTime.equal([1, 2], [1, 3]))
        #expect(!ConstantTime.equal([1, 2], [1, 2, 0]) && ConstantTime.equal("", ""))
    }

    @Test("a credential's checksum finds every single wrong character")
    func checksum() {
        #expect(CredentialChecksum.checksum(of: "gh_0123456789") == "krvabx")
        let credential = CredentialChecksum.append(to: "gh_0123456789")
        #expect(credential == "gh_0123456789krvabx")
        #expect(CredentialChecksum.body(of: credential) == "gh_0123456789")
        let characters = Array(credential)
        for index in characters.indices {
            var wrong = characters
            wrong[index] = wrong[index] == "q" ? "r" : "q"
            #expect(CredentialChecksum.body(of: String(wrong)) == nil)
        }
        for text in ["", "krvabx", "é", String(credential.dropLast()), credential + "0", credential.uppercased()] {
            #expect(CredentialChecksum.body(of: text) == nil)
        }
    }
}
