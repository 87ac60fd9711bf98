/// An absolute `http` or `https` URL that all parsers read alike, split where it matters for the guard.
///
/// Stricter than RFC 3986 on purpose: the host that is checked must be the host that is asked. Refused are userinfo,
/// fragments, backslashes, non-ASCII (names must come in their `xn--` form), empty labels, a trailing dot, and
/// every number that could be taken for an address in another notation.
package struct OutboundURL: Sendable, Equatable {
    package enum Scheme: String, Sendable { case http, https }
    package enum Host: Sendable, Hashable {
        case name(String)
        case address(IPAddress)
    }

    package let scheme: Scheme
    /// A name is in lower case.
    package let host: Host
    package let port: Int
    /// Path and query; begins with `/`.
    package let target: String

    /// - Throws: ``OutboundError/invalidURL(_:)``.
    package init(_ text: String) throws(OutboundError) {
        guard text.utf8.count <= 8_192 else { throw .invalidURL("longer than 8,192 bytes") }
        let forbidden = Set("\"#<>\\^`{|}".utf8)
        guard text.utf8.allSatisfy({ (0x21...0x7e).contains($0) && !forbidden.contains($0) }) else {
            throw .invalidURL("has a character or a fragment that is not allowed")
        }
        guard let mark = text.firstRange(of: "://"),
            let scheme = Scheme(rawValue: text[..<mark.lowerBound].lowercased())
        else { throw .invalidURL("is not an absolute http or https URL") }
        let rest = text[mark.upperBound...]
        let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        let authority = rest[..<end]
        let tail = rest[end...]
        guard !authority.contains("@") else { throw .invalidURL("has userinfo") }
        guard !tail.contains("["), !tail.contains("]"), Self.hasOnlyWholeEscapes(tail) else {
            throw .invalidURL("has a path or query that is not percent-encoded")
        }
        let (host, portText) = try Self.split(authority)
        self.scheme = scheme
        self.host = host
        self.target = tail.hasPrefix("/") ? String(tail) : "/" + tail
        guard let portText else {
            port = scheme == .https ? 443 : 80
            return
        }
        guard (1...5).contains(portText.utf8.count), portText.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            portText.first != "0", let port = Int(portText), port <= 65_535
        else { throw .invalidURL("has no usable port") }
        self.port = port
    }

    /// Whether the host names this machine by RFC 6761 §6.3 or by a loopback address.
    package var isLoopback: Bool {
        switch host {
        case .name(let name): name == "localhost" || name.hasSuffix(".localhost")
        case .address(let address): address.isLoopback
        }
    }

    /// Host and port as a URL spells them.
    package var authority: String { port == (scheme == .https ? 443 : 80) ? hostText : "\(hostText):\(port)" }

    /// The URL spelled from its parts, so that no other parser sees the original text.
    var text: String { "\(scheme.rawValue)://\(authority)\(target)" }

    /// The host as a URL spells it, an IPv6 address in brackets.
    var hostText: String {
        switch host {
        case .name(let name): name
        case .address(let address): address.bytes.count == 16 ? "[\(address)]" : "\(address)"
        }
    }

    private static func hasOnlyWholeEscapes(_ text: Substring) -> Bool {
        text.utf8.split(separator: UInt8(ascii: "%"), omittingEmptySubsequences: false).dropFirst().allSatisfy {
            $0.count >= 2 && $0.prefix(2).allSatisfy(\.isHexDigit)
        }
    }

    private static func split(_ authority: Substring) throws(OutboundError) -> (Host, Substring?) {
        if authority.hasPrefix("[") {
            guard let close = authority.firstIndex(of: "]"),
                let address = IPAddress(String(authority[authority.index(after: authority.startIndex)..<close])),
                address.bytes.count == 16
            else { throw .invalidURL("has no usable IPv6 address") }
            let after = authority[authority.index(after: close)...]
            guard after.isEmpty || after.hasPrefix(":") else { throw .invalidURL("has text after the IPv6 address") }
            return (.address(address), after.isEmpty ? nil : after.dropFirst())
        }
        let parts = authority.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let host = try name(parts.first.map { $0.lowercased() } ?? "")
        return (host, parts.count == 2 ? parts[1] : nil)
    }

    private static func name(_ text: String) throws(OutboundError) -> Host {
        let labels = text.split(separator: ".", omittingEmptySubsequences: false)
        guard (1...253).contains(text.utf8.count), let last = labels.last else { throw .invalidURL("has no host") }
        for label in labels {
            guard (1...63).contains(label.utf8.count), !label.hasPrefix("-"), !label.hasSuffix("-"),
                label.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x7a).contains($0) || $0 == 0x2d })
            else { throw .invalidURL("has no valid host name") }
        }
        // A last label that is a number makes the whole host an address for many parsers (WHATWG URL §3.5).
        let digits = last.hasPrefix("0x") ? last.dropFirst(2) : nil
        let isNumber = last.utf8.allSatisfy { (0x30...0x39).contains($0) }
        guard isNumber || digits.map({ $0.utf8.allSatisfy(\.isHexDigit) }) == true else { return .name(text) }
        guard let address = IPAddress(text) else { throw .invalidURL("has a number that is no IPv4 address") }
        return .address(address)
    }
}
