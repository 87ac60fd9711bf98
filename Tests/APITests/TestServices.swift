import Audit
import ControlPlane
import Foundation
import Hummingbird
import HummingbirdTesting
import Identity
import Keys
import Logging
import Outbound
import Postgres
import Redis
import Tenancy
import TestSupport

@testable import API

/// The whole public API in memory, over one set of stores.
struct TestServices: Sendable {
    static let publicURL = "https://as.example"

    /// Stores that nobody can reach: everything that needs none of them, and what is said when they are away.
    static let away = Result<TestServices, any Error> {
        let settings = PostgresSettings(conninfo: "host=127.0.0.1 port=1 connect_timeout=1")
        let readLane = PostgresReadLane(settings: settings, logger: quiet)
        let writeLane = PostgresWriteLane(settings: settings, eventsExist: existingEvents, logger: quiet)
        let pool = PostgresPool(settings: settings, eventsExist: existingEvents, logger: quiet)
        readLane.start()
        writeLane.start()
        pool.start()
        return try TestServices(
            database: TenantDatabase(readLane: readLane, writeLane: writeLane, pool: pool),
            redisURL: "redis://127.0.0.1:1")
    }

    /// The servers of the environment, shared by all tests of the process.
    static let live = Result<TestServices, any Error> {
        try TestServices(database: try TestDatabase.open(), redisURL: try TestEnvironment.require("REDIS_URL"))
    }

    private static let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    private let services: APIServices

    private init(database: TenantDatabase, redisURL: String) throws {
        let logger = Self.quiet
        let redis = RedisClient(settings: try RedisSettings(url: redisURL), logger: logger)
        Task { await redis.run() }
        let limiter = RateLimiter(redis: [redis], settings: RateLimitSettings())
        let secrets = TestDatabase.secrets
        let issuers = IssuerDirectory(
            catalog: TenantCatalog(database: database, secrets: secrets, logger: logger), publicURL: Self.publicURL)
        let refusals = RefusalLog(database: database, clock: .system, random: .system, logger: logger)
        let limits = EndpointLimits(
            limiter: limiter, acquaintance: { [issuers] in issuers.catalog.acquaintance(of: $0, at: $1) },
            refusals: refusals)
        let registration = ClientRegistration(
            database: database, limits: limits, refusals: refusals, settings: ClientRegistration.Settings(),
            random: .system)
        let fetcher = DocumentFetcher(
            outbound: try OutboundClient(
                policy: DocumentFetcher.outboundPolicy(allowLoopback: false, trustRoots: nil), logger: logger))
        let documents = ClientDocuments(
            catalog: issuers.catalog, database: database, fetcher: fetcher, registration: registration,
            random: .system)
        let directory = ClientDirectory(catalog: issuers.catalog, documents: documents)
        let authentication = ClientAuthentication(
            clients: directory, keys: PublishedKeys(fetcher: fetcher), database: database, random: .system)
        let transactions = AuthorizationTransactionStore(redis: redis, random: .system)
        let devices = DeviceAuthorizationStore(redis: redis, random: .system)
        let providers = IdentityProviders(
            outbound: try OutboundClient(policy: OutboundPolicy(), logger: logger), secrets: secrets,
            settings: IdentitySettings())
        let administration = Administration(
            database: database, catalog: issuers.catalog, secrets: secrets,
            settings: AdministrationSettings(publicURL: Self.publicURL), logger: logger)
        let idTokenKeys = IDTokenKeys(administration: administration, issuers: issuers)
        let verifier = AccessTokenVerifier(issuers: issuers, database: database)
        let flow = AuthorizationFlow(
            issuers: issuers, directory: directory, transactions: transactions,
            pushedRequests: PushedRequestStore(redis: redis, random: .system), devices: devices,
            limits: SignInLimits(
                limiter: limiter,
                marks: BrowserMarks(
                    key: AuthenticationKey(derivedFrom: TestDatabase.masterKey, purpose: "browser mark"))),
            idTokenKeys: idTokenKeys, providers: providers,
            signIn: SignIn(database: database), database: database, refusals: refusals, random: .system,
            logger: logger)
        let proofs = DPoPProofs(
            nonces: DPoPNonces(key: AuthenticationKey(derivedFrom: TestDatabase.masterKey, purpose: "dpop nonce")),
            redis: redis, refusals: refusals, random: .system)
        services = APIServices(
            settings: EdgeSettings(publicURL: Self.publicURL), issuers: issuers,
            flow: flow,
            tokens: TokenIssuance(
                issuers: issuers, authentication: authentication, transactions: transactions,
                devices: devices, verifier: verifier, idTokenKeys: idTokenKeys, database: database, refusals: refusals,
                housekeeping: Housekeeping(administration: administration, clock: .system, logger: logger),
                remembered: RememberedGrants(capacity: 100), random: .system),
            pushed: PushedAuthorization(flow: flow, authentication: authentication),
            proofs: proofs,
            userInfo: UserInfo(verifier: verifier, database: database, refusals: refusals, random: .system),
            introspection: Introspection(
                issuers: issuers, authentication: authentication, verifier: verifier, database: database,
                refusals: refusals, random: .system),
            revocation: Revocation(
                authentication: authentication, verifier: verifier, database: database, refusals: refusals,
                random: .system),
            registration: registration,
            management: ClientManagement(
                database: database, catalog: issuers.catalog, refusals: refusals, random: .system),
            brandings: BrandingStore(database: database),
            admin: AdminRoutes(
                administration: administration, documents: documents,
                toolDiscovery: ToolDiscovery(
                    outbound: try OutboundClient(policy: OutboundPolicy(), logger: logger)),
                identityProviders: providers,
                authentication: AdminAuthentication(database: database, refusals: refusals, logger: logger),
                tokens: AdminTokenAuthentication(
                    issuers: issuers, verifier: verifier, database: database, refusals: refusals),
                proofs: proofs,
                cursorKey: AuthenticationKey(derivedFrom: TestDatabase.masterKey, purpose: "admin cursor")),
            scim: SCIMRoutes(
                administration: administration,
                authentication: DirectoryAuthentication(database: database, refusals: refusals, logger: logger)),
            limits: limits)
    }

    /// What the admin API says of itself.
    func openAPI() -> [UInt8] { services.openAPI() }

    /// Every route that an endpoint answers: those that say 405 are left out.
    var routes: [(method: String, path: String)] {
        get throws {
            let router = Router(context: AppContext.self)
            services.admin.add(to: router, limits: services.limits)
            return router.routes.map { ($0.method.rawValue, $0.path.description) }
        }
    }

    /// Runs requests against the router in memory.
    func test(_ body: @Sendable (any TestClientProtocol) async throws -> Void) async throws {
        try await Application(router: try makeRouter(services: services), logger: Self.quiet)
            .test(.router) { try await body($0) }
    }
}
