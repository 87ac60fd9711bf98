import Audit
import Tenancy

/// A failure that a client may see (RFC 6749 §5.2, RFC 7009 §2.2.1, RFC 7591 §3.2.2, RFC 8707 §2). Thrown where the rule
/// breaks, rendered by the HTTP room alone.
package struct OAuthError: Error {
    package enum Code: String, Sendable {
        case invalidRequest = "invalid_request"
        case invalidClient = "invalid_client"
        case invalidGrant = "invalid_grant"
        case unauthorizedClient = "unauthorized_client"
        case unsupportedGrantType = "unsupported_grant_type"
        case invalidScope = "invalid_scope"
        case invalidTarget = "invalid_target"
        case accessDenied = "access_denied"
        case authorizationPending = "authorization_pending"
        case slowDown = "slow_down"
        case expiredToken = "expired_token"
        case unsupportedResponseType = "unsupported_response_type"
        case serverError = "server_error"
        case temporarilyUnavailable = "temporarily_unavailable"
        case loginRequired = "login_required"
        case consentRequired = "consent_required"
        case requestNotSupported = "request_not_supported"
        case requestURINotSupported = "request_uri_not_supported"
        case invalidRedirectURI = "invalid_redirect_uri"
        case invalidClientMetadata = "invalid_client_metadata"
        case invalidToken = "invalid_token"
        case unsupportedTokenType = "unsupported_token_type"
        case invalidDPoPProof = "invalid_dpop_proof"
        case useDPoPNonce = "use_dpop_nonce"
    }

    package let code: Code
    /// Sent as `error_description`: fixed text in the characters RFC 6749 §5.2 allows, never input and never another
    /// error's message.
    package let description: String
    /// Why, in a word for the log and the audit, such as `code_expired`; the client is not told.
    package let reason: String
    /// Logged with `String(reflecting:)`, never sent.
    package let cause: (any Error)?
    /// When to come back, for what passes by itself.
    package let retryAfter: Duration?
    /// The limit that was exceeded, where that is why.
    package let limit: RateLimitState?
    /// What the next DPoP proof has to repeat (RFC 9449 §8).
    package let dpopNonce: String?
    /// What policy withheld and from whom, where that is why; the log alone is told.
    var denial: PolicyDenial?

    package init(
        _ code: Code, _ description: String, reason: String? = nil, cause: (any Error)? = nil,
        retryAfter: Duration? = nil, limit: RateLimitState? = nil, dpopNonce: String? = nil
    ) {
        self.code = code
        self.description = description
        self.reason = reason ?? code.rawValue
        self.cause = cause
        self.retryAfter = retryAfter
        self.limit = limit
        self.dpopNonce = dpopNonce
    }

    /// Asked too often; nothing was looked at. RFC 6749 has no word for it, so the nearest one.
    ///
    /// - Parameter isPoll: RFC 8628 §3.5 has a word for devices.
    package static func rateLimited(_ state: RateLimitState, isPoll: Bool = false) -> OAuthError {
        OAuthError(
            isPoll ? .slowDown : .temporarilyUnavailable,
            "Too many requests; try again after the time in Retry-After.", reason: "rate_limited",
            retryAfter: .seconds(state.seconds), limit: state)
    }

    /// The answer while a store is away: nothing happened, and trying again is right.
    package static func unavailable(_ cause: (any Error)?) -> OAuthError {
        OAuthError(
            .temporarilyUnavailable, "The service cannot answer right now; try again shortly.",
            reason: "store_unavailable",
            cause: cause, retryAfter: .seconds(2))
    }

    /// A bearer token is needed and none came (RFC 6750 §3.1: then the challenge names no error).
    package static let tokenMissing = OAuthError(.invalidToken, "A bearer token is required.", reason: "token_missing")

    /// Nothing by that name, or nothing that this issuer serves; nobody can tell which (RFC 8707 §2).
    package static let resourceUnknown = OAuthError(
        .invalidTarget,
        "This issuer does not issue tokens for the requested resource: spell it as the resource's metadata does, and ask an "
            + "issuer that stands there.", reason: "resource_unknown")

    /// The resource is known, but the private half of its key is not.
    package static let noSigningKey = OAuthError(
        .invalidTarget, "This resource has no signing key yet.", reason: "signing_key_missing")
}

/// A request for a token that policy refused.
struct PolicyDenial: Sendable {
    let actor: AuditEvent.Actor
    let organization: OrganizationID
    let resource: ResourceID
    let policy: AuditEvent.PolicyInfo
}

extension OAuthError {
    /// The same, said to be policy's doing.
    func denied(by decision: ScopeDecision, to actor: AuditEvent.Actor, in organization: OrganizationID) -> OAuthError {
        var error = self
        error.denial = PolicyDenial(
            actor: actor, organization: organization, resource: decision.request.resource.id, policy: decision.record)
        return error
    }
}
