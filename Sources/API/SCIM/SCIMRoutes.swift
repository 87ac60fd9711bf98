package import ControlPlane
import HTTPTypes
package import Hummingbird

// SCIM 2.0 (RFC 7643, RFC 7644), for the directory of one organization: JSON of its own kind in, out, and in errors. What
// it changes, administration's use cases change.

/// Every route under `P/scim/v2/{org}`.
package struct SCIMRoutes: Sendable {
    private let administration: Administration
    private let authentication: DirectoryAuthentication

    package init(administration: Administration, authentication: DirectoryAuthentication) {
        self.administration = administration
        self.authentication = authentication
    }

    private typealias Handler = @Sendable (SCIMCall) async throws -> Response

    package func add(to router: Router<AppContext>, limits: EndpointLimits) {
        let group = router.group("scim/v2/{org}")
            .add(middleware: SCIMErrorMiddleware())
            .add(middleware: AuthenticateDirectory(authentication: authentication, limits: limits))
            .group(context: SCIMContext.self)
        let publicURL = administration.settings.publicURL
        func on(_ method: HTTPRequest.Method, _ path: RouterPath, _ handler: @escaping Handler) {
            group.on(path, method: method) { request, context in
                try await handler(SCIMCall(request, context, publicURL: publicURL))
            }
        }

        let discovery = SCIMDiscoveryEndpoint()
        on(.get, "ServiceProviderConfig", discovery.configuration)
        on(.get, "Schemas", discovery.schemas)
        on(.get, "Schemas/{id}", discovery.schema)
        on(.get, "ResourceTypes", discovery.resourceTypes)
        on(.get, "ResourceTypes/{id}", discovery.resourceType)

        let users = SCIMUsersEndpoint(administration: administration)
        on(.get, "Users", users.list)
        on(.post, "Users", users.create)
        on(.post, "Users/.search", users.search)
        on(.get, "Users/{id}", users.get)
        on(.put, "Users/{id}", users.replace)
        on(.patch, "Users/{id}", users.patch)
        on(.delete, "Users/{id}", users.delete)

        let groups = SCIMGroupsEndpoint(administration: administration)
        on(.get, "Groups", groups.list)
        on(.post, "Groups", groups.create)
        on(.post, "Groups/.search", groups.search)
        on(.get, "Groups/{id}", groups.get)
        on(.put, "Groups/{id}", groups.replace)
        on(.patch, "Groups/{id}", groups.patch)
        on(.delete, "Groups/{id}", groups.delete)

        on(.post, ".search", SCIMSearchEndpoint(users: users, groups: groups).search)

        on(.post, "Bulk", SCIMBulkEndpoint(users: users, groups: groups, limits: limits).run)

        // Whatever else there may be: SCIM's own 404, for whoever may ask at all.
        for method in [.get, .post, .put, .patch, .delete] as [HTTPRequest.Method] {
            // A directory is nobody who could be meant by it (RFC 7644 §3.11).
            on(method, "Me") { _ in throw SCIMError(.notImplemented, nil, "A SCIM token is no user: there is no /Me.") }
            on(method, "**") { _ in throw SCIMError.notFound }
        }
    }
}
