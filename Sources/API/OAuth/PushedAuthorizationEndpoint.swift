import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `POST I/oauth/par` (RFC 9126 §2).
struct PushedAuthorizationEndpoint: Sendable {
    let pushed: PushedAuthorization
    let proofs: DPoPProofs
    let limits: EndpointLimits
    let clock: WallClock

    @Sendable func post(_ request: Request, _ context: IssuerContext) async throws -> Response {
        let form = try await OAuthForm(request)
        try form.refuseRepeated()
        let credentials = try ClientCredentials(request.headers, form)
        // How the client proved itself is no part of what it asks for, and is not kept.
        let parameters = AuthorizationParameters(
            form, without: ["client_secret", "client_assertion", "client_assertion_type"])
        // Not the moment the head arrived: a body may have taken long.
        let now = clock.now()
        let call = EndpointLimits.ClientCall(
            .other, at: context.issuer.id, by: credentials, request: context.request, at: now)
        let (accepted, boundKey) = try await limits.admit(call) {
            let boundKey = try await proofs.key(
                provenBy: request, to: context.issuer.endpoint("oauth/par"), context, at: now)
            let accepted = try await pushed.push(
                parameters, by: credentials, boundTo: boundKey, at: context.issuer, request: context.request, now: now)
            return (accepted, boundKey)
        }
        let response = Self.response(to: accepted)
        return boundKey == nil ? response : response.with(dpopNonce: proofs.nonces.fresh(at: now))
    }

    private static func response(to accepted: PushedAuthorization.Accepted) -> Response {
        let body = JSONWriter.object { json in
            json.string("request_uri", accepted.requestURI)
            json.int("expires_in", Int(accepted.lifetime.components.seconds))
        }
        return .json(body, .created)
    }
}
