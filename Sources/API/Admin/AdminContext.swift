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

    /// - Returns: nil when no bearer credential came.
    /// - Throws: ``AdminError/malformed(_:)`` for more than one, a broken one, or one in the query (BR-04, BR-05).
    private static func credential(of request: Request) throws(AdminError) -> String? {
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
