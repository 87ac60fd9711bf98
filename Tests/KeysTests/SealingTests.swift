import Foundation
import Testing

@testable import Keys

@Suite struct SealingTests {
    private let organization: UUID
    private let other: UUID

    init() throws {
        organization = try #require(UUID(uuidString: "0192F0C0-0000-7000-8000-000000000001"))
        other = try #require(UUID(uuidString: "0192F0C0-0000-7000-8000-000000000002"))
    }

    private func context(_ id: String = "idp_1") -> SealContext {
        SealContext(organization: organization, table: "identity_provider", column: "secret", id: id)
    }

    @Test("AT-08 the stored forms are those their comments describe")
    func layouts() throws {
        // Computed with another library from the documented layout.
        let master = try #require(MasterKey(bytes: Array(0..<32)))
        #expect(master.id.description == "5b01b44bb0006e11")
        let dataKey = DataKey.generate(from: RandomBytes { _ in Array(0..<32) })
        let box = try SealedBox.seal(
            [UInt8]("stytch secret".utf8), under: dataKey, context: context(), random: countingBytes)
        #expect(
            box
                == hex(
                    """
                    015b01b44bb0006e116465666768696a6b6c6d6e6f3b6fa7121a8176ed5b012d8dae338ccceb09587840d05547\
                    cc9bcf16be
                    """))
        let successor = try SuccessorSeal(presented: [UInt8]("presented token".utf8), grant: "org|grant|7")
            .seal([UInt8]("next token".utf8), random: countingBytes)
        #expect(
            successor == hex("016465666768696a6b6c6d6e6fd9f7efa6e1845f1caec301562ef8f278d76a218abaaadbf6cdaf"))
        let wrapped = try MasterKeyring(current: master)
            .wrap(.generate(from: RandomBytes { _ in Array(32..<64) }), for: organization, random: countingBytes)
        #expect(
            wrapped
                == hex(
                    """
                    015b01b44bb0006e116465666768696a6b6c6d6e6f683afc455dcc70b9164b75c3f64844d272f33439bf59c5459f\
                    e89673c79e9b77d97bd85d99bca6996dde275af10ff53e
                    """))
    }

    @Test("AT-08 a sealed value opens only in its own place and under its own key")
    func wrongPlaceOrKey() throws {
        let key = DataKey.generate()
        let plaintext = [UInt8]("secret".utf8)
        let sealed = try SealedBox.seal(plaintext, under: key, context: context())
        #expect(sealed.count == plaintext.count + SealedBox.overhead)
        #expect(try SealedBox.open(sealed, under: key, context: context()) == plaintext)
        #expect(try SealedBox.keyID(of: sealed) == key.id)
        #expect(try SealedBox.seal(plaintext, under: key, context: context()) != sealed)
        for elsewhere in [
            context("idp_2"),
            SealContext(organization: other, table: "identity_provider", column: "secret", id: "idp_1"),
            SealContext(organization: organization, table: "signing_key", column: "secret", id: "idp_1"),
            SealContext(organization: organization, table: "identity_provider", column: "other", id: "idp_1"),
        ] {
            #expect(throws: SealError.refused) { try SealedBox.open(sealed, under: key, context: elsewhere) }
        }
        #expect(throws: SealError.unknownKey(key.id)) {
            try SealedBox.open(sealed, under: .generate(), context: context())
        }
        // Another key cannot take the box over by putting its own id into the header.
        let thief = DataKey.generate()
        let relabelled = [1] + thief.id.bytes + sealed[9...]
        #expect(throws: SealError.refused) { try SealedBox.open(relabelled, under: thief, context: context()) }
    }

    @Test("AT-08 no altered or shortened byte of a sealed value passes")
    func tampered() throws {
        let key = DataKey.generate()
        let sealed = try SealedBox.seal([1, 2, 3], under: key, context: context())
        for index in sealed.indices {
            var altered = sealed
            altered[index] ^= 0x40
            #expect(throws: SealError.self) { try SealedBox.open(altered, under: key, context: context()) }
            #expect(throws: SealError.self) {
                try SealedBox.open(Array(sealed[..<index]), under: key, context: context())
            }
        }
        #expect(throws: SealError.refused) { try SealedBox.open(sealed + [0], under: key, context: context()) }
        let empty = try SealedBox.seal([], under: key, context: context())
        #expect(try SealedBox.open(empty, under: key, context: context()) == [])
    }

    @Test("AT-08 a data key opens for its organization only, and master key rotation re-wraps it")
    func masterRotation() throws {
        let first = try #require(MasterKey(bytes: MasterKey.generateBytes()))
        let second = try #require(MasterKey(bytes: MasterKey.generateBytes()))
        let dataKey = DataKey.generate()
        let sealed = try SealedBox.seal([7], under: dataKey, context: context())
        let before = MasterKeyring(current: first)
        let wrapped = try before.wrap(dataKey, for: organization)
        #expect(try before.unwrap(wrapped, for: organization).id == dataKey.id)
        #expect(throws: SealError.refused) { try before.unwrap(wrapped, for: other) }
        #expect(try before.rewrap(wrapped, for: organization) == nil)

        let during = MasterKeyring(current: second, older: [first])
        #expect(during.currentID == second.id)
        let rewrapped = try #require(try during.rewrap(wrapped, for: organization))
        #expect(try MasterKeyring.masterKeyID(of: rewrapped) == second.id)
        #expect(throws: SealError.refused) { try during.rewrap(wrapped, for: other) }

        let after = MasterKeyring(current: second)
        let opened = try after.unwrap(rewrapped, for: organization)
        #expect(try SealedBox.open(sealed, under: opened, context: context()) == [7])
        #expect(throws: SealError.unknownKey(first.id)) { try after.unwrap(wrapped, for: organization) }
        for index in wrapped.indices {
            var altered = wrapped
            altered[index] ^= 1
            #expect(throws: SealError.self) { try during.unwrap(altered, for: organization) }
            #expect(throws: SealError.self) { try during.unwrap(Array(wrapped[..<index]), for: organization) }
        }
    }

    @Test("AT-08 a master key file may be hexadecimal, base64 or raw, and must be random")
    func masterKeyFiles() throws {
        let bytes: [UInt8] = Array(200..<232)
        let id = try #require(MasterKey(bytes: bytes)).id
        let hexadecimal = bytes.map { String($0, radix: 16) }.joined()
        let base64 = Data(bytes).base64EncodedString()
        for content in [
            hexadecimal, hexadecimal.uppercased() + "\n", base64, base64 + "\r\n", Base64URL.encode(bytes) + "\n",
        ] {
            #expect(try MasterKey(fileContent: [UInt8](content.utf8)).id == id)
        }
        #expect(try MasterKey(fileContent: bytes).id == id)
        let path = FileManager.default.temporaryDirectory.appending(path: "master-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: path) }
        #expect(throws: MasterKey.FileError.unreadable) { try MasterKey(file: path.path) }
        try Data(hexadecimal.utf8).write(to: path)
        #expect(try MasterKey(file: path.path).id == id)

        for (content, error) in [
            ("", MasterKey.FileError.malformed), (String(hexadecimal.dropLast()), .malformed),
            (hexadecimal + "00", .malformed), ("correct horse", .malformed), (base64 + "AAAA", .malformed),
            // A 128-bit key in hexadecimal has 32 characters too.
            ("0123456789abcdef0123456789abcdef", .predictable),
            (String(repeating: "00", count: 32), .predictable),
        ] {
            #expect(throws: error) { try MasterKey(fileContent: [UInt8](content.utf8)) }
        }
        #expect(MasterKey(bytes: [1, 2, 3]) == nil)
    }

    @Test("AT-08 a successor opens only with the token it replaced and for its grant")
    func successor() throws {
        let presented = Secret.random().bytes
        let seal = SuccessorSeal(presented: presented, grant: "org|grant|1")
        let sealed = try seal.seal([1, 2, 3])
        #expect(try SuccessorSeal(presented: presented, grant: "org|grant|1").open(sealed) == [1, 2, 3])
        #expect(throws: SealError.refused) {
            try SuccessorSeal(presented: presented, grant: "org|grant|2").open(sealed)
        }
        #expect(throws: SealError.refused) {
            try SuccessorSeal(presented: Secret.random().bytes, grant: "org|grant|1").open(sealed)
        }
        for index in sealed.indices {
            var altered = sealed
            altered[index] ^= 1
            #expect(throws: SealError.self) { try seal.open(altered) }
            #expect(throws: SealError.self) { try seal.open(Array(sealed[..<index])) }
        }
    }
}
