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
            let (name, port) = Self.split(authority)
        else { return nil }
        switch scheme {
        case "https":
            guard !name.hasSuffix("."), !Self.isLoopback(name) else { return nil }
            kind = .https
        case "http":
            guard Self.isLoopback(name) else { return nil }
            kind = .loopback
        default:
            return nil
        }
        _ = port
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

    private static func split(_ authority: Substring) -> (host: Substring, port: Substring?)? {
        if authority.hasPrefix("[") {
            guard let close = authority.firstIndex(of: "]") else { return nil }
            let rest = authority[authority.index(after: close)...]
            if rest.isEmpty { return (authority[...close], nil) }
            guard rest.hasPrefix(":"), isPort(rest.dropFirst()) else { return nil }
            return (authority[...close], rest.dropFirst())
        }
        guard let colon = authority.firstIndex(of: ":") else { return (authority, nil) }
        let port = authority[authority.index(after: colon)...]
        guard colon != authority.startIndex, isPort(port) else { return nil }
        return (authority[..<colon], port)
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
