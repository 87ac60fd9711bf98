package import Audit
package import Foundation
package import Keys
import Synchronization
package import Tenancy

/// Dynamic client registration (RFC 7591), open at both issuer kinds.
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
    package func register(
        _ metadata: ClientMetadata, at issuer: Issuer, request: AuditEvent.RequestInfo, at now: Date
    ) async throws -> Registered {
        do {
            do {
                let checked = try metadata.checked(.registration)
                try await admitUnused(at: issuer, request: request, at: now)
                return try await store(checked, metadata, at: issuer, request, now)
            } catch let error as OAuthError where error.code != .temporarilyUnavailable || error.limit != nil {
                try await refuse(error, at: issuer, request, now)
                throw error
            }
        } catch  where error.isStoreFailure {
            throw OAuthError.unavailable(error)
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
        _ checked: ClientMetadata.Checked, _ metadata: ClientMetadata, at issuer: Issuer,
        _ request: AuditEvent.RequestInfo, _ now: Date
    ) async throws -> Registered {
        let secret = checked.hasSecret ? Secret.random(prefix: "gs_", from: random) : nil
        let client = Client(
            id: ClientID.make(at: now, random), registry: issuer.id, kind: .dynamic, name: checked.name,
            redirectURIs: checked.redirectURIs, grantTypes: checked.grantTypes, responseTypes: checked.responseTypes,
            authenticationMethod: checked.method, applicationType: checked.applicationType, scopeCeiling: nil,
            clientURI: metadata.clientURI, logoURI: metadata.logoURI, policyURI: metadata.policyURI,
            tosURI: metadata.tosURI, documentURL: nil, secretDigest: secret.map(SecretDigest.init(of:)),
            registrationTokenDigest: nil, status: .active, expiresAt: now + settings.unusedLifetime.seconds, version: 1,
            createdAt: now, updatedAt: now, otherMethods: checked.otherMethods, keys: checked.keys,
            assertionAlgorithm: checked.assertionAlgorithm, demands: metadata.demands)
        let event = AuditEvent(
            .clientRegistered, organization: issuer.id, id: EventID.make(at: now, random), time: now, actor: .anonymous,
            targets: [client.auditTarget], client: client.wireID, request: request,
            metadata: ["token_endpoint_auth_method": client.authenticationMethod.rawValue])
        _ = try await clients.register(client, recording: event.outboxEvent(random))
        return Registered(client: client, secret: secret)
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
