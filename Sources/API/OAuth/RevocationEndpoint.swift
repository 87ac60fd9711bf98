import ControlPlane
import CoreMetrics
import HTTPTypes
import Hummingbird
import Tenancy

/// `POST I/oauth/revoke` (RFC 7009 §2).
struct RevocationEndpoint: Sendable {
    let revocation: Revocation
    let limits: EndpointLimits
    let clock: WallClock

    @Sendable func post(_ request: Request, _ context: IssuerContext) async throws -> Response {
        do {
            let form = try await OAuthForm(request)
            try form.refuseRepeated()
            let credentials = try ClientCredentials(request.headers, form)
            let token = try form.require("token")
            // `token_type_hint` is not looked at, so a wrong one does no harm (RFC 7009 §2.1).
            let now = clock.now()
            let call = EndpointLimits.ClientCall(
                .other, at: context.issuer.id, by: credentials, request: context.request, at: now)
            try await limits.admit(call) {
                try await revocation.revoke(
                    token, by: credentials, at: context.issuer, request: context.request, at: now)
            }
            Self.count("answered")
            return Response(status: .ok, headers: [.cacheControl: "no-store"])
        } catch let error as OAuthError {
            Self.count(error.code.rawValue)
            throw error
        }
    }

    private static func count(_ outcome: String) {
        Counter(label: "oauth_revocations_total", dimensions: [("outcome", outcome)]).increment()
    }
}
