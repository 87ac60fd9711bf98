/// Why a request to the outside gave no response. Facts only; nothing of the URL's path, query, headers or body.
package enum OutboundError: Error, Sendable, Equatable {
    /// What the policy forbids about a well-formed URL.
    package enum Refusal: String, Sendable {
        case scheme = "the scheme is not https"
        case port = "the port is not allowed"
        case address = "the host is, or resolves to, a special-use address (RFC 6890)"
    }

    /// The URL is not one that every parser reads alike; fixed text says why. Nothing was resolved.
    case invalidURL(String)
    /// The method or a header cannot be sent; fixed text says why.
    case invalidRequest(String)
    case refused(Refusal)
    /// The name has no address, or the resolver failed.
    case unresolvable
    /// The deadline of the request or of the connection passed.
    case timedOut
    /// The response is longer than the request allows; nothing of it is returned.
    case tooLarge
    /// The host failed repeatedly a moment ago; nothing was sent.
    case circuitOpen
    /// As many requests as the policy allows are under way; nothing was sent.
    case overloaded
    /// No connection, no valid certificate for the host, or the connection ended before the response.
    case connectionFailed(String)
    case cancelled
}
