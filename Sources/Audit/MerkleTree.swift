import Keys

/// The tree over a log's entries, and proofs about it (RFC 6962 §2.1, RFC 9162 §2.1): pure functions of leaf hashes.
///
/// Hashes are 32 bytes; a leaf hash is ``leafHash(_:)`` of an entry. Sizes and indexes count entries from the oldest.
package enum MerkleTree {
    package typealias Hash = [UInt8]

    /// SHA-256(0x00 ‖ entry).
    package static func leafHash(_ entry: [UInt8]) -> Hash { sha256([0x00] + entry) }

    /// SHA-256(0x01 ‖ left ‖ right).
    package static func nodeHash(_ left: Hash, _ right: Hash) -> Hash { sha256([0x01] + left + right) }

    /// The root over some leaf hashes; SHA-256 of nothing for an empty log.
    package static func root(of leaves: some RandomAccessCollection<Hash>) -> Hash {
        guard let first = leaves.first else { return sha256([]) }
        guard leaves.count > 1 else { return first }
        let (left, right) = halves(leaves)
        return nodeHash(root(of: left), root(of: right))
    }

    /// The hashes that lead from entry `index` to the root over all of `leaves`, the leaf's sibling first.
    ///
    /// - Returns: nil unless the entry is one of them.
    package static func inclusionProof(of index: Int, in leaves: some RandomAccessCollection<Hash>) -> [Hash]? {
        guard index >= 0, index < leaves.count else { return nil }
        guard leaves.count > 1 else { return [] }
        let (left, right) = halves(leaves)
        return index < left.count
            ? inclusionProof(of: index, in: left).map { $0 + [root(of: right)] }
            : inclusionProof(of: index - left.count, in: right).map { $0 + [root(of: left)] }
    }

    /// Whether `proof` shows that `leaf` is entry `index` of the log of `size` entries with this root (RFC 9162
    /// §2.1.3.2).
    package static func verifyInclusion(of leaf: Hash, at index: Int, size: Int, root: Hash, proof: [Hash]) -> Bool {
        guard index >= 0, index < size else { return false }
        var node = index
        var last = size - 1
        var hash = leaf
        for sibling in proof {
            guard last > 0 else { return false }
            if node & 1 == 1 || node == last {
                hash = nodeHash(sibling, hash)
                while node & 1 == 0, node != 0 {
                    node >>= 1
                    last >>= 1
                }
            } else {
                hash = nodeHash(hash, sibling)
            }
            node >>= 1
            last >>= 1
        }
        return last == 0 && hash == root
    }

    /// The hashes that show the first `old` of `leaves` to be the beginning of all of them.
    ///
    /// Empty when there is nothing to show: `old` is zero or everything.
    /// - Returns: nil when there are fewer than `old`.
    package static func consistencyProof(from old: Int, in leaves: some RandomAccessCollection<Hash>) -> [Hash]? {
        guard old >= 0, old <= leaves.count else { return nil }
        return old == 0 ? [] : subproof(old, leaves, isWholeOldTree: true)
    }

    /// SUBPROOF of RFC 9162 §2.1.4.1, for 0 < `old` ≤ the number of leaves.
    private static func subproof(
        _ old: Int, _ leaves: some RandomAccessCollection<Hash>, isWholeOldTree: Bool
    ) -> [Hash] {
        guard old < leaves.count else { return isWholeOldTree ? [] : [root(of: leaves)] }
        let (left, right) = halves(leaves)
        return old <= left.count
            ? subproof(old, left, isWholeOldTree: isWholeOldTree) + [root(of: right)]
            : subproof(old - left.count, right, isWholeOldTree: false) + [root(of: left)]
    }

    /// Whether `proof` shows that the log of `old` entries is the beginning of that of `new` entries (RFC 9162
    /// §2.1.4.2).
    package static func verifyConsistency(
        from old: Int, root oldRoot: Hash, to new: Int, root newRoot: Hash, proof: [Hash]
    ) -> Bool {
        guard old >= 0, old <= new else { return false }
        if old == new { return proof.isEmpty && oldRoot == newRoot }
        if old == 0 { return proof.isEmpty && oldRoot == sha256([]) }
        // A complete old tree is a node of the new one, which proofs leave out.
        var path = proof[...]
        guard let start = old & (old - 1) == 0 ? oldRoot : path.popFirst(), !proof.isEmpty else { return false }
        var node = old - 1
        var last = new - 1
        while node & 1 == 1 {
            node >>= 1
            last >>= 1
        }
        var first = start
        var second = start
        for hash in path {
            guard last > 0 else { return false }
            if node & 1 == 1 || node == last {
                first = nodeHash(hash, first)
                second = nodeHash(hash, second)
                while node & 1 == 0, node != 0 {
                    node >>= 1
                    last >>= 1
                }
            } else {
                second = nodeHash(second, hash)
            }
            node >>= 1
            last >>= 1
        }
        return last == 0 && first == oldRoot && second == newRoot
    }

    /// The two subtrees of at least two leaves: the left one holds the largest power of two below their number.
    private static func halves<Leaves: RandomAccessCollection<Hash>>(
        _ leaves: Leaves
    ) -> (Leaves.SubSequence, Leaves.SubSequence) {
        var size = 1
        while size * 2 < leaves.count { size *= 2 }
        let middle = leaves.index(leaves.startIndex, offsetBy: size)
        return (leaves[..<middle], leaves[middle...])
    }
}
