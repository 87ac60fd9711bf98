import Audit
import ControlPlane
import Foundation
import Keys
import Logging
import Outbound
import Redis
import Tenancy
import TestSupport

/// An organization with a resource, a person and a public client, in which families of refresh tokens are begun and
/// presented through the token endpoint's own pipeline.
struct RefreshFamilies: Sendable {
    let issuance: TokenIssuance
    let catalog: TenantCatalog
    let database: TenantDatabase
    let issuer: OrganizationID
    let client: Client
    let user: UserID
    let resource: Resource
    let begun = Date()

    /// - Parameter remembers: refreshes rest on what this node wrote rather than on what it reads.
    init(remembers: Bool = false, settings change: (inout OrganizationUpdate) -> Void) async throws {
        database = try TestDatabase.open()
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        catalog = TenantCatalog(database: database, secrets: TestDatabase.secrets, logger: logger)
        let administration = Administration(
            database: database, catalog: catalog, secrets: TestDatabase.secrets,
            settings: AdministrationSettings(publicURL: "https://as.example"), logger: logger)
        let administrator = Administrator(system: "tests", now: begun)
        let slug = "r-\(EventID.make(at: begun, .system).description.suffix(20))"
        let organization = try await administration.createOrganization(slug: slug, name: "R", by: administrator).value
        var update = OrganizationUpdate()
        change(&update)
        _ = try await administration.updateOrganization(organization.id, update, if: .any, by: administrator)
        resource = try await administration.createResource(
            NewResource(
                uri: "https://\(slug).example/mcp", name: "R", scopes: [Resource.Scope(name: "read", description: "")]),
            ownedBy: organization.id, by: administrator
        ).value
        var wanted = NewClient(name: "C", redirectURIs: ["https://\(slug).example/cb"])
        wanted.authenticationMethod = .none
        client = try await administration.createClient(wanted, in: organization.id, by: administrator).value.client
        let person = User(
            id: .make(at: begun, .system), email: "a@\(slug).example", emailVerified: true, name: nil, status: .active,
            version: 1, createdAt: begun, updatedAt: begun)
        user = person.id
        let (users, clients) = (administration.users, administration.clients)
        let admission = ClientAdmission(client: client.id, registry: organization.id, status: .active, createdAt: begun)
        try await database.transaction(organization.id) { transaction in
            _ = try await users.insert(person, of: organization.id, in: transaction)
            _ = try await clients.admit(admission, by: organization.id, in: transaction)
        }
        issuer = organization.id
        let issuers = IssuerDirectory(catalog: catalog, publicURL: "https://as.example")
        let redis = RedisClient(settings: try RedisSettings(url: "redis://127.0.0.1:1"), logger: logger)
        let refusals = RefusalLog(database: database, clock: .system, random: .system, logger: logger)
        let fetcher = DocumentFetcher(outbound: try OutboundClient(policy: OutboundPolicy(), logger: logger))
        let registration = ClientRegistration(
            database: database,
            limits: EndpointLimits(
                limiter: RateLimiter(redis: [redis], settings: RateLimitSettings()),
                acquaintance: { _, _ in .vouchedFor }, refusals: refusals),
            refusals: refusals, settings: ClientRegistration.Settings(), random: .system)
        let documents = ClientDocuments(
            catalog: catalog, database: database, fetcher: fetcher, registration: registration, random: .system)
        issuance = TokenIssuance(
            issuers: issuers,
            authentication: ClientAuthentication(
                clients: ClientDirectory(catalog: catalog, documents: documents),
                keys: PublishedKeys(fetcher: fetcher), database: database, random: .system),
            transactions: AuthorizationTransactionStore(redis: redis, random: .system),
            devices: DeviceAuthorizationStore(redis: redis, random: .system),
            verifier: AccessTokenVerifier(issuers: issuers, database: database),
            idTokenKeys: IDTokenKeys(administration: administration, issuers: issuers), database: database,
            refusals: refusals,
            housekeeping: Housekeeping(administration: administration, clock: .system, logger: logger),
            remembered: RememberedGrants(capacity: remembers ? 10_000 : 0), random: .system)
    }

    /// A new family, with its first token.
    func begin() async throws -> RefreshToken {
        let token = RefreshToken(organization: issuer, grant: .make(at: begun, .system), .system)
        let grant = Grant(
            id: token.grant, issuer: issuer, user: user, client: client.id, resource: resource.id, scope: ["read"],
            status: .active, authTime: begun,
            family: Grant.Family(
                familyDigest: token.familyDigest, currentDigest: token.digest, previousDigest: nil, previousAt: nil,
                generation: token.generation, sealedSuccessor: nil),
            mfa: false, upstreamCeiling: nil, boundKey: nil, version: 1, createdAt: begun, lastUsedAt: begun,
            idleExpiresAt: begun + 86_400, expiresAt: begun + 400 * 86_400)
        let store = GrantStore(database: database)
        for _ in 0..<50 {
            guard let home = try await catalog.snapshot(of: issuer),
                let platform = try await catalog.snapshot(of: .platform)
            else { throw Unexpected("no organization") }
            let event = AuditEvent(
                .tokenIssued, organization: issuer, id: .make(at: begun, .system), time: begun, actor: .user(user),
                targets: [])
            let code = GrantStore.SpentCode(digest: SecretDigest(of: Secret.random()), codeChallenge: "c")
            let outcome = try await store.redeem(
                GrantStore.Redemption(code: code, grant: grant), in: issuer,
                guardedBy: catalog.guardian(home, platform), recording: event.outboxEvent(.system))
            if outcome.isDone { return token }
            // Tests of other suites move the platform's epoch meanwhile.
            try await catalog.recheck(.platform)
        }
        throw Unexpected("no family could be begun")
    }

    /// Presents a token at a moment; nil when it is refused as `invalid_grant`.
    func present(_ token: RefreshToken, at now: Date) async throws -> RefreshToken? {
        let request = AuditEvent.RequestInfo(id: .make(at: now, .system), method: "POST", route: "/oauth/token")
        for _ in 0..<50 {
            do {
                let answer = try await issuance.issue(
                    .refreshToken(token: token.secret, scope: nil, resources: []),
                    to: .none(clientID: client.wireID), from: issuer, boundTo: nil, request: request, at: now)
                guard let secret = answer.refreshToken, let next = RefreshToken(secret) else {
                    throw Unexpected("a refresh without a refresh token")
                }
                return next
            } catch let error as OAuthError where error.code == .invalidGrant {
                return nil
            } catch let error as OAuthError where error.code == .temporarilyUnavailable {
                continue
            }
        }
        throw Unexpected("never available")
    }

    func isRevoked(_ grant: GrantID) async throws -> Bool {
        try await GrantStore(database: database).find(grant, in: issuer)?.status == .revoked
    }

    /// Keeps the catalog believing what it knows, as a server does.
    func watching<Value: Sendable>(_ work: () async throws -> Value) async throws -> Value {
        try await catalog.poll()
        let watcher = Task { [catalog] in
            while !Task.isCancelled {
                try? await Task.sleep(for: .milliseconds(200))
                try? await catalog.poll()
            }
        }
        defer { watcher.cancel() }
        return try await work()
    }

    struct Unexpected: Error, CustomStringConvertible {
        let description: String
        init(_ description: String) { self.description = description }
    }
}
