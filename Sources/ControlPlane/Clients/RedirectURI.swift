import Foundation
package import Tenancy

/// A redirect URI (RFC 6749 §3.1.2), judged as text: nothing is ever normalised, since what is compared must be what is
/// sent to the browser.
package struct RedirectURI: Sendable, Equatable {
    package enum Kind: Sendable, Equatable {
        case https
        /// http to this machine; the port may differ at request time (RFC 8252 §7.3).
        case loopback
        /// A private-use scheme from the allow-list (RFC 8252 §7.1).
        case privateUse
    }

    package let text: String
    package let kind: Kind
    /// Host as people read it; the scheme for private-use ones.
    package let host: String
    /// The text without its port, for loopback comparison.
    private let portless: String

    /// Private-use redirects of known clients, compared whole: a scheme without a reversed domain belongs to nobody.
    private static let privateUse: Set<String> = [
        "cursor://anysphere.cursor-mcp/oauth/callback"
    ]

    /// - Returns: nil for what must never be redirected to: fragments, user information, wildcards, plain http elsewhere
    ///   than on this machine, foreign schemes, dot segments, and any character a URI cannot hold (RFC 7591 §5, RFC 9700 §4.1).
    package init?(_ text: String) {
        guard text.utf8.count <= 2048, text.utf8.allSatisfy(Self.isAllowed) else { return nil }
        self.text = text
        if Self.privateUse.contains(text) {
            kind = .privateUse
            host = String(text.prefix { $0 != ":" })
            portless = text
            return
        }
        guard let mark = text.range(of: "://") else { return nil }
        let scheme = text[..<mark.lowerBound]
        let rest = text[mark.upperBound...]
        let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        let authority = rest[..<end]
        let path = rest[end...].prefix { $0 != "?" }
        guard !authority.isEmpty, !authority.contains("@"), !authority.contains("%"), !Self.hasDotSegment(path),
            Self.hasWholeEscapes(text), let name = Self.host(of: authority)
        else { return nil }
        switch scheme {
        case "https":
            guard Self.isHost(name), !Self.isLoopback(name) else { return nil }
            kind = .https
        case "http":
            guard Self.isLoopback(name) else { return nil }
            kind = .loopback
        default:
            return nil
        }
        host = String(name)
        portless = "\(scheme)://\(name)\(rest[end...])"
    }

    /// Whether a request for `requested` may be answered at this registered URI: the same text, or for loopback the same
    /// but for the port (RFC 8252 §7.3; the name `localhost` likewise, as clients in use need it).
    package func admits(_ requested: RedirectURI) -> Bool {
        if requested.text == text { return true }
        return kind == .loopback && requested.kind == .loopback && requested.portless == portless
    }

    /// For a page's `form-action`: the origin, or the scheme of a private-use URI.
    package var formAction: String {
        switch kind {
        case .privateUse: "\(host):"
        case .https, .loopback:
            text.range(of: "://").map { mark in
                String(text[..<mark.upperBound]) + text[mark.upperBound...].prefix { $0 != "/" && $0 != "?" }
            } ?? text
        }
    }

    /// RFC 3986's characters without `#`, `*` and what only appears in host literals of version `v`.
    private static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        default: "-._~:/?[]@!$&'()+,;=%".utf8.contains(byte)
        }
    }

    private static func hasDotSegment(_ path: Substring) -> Bool {
        path.split(separator: "/", omittingEmptySubsequences: false).contains { segment in
            let plain = segment.lowercased().replacingOccurrences(of: "%2e", with: ".")
            return plain == "." || plain == ".."
        }
    }

    /// The host of an authority whose port, if it has one, is a port.
    private static func host(of authority: Substring) -> Substring? {
        if authority.hasPrefix("[") {
            guard let close = authority.firstIndex(of: "]") else { return nil }
            let rest = authority[authority.index(after: close)...]
            guard rest.isEmpty || (rest.hasPrefix(":") && isPort(rest.dropFirst())) else { return nil }
            return authority[...close]
        }
        guard let colon = authority.firstIndex(of: ":") else { return authority }
        guard colon != authority.startIndex, isPort(authority[authority.index(after: colon)...]) else { return nil }
        return authority[..<colon]
    }

    /// A name of letters, digits and hyphens (RFC 1123 §2.1), or an address in its usual spelling; nothing that two
    /// programs could read as two hosts.
    private static func isHost(_ name: Substring) -> Bool {
        if name.hasPrefix("[") { return AddressRange(String(name.dropFirst().dropLast())) != nil }
        let labels = name.split(separator: ".", omittingEmptySubsequences: false)
        let isName = labels.allSatisfy { label in
            (1...63).contains(label.utf8.count) && !label.hasPrefix("-") && !label.hasSuffix("-")
                && label.utf8.allSatisfy { byte in
                    switch byte {
                    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x5F: true
                    default: false
                    }
                }
        }
        guard isName, name.utf8.count <= 253, let last = labels.last else { return false }
        // A last label that begins with a digit makes it an address, and of those only four plain decimals.
        guard last.utf8.first.map({ (0x30...0x39).contains($0) }) == true else { return true }
        return AddressRange(String(name)) != nil
    }

    private static func hasWholeEscapes(_ text: String) -> Bool {
        text.split(separator: "%", omittingEmptySubsequences: false).dropFirst().allSatisfy { part in
            part.utf8.prefix(2).count == 2
                && part.utf8.prefix(2).allSatisfy { byte in
                    (0x30...0x39).contains(byte) || (0x41...0x46).contains(byte) || (0x61...0x66).contains(byte)
                }
        }
    }

    private static func isPort(_ text: Substring) -> Bool {
        guard let number = Int(text) else { return false }
        return (1...65_535).contains(number) && String(number) == text
    }

    /// The loopback hosts clients register: two addresses and one name, in their plain spelling only.
    private static func isLoopback(_ host: Substring) -> Bool {
        host == "127.0.0.1" || host == "[::1]" || host == "localhost"
    }
}

extension Client {
    /// The registered redirect URI that admits this request, as it will be answered.
    package func redirect(for requested: String) -> RedirectURI? {
        guard let wanted = RedirectURI(requested) else { return nil }
        return redirectURIs.contains { RedirectURI($0)?.admits(wanted) ?? false } ? wanted : nil
    }
}
