import Crypto

/// The one seam for randomness: everything that draws secrets, ids or nonces takes one of these.
package struct RandomBytes: Sendable {
    /// Returns exactly so many fresh bytes.
    package var generate: @Sendable (_ count: Int) -> [UInt8]

    package init(generate: @escaping @Sendable (_ count: Int) -> [UInt8]) {
        self.generate = generate
    }

    /// The process's cryptographic generator (BoringSSL's DRBG, seeded by the kernel); safe from any thread.
    package static let system = RandomBytes { count in
        guard count > 0 else { return [] }
        return SymmetricKey(size: SymmetricKeySize(bitCount: count * 8)).withUnsafeBytes { [UInt8]($0) }
    }
}
