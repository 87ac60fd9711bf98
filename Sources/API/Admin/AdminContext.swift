import Audit
import ControlPlane
import HTTPTypes
import Hummingbird

/// A request by a proven admin key.
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

/// Limits how often a key may call, and says in every answer how much is left.
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
            // The one answer that proves nobody.
            if response.status == .unauthorized { try await limits.refused(call) }
            if let state { response.headers.tell(state) }
            return response
        } catch let error as AdminError {
            return Problem(error).response(to: context.request.id)
        }
    }
}

/// Proves the admin key of a request (RFC 6750 §2.1). The header is the only way in.
struct AuthenticateAdministrator: RouterMiddleware {
    let authentication: AdminAuthentication

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        var context = context
        if let credential = try Self.credential(of: request) {
            context.administrator = try await authentication.authenticate(
                credential, request: context.request, at: context.now)
        }
        return try await next(request, context)
    }

    /// The credential, where there is exactly one; proves nothing.
    static func presented(in request: Request) -> String? {
        (try? credential(of: request)) ?? nil
    }

    /// - Returns: nil when no bearer credential came.
    /// - Throws: ``AdminError/malformed(_:)`` for more than one, a broken one, or one in the query (BR-04, BR-05).
    static func credential(of request: Request) throws(AdminError) -> String? {
        guard request.uri.queryParameters["access_token"] == nil else {
            throw .malformed("Credentials belong into the Authorization header, never into the URL.")
        }
        let headers = request.headers[values: .authorization]
        guard headers.count <= 1 else { throw .malformed("There is more than one Authorization header.") }
        guard let header = headers.first else { return nil }
        let parts = header.split(separator: " ", omittingEmptySubsequences: true)
        // The scheme's case does not matter (BR-06).
        guard parts.first?.lowercased() == "bearer" else { return nil }
        guard parts.count == 2 else { throw .malformed("Send Authorization: Bearer and one admin key.") }
        return String(parts[1])
    }
}
