package import Keys
import Outbound
package import Tenancy

extension Client.KeySource {
    /// What is wrong with keys that somebody says are theirs.
    package struct Problem: Error {
        /// `jwks` or `jwks_uri`.
        package let member: String
        /// For whoever sent them.
        package let detail: String
    }

    /// Keys as they stand in metadata: a JWK Set or the URL of one (RFC 7591 §2).
    ///
    /// - Returns: nil where neither is given.
    package static func read(jwks: JSONValue?, jwksURI: String?) throws(Problem) -> Self? {
        guard jwks == nil || jwksURI == nil else {
            throw Problem(member: "jwks", detail: "jwks and jwks_uri exclude each other.")
        }
        if let jwksURI {
            guard jwksURI.utf8.count <= 2048, let url = try? OutboundURL(jwksURI), url.scheme == .https,
                jwksURI.hasPrefix("https://")
            else { throw Problem(member: "jwks_uri", detail: "jwks_uri must be an https URL.") }
            return .published(at: jwksURI)
        }
        guard let jwks else { return nil }
        let set: JWKSet
        do {
            set = try JWKSet(jwks)
        } catch {
            throw Problem(
                member: "jwks",
                detail: error == .privateKey
                    ? "jwks holds a private key; make a new pair." : "jwks must be a JWK Set.")
        }
        guard !set.keys.isEmpty else {
            throw Problem(
                member: "jwks", detail: "jwks holds no key for ES256, RS256 (2048 bits or more) or EdDSA.")
        }
        return .given(set)
    }
}
