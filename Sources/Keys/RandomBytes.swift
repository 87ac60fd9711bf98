import Glibc
import Synchronization

/// The one seam for randomness: everything that draws secrets, ids or nonces takes one of these.
package struct RandomBytes: Sendable {
    /// Returns exactly so many fresh bytes.
    package var generate: @Sendable (_ count: Int) -> [UInt8]

    package init(generate: @escaping @Sendable (_ count: Int) -> [UInt8]) {
        self.generate = generate
    }

    /// The kernel's cryptographic generator (getentropy(3)), asked for some kilobytes at a time; safe from any thread.
    ///
    /// Bytes leave the reserve as they are handed out, so that none stays behind in memory.
    package static let system: RandomBytes = {
        let reserve = RandomReserve()
        return RandomBytes { count in reserve.take(count) }
    }()
}

private final class RandomReserve: Sendable {
    private static let size = 4_096
    private let bytes = Mutex<[UInt8]>([])

    func take(_ count: Int) -> [UInt8] {
        guard count > 0 else { return [] }
        guard count <= Self.size else { return Self.fresh(count) }
        return bytes.withLock { bytes in
            if bytes.count < count { bytes = Self.fresh(Self.size) }
            let start = bytes.count - count
            let taken = Array(bytes[start...])
            for index in start..<bytes.count { bytes[index] = 0 }
            bytes.removeLast(count)
            return taken
        }
    }

    /// Without randomness nothing here is safe, so nothing goes on.
    private static func fresh(_ count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { buffer, written in
            while written < count {
                // 256 bytes at most, which it gives whole or not at all.
                let share = min(256, count - written)
                precondition(
                    getentropy(buffer.baseAddress?.advanced(by: written), share) == 0,
                    "the kernel gives no random bytes")
                written += share
            }
        }
    }
}
