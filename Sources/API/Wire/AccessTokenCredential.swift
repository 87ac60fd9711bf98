import HTTPTypes
import Hummingbird

/// An access token as a request to something of ours presents it: in the `Authorization` header, by one of two schemes
/// (RFC 6750 §2.1, RFC 9449 §7.1). Bodies and query strings end up in logs; a token there is refused, not read (OAuth 2.1
/// §5.1).
struct AccessTokenCredential: Sendable {
    enum Scheme: Sendable { case bearer, dpop }

    let scheme: Scheme
    let token: String

    /// Why there is none.
    enum Missing: Error {
        /// No credentials of this kind (RFC 6750 §3.1: then no error is named).
        case absent
        /// More than one, in a place where none may be, or not readable.
        case malformed
    }

    /// - Parameter form: the body, where it is one.
    init(_ request: Request, _ form: OAuthForm?) throws(Missing) {
        let query = try? OAuthForm(query: request.rawQuery)
        guard let query, query["access_token"] == nil, form?["access_token"] == nil else { throw .malformed }
        let values = request.headers[values: .authorization]
        guard let value = values.first else { throw .absent }
        guard values.count == 1 else { throw .malformed }
        let words = value.split(separator: " ", omittingEmptySubsequences: true)
        switch words.first?.lowercased() {
        case "bearer": scheme = .bearer
        case "dpop": scheme = .dpop
        default: throw .absent
        }
        guard words.count == 2 else { throw .malformed }
        token = String(words[1])
    }
}
