import API
import Audit
import ControlPlane
import Foundation
import Identity
import Keys
import Logging
import Outbound
import Postgres
import Redis
import ServiceLifecycle
import Tenancy

/// Everything the process is made of, built once, from the stores up.
struct Services {
    let readLane: PostgresReadLane
    let writeLane: PostgresWriteLane
    let pool: PostgresPool
    let database: TenantDatabase
    let redis: RedisClient
    /// Links of their own for rate limits, which wait less for Redis than anything else.
    let limiterRedis: [RedisClient]
    let limiter: RateLimiter
    let identityOutbound: OutboundClient
    let clientOutbound: OutboundClient
    let resourceOutbound: OutboundClient
    let secrets: TenantSecrets
    let catalog: TenantCatalog
    let refusals: RefusalLog
    let sequencer: Sequencer
    let administration: Administration
    let housekeeping: Housekeeping
    let operations: OperationWorker
    let api: APIServices

    init(_ configuration: ServerConfiguration, logger: Logger) throws {
        let clock = WallClock.system
        let random = RandomBytes.system

        readLane = PostgresReadLane(settings: configuration.database, logger: logger)
        writeLane = PostgresWriteLane(settings: configuration.database, eventsExist: existingEvents, logger: logger)
        pool = PostgresPool(settings: configuration.database, eventsExist: existingEvents, logger: logger)
        database = TenantDatabase(readLane: readLane, writeLane: writeLane, pool: pool)
        redis = RedisClient(settings: configuration.redis, logger: logger)
        var limiterSettings = configuration.redis
        limiterSettings.clientName = "gatehouse-limits"
        limiterSettings.commandTimeout = .milliseconds(50)
        limiterRedis = RedisClient.onEachLoop(settings: limiterSettings, logger: logger)
        limiter = RateLimiter(redis: limiterRedis, settings: configuration.rateLimits, clock: clock)
        identityOutbound = try OutboundClient(
            policy: IdentityProviders.outboundPolicy(
                allowLoopback: configuration.isDevelopment || configuration.identity.stytchBaseURL != nil),
            logger: logger)

        secrets = TenantSecrets(
            keyring: MasterKeyring(current: configuration.masterKey, older: configuration.olderMasterKeys),
            random: random)
        catalog = TenantCatalog(database: database, secrets: secrets, logger: logger)
        refusals = RefusalLog(database: database, clock: clock, random: random, logger: logger)
        sequencer = Sequencer(settings: configuration.sequencer, logger: logger)

        var settings = AdministrationSettings(
            publicURL: configuration.publicURL, allowLoopbackUpstreams: configuration.isDevelopment)
        settings.allowedUpstreamHosts = Set(configuration.stytchHosts)
        settings.resolveText = textRecordResolver(servers: configuration.nameServers)
        administration = Administration(
            database: database, catalog: catalog, secrets: secrets, settings: settings, random: random, logger: logger)

        housekeeping = Housekeeping(administration: administration, clock: clock, logger: logger)
        operations = OperationWorker(database: database, clock: clock, random: random, logger: logger)

        let issuers = IssuerDirectory(catalog: catalog, publicURL: configuration.publicURL)
        let limits = EndpointLimits(
            limiter: limiter, acquaintance: { [catalog] in catalog.acquaintance(of: $0, at: $1) }, refusals: refusals,
            random: random)
        let registration = ClientRegistration(
            database: database, limits: limits, refusals: refusals, settings: configuration.registration, random: random
        )
        clientOutbound = try OutboundClient(
            policy: DocumentFetcher.outboundPolicy(
                allowLoopback: configuration.isDevelopment, trustRoots: configuration.outboundTrustRoots),
            logger: logger)
        resourceOutbound = try OutboundClient(
            policy: ToolDiscovery.outboundPolicy(
                allowLoopback: configuration.isDevelopment, trustRoots: configuration.outboundTrustRoots),
            logger: logger)
        let fetcher = DocumentFetcher(outbound: clientOutbound)
        let documents = ClientDocuments(
            catalog: catalog, database: database, fetcher: fetcher, registration: registration, random: random)
        let directory = ClientDirectory(catalog: catalog, documents: documents)
        let authentication = ClientAuthentication(
            clients: directory, keys: PublishedKeys(fetcher: fetcher), database: database, random: random)
        let transactions = AuthorizationTransactionStore(redis: redis, random: random)
        let devices = DeviceAuthorizationStore(redis: redis, random: random)
        let providers = IdentityProviders(
            outbound: identityOutbound, secrets: secrets, settings: configuration.identity, clock: clock)
        let idTokenKeys = IDTokenKeys(administration: administration, issuers: issuers)
        let flow = AuthorizationFlow(
            issuers: issuers, directory: directory, transactions: transactions,
            pushedRequests: PushedRequestStore(redis: redis, random: random), devices: devices,
            limits: SignInLimits(
                limiter: limiter,
                marks: BrowserMarks(
                    key: AuthenticationKey(derivedFrom: configuration.masterKey, purpose: "browser mark"))),
            idTokenKeys: idTokenKeys, providers: providers,
            signIn: SignIn(database: database, random: random), database: database, refusals: refusals, random: random,
            logger: logger)
        let verifier = AccessTokenVerifier(issuers: issuers, database: database)
        let tokens = TokenIssuance(
            issuers: issuers, authentication: authentication, transactions: transactions,
            devices: devices, verifier: verifier, idTokenKeys: idTokenKeys, database: database, refusals: refusals,
            housekeeping: housekeeping, remembered: RememberedGrants(capacity: configuration.rememberedGrants),
            random: random)
        let proofs = DPoPProofs(
            nonces: DPoPNonces(key: AuthenticationKey(derivedFrom: configuration.masterKey, purpose: "dpop nonce")),
            redis: redis, refusals: refusals, random: random)
        let introspection = Introspection(
            issuers: issuers, authentication: authentication, verifier: verifier, database: database,
            refusals: refusals, random: random)
        let revocation = Revocation(
            authentication: authentication, verifier: verifier, database: database, refusals: refusals, random: random)
        api = APIServices(
            settings: EdgeSettings(publicURL: configuration.publicURL, trustedProxies: configuration.trustedProxies),
            issuers: issuers, flow: flow, tokens: tokens,
            pushed: PushedAuthorization(flow: flow, authentication: authentication),
            proofs: proofs,
            userInfo: UserInfo(verifier: verifier, database: database, refusals: refusals, random: random),
            introspection: introspection,
            revocation: revocation,
            registration: registration,
            management: ClientManagement(
                database: database, catalog: catalog, refusals: refusals, random: random),
            brandings: BrandingStore(database: database),
            admin: AdminRoutes(
                administration: administration, documents: documents,
                toolDiscovery: ToolDiscovery(outbound: resourceOutbound), identityProviders: providers,
                authentication: AdminAuthentication(
                    database: database, refusals: refusals, random: random, logger: logger),
                tokens: AdminTokenAuthentication(
                    issuers: issuers, verifier: verifier, database: database, refusals: refusals, random: random),
                proofs: proofs,
                cursorKey: AuthenticationKey(derivedFrom: configuration.masterKey, purpose: "admin cursor")),
            scim: SCIMRoutes(
                administration: administration,
                authentication: DirectoryAuthentication(
                    database: database, refusals: refusals, random: random, logger: logger)),
            limits: limits,
            clock: clock, random: random)
    }

    /// The lanes as one service: open while anything above them runs.
    var lanes: DatabaseLanes { DatabaseLanes(readLane: readLane, writeLane: writeLane, pool: pool) }
}

/// Opens the three doors to PostgreSQL, and closes them when everything that uses them is gone.
struct DatabaseLanes: Service {
    let readLane: PostgresReadLane
    let writeLane: PostgresWriteLane
    let pool: PostgresPool

    func open() {
        readLane.start()
        writeLane.start()
        pool.start()
    }

    func close() async {
        await pool.shutdown()
        await writeLane.shutdown()
        await readLane.shutdown()
    }

    /// Waits for the end; the doors are open already.
    func run() async throws {
        try? await gracefulShutdown()
        await close()
    }
}
