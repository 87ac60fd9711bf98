package import ControlPlane
import HTTPTypes
package import Hummingbird
package import Keys
package import Tenancy

/// What the endpoints need; built by the server, top to bottom.
package struct APIServices: Sendable {
    package let settings: EdgeSettings
    package let issuers: IssuerDirectory
    package let flow: AuthorizationFlow
    package let tokens: TokenIssuance
    package let pushed: PushedAuthorization
    package let proofs: DPoPProofs
    package let userInfo: UserInfo
    package let introspection: Introspection
    package let revocation: Revocation
    package let registration: ClientRegistration
    package let management: ClientManagement
    package let brandings: BrandingStore
    package let admin: AdminRoutes
    package let scim: SCIMRoutes
    package let limits: EndpointLimits
    package let clock: WallClock
    package let random: RandomBytes

    package init(
        settings: EdgeSettings, issuers: IssuerDirectory, flow: AuthorizationFlow, tokens: TokenIssuance,
        pushed: PushedAuthorization, proofs: DPoPProofs, userInfo: UserInfo, introspection: Introspection,
        revocation: Revocation, registration: ClientRegistration, management: ClientManagement,
        brandings: BrandingStore, admin: AdminRoutes, scim: SCIMRoutes,
        limits: EndpointLimits, clock: WallClock = .system, random: RandomBytes = .system
    ) {
        self.settings = settings
        self.issuers = issuers
        self.flow = flow
        self.tokens = tokens
        self.pushed = pushed
        self.proofs = proofs
        self.userInfo = userInfo
        self.introspection = introspection
        self.revocation = revocation
        self.registration = registration
        self.management = management
        self.brandings = brandings
        self.admin = admin
        self.scim = scim
        self.limits = limits
        self.clock = clock
        self.random = random
    }
}

extension APIServices {
    /// The admin API's own description as JSON text (OpenAPI 3.1), as it is served at `/v1/openapi.json`.
    package func openAPI() -> [UInt8] {
        admin.openAPI(limits: limits)
    }
}

