package import Crypto
import Foundation
import Keys

/// The state of one log at one moment (C2SP tlog-checkpoint v1.0.0): its name, its size and its root.
package struct Checkpoint: Sendable, Hashable {
    /// A URL without scheme that names this log and no other, such as `audit.example.com/org_…`.
    package let origin: String
    /// How many entries it has.
    package let size: Int
    package let root: MerkleTree.Hash

    package init(origin: String, size: Int, root: MerkleTree.Hash) {
        self.origin = origin
        self.size = size
        self.root = root
    }

    /// Reads the text of a checkpoint. Extension lines, which others may add, are skipped.
    ///
    /// - Returns: nil for anything else, a size with leading zeros or a root of another length included.
    package init?(text: String) {
        let lines = noteLines(of: text)
        guard lines.count >= 3, !lines[0].isEmpty, let size = Int(lines[1]), size >= 0, String(size) == lines[1],
            let root = strictBase64(lines[2]), root.count == 32, !lines.dropFirst(3).contains(where: \.isEmpty)
        else { return nil }
        self.init(origin: String(lines[0]), size: size, root: root)
    }

    /// Three lines, each ended by a newline; what is signed.
    package var text: String {
        "\(origin)\n\(size)\n\(Data(root).base64EncodedString())\n"
    }
}

/// A public key that may sign notes, with the name it signs under (C2SP signed-note v1.0.0).
package struct NoteVerifier: Sendable {
    /// What the signature is made over.
    private enum Form: UInt8 {
        /// The text of the note.
        case ed25519 = 0x01
        /// A cosignature header with a time, then the text (C2SP tlog-cosignature).
        case cosignature = 0x04
    }

    package let name: String
    /// The first four bytes of SHA-256(name ‖ newline ‖ type ‖ public key).
    package let keyID: [UInt8]
    private let form: Form
    private let key: Curve25519.Signing.PublicKey

    /// The verifier of a log's own Ed25519 key.
    package init(name: String, publicKey: Curve25519.Signing.PublicKey) {
        self.init(name: name, form: .ed25519, key: publicKey)
    }

    private init(name: String, form: Form, key: Curve25519.Signing.PublicKey) {
        self.name = name
        self.form = form
        self.key = key
        keyID = Array(sha256(Array(name.utf8) + [0x0A, form.rawValue] + key.rawRepresentation)[..<4])
    }

    /// Reads `name+hex(key id)+base64(type ‖ key)`.
    ///
    /// - Returns: nil for other kinds of keys and when the key id does not belong to name and key.
    package init?(vkey: String) {
        let parts = vkey.split(separator: "+", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 3, isNoteName(parts[0]), let bytes = strictBase64(parts[2]), bytes.count == 33,
            let form = Form(rawValue: bytes[0]),
            let key = try? Curve25519.Signing.PublicKey(rawRepresentation: bytes[1...])
        else { return nil }
        self.init(name: String(parts[0]), form: form, key: key)
        guard parts[1] == hexKeyID else { return nil }
    }

    package var vkey: String {
        let key = Data([form.rawValue] + self.key.rawRepresentation)
        return "\(name)+\(hexKeyID)+\(key.base64EncodedString())"
    }

    private var hexKeyID: String {
        keyID.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    fileprivate func verifies(_ signature: [UInt8], of text: String) -> Bool {
        switch form {
        case .ed25519:
            return key.isValidSignature(signature, for: Data(text.utf8))
        case .cosignature:
            guard signature.count == 72 else { return false }
            let time = signature[..<8].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            return key.isValidSignature(signature[8...], for: Data("cosignature/v1\ntime \(time)\n\(text)".utf8))
        }
    }
}

/// A text and the signatures under it (C2SP signed-note v1.0.0).
package struct SignedNote: Sendable {
    package struct Signature: Sendable, Hashable {
        package let name: String
        package let keyID: [UInt8]
        package let bytes: [UInt8]
    }

    package enum Failure: Error, Sendable, Hashable {
        /// A key we know is named, and its signature is wrong.
        case invalidSignature(name: String)
        /// Nobody we know signed it.
        case noKnownSignature
    }

    /// What is signed, its last newline included.
    package let text: String
    package private(set) var signatures: [Signature]

    /// Signs a text that ends in a newline with a log's own key.
    package init(signing text: String, name: String, key: Curve25519.Signing.PrivateKey) throws {
        precondition(text.hasSuffix("\n"), "the text of a note ends in a newline")
        precondition(isNoteName(name[...]), "a key name has no space and no plus")
        self.text = text
        let verifier = NoteVerifier(name: name, publicKey: key.publicKey)
        let signature = try key.signature(for: Data(text.utf8))
        signatures = [Signature(name: name, keyID: verifier.keyID, bytes: Array(signature))]
    }

    /// Reads a note: text, an empty line, then 1 to 64 signature lines.
    ///
    /// - Returns: nil for anything else, control characters in the text included.
    package init?(_ note: String) {
        let scalars = note.unicodeScalars
        guard scalars.allSatisfy({ $0 == "\n" || $0.value >= 0x20 && $0.value != 0x7F }) else { return nil }
        let bytes = Array(note.utf8)
        // The last empty line, since the text may hold some of its own.
        guard let end = bytes.indices.dropLast().last(where: { bytes[$0] == 0x0A && bytes[$0 + 1] == 0x0A }) else {
            return nil
        }
        text = String(decoding: bytes[...end], as: UTF8.self)
        let lines = noteLines(of: String(decoding: bytes[(end + 2)...], as: UTF8.self))
        guard 1...64 ~= lines.count else { return nil }
        signatures = []
        for line in lines {
            let words = line.split(separator: " ", omittingEmptySubsequences: false)
            guard words.count == 3, words[0] == "\u{2014}", isNoteName(words[1]), let bytes = strictBase64(words[2]),
                bytes.count > 4
            else { return nil }
            signatures.append(Signature(name: String(words[1]), keyID: Array(bytes[..<4]), bytes: Array(bytes[4...])))
        }
    }

    /// The note as it is published.
    package var note: String {
        signatures.reduce(into: text + "\n") { note, signature in
            note += "\u{2014} \(signature.name) \(Data(signature.keyID + signature.bytes).base64EncodedString())\n"
        }
    }

    /// Checks the signatures of known keys; those of unknown keys are ignored, as the format demands.
    ///
    /// - Returns: the names of the keys that signed, at least one.
    package func verify(by verifiers: [NoteVerifier]) throws(Failure) -> [String] {
        var names: [String] = []
        for signature in signatures {
            let known = verifiers.first { $0.name == signature.name && $0.keyID == signature.keyID }
            guard let known else { continue }
            guard known.verifies(signature.bytes, of: text) else { throw .invalidSignature(name: signature.name) }
            names.append(signature.name)
        }
        if names.isEmpty { throw .noKnownSignature }
        return names
    }
}

/// Lines of a text in which each is ended by a newline; none if the last one is not.
private func noteLines(of text: String) -> [Substring] {
    guard text.utf8.last == 0x0A else { return [] }
    // By bytes: to `Character`, CR LF would be one element and no line end.
    return text.utf8.dropLast().split(separator: 0x0A, omittingEmptySubsequences: false).map { Substring($0) }
}

private func isNoteName(_ name: Substring) -> Bool {
    !name.isEmpty && !name.unicodeScalars.contains { $0 == "+" || $0.properties.isWhitespace }
}

/// Padded base64 in its one spelling.
private func strictBase64(_ text: Substring) -> [UInt8]? {
    guard let data = Data(base64Encoded: String(text)), data.base64EncodedString() == text else { return nil }
    return Array(data)
}
