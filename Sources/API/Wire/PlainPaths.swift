/// The plain spelling of a path, the only one that is answered; every other answers 404.
///
/// The router would find `/oauth/token` also for `//oauth//token/`, and a proxy in front may read `%2e%2e`, `;` or `\`
/// in its own way. No path of ours needs any of these, so two readers can never disagree about one.
enum PlainPaths {
    /// - Parameter target: path and query of the request line.
    static func isPlain(target: String?) -> Bool {
        target.map { isPlain($0.utf8.prefix { $0 != UInt8(ascii: "?") }) } ?? false
    }

    static func isPlain(_ path: some Sequence<UInt8>) -> Bool {
        var length = 0
        /// Length of the segment so far, and whether it is all dots.
        var segment = 0
        var isDots = true
        for byte in path {
            if length == 0 {
                guard byte == UInt8(ascii: "/") else { return false }
            } else if byte == UInt8(ascii: "/") {
                guard segment > 0, !(isDots && segment <= 2) else { return false }
                segment = 0
                isDots = true
            } else {
                guard allowed[Int(byte)] else { return false }
                segment += 1
                isDots = isDots && byte == UInt8(ascii: ".")
            }
            length += 1
        }
        // The root, or a last segment that is neither empty nor dots.
        return length == 1 || (segment > 0 && !(isDots && segment <= 2))
    }

    /// RFC 3986's path characters without `%` and `;`.
    private static let allowed: [Bool] = (0...255).map { byte in
        switch UInt8(byte) {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        default: "-._~:@!$&'()*+,=".utf8.contains(UInt8(byte))
        }
    }
}
