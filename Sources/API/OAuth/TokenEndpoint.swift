import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `POST I/oauth/token` (RFC 6749 §3.2; OAuth 2.1 §3.2).
struct TokenEndpoint: Sendable {
    let issuance: TokenIssuance
    let proofs: DPoPProofs
    let limits: EndpointLimits
    let clock: WallClock

    @Sendable func post(_ request: Request, _ context: IssuerContext) async throws -> Response {
        var grant = "none"
        do {
            let form = try await OAuthForm(request)
            try form.refuseRepeated()
            guard context.issuer.supports(grantType: try form.require("grant_type")) else {
                throw OAuthError(
                    .unsupportedGrantType,
                    "This grant type is not supported here; grant_types_supported of the metadata names those that are."
                )
            }
            let wanted = try TokenRequest(form)
            grant = wanted.grantType
            let credentials = try ClientCredentials(request.headers, form)
            // Not the moment the head arrived: a body may have taken long.
            let now = clock.now()
            let call = EndpointLimits.ClientCall(
                wanted, by: credentials, at: context.issuer.id, request: context.request, at: now)
            let (tokens, boundKey) = try await limits.admit(call) {
                let boundKey = try await proofs.key(
                    provenBy: request, to: context.issuer.endpoint("oauth/token"), context, at: now)
                let tokens = try await issuance.issue(
                    wanted, to: credentials, from: context.issuer.id, boundTo: boundKey, request: context.request,
                    at: now)
                return (tokens, boundKey)
            }
            Self.count(grant, outcome: "issued", reason: "none")
            let response = TokenResponse(tokens).response
            return boundKey == nil ? response : response.with(dpopNonce: proofs.nonces.fresh(at: now))
        } catch let error as OAuthError {
            Self.count(grant, outcome: error.code.rawValue, reason: error.reason)
            throw error
        }
    }

    private static func count(_ grant: String, outcome: String, reason: String) {
        TokenLabels(grant: grant, outcome: outcome, reason: reason).count()
    }
}

extension TokenRequest {
    /// - Throws: ``OAuthError``: `invalid_request` for what is missing, `unsupported_grant_type`.
    init(_ form: OAuthForm) throws(OAuthError) {
        switch try form.require("grant_type") {
        case "authorization_code":
            self = .authorizationCode(
                code: try form.require("code"), redirectURI: form["redirect_uri"], codeVerifier: form["code_verifier"],
                resources: form.all("resource"))
        case "refresh_token":
            self = .refreshToken(
                token: Secret(try form.require("refresh_token")), scope: form["scope"], resources: form.all("resource"))
        case "client_credentials":
            self = .clientCredentials(scope: form["scope"], resources: form.all("resource"))
        case "urn:ietf:params:oauth:grant-type:device_code":
            self = .deviceCode(code: try form.require("device_code"), resources: form.all("resource"))
        case "urn:ietf:params:oauth:grant-type:jwt-bearer":
            self = .assertion(
                Secret(try form.require("assertion")), scope: form["scope"], resources: form.all("resource"))
        case "urn:ietf:params:oauth:grant-type:token-exchange":
            self = try .tokenExchange(form)
        default:
            throw OAuthError(
                .unsupportedGrantType,
                "This grant type is not supported; grant_types_supported of the metadata names those that are.")
        }
    }
}

extension TokenRequest {
    /// A token exchange (RFC 8693 §2.1): access tokens for access tokens, and the client alone is who acts.
    private static func tokenExchange(_ form: OAuthForm) throws(OAuthError) -> TokenRequest {
        let token = try form.require("subject_token")
        let accessToken = TokenType.accessToken
        guard try form.require("subject_token_type") == accessToken else {
            throw OAuthError(
                .invalidRequest, "subject_token_type must be \(accessToken).", reason: "subject_token_type_unsupported")
        }
        guard form["requested_token_type"] ?? accessToken == accessToken else {
            throw OAuthError(
                .invalidRequest, "requested_token_type must be \(accessToken).",
                reason: "requested_token_type_unsupported")
        }
        guard form["actor_token"] == nil, form["actor_token_type"] == nil else {
            throw OAuthError(
                .invalidRequest, "actor_token is not supported: the client itself is the actor.",
                reason: "actor_token_unsupported")
        }
        return .tokenExchange(
            subjectToken: Secret(token), scope: form["scope"], target: form.all("resource") + form.all("audience"))
    }
}

/// A successful token response (RFC 6749 §5.1).
struct TokenResponse: Sendable {
    let response: Response

    init(_ tokens: IssuedTokens) {
        let body = JSONWriter.object(capacity: 2048) { json in
            json.string("access_token", tokens.accessToken)
            if let type = tokens.issuedTokenType { json.string("issued_token_type", type) }
            json.string("token_type", tokens.tokenType)
            json.int("expires_in", tokens.expiresIn)
            if let refreshToken = tokens.refreshToken { json.string("refresh_token", refreshToken.revealed) }
            if let idToken = tokens.idToken { json.string("id_token", idToken) }
            json.string("scope", tokens.scope)
        }
        response = .json(body)
    }
}
