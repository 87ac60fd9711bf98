import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `POST I/oauth/device_authorization` (RFC 8628 §3.1), at organization issuers that want it; nothing elsewhere.
struct DeviceAuthorizationEndpoint: Sendable {
    let issuance: TokenIssuance
    let limits: EndpointLimits
    let clock: WallClock
    /// Where people type the code.
    let verificationURI: String

    @Sendable func post(_ request: Request, _ context: IssuerContext) async throws -> Response {
        guard context.issuer.connectsDevices else { throw HTTPError(.notFound) }
        let form = try await OAuthForm(request)
        try form.refuseRepeated()
        let credentials = try ClientCredentials(request.headers, form)
        let now = clock.now()
        let call = EndpointLimits.ClientCall(
            .other, at: context.issuer.id, by: credentials, request: context.request, at: now)
        let issued = try await limits.admit(call) {
            try await issuance.authorizeDevice(
                scope: form["scope"], resources: form.all("resource"), for: credentials, at: context.issuer.id,
                request: context.request, at: now)
        }
        return response(to: issued)
    }

    /// Without `verification_uri_complete`: a link that carries the code is what somebody who phishes would send (§5.4).
    private func response(to issued: IssuedDeviceCode) -> Response {
        let body = JSONWriter.object { json in
            json.string("device_code", issued.deviceCode.secret.revealed)
            json.string("user_code", issued.userCode.shown)
            json.string("verification_uri", verificationURI)
            json.int("expires_in", Int(issued.lifetime.components.seconds))
            json.int("interval", Int(issued.interval.components.seconds))
        }
        return .json(body)
    }
}
