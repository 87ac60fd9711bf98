import Audit
import Crypto
import Foundation
import Keys
import Testing

@Suite("Merkle tree")
struct MerkleTreeTests {
    static let trees = [Vectors.shared.treeCt, Vectors.shared.treeAudit]

    @Test("hashes of leaves and nodes are told apart by their first byte (RFC 6962 §2.1)")
    func primitives() throws {
        let primitives = Vectors.shared.primitives
        let empty = MerkleTree.leafHash([])
        #expect(hex(MerkleTree.root(of: [])) == primitives["empty_root"])
        #expect(hex(empty) == primitives["leaf_of_empty_entry"])
        #expect(
            hex(MerkleTree.nodeHash(empty, empty))
                == primitives["node_of_two_empty_leaf_hashes"])
    }

    @Test("roots of every size equal the vectors (RFC 6962 §2.1)", arguments: trees.indices)
    func roots(index: Int) {
        let tree = Self.trees[index]
        let leaves = tree.entriesHex.map { MerkleTree.leafHash(bytes(hex: $0)) }
        #expect(leaves.map(hex) == tree.leafHashes)
        for size in 0...leaves.count { #expect(hex(MerkleTree.root(of: leaves[..<size])) == tree.rootsBySize[size]) }
    }

    @Test(
        "inclusion proofs equal the vectors, verify, and fail when anything is altered (RFC 9162 §2.1.3)",
        arguments: trees.indices)
    func inclusion(index: Int) throws {
        let tree = Self.trees[index]
        let leaves = tree.leafHashes.map(bytes(hex:))
        for vector in tree.inclusion {
            let proof = try #require(MerkleTree.inclusionProof(of: vector.index, in: leaves[..<vector.size]))
            #expect(proof.map(hex) == vector.proof)
            let root = bytes(hex: tree.rootsBySize[vector.size])
            let leaf = leaves[vector.index]
            func verifies(_ leaf: [UInt8], _ index: Int, _ size: Int, _ root: [UInt8], _ proof: [[UInt8]]) -> Bool {
                MerkleTree.verifyInclusion(of: leaf, at: index, size: size, root: root, proof: proof)
            }
            #expect(verifies(leaf, vector.index, vector.size, root, proof))
            #expect(!verifies(altered(leaf), vector.index, vector.size, root, proof))
            #expect(!verifies(leaf, vector.index, vector.size, altered(root), proof))
            #expect(!verifies(leaf, vector.size, vector.size, root, proof))
            #expect(!verifies(leaf, -1, vector.size, root, proof))
            #expect(!verifies(leaf, vector.index, vector.size, root, proof + [leaf]))
            for hash in proof.indices {
                var wrong = proof
                wrong[hash] = altered(wrong[hash])
                #expect(!verifies(leaf, vector.index, vector.size, root, wrong))
                wrong.remove(at: hash)
                #expect(!verifies(leaf, vector.index, vector.size, root, wrong))
            }
        }
        #expect(MerkleTree.inclusionProof(of: 8, in: leaves) == nil)
    }

    @Test(
        "consistency proofs equal the vectors, verify, and fail when anything is altered (RFC 9162 §2.1.4)",
        arguments: trees.indices)
    func consistency(index: Int) throws {
        let tree = Self.trees[index]
        let leaves = tree.leafHashes.map(bytes(hex:))
        for vector in tree.consistency {
            let proof = try #require(MerkleTree.consistencyProof(from: vector.old, in: leaves[..<vector.new]))
            #expect(proof.map(hex) == vector.proof)
            let (old, new) = (bytes(hex: tree.rootsBySize[vector.old]), bytes(hex: tree.rootsBySize[vector.new]))
            func verifies(_ old: [UInt8], _ new: [UInt8], _ proof: [[UInt8]]) -> Bool {
                MerkleTree.verifyConsistency(from: vector.old, root: old, to: vector.new, root: new, proof: proof)
            }
            #expect(verifies(old, new, proof))
            #expect(!verifies(altered(old), new, proof))
            #expect(!verifies(old, altered(new), proof))
            #expect(!verifies(old, new, proof + [new]))
            for hash in proof.indices {
                var wrong = proof
                wrong[hash] = altered(wrong[hash])
                #expect(!verifies(old, new, wrong))
            }
            if vector.old < vector.new { #expect(!verifies(old, new, [])) }
        }
    }

    @Test("a log of 70,000 entries: roots and proofs equal the vectors")
    func large() throws {
        let vectors = Vectors.shared.tree70000
        let leaves = (0..<70_000).map { MerkleTree.leafHash(Array("entry-\($0)".utf8)) }
        for (size, root) in vectors.roots {
            #expect(hex(MerkleTree.root(of: leaves[..<(try #require(Int(size)))])) == root)
        }
        for vector in vectors.inclusion {
            #expect(MerkleTree.inclusionProof(of: vector.index, in: leaves[..<vector.size])?.map(hex) == vector.proof)
        }
        for vector in vectors.consistency {
            #expect(MerkleTree.consistencyProof(from: vector.old, in: leaves[..<vector.new])?.map(hex) == vector.proof)
        }
    }

    private func altered(_ hash: [UInt8]) -> [UInt8] { [hash[0] ^ 1] + hash.dropFirst() }
}

@Suite("Checkpoint")
struct CheckpointTests {
    let vectors = Vectors.shared.signedNote

    @Test("a checkpoint is three lines (C2SP tlog-checkpoint)")
    func text() throws {
        let root = bytes(hex: Vectors.shared.treeAudit.rootsBySize[8])
        let checkpoint = Checkpoint(origin: vectors.origin, size: 8, root: root)
        #expect(checkpoint.text == vectors.checkpointText8)
        #expect(Checkpoint(text: checkpoint.text) == checkpoint)
        #expect(Checkpoint(text: checkpoint.text + "extension 1\n") == checkpoint)
        let line = Data(root).base64EncodedString()
        for wrong in [
            "", "o\n8\n", "o\n08\n\(line)\n", "o\n-1\n\(line)\n", "o\n+8\n\(line)\n", "\n8\n\(line)\n", "o\n8\n\(line)",
            "o\r\n8\r\n\(line)\r\n", "o\n8\nAAAA\n", "o\n8\n\(line.dropLast())\n", "o\n8\n\(line)\n\n",
            "o\n99999999999999999999\n\(line)\n",
        ] { #expect(Checkpoint(text: wrong) == nil, "\(wrong)") }
    }

    @Test("signing gives the published note byte for byte (C2SP signed-note; RFC 8032 is deterministic)")
    func signing() throws {
        let key = try Curve25519.Signing.PrivateKey(rawRepresentation: bytes(hex: vectors.seedHex))
        let verifier = NoteVerifier(name: vectors.origin, publicKey: key.publicKey)
        #expect(hex(Array(key.publicKey.rawRepresentation)) == vectors.publicKeyHex)
        #expect(hex(verifier.keyID) == vectors.keyIdHex)
        #expect(verifier.vkey == vectors.vkey)
        #expect(NoteVerifier(vkey: vectors.vkey)?.keyID == verifier.keyID)
        for (size, note) in [(5, vectors.note5), (8, vectors.note8)] {
            let root = bytes(hex: Vectors.shared.treeAudit.rootsBySize[size])
            let text = Checkpoint(origin: vectors.origin, size: size, root: root).text
            let signed = try SignedNote(signing: text, name: vectors.origin, key: key)
            #expect(signed.note == note)
            #expect(try signed.verify(by: [verifier]) == [vectors.origin])
            #expect(SignedNote(note)?.text == text)
            #expect(SignedNote(note)?.note == note)
            #expect(SignedNote(signed.note)?.signatures == signed.signatures)
        }
    }

    @Test("known keys must be right, unknown keys are ignored, and one good signature is needed (C2SP signed-note)")
    func verification() throws {
        let log = try #require(NoteVerifier(vkey: vectors.vkey))
        let witness = try #require(NoteVerifier(vkey: vectors.witness.vkey))
        let note = try #require(SignedNote(vectors.note8))
        #expect(try note.verify(by: [log, witness]) == [vectors.origin])
        let cosigned = try #require(SignedNote(vectors.note8Cosigned))
        #expect(try cosigned.verify(by: [log, witness]) == [vectors.origin, vectors.witness.name])
        #expect(try cosigned.verify(by: [log]) == [vectors.origin])
        let tampered = try #require(SignedNote(vectors.note8TamperedSize))
        #expect(throws: SignedNote.Failure.invalidSignature(name: vectors.origin)) { try tampered.verify(by: [log]) }
        #expect(throws: SignedNote.Failure.noKnownSignature) { try note.verify(by: [witness]) }
        let example = try #require(NoteVerifier(vkey: vectors.c2spSpecExample.vkey))
        #expect(try SignedNote(vectors.c2spSpecExample.note)?.verify(by: [example]) == [example.name])
    }

    @Test("malformed notes and keys are refused (C2SP signed-note)")
    func malformed() {
        let note = vectors.note8
        #expect(SignedNote("") == nil)
        #expect(SignedNote(note.replacing("\n", with: "\r\n")) == nil)
        #expect(SignedNote(String(note.dropLast())) == nil)
        #expect(SignedNote(note.replacing("\u{2014}", with: "-")) == nil)
        #expect(SignedNote(note + "\n") == nil)
        #expect(SignedNote(vectors.checkpointText8) == nil)
        #expect(SignedNote(vectors.checkpointText8 + "\n") == nil)
        #expect(NoteVerifier(vkey: vectors.vkey.replacing("+895ea176+", with: "+895ea177+")) == nil)
        #expect(NoteVerifier(vkey: vectors.vkey.replacing("audit", with: "audit ")) == nil)
        #expect(NoteVerifier(vkey: "a+b") == nil)
    }
}
