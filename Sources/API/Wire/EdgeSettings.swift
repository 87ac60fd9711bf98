package import ControlPlane
import Foundation

/// What an operator says about the way requests come in.
package struct EdgeSettings: Sendable {
    /// The public URL `P`, without a trailing slash. The only source of names and links; `Host` and `Forwarded` are not
    /// believed (RFC 8414 §6.2).
    package var publicURL: String
    /// Proxies whose `X-Forwarded-For` is believed. Nobody else's is.
    package var trustedProxies: [AddressRange]

    package init(publicURL: String, trustedProxies: [AddressRange] = []) {
        self.publicURL = publicURL
        self.trustedProxies = trustedProxies
    }

    /// Whether browsers reach us over TLS; else the public URL is on loopback.
    var isSecure: Bool { publicURL.hasPrefix("https://") }

    /// Path of the public URL: empty, or `/` and more without a trailing slash.
    var basePath: String {
        guard let mark = publicURL.range(of: "://") else { return "" }
        let rest = publicURL[mark.upperBound...]
        return rest.firstIndex(of: "/").map { String(rest[$0...]) } ?? ""
    }

    /// Origin of the public URL as browsers send it (RFC 6454 §6.2).
    var origin: String { String(publicURL.dropLast(basePath.count)) }
}
