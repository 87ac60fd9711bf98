import Audit
import ControlPlane
import HTTPTypes
import Hummingbird

/// Renders administration's refusals as problems (RFC 9457).
struct AdminErrorMiddleware: RouterMiddleware {
    /// Where this API describes itself; every challenge says so (RFC 9728 §5.1).
    let metadata: ProtectedResourceEndpoint

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch let error as AdminError {
            var response = Problem(error).response(to: context.request.id)
            if let challenge = response.headers[.wwwAuthenticate] {
                let place = metadata.metadataURL(organization: context.parameters.get("org"))
                response.headers[.wwwAuthenticate] = #"\#(challenge), resource_metadata="\#(place)""#
            }
            return response
        }
    }
}

extension Problem {
    init(_ error: AdminError) {
        switch error {
        case .notFound:
            self = .notFound
        case .unauthenticated:
            self.init(
                .unauthorized, code: "unauthenticated", title: "A credential is needed",
                detail:
                    "Send Authorization: Bearer and a key, gh_…, which gatehouse bootstrap --platform-admin-key NAME prints; or an access token of this API.",
                headers: [.wwwAuthenticate: Self.challenge()])
        case .invalidCredential:
            self.init(
                .unauthorized, code: "invalid_credential", title: "This credential is not valid",
                detail:
                    "It was not copied whole, has ended, is for something else, or may not be used from here. Use another, or have one made.",
                headers: [.wwwAuthenticate: Self.challenge(#"error="invalid_token""#)])
        case .authenticationTooOld:
            let age = AdminAPI.longestAuthenticationAge
            self.init(
                .unauthorized, code: "insufficient_user_authentication", title: "Sign in again",
                detail: "A sign-in counts for \(age) seconds here. Begin a new authorization with max_age=\(age).",
                headers: [
                    .wwwAuthenticate: Self.challenge(
                        #"error="insufficient_user_authentication", max_age="\#(age)""#)
                ])
        case .proofRefused(let code, let nonce):
            self.init(
                .unauthorized, code: code, title: "The DPoP proof does not do",
                detail: "Send one new proof for this request, with this token's ath and the nonce in DPoP-Nonce.",
                headers: [
                    .wwwAuthenticate:
                        #"DPoP algs="\#(DPoPProofs.algorithms.joined(separator: " "))", error="\#(code)""#
                ])
            headers[.dpopNonce] = nonce
        case .malformed(let detail):
            self.init(.badRequest, code: "malformed_request", title: "The request cannot be read", detail: detail)
        case .forbidden(let scope):
            self.init(
                .forbidden, code: "insufficient_scope", title: "The credential lacks a scope",
                detail: "This needs the scope \(scope.rawValue). Use a credential that has it, or have one made.",
                headers: [
                    .wwwAuthenticate: Self.challenge(#"error="insufficient_scope", scope="\#(scope.rawValue)""#)
                ])
        case .platformOnly:
            self.init(
                .forbidden, code: "platform_key_required", title: "Only the platform may do this",
                detail: "Ask whoever runs this server.")
        case .exceedsMaker(let errors):
            self.init(
                .forbidden, code: FieldError.exceedsMaker, title: "A key can give only what it has itself",
                detail: "See errors for each member.", fields: Self.fields(errors))
        case .conflict(let detail):
            self.init(.conflict, code: "conflict", title: "This contradicts what is there", detail: detail)
        case .invalid(let errors):
            self.init(
                .unprocessableContent, code: "invalid", title: "The request is not valid",
                detail: "See errors for each member.", fields: Self.fields(errors))
        case .preconditionRequired:
            self.init(
                .preconditionRequired, code: "precondition_required", title: "If-Match is required",
                detail: "Send the ETag of the state you mean to change, as GET answers it; * changes whatever is there."
            )
        case .preconditionFailed:
            self.init(
                .preconditionFailed, code: "precondition_failed", title: "It has changed meanwhile",
                detail: "Read it again, decide anew, and send the ETag it has now, quotes included.")
        case .idempotencyKeyInFlight:
            self.init(
                .conflict, code: "idempotency_key_in_flight", title: "The first request is still being worked on",
                detail: "Repeat this one, with the same key, in a moment.", headers: [.retryAfter: "1"])
        case .idempotencyKeyReused:
            self.init(
                .unprocessableContent, code: "idempotency_key_reused", title: "This key was used for another request",
                detail: "Choose a new Idempotency-Key for each request that differs, in its path or in its body.")
        case .unsupportedMediaType:
            self.init(
                .unsupportedMediaType, code: "unsupported_media_type", title: "The body has to be JSON",
                detail:
                    "Send Content-Type: application/json; PATCH also takes application/merge-patch+json, an import takes "
                    + "application/x-ndjson.")
        case .nameServersFailed:
            self.init(
                .serviceUnavailable, code: "name_servers_failed", title: "The domain could not be looked up",
                detail: "The name servers failed or did not answer in time. Nothing was changed; try again.",
                headers: [.retryAfter: "10"])
        case .tooLarge:
            self = .tooLarge
            headers[.connection] = "close"
        case .unavailable(let retryAfter):
            self = .unavailable(retryAfter: retryAfter)
        case .rateLimited(let state):
            self.init(
                .tooManyRequests, code: "rate_limited", title: "Too many requests",
                detail: "Nothing was looked at; try again after the time in Retry-After.")
            headers.refuse(until: state)
        }
    }

    private static func fields(_ errors: [FieldError]) -> [Field] {
        errors.map { Field(pointer: $0.pointer, code: $0.code, detail: $0.detail) }
    }

    private static func challenge(_ parameters: String? = nil) -> String {
        [#"Bearer realm="gatehouse""#, parameters].compactMap { $0 }.joined(separator: ", ")
    }
}
