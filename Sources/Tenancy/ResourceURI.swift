import Foundation

/// An absolute URI without a fragment, as RFC 8707 §2 wants resources named.
package struct ResourceURI: Sendable, Hashable {
    /// Scheme and host in lower case, the default port and a lone slash after the host left out.
    package let canonical: String
    /// `scheme://host[:port]`, canonical.
    package let origin: String
    package let scheme: String
    package let host: String

    /// - Returns: nil for anything that is not an http or https URI with a host, or that has a fragment, user
    ///   information, white space, control characters or a backslash.
    package init?(_ text: String) {
        guard text.utf8.count <= 2048, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x5C && $0 != 0x23 })
        else {
            return nil
        }
        guard let mark = text.range(of: "://") else { return nil }
        let scheme = text[..<mark.lowerBound].lowercased()
        guard scheme == "https" || scheme == "http" else { return nil }
        let rest = text[mark.upperBound...]
        let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        let authority = rest[..<end].lowercased()
        var tail = String(rest[end...])
        if tail == "/" { tail = "" }
        guard !authority.isEmpty, !authority.contains("@"), !authority.hasPrefix(":") else { return nil }
        var host = authority
        var port = ""
        if let colon = authority.lastIndex(of: ":"), !authority.hasSuffix("]") {
            host = String(authority[..<colon])
            port = String(authority[authority.index(after: colon)...])
            guard let number = Int(port), (1...65_535).contains(number), String(number) == port else { return nil }
            if (scheme == "https" && number == 443) || (scheme == "http" && number == 80) { port = "" }
        }
        self.scheme = scheme
        self.host = host
        origin = "\(scheme)://\(host)" + (port.isEmpty ? "" : ":\(port)")
        canonical = origin + tail
    }

    /// Whether the host is this machine, by name or address.
    package var isLoopback: Bool {
        host == "localhost" || host.hasSuffix(".localhost") || host == "[::1]" || host.hasPrefix("127.")
    }
}
