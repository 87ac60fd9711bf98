package import ControlPlane
import HTTPTypes
import Hummingbird
package import Identity
package import Keys
import Tenancy

// The admin API (`/v1`): JSON in, JSON out, problems of RFC 9457. One file per resource; each names its routes together
// with the scope they need.

/// Every route of the admin API.
package struct AdminRoutes: Sendable {
    private let administration: Administration
    private let documents: ClientDocuments
    private let toolDiscovery: ToolDiscovery
    private let identityProviders: IdentityProviders
    private let authentication: AdminAuthentication
    private let tokens: AdminTokenAuthentication
    private let proofs: DPoPProofs
    private let cursors: CursorSeal

    /// - Parameter cursorKey: proves that a page cursor is one of ours; the same on every node.
    package init(
        administration: Administration, documents: ClientDocuments, toolDiscovery: ToolDiscovery,
        identityProviders: IdentityProviders, authentication: AdminAuthentication, tokens: AdminTokenAuthentication,
        proofs: DPoPProofs, cursorKey: AuthenticationKey
    ) {
        self.administration = administration
        self.documents = documents
        self.toolDiscovery = toolDiscovery
        self.identityProviders = identityProviders
        self.authentication = authentication
        self.tokens = tokens
        self.proofs = proofs
        cursors = CursorSeal(key: cursorKey)
    }

    /// - Returns: the description of what was added, which is served too.
    @discardableResult
    func add(to router: Router<AppContext>, limits: EndpointLimits) -> OpenAPIDocument {
        let publicURL = administration.settings.publicURL
        let metadata = ProtectedResourceEndpoint(
            issuers: IssuerDirectory(catalog: administration.catalog, publicURL: publicURL))
        router.get(".well-known/oauth-protected-resource/v1", use: metadata.get)
            .head(".well-known/oauth-protected-resource/v1", use: metadata.get)
        let ofOrganization: RouterPath = ".well-known/oauth-protected-resource/v1/organizations/{org}"
        router.get(ofOrganization, use: metadata.getOrganization).head(ofOrganization, use: metadata.getOrganization)
        let group = router.group("v1")
            .add(middleware: LimitAdministrators(limits: limits))
            .add(middleware: AdminErrorMiddleware(metadata: metadata))
            .add(middleware: CountAuthenticationFailures(limits: limits))
            .add(
                middleware: AuthenticateAdministrator(
                    authentication: authentication, tokens: tokens, proofs: proofs, publicURL: publicURL)
            )
            .group(context: AdminContext.self)
        let table = AdminRouteTable(
            group: group, gate: AdminGate(administration: administration, authentication: authentication),
            cursors: cursors, publicURL: publicURL, described: DescribedRoutes())

        OrganizationsEndpoint(administration: administration).addRoutes(to: table)
        DomainsEndpoint(administration: administration).addRoutes(to: table)
        BrandingEndpoint(administration: administration).addRoutes(to: table)
        UsersEndpoint(administration: administration).addRoutes(to: table)
        GroupsEndpoint(administration: administration).addRoutes(to: table)
        SCIMTokensEndpoint(administration: administration).addRoutes(to: table)
        UserImportsEndpoint(administration: administration).addRoutes(to: table)
        RolesEndpoint(administration: administration).addRoutes(to: table)
        InvitationsEndpoint(administration: administration).addRoutes(to: table)
        IdentityProvidersEndpoint(administration: administration, known: identityProviders).addRoutes(to: table)
        TrustedIssuersEndpoint(administration: administration).addRoutes(to: table)
        ResourcesEndpoint(administration: administration).addRoutes(to: table)
        ResourceCredentialsEndpoint(administration: administration).addRoutes(to: table)
        ResourceToolsEndpoint(administration: administration, discovery: toolDiscovery).addRoutes(to: table)
        SigningKeysEndpoint(administration: administration).addRoutes(to: table)
        ClientsEndpoint(administration: administration, documents: documents).addRoutes(to: table)
        InitialAccessTokensEndpoint(administration: administration).addRoutes(to: table)
        ClientApprovalsEndpoint(administration: administration, documents: documents).addRoutes(to: table)
        ScopePoliciesEndpoint(administration: administration).addRoutes(to: table)
        GrantsEndpoint(administration: administration).addRoutes(to: table)
        SessionsEndpoint(administration: administration).addRoutes(to: table)
        ProgrammaticTokensEndpoint(administration: administration).addRoutes(to: table)
        OperationsEndpoint(administration: administration).addRoutes(to: table)
        AdminKeysEndpoint(administration: administration).addRoutes(to: table)
        AccessReviewsEndpoint(administration: administration).addRoutes(to: table)
        AuditEventsEndpoint(administration: administration).addRoutes(to: table)

        let document = OpenAPIDocument(routes: table.described.all, url: publicURL)
        let ready = ReadyDocument(document.json())
        router.get("v1/openapi.json") { request, _ in ready.response(to: request) }
            .head("v1/openapi.json") { request, _ in ready.response(to: request) }
        return document
    }

    /// The API's own description, as JSON text (OpenAPI 3.1). Serves nothing.
    func openAPI(limits: EndpointLimits) -> [UInt8] {
        add(to: Router(context: AppContext.self), limits: limits).json()
    }
}

