import Audit
import Foundation
import Keys
import Testing

@Suite("Canonical JSON")
struct CanonicalJSONTests {
    @Test("canonical text equals the shared vectors (RFC 8785 §3.2)", arguments: Vectors.shared.jcs.indices)
    func vectors(index: Int) throws {
        let vector = Vectors.shared.jcs[index]
        let text = try CanonicalJSON.parse(vector.inputAsciiJson.utf8).bytes
        #expect(hex(text) == vector.canonicalUtf8Hex)
        #expect(hex(MerkleTree.leafHash(text)) == vector.leafHash)
    }

    @Test("the eight events of the vectors are written byte for byte", arguments: 0..<8)
    func events(index: Int) throws {
        let entry = bytes(hex: Vectors.shared.treeAudit.entriesHex[index])
        #expect(try CanonicalJSON.parse(entry).bytes == entry)
    }

    @Test("their disclosures reproduce the digests in the leaf (RFC 9901 §4.2.3)", arguments: 0..<8)
    func disclosures(index: Int) throws {
        let entry = try #require(Vectors.shared.treeAudit.entriesJson)[index]
        let digests = try CanonicalJSON.parse(entry.entry.utf8)["sd"]?.texts
        #expect(digests == entry.disclosures.map { Base64URL.encode(sha256($0)) }.sorted())
        for disclosure in entry.disclosures {
            let text = try #require(Base64URL.decode(disclosure))
            #expect(try CanonicalJSON.parse(text).bytes == text)
        }
    }

    @Test("integers that doubles cannot hold are written as strings (RFC 8785 appendix D)")
    func largeIntegers() {
        let largest = 1 << 53 - 1
        #expect(
            CanonicalJSON.array([.int(largest), .int(-largest), .int(largest + 1), .int(.min)]).bytes
                == Array(#"[9007199254740991,-9007199254740991,"9007199254740992","-9223372036854775808"]"#.utf8))
    }

    @Test(
        "instants have exactly six fraction digits",
        arguments: [
            ("2026-01-02T03:04:05.000000Z", 1_767_323_045.0), ("1970-01-01T00:00:00.000000Z", 0),
            ("1969-12-31T23:59:59.999999Z", -0.000001), ("2024-02-29T12:00:00.250000Z", 1_709_208_000.25),
            ("2000-03-01T00:00:00.000001Z", 951_868_800.000001), ("2100-02-28T23:59:59.500000Z", 4_107_542_399.5),
            ("0001-01-01T00:00:00.000000Z", -1e15), ("9999-12-31T23:59:59.999999Z", 1e15),
        ])
    func instants(text: String, seconds: Double) {
        #expect(Timestamp.text(Date(timeIntervalSince1970: seconds)) == text)
    }
}
