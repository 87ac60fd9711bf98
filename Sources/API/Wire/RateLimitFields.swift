import Audit
import ControlPlane
import HTTPTypes
import Hummingbird

/// How limits show in an answer: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11 §3, §4), both
/// lists of strings with parameters (RFC 9651): quota and window of the policy; what remains, and for how many seconds.
extension HTTPFields {
    /// Says how much is left.
    mutating func tell(_ state: RateLimitState) {
        let name = state.limit.rawValue
        self[.rateLimitPolicy] = "\"\(name)\";q=\(state.rate.count);w=\(state.rate.seconds)"
        self[.rateLimit] = "\"\(name)\";r=\(state.remaining);t=\(state.seconds)"
    }

    /// Says that nothing is left, and when to come back (RFC 6585 §4).
    mutating func refuse(until state: RateLimitState) {
        tell(state)
        self[.retryAfter] = String(state.seconds)
    }
}

extension HTTPField.Name {
    static let rateLimit = named("RateLimit")
    static let rateLimitPolicy = named("RateLimit-Policy")
}

/// Limits whoever is known by an address only: browsers on our pages.
struct LimitVisitors: RouterMiddleware {
    let limits: EndpointLimits

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        try await limits.admit(.authorizeSource, refusing: .authorizeDenied, context.request, at: context.now)
        return try await next(request, context)
    }
}