/// Where a collection lives.
enum AdminPlace: Sendable {
    /// `/v1/…`, for keys of the platform.
    case platform
    /// `/v1/organizations/{org}/…`, for keys and people of that organization, and keys of the platform.
    case organization
}

/// What was said of the routes, while they are added.
final class DescribedRoutes {
    private(set) var all: [DescribedRoute] = []

    func append(_ route: DescribedRoute) { all.append(route) }
}

/// Adds routes, each with the scope it needs and its description.
struct AdminRouteTable {
    typealias Handler = @Sendable (AdminCall) async throws -> Response

    let group: RouterGroup<AdminContext>
    let gate: AdminGate
    let cursors: CursorSeal
    let publicURL: String
    let described: DescribedRoutes

    /// - Parameter evenDeleted: it can be read of a deleted organization too, by keys of the platform.
    func get(
        _ path: String, _ scope: AdminScope, in places: AdminPlace..., evenDeleted: Bool = false,
        use handler: @escaping Handler, as operation: Operation
    ) {
        on(.get, path, scope, places, handler, operation, evenDeleted: evenDeleted)
    }
    /// - Parameter largestBody: in bytes.
    func post(
        _ path: String, _ scope: AdminScope, in places: AdminPlace..., use handler: @escaping Handler,
        as operation: Operation, largestBody: Int = JSONBody.largest
    ) {
        on(.post, path, scope, places, handler, operation, largestBody: largestBody)
    }
    func patch(
        _ path: String, _ scope: AdminScope, in places: AdminPlace..., use handler: @escaping Handler,
        as operation: Operation
    ) {
        on(.patch, path, scope, places, handler, operation)
    }
    func delete(
        _ path: String, _ scope: AdminScope, in places: AdminPlace..., use handler: @escaping Handler,
        as operation: Operation
    ) {
        on(.delete, path, scope, places, handler, operation)
    }

    private func on(
        _ method: HTTPRequest.Method, _ path: String, _ scope: AdminScope, _ places: [AdminPlace],
        _ handler: @escaping Handler, _ operation: Operation, largestBody: Int = JSONBody.largest,
        evenDeleted: Bool = false
    ) {
        for place in places {
            let full =
                switch place {
                case .platform: path
                // `:suspend` and the empty path continue the organization's own segment.
                case .organization:
                    "organizations/{org}" + (path.isEmpty || path.hasPrefix(":") ? path : "/\(path)")
                }
            let isTwin = place == .platform && places.count > 1
            described.append(
                DescribedRoute(
                    method: method, path: "/v1/\(full)", place: place, scope: scope, operation: operation,
                    id: operation.id + (isTwin ? "OfPlatform" : "")))
            group.on(RouterPath(full), method: method) { [gate, cursors, publicURL] request, context in
                let organization = try await gate.organization(place, context, holding: scope, evenDeleted: evenDeleted)
                let write =
                    method == .get
                    ? nil
                    : try await WriteRequest(
                        request, by: context.administrator, in: organization.id, largestBody: largestBody)
                let call = AdminCall(
                    request: write?.request ?? request, administrator: context.administrator,
                    organization: organization, parameters: context.parameters, cursors: cursors, publicURL: publicURL,
                    isDryRun: write?.isDryRun ?? false, once: write?.once)
                do {
                    if let once = call.once, !call.isDryRun,
                        let kept = try await gate.administration.reply(to: once, at: context.administrator.now)
                    {
                        return try call.again(kept)
                    }
                    return try await handler(call)
                } catch let error as AdminError {
                    try await gate.authentication.recordDenial(of: context.administrator, error)
                    throw error
                }
            }
        }
    }
}

/// Lets through who reaches the organization and holds the scope, checked in this order: whoever does not reach an
/// organization cannot tell it from one that does not exist, whatever they lack besides.
struct AdminGate: Sendable {
    let administration: Administration
    let authentication: AdminAuthentication

    /// The organization a request is about.
    ///
    /// - Throws: ``AdminError/notFound``, ``AdminError/forbidden(missingScope:)``.
    func organization(
        _ place: AdminPlace, _ context: AdminContext, holding scope: AdminScope, evenDeleted: Bool
    ) async throws -> Organization {
        let administrator = context.administrator
        let named =
            switch place {
            case .platform: OrganizationID.platform
            case .organization: try await administration.organizationID(named: context.parameters.get("org") ?? "")
            }
        guard let id = named, administrator.reaches(id) else {
            // Foreign and unknown ones alike, so that not even the time it takes tells them apart.
            if !administrator.isPlatform {
                try await authentication.recordDenial(of: administrator, reason: "foreign_organization")
            }
            throw AdminError.notFound
        }
        let organization = try await administration.organization(
            id, evenDeleted: evenDeleted && administrator.isPlatform)
        guard administrator.holds(scope) else {
            try await authentication.recordDenial(of: administrator, reason: "missing_scope", missing: scope)
            throw AdminError.forbidden(missingScope: scope)
        }
        return organization
    }
}
