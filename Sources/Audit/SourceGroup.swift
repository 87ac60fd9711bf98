import Foundation

/// What counts as one source where addresses are counted: for audit summaries and for rate limits alike.
package enum SourceGroup {
    /// An IPv4 address, the /64 that one IPv6 host commands, or the text as it is; `-` for none.
    package static func name(of address: String?) -> String {
        guard let address else { return "-" }
        guard address.utf8.contains(UInt8(ascii: ":")) else { return String(address.prefix(64)) }
        var parsed = in6_addr()
        guard address.utf8.count < 64, inet_pton(AF_INET6, address, &parsed) == 1 else {
            return String(address.prefix(64))
        }
        let bytes = withUnsafeBytes(of: parsed) { Array($0) }
        // ::ffff:192.0.2.1 is an IPv4 address.
        if bytes[..<10].allSatisfy({ $0 == 0 }), bytes[10] == 0xFF, bytes[11] == 0xFF {
            return bytes[12...].map(String.init).joined(separator: ".")
        }
        let groups = stride(from: 0, to: 8, by: 2).map {
            String(UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]), radix: 16)
        }
        return groups.joined(separator: ":") + "::/64"
    }
}
