package import Audit
import ControlPlane
package import Foundation
package import Hummingbird
import Keys
import Logging
import NIOCore
import Tenancy

// This room speaks HTTP: it parses what came over the wire into the values of ControlPlane, and renders its answers and
// errors. It decides nothing about clients, people or policy. Contexts prove one more thing each: a request, its issuer.

/// A request, before anything is known about it.
package struct AppContext: RequestContext {
    package var coreContext: CoreRequestContextStorage
    /// The one moment of this request, passed down as `at now:`. The system's until ``BeginRequest`` sets it.
    package var now: Date
    /// Who called and what for, for events and logs; complete once ``BeginRequest`` ran.
    package var request: AuditEvent.RequestInfo
    /// Set by ``ResolveIssuer``.
    var issuer: Issuer?
    /// Set by ``AuthenticateAdministrator``.
    var administrator: Administrator?
    /// Address of the other end of the connection, which may be a proxy.
    let peer: String?

    /// One for all, since ``BeginRequest`` is the outermost layer and makes each its own.
    private static let unbegun = AuditEvent.RequestInfo(
        id: Tenancy.RequestID.make(at: Date(), .system), method: "", route: "")

    package init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        now = Date()
        request = Self.unbegun
        peer = source.channel.remoteAddress?.ipAddress
    }
}

/// A request to an issuer that exists and may answer it.
struct IssuerContext: ChildRequestContext {
    var coreContext: CoreRequestContextStorage
    let issuer: Issuer
    let now: Date
    let request: AuditEvent.RequestInfo

    /// - Throws: 404, the same for unknown, deleted and suspended organizations.
    init(context: AppContext) throws {
        guard let issuer = context.issuer else { throw HTTPError(.notFound) }
        coreContext = context.coreContext
        self.issuer = issuer
        now = context.now
        request = context.request
    }
}

/// Finds the issuer a path names: the organization of `/o/{slug}`, else the platform.
///
/// Runs before ``IssuerContext`` is made, which refuses where nothing was found.
struct ResolveIssuer: RouterMiddleware {
    /// Which organizations an endpoint answers for.
    enum Admission: Sendable {
        case active
        /// For JWKS, introspection and revocation: what was issued before has to stay checkable.
        case activeOrSuspended
    }

    let issuers: IssuerDirectory
    let admission: Admission

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        var context = context
        do {
            context.issuer = try await issuer(slug: context.parameters.get("slug"))
        } catch let error as OAuthError {
            throw error
        } catch  where error.isStoreFailure {
            throw OAuthError.unavailable(error)
        }
        return try await next(request, context)
    }

    private func issuer(slug: String?) async throws -> Issuer? {
        guard let slug else { return try await issuers.platform() }
        guard let issuer = try await issuers.organization(slug: slug) else { return nil }
        return switch (issuer.home.organization.status, admission) {
        case (.active, _), (.suspended, .activeOrSuspended): issuer
        case (.suspended, .active), (.deleted, _): nil
        }
    }
}
