import ControlPlane
import HTTPTypes
import Hummingbird
import Keys
import NIOCore

/// How a resource of ours says that an access token did not do: a challenge for each scheme it takes (RFC 6750 §3,
/// RFC 9449 §7.1), and the same as JSON.
struct TokenChallenge: Error {
    private let status: HTTPResponse.Status
    private let error: String?
    private let description: String
    private let scheme: AccessTokenCredential.Scheme
    private var scope: String?
    private var nonce: String?

    /// "SHOULD NOT include an error code or other error information" (RFC 6750 §3.1).
    static let missing = TokenChallenge(.unauthorized, nil, "Send an access token.")
    static let malformed = TokenChallenge(
        .badRequest, "invalid_request", "Send one access token, in the Authorization header.")

    static let proofMissing = TokenChallenge(
        .unauthorized, "invalid_dpop_proof", "A token by the DPoP scheme comes with a proof.", .dpop)

    init(_ refusal: UserInfo.Refusal, _ scheme: AccessTokenCredential.Scheme) {
        switch refusal {
        case .invalidToken:
            self.init(.unauthorized, "invalid_token", "The access token is not valid here.", scheme)
        case .insufficientScope:
            self.init(.forbidden, "insufficient_scope", "The access token lacks a scope.", scheme)
            scope = "openid"
        }
    }

    /// - Returns: nil for what has nothing to do with proofs.
    init?(proof error: OAuthError) {
        guard error.code == .invalidDPoPProof || error.code == .useDPoPNonce else { return nil }
        self.init(.unauthorized, error.code.rawValue, error.description, .dpop)
        nonce = error.dpopNonce
    }

    private init(
        _ status: HTTPResponse.Status, _ error: String?, _ description: String,
        _ scheme: AccessTokenCredential.Scheme = .bearer
    ) {
        self.status = status
        self.error = error
        self.description = description
        self.scheme = scheme
    }

    var response: Response {
        var headers: HTTPFields = [.contentType: "application/json", .cacheControl: "no-store"]
        if status != .badRequest {
            let bearer = challenge(#"Bearer realm="gatehouse""#, .bearer)
            let dpop = challenge(#"DPoP algs="\#(DPoPProofs.algorithms.joined(separator: " "))""#, .dpop)
            // The scheme that was used comes first.
            for value in scheme == .bearer ? [bearer, dpop] : [dpop, bearer] {
                headers.append(HTTPField(name: .wwwAuthenticate, value: value))
            }
        }
        if let nonce { headers[.dpopNonce] = nonce }
        let body = JSONWriter.object { json in
            if let error { json.string("error", error) }
            json.string("error_description", description)
        }
        return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
    }

    private func challenge(_ start: String, _ scheme: AccessTokenCredential.Scheme) -> String {
        guard scheme == self.scheme, let error else { return start }
        let parts = [start, #"error="\#(error)""#, #"error_description="\#(description)""#]
        return (parts + (scope.map { [#"scope="\#($0)""#] } ?? [])).joined(separator: ", ")
    }
}