/// The table of contents: every route of the public port, in reading order.
///
/// - Throws: the template engine's error when a page's template is malformed.
package func makeRouter(services: APIServices) throws -> Router<AppContext> {
    let settings = services.settings
    let pages = try Pages(settings: settings)
    let cookies = BrowserCookies(isSecure: settings.isSecure)
    let answers = AuthorizationAnswers(pages: pages, cookies: cookies, publicURL: settings.publicURL)

    let metadata = MetadataEndpoint()
    let resources = ResourceListEndpoint(publicURL: settings.publicURL)
    let keys = JWKSEndpoint()
    let limits = services.limits
    let registration = RegistrationEndpoint(
        registration: services.registration, management: services.management)
    let token = TokenEndpoint(
        issuance: services.tokens, proofs: services.proofs, limits: limits, clock: services.clock)
    let introspection = IntrospectionEndpoint(
        introspection: services.introspection, limits: limits, clock: services.clock)
    let revocation = RevocationEndpoint(revocation: services.revocation, limits: limits, clock: services.clock)
    let device = DeviceAuthorizationEndpoint(
        issuance: services.tokens, limits: limits, clock: services.clock,
        verificationURI: settings.publicURL + "/device")
    let pushed = PushedAuthorizationEndpoint(
        pushed: services.pushed, proofs: services.proofs, limits: limits, clock: services.clock)
    let userInfo = UserInfoEndpoint(
        userInfo: services.userInfo, proofs: services.proofs, limits: limits, clock: services.clock)
    let authorize = AuthorizeEndpoint(flow: services.flow, answers: answers)

    let router = Router(context: AppContext.self)
    router.add(middleware: BeginRequest(settings: settings, clock: services.clock, random: services.random))

    // For programs, of any origin: OAuth errors, no cookies.
    let open = router.group().add(middleware: CrossOrigin()).add(middleware: OAuthErrorMiddleware())
    // For servers: OAuth errors, nothing that a browser's page may read.
    let closed = router.group().add(middleware: OAuthErrorMiddleware())
    // For browsers: pages, errors as pages.
    let browser = router.group().add(middleware: PageErrorMiddleware(pages: pages))
        .add(middleware: LimitVisitors(limits: services.limits))

    // Every path under an issuer exists for the platform and for each organization.
    for base in ["", "o/{slug}/"] as [String] {
        let active = open.group()
            .add(middleware: ResolveIssuer(issuers: services.issuers, admission: .active))
            .group(context: IssuerContext.self)
        let activeOrSuspended = open.group()
            .add(middleware: ResolveIssuer(issuers: services.issuers, admission: .activeOrSuspended))
            .group(context: IssuerContext.self)
        let servers = closed.group()
            .add(middleware: ResolveIssuer(issuers: services.issuers, admission: .activeOrSuspended))
            .group(context: IssuerContext.self)
        let person = browser.group()
            .add(middleware: ResolveIssuer(issuers: services.issuers, admission: .active))
            .group(context: IssuerContext.self)

        // Metadata: the well-known name before the issuer's path (RFC 8414 §3.1) and, as clients try it, behind it.
        let places = base.isEmpty ? [".well-known/%"] : [".well-known/%/o/{slug}", "o/{slug}/.well-known/%"]
        for (name, get) in [
            ("oauth-authorization-server", metadata.get), ("openid-configuration", metadata.get),
            ("mcp-resources", resources.get),
        ] {
            for place in places {
                let path = RouterPath(place.replacing("%", with: name))
                active.get(path, use: get).head(path, use: get)
                open.preflight(path, .get, .head)
            }
        }

        active.post("\(base)oauth/register", use: registration.post)
        open.preflight("\(base)oauth/register", .post)
        let own = RouterPath("\(base)oauth/register/{client}")
        active.get(own, use: registration.get).put(own, use: registration.put)
            .delete(own, use: registration.delete)
        open.preflight(own, .get, .put, .delete)

        active.post("\(base)oauth/par", use: pushed.post)
        open.preflight("\(base)oauth/par", .post)
        person.get("\(base)oauth/authorize", use: authorize.get)
        person.post("\(base)oauth/authorize", use: authorize.post)

        active.post("\(base)oauth/token", use: token.post)
        open.preflight("\(base)oauth/token", .post)

        active.get("\(base)oauth/userinfo", use: userInfo.answer)
        active.post("\(base)oauth/userinfo", use: userInfo.answer)
        open.preflight("\(base)oauth/userinfo", .get, .post)

        servers.post("\(base)oauth/introspect", use: introspection.post)
        activeOrSuspended.post("\(base)oauth/revoke", use: revocation.post)
        open.preflight("\(base)oauth/revoke", .post)

        if !base.isEmpty {
            active.post("\(base)oauth/device_authorization", use: device.post)
            open.preflight("\(base)oauth/device_authorization", .post)
        }

        activeOrSuspended.get("\(base)oauth/jwks", use: keys.get).head("\(base)oauth/jwks", use: keys.get)
        open.preflight("\(base)oauth/jwks", .get, .head)
    }

    // Sign-in and consent.
    let forms = browser.group().add(middleware: SameOriginForms(origin: settings.origin, flow: services.flow))
    SignInEndpoint(flow: services.flow, answers: answers).addRoutes(to: forms)
    DeviceEndpoint(flow: services.flow, answers: answers).addRoutes(to: forms)
    ConnectionsEndpoint(flow: services.flow, answers: answers).addRoutes(to: forms)

    // For administrators and their programs.
    let description = services.admin.add(to: router, limits: services.limits)
    let reference = pages.reference(description)
    router.get("v1/reference") { _, _ in reference }
    // For the directories that provision organizations.
    services.scim.add(to: router, limits: services.limits)

    // What this server is, and how its pages look.
    browser.get("") { _, _ in pages.home() }
    router.get("assets/{file}", use: pages.stylesheet.get)
    router.get("favicon.ico", use: Icon.get)
    let brands = BrandAssets(catalog: services.issuers.catalog, brandings: services.brandings)
    router.get("assets/brand/{organization}/{file}", use: brands.get)

    MethodNotAllowed.complete(router)
    return router
}
