import Audit
import ControlPlane
import HTTPTypes
import Hummingbird
import Tenancy

/// A request by a proven administrator.
struct AdminContext: ChildRequestContext {
    var coreContext: CoreRequestContextStorage
    let administrator: Administrator

    /// - Throws: ``AdminError/unauthenticated`` where nobody was proven.
    init(context: AppContext) throws {
        guard let administrator = context.administrator else { throw AdminError.unauthenticated }
        coreContext = context.coreContext
        self.administrator = administrator
    }
}

/// Limits how often a key or a token may call, and says in every answer how much is left.
struct LimitAdministrators: RouterMiddleware {
    let limits: EndpointLimits

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        let call = EndpointLimits.AdminCall(
            presented: AuthenticateAdministrator.presented(in: request), request: context.request, at: context.now)
        do {
            let state = try await limits.admit(call)
            var response = try await next(request, context)
            if let state, response.headers[.rateLimit] == nil { response.headers.tell(state) }
            return response
        } catch let error as AdminError {
            return Problem(error).response(to: context.request.id)
        }
    }
}

/// Counts who could not be proven, before the refusal becomes an answer.
struct CountAuthenticationFailures: RouterMiddleware {
    let limits: EndpointLimits

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch let error as AdminError {
            let call = EndpointLimits.AdminCall(
                presented: AuthenticateAdministrator.presented(in: request), request: context.request, at: context.now)
            try await limits.refused(call, because: error)
            throw error
        }
    }
}

/// Proves the admin key of a request (RFC 6750 §2.1), or the access token of a person. The header is the only way in.
struct AuthenticateAdministrator: RouterMiddleware {
    let authentication: AdminAuthentication
    let tokens: AdminTokenAuthentication
    let proofs: DPoPProofs
    /// `P`, without a trailing slash: proofs name the URL as callers know it.
    let publicURL: String

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        var context = context
        guard let presented = try Self.credential(of: request) else { return try await next(request, context) }
        let key = presented.scheme == .dpop ? try await provenKey(with: presented.text, request, context) : nil
        // Admin keys begin with `gh_`; a token of ours is a JWT.
        if presented.scheme == .dpop || presented.text.contains(".") {
            context.administrator = try await tokens.authenticate(
                presented.text, provenBy: key, request: context.request, at: context.now)
        } else {
            context.administrator = try await authentication.authenticate(
                presented.text, request: context.request, at: context.now)
        }
        let response = try await next(request, context)
        return key == nil ? response : response.with(dpopNonce: proofs.nonces.fresh(at: context.now))
    }

    /// The key that goes with a token by the DPoP scheme (RFC 9449 §7.1).
    private func provenKey(with token: String, _ request: Request, _ context: AppContext) async throws -> String {
        let presented = DPoPProofs.Presented(
            headers: request.headers[values: .dpop], url: publicURL + request.uri.path, accessToken: token)
        do {
            return try await proofs.key(
                provenBy: presented, at: .platform, request: context.request, now: context.now)
        } catch let error as OAuthError where [.invalidDPoPProof, .useDPoPNonce].contains(error.code) {
            throw AdminError.proofRefused(code: error.code.rawValue, nonce: error.dpopNonce)
        }
    }

    /// The credential, where there is exactly one; proves nothing.
    static func presented(in request: Request) -> String? {
        (try? credential(of: request))?.text
    }

    /// - Returns: nil when no credential of a scheme that we know came.
    /// - Throws: ``AdminError/malformed(_:)`` for more than one, a broken one, or one in the query (BR-04, BR-05).
    static func credential(
        of request: Request
    ) throws(AdminError) -> (scheme: AccessTokenCredential.Scheme, text: String)? {
        guard request.uri.queryParameters["access_token"] == nil else {
            throw .malformed("Credentials belong into the Authorization header, never into the URL.")
        }
        let headers = request.headers[values: .authorization]
        guard headers.count <= 1 else { throw .malformed("There is more than one Authorization header.") }
        guard let header = headers.first else { return nil }
        let parts = header.split(separator: " ", omittingEmptySubsequences: true)
        // The scheme's case does not matter (BR-06).
        let scheme: AccessTokenCredential.Scheme
        switch parts.first?.lowercased() {
        case "bearer": scheme = .bearer
        case "dpop": scheme = .dpop
        default: return nil
        }
        guard parts.count == 2 else { throw .malformed("Send Authorization: Bearer and one credential.") }
        return (scheme, String(parts[1]))
    }
}
