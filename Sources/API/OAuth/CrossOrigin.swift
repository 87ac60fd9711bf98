import HTTPTypes
import Hummingbird

/// Lets pages of any origin call what needs no cookie: metadata, keys, registration and token (OAuth 2.1 §3.2,
/// MCP-AS-36). Credentials are never allowed, so a wildcard gives nothing away; the authorization endpoint and our pages
/// are not behind this.
struct CrossOrigin: RouterMiddleware {
    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        var response = try await next(request, context)
        response.headers[.accessControlAllowOrigin] = "*"
        response.headers[.accessControlExposeHeaders] =
            "DPoP-Nonce, ETag, RateLimit, RateLimit-Policy, Request-Id, Retry-After, WWW-Authenticate"
        return response
    }
}

extension RouterMethods where Context == AppContext {
    /// Answers the preflight request of browsers (Fetch §4.8) for a path behind ``CrossOrigin``.
    func preflight(_ path: RouterPath, _ methods: HTTPRequest.Method...) {
        let headers: HTTPFields = [
            .accessControlAllowMethods: methods.map(\.rawValue).joined(separator: ", "),
            .accessControlAllowHeaders: "Authorization, Content-Type, DPoP, MCP-Protocol-Version",
            .accessControlMaxAge: "7200",
        ]
        on(path, method: .options) { _, _ in Response(status: .noContent, headers: headers) }
    }
}
