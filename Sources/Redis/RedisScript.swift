internal import Crypto

/// A Lua script with the SHA-1 under which Redis caches it, computed once.
package struct RedisScript: Sendable {
    package let source: String
    /// 40 lower-case hex digits, the name `EVALSHA` uses.
    package let digest: String

    package init(_ source: StaticString) {
        self.source = source.description
        let digits = Array("0123456789abcdef".utf8)
        let hex = Insecure.SHA1.hash(data: Array(self.source.utf8)).flatMap {
            [digits[Int($0 >> 4)], digits[Int($0 & 15)]]
        }
        digest = String(decoding: hex, as: UTF8.self)
    }
}
