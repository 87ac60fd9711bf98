import Audit
import Foundation
import Testing

/// The shared vectors of the log's formats: trees, notes and canonical texts, made by an independent implementation.
struct Vectors: Decodable, Sendable {
    struct Tree: Decodable, Sendable {
        struct Inclusion: Decodable, Sendable {
            let index: Int
            let size: Int
            let proof: [String]
        }
        struct Consistency: Decodable, Sendable {
            let old: Int
            let new: Int
            let proof: [String]
        }
        struct Entry: Decodable, Sendable {
            let entry: String
            let disclosures: [String]
        }
        let entriesHex: [String]
        let leafHashes: [String]
        let rootsBySize: [String]
        let inclusion: [Inclusion]
        let consistency: [Consistency]
        let entriesJson: [Entry]?
    }
    struct LargeTree: Decodable, Sendable {
        let roots: [String: String]
        let inclusion: [Tree.Inclusion]
        let consistency: [Tree.Consistency]
    }
    struct Note: Decodable, Sendable {
        struct Witness: Decodable, Sendable { let vkey: String, name: String }
        struct Example: Decodable, Sendable { let vkey: String, note: String }
        let seedHex: String
        let publicKeyHex: String
        let origin: String
        let keyIdHex: String
        let vkey: String
        let checkpointText8: String
        let note5: String
        let note8: String
        let note8TamperedSize: String
        let witness: Witness
        let note8Cosigned: String
        let c2spSpecExample: Example
    }
    struct Canonical: Decodable, Sendable {
        let inputAsciiJson: String
        let canonicalUtf8Hex: String
        let leafHash: String
    }

    let primitives: [String: String]
    let treeCt: Tree
    let treeAudit: Tree
    let tree70000: LargeTree
    let signedNote: Note
    let jcs: [Canonical]

    static let shared: Vectors = {
        let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Fixtures/audit-vectors.json")
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        do {
            return try decoder.decode(Vectors.self, from: Data(contentsOf: file))
        } catch {
            fatalError("cannot read \(file.path()): \(error)")
        }
    }()
}

func bytes(hex: String) -> [UInt8] {
    let digits = hex.compactMap(\.hexDigitValue).map(UInt8.init)
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

func hex(_ bytes: [UInt8]) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}

extension CanonicalJSON: Decodable {
    /// Reads any JSON text, so that tests can compare our spelling of it with the right one.
    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Int.self) {
            self = .int(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([CanonicalJSON].self) {
            self = .array(value)
        } else {
            self = .object(try container.decode([String: CanonicalJSON].self))
        }
    }

    static func parse(_ text: some Sequence<UInt8>) throws -> CanonicalJSON {
        try JSONDecoder().decode(CanonicalJSON.self, from: Data(text))
    }

    subscript(_ name: String) -> CanonicalJSON? {
        if case .object(let members) = self { members[name] } else { nil }
    }
    var text: String? {
        if case .string(let text) = self { text } else { nil }
    }
    var texts: [String]? {
        if case .array(let elements) = self { elements.compactMap(\.text) } else { nil }
    }
}
