package import Audit
package import Foundation
package import Keys
import Synchronization
package import Tenancy

/// Dynamic client registration (RFC 7591), at both issuer kinds; open unless the organization says otherwise.
///
/// An unused registration lives for a day, and only unused ones count against the quota; one that somebody connected with
/// stays, since clients never register again by themselves.
package final class ClientRegistration: Sendable {
    /// Numbers an operator chooses.
    package struct Settings: Sendable {
        /// Unused registrations one issuer may have at a time. Key `GATEHOUSE_REGISTRATION_QUOTA`. Default 10,000. How many
        /// one source may make is limited beside it (``RateLimit/registerSource``), so that nobody closes registration
        /// for everybody.
        package var quota = 10_000
        /// How long an unused one lives. Default 24 h.
        package var unusedLifetime: Duration = .seconds(86_400)

        package init() {}
    }

    /// A client as registered, with the secret that is told once.
    package struct Registered: Sendable {
        package let client: Client
        package let secret: Secret?
        /// By which the client manages its registration (RFC 7592); told once.
        package let registrationToken: Secret?
    }

    private struct Count {
        var unused: Int
        var countedAt: Date
    }

    private let clients: ClientStore
    private let limits: EndpointLimits
    private let refusals: RefusalLog
    private let settings: Settings
    private let random: RandomBytes
    /// What the quota was found to be lately: counting for each registration would cost more than the registration.
    private let counts = Mutex<[OrganizationID: Count]>([:])
    private static let recount: TimeInterval = 10

    package init(
        database: TenantDatabase, limits: EndpointLimits, refusals: RefusalLog, settings: Settings, random: RandomBytes
    ) {
        clients = ClientStore(database: database)
        self.limits = limits
        self.refusals = refusals
        self.settings = settings
        self.random = random
    }

    /// - Throws: ``OAuthError`` of RFC 7591 §3.2.2; nothing is stored then.
    ///
    /// - Parameter token: the initial access token that came, if one did.
    package func register(
        _ metadata: ClientMetadata, with token: Secret?, at issuer: Issuer, request: AuditEvent.RequestInfo,
        at now: Date
    ) async throws -> Registered {
        do {
            do {
                let credential = try Self.credential(token, at: issuer)
                let checked = try metadata.checked(.registration)
                try Self.checkHosts(checked.redirectURIs, at: issuer)
                try await admitUnused(at: issuer, request: request, at: now)
                return try await store(checked, metadata, with: credential, at: issuer, request, now)
            } catch let error as OAuthError where error.code != .temporarilyUnavailable || error.limit != nil {
                try await refuse(error, at: issuer, request, now)
                throw error
            }
        } catch  where error.isStoreFailure {
            throw OAuthError.unavailable(error)
        }
    }

    /// The token that opens the registry, where one is needed; a wrong one is refused everywhere.
    private static func credential(
        _ token: Secret?, at issuer: Issuer
    ) throws(OAuthError) -> InitialAccessCredential? {
        let mode = issuer.home.organization.settings.onboarding.registration
        guard mode != .off else {
            throw OAuthError(.accessDenied, "Clients cannot register here by themselves.", reason: "registration_off")
        }
        guard let token else {
            guard mode == .open else { throw OAuthError.tokenMissing }
            return nil
        }
        guard let credential = InitialAccessCredential(token.revealed), credential.organization == issuer.id else {
            throw invalidToken
        }
        return credential
    }

    private static let invalidToken = OAuthError(
        .invalidToken, "The initial access token is not valid here, or was used up.", reason: "initial_access_token")

    /// Every place that a self-registered client names has to be one that the registry's owner lets answers go to.
    static func checkHosts(_ redirects: [String], at issuer: Issuer) throws(OAuthError) {
        let policy = OnboardingPolicy(issuer.home.organization)
        guard redirects.allSatisfy({ RedirectURI($0).map { policy.admits($0) } ?? false }) else {
            throw OAuthError(
                .invalidRedirectURI, "This organization does not let answers go to one of these hosts.",
                reason: "redirect_host_denied")
        }
    }

    /// How long a client lives that nobody uses.
    var unusedLifetime: TimeInterval { settings.unusedLifetime.seconds }

    /// Makes sure that one more client may come that nobody has used yet.
    ///
    /// - Throws: ``OAuthError``: the quota is spent, or this source asks too often.
    func admitUnused(at issuer: Issuer, request: AuditEvent.RequestInfo, at now: Date) async throws {
        try await limits.admit(.registerSource, for: issuer.id, refusing: nil, request, at: now)
        try await takeFromQuota(of: issuer.id, at: now)
    }

    private func refuse(
        _ error: OAuthError, at issuer: Issuer, _ request: AuditEvent.RequestInfo, _ now: Date
    ) async throws {
        let event = AuditEvent(
            .clientRegistered, organization: issuer.id, id: EventID.make(at: now, random), time: now, outcome: .denied,
            reason: error.reason, actor: .anonymous,
            targets: [AuditEvent.Target(type: "organization", id: issuer.id.description)], request: request)
        try await refusals.refuse(event, source: request.ip)
    }

    private func store(
        _ checked: ClientMetadata.Checked, _ metadata: ClientMetadata, with credential: InitialAccessCredential?,
        at issuer: Issuer, _ request: AuditEvent.RequestInfo, _ now: Date
    ) async throws -> Registered {
        let registrationToken = Secret.random(prefix: "gm_", from: random)
        let secret = checked.hasSecret ? Secret.random(prefix: "gs_", from: random) : nil
        let client = Client(
            id: ClientID.make(at: now, random), registry: issuer.id, kind: .dynamic, name: checked.name,
            redirectURIs: checked.redirectURIs, grantTypes: checked.grantTypes, responseTypes: checked.responseTypes,
            authenticationMethod: checked.method, applicationType: checked.applicationType, scopeCeiling: nil,
            clientURI: metadata.clientURI, logoURI: metadata.logoURI, policyURI: metadata.policyURI,
            tosURI: metadata.tosURI, documentURL: nil, secretDigest: secret.map(SecretDigest.init(of:)),
            registrationTokenDigest: SecretDigest(of: registrationToken), status: .active,
            expiresAt: now + settings.unusedLifetime.seconds, version: 1,
            createdAt: now, updatedAt: now, otherMethods: checked.otherMethods, keys: checked.keys,
            assertionAlgorithm: checked.assertionAlgorithm, demands: metadata.demands)
        let event = AuditEvent(
            .clientRegistered, organization: issuer.id, id: EventID.make(at: now, random), time: now, actor: .anonymous,
            targets: [client.auditTarget], client: client.wireID, request: request,
            metadata: ["token_endpoint_auth_method": client.authenticationMethod.rawValue].merging(
                credential.map { ["initial_access_token": $0.id.description] } ?? [:]
            ) { own, _ in own })
        let outcome = try await clients.register(
            client, using: credential.map { ($0.id, $0.digest) }, recording: event.outboxEvent(random))
        guard outcome.isDone else { throw Self.invalidToken }
        return Registered(client: client, secret: secret, registrationToken: registrationToken)
    }

    private static let quotaSpent = OAuthError(
        .temporarilyUnavailable, "Too many clients were registered and not used; try again later.",
        reason: "registration_quota", retryAfter: .seconds(600))

    private func takeFromQuota(of registry: OrganizationID, at now: Date) async throws {
        let fresh = counts.withLock { counts -> Bool in
            guard let count = counts[registry], now.timeIntervalSince(count.countedAt) < Self.recount else {
                return false
            }
            counts[registry]?.unused += 1
            return true
        }
        if !fresh {
            let unused = try await clients.unusedCount(in: registry, at: now)
            counts.withLock { $0[registry] = Count(unused: unused + 1, countedAt: now) }
        }
        guard counts.withLock({ $0[registry]?.unused ?? 0 }) <= settings.quota else { throw Self.quotaSpent }
    }
}
