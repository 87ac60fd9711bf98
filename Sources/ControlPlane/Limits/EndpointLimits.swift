package import Audit
package import Foundation
package import Keys
package import Tenancy

/// Who may ask the endpoints how often, and what becomes of those who fail.
///
/// Before anything is looked at, one demand takes from the buckets of the organization and of the client that the request
/// names, and looks at how often that client could not be proven from this source. A name proves nothing: if the request
/// then comes to nothing, for whatever reason, what was taken is given back; a refusal is counted to the source, and a
/// client that was not proven to the claimed client from this source too. So nobody uses up another's share by naming it
/// (K-17), whoever tries many clients or codes is stopped all the same (P-13, K-04), a client whose secret is being guessed
/// goes on working from elsewhere, and no person of a client can shut it out with codes that are no good.
///
/// The bucket of a source's failures turns only further failures away: whoever proves itself is never kept out because of
/// its neighbours behind one address.
///
/// Anybody can register a client and prove it. So an organization's bucket is one for those that an administrator made
/// known, one for those that somebody of the organization connected with, and one for strangers: none of them uses up what
/// the others need.
package struct EndpointLimits: Sendable {
    private let limiter: RateLimiter
    private let acquaintance: @Sendable (String, OrganizationID) -> ClientAcquaintance
    private let refusals: RefusalLog
    private let random: RandomBytes
    /// What a client that was not proven counts among the failures of the client from a source.
    private static let wrongSecret = 10

    /// - Parameter acquaintance: what is known here of a `client_id` at an issuer, without asking anybody.
    package init(
        limiter: RateLimiter, acquaintance: @escaping @Sendable (String, OrganizationID) -> ClientAcquaintance,
        refusals: RefusalLog, random: RandomBytes = .system
    ) {
        self.limiter = limiter
        self.acquaintance = acquaintance
        self.refusals = refusals
        self.random = random
    }

    /// A request in which a client says who it is.
    package struct ClientCall: Sendable {
        package enum Endpoint: Sendable { case token, introspect, other }

        let endpoint: Endpoint
        let issuer: OrganizationID
        let organization: OrganizationID?
        /// What it calls itself.
        let name: String
        /// The same, of bounded length.
        let client: String
        /// Its success proves who asked: with a secret, an assertion, a code or a refresh token.
        let isProof: Bool
        /// A device asks whether somebody has answered yet.
        let isPoll: Bool
        let grant: GrantID?
        let source: String
        let request: AuditEvent.RequestInfo
        let now: Date

        /// - Parameters:
        ///   - organization: which one's share it takes from; at an organization's issuer always that one.
        ///   - grant: the one whose refresh token is presented.
        package init(
            _ endpoint: Endpoint, at issuer: OrganizationID, for organization: OrganizationID? = nil,
            by credentials: ClientCredentials, grant: GrantID? = nil, isPoll: Bool = false,
            request: AuditEvent.RequestInfo, at now: Date
        ) {
            self.endpoint = endpoint
            self.issuer = issuer
            self.organization = issuer == .platform ? organization : issuer
            name = credentials.clientID
            // What is not an id of ours may be long, and what it says is nobody's business.
            client = name.utf8.count <= 40 ? name : Base64URL.encode(Array(sha256(name).prefix(16)))
            if case .none = credentials { isProof = endpoint == .token } else { isProof = true }
            self.isPoll = isPoll
            self.grant = grant
            source = SourceGroup.name(of: request.ip)
            self.request = request
            self.now = now
        }
    }

    /// Does `work` if the client may ask just now, and keeps account of how it ended.
    ///
    /// - Throws: ``OAuthError/rateLimited(_:isPoll:)``, and what `work` throws.
    package func admit<Reply>(_ call: ClientCall, _ work: () async throws -> Reply) async throws -> Reply {
        let known = call.isProof ? acquaintance(call.name, call.issuer) : .unknown
        if let exceeded = await limiter.decide(call.demand(limiter.settings, taking: 1, known)).exceeded {
            try await refuse(
                exceeded.limit == .failuresClient ? .clientAuthFailed : .tokenDenied, exceeded, in: call.issuer,
                client: ClientID(call.client)?.description, call.request, call.now)
            throw OAuthError.rateLimited(exceeded, isPoll: call.isPoll)
        }
        do {
            return try await work()
        } catch {
            // A device that asks too early has asked.
            if let answer = error as? OAuthError, answer.isPollAnswer { throw error }
            var demand = call.demand(limiter.settings, taking: -1, known)
            if let refusal = error as? OAuthError {
                if refusal.code == .invalidClient {
                    demand.add(Self.wrongSecret, .failuresClient, of: call.client, call.source)
                }
                // What the client itself publishes and nobody can fetch is its failure, not ours.
                if refusal.isRefusal || refusal.cause is DocumentFetcher.Failure {
                    demand.add(1, .failuresSource, of: call.source)
                }
            }
            // The refusal itself is in the log already.
            if let exceeded = await limiter.decide(demand, .each).exceeded {
                throw OAuthError.rateLimited(exceeded, isPoll: call.isPoll)
            }
            throw error
        }
    }

    /// Counts an answer that told the caller of a token that is not active.
    ///
    /// - Throws: ``OAuthError/rateLimited(_:isPoll:)`` instead of one more such answer than it may have.
    package func missed(_ call: ClientCall) async throws(OAuthError) {
        var demand = RateLimitDemand(at: call.issuer.description, limiter.settings)
        demand.add(1, .introspectMisses, of: call.organization?.description ?? "-", call.client)
        if let exceeded = await limiter.decide(demand).exceeded { throw .rateLimited(exceeded) }
    }

    /// Takes one from the bucket of the request's source: for whoever is known by its address only.
    ///
    /// - Parameters:
    ///   - issuer: counts for this issuer by itself; without one, for all together.
    ///   - type: what a refusal is in the log; nil where the caller writes it down.
    /// - Throws: ``OAuthError/rateLimited(_:isPoll:)``.
    package func admit(
        _ limit: RateLimit, for issuer: OrganizationID? = nil, refusing type: AuditEventType?,
        _ request: AuditEvent.RequestInfo, at now: Date
    ) async throws {
        let source = SourceGroup.name(of: request.ip)
        var demand = RateLimitDemand(at: issuer?.description ?? source, limiter.settings)
        demand.add(1, limit, of: source)
        guard let exceeded = await limiter.decide(demand).exceeded else { return }
        if let type { try await refuse(type, exceeded, in: issuer ?? .platform, client: nil, request, now) }
        throw OAuthError.rateLimited(exceeded)
    }

    private func refuse(
        _ type: AuditEventType, _ exceeded: RateLimitState, in organization: OrganizationID, client: String?,
        _ request: AuditEvent.RequestInfo, _ now: Date
    ) async throws {
        // Nobody was proven, so the log takes the first few of each minute and then counts.
        let event = AuditEvent(
            type, organization: organization, id: EventID.make(at: now, random), time: now, outcome: .denied,
            reason: "rate_limited", actor: .anonymous,
            targets: [AuditEvent.Target(type: "organization", id: organization.description)], client: client,
            request: request, metadata: ["limit": exceeded.limit.rawValue])
        do {
            try await refusals.refuse(event, source: request.ip)
        } catch  where error.isStoreFailure {
            throw OAuthError.unavailable(error)
        }
    }
}

extension EndpointLimits.ClientCall {
    /// - Parameter count: 1 takes, and looks at the failures; -1 gives back.
    fileprivate func demand(
        _ settings: RateLimitSettings, taking count: Int, _ known: ClientAcquaintance
    ) -> RateLimitDemand {
        let place = issuer.description
        var demand = RateLimitDemand(at: place, settings)
        if count > 0 { demand.add(0, .failuresClient, of: client, source) }
        guard isProof else {
            demand.add(count, .authorizeSource, of: source)
            return demand
        }
        let organization = organization == issuer ? place : organization?.description ?? "-"
        demand.add(count, endpoint.clientLimit, of: organization, client)
        if let share = known.share {
            if self.organization != nil { demand.add(count, endpoint.organizationLimit, of: organization, share) }
        } else if count > 0 {
            // The database will be asked for it, and that is not given back.
            demand.add(count, .unknownSource, of: source)
        }
        if let grant { demand.add(count, .tokenGrant, of: grant.description) }
        return demand
    }
}

extension ClientAcquaintance {
    /// Of its organization's bucket; nil where nobody knows yet whose to take from.
    fileprivate var share: String? {
        switch self {
        case .vouchedFor: "vouched"
        case .connected: "connected"
        case .stranger: "strangers"
        case .unknown: nil
        }
    }
}

extension EndpointLimits.ClientCall.Endpoint {
    fileprivate var clientLimit: RateLimit {
        switch self {
        case .token: .tokenClient
        case .introspect: .introspectClient
        case .other: .otherClient
        }
    }

    fileprivate var organizationLimit: RateLimit {
        switch self {
        case .token: .tokenOrganization
        case .introspect: .introspectOrganization
        case .other: .otherOrganization
        }
    }
}

extension OAuthError {
    /// Of a device's code that is right: not yet.
    fileprivate var isPollAnswer: Bool { code == .authorizationPending || code == .slowDown }

    /// Somebody was told no, rather than not now or not without a nonce.
    fileprivate var isRefusal: Bool {
        ![.temporarilyUnavailable, .serverError, .useDPoPNonce].contains(code) && !isPollAnswer
    }
}

// MARK: Administration

extension EndpointLimits {
    /// A call of administration by the credential it presents, whoever holds it: an admin key, or a directory's token.
    package struct AdminCall: Sendable {
        /// The credential's id; nil for what cannot be one of ours.
        let credential: String?
        /// What is taken from, and whose.
        private let buckets: [(limit: RateLimit, subject: String)]
        private let place: String
        /// What a refusal is in the log when the credential was presented wrongly too often.
        let failure: AuditEventType
        let source: String
        let request: AuditEvent.RequestInfo
        let now: Date

        package init(presented: String?, request: AuditEvent.RequestInfo, at now: Date) {
            let key = presented.flatMap { AdminCredential($0) }
            // A person's token goes by its grant, which was made for it alone.
            let token = key == nil ? presented.flatMap { ClaimedAdminToken($0) } : nil
            let subject = key?.key.description ?? token?.grant.description
            let organization = (key?.organization ?? token?.organization)?.description
            credential = subject
            buckets =
                [(.adminKey, subject), (.adminOrganization, organization)].compactMap { limit, subject in
                    subject.map { (limit, $0) }
                }
            place = "admin"
            failure = .adminKeyAuthFailed
            source = SourceGroup.name(of: request.ip)
            self.request = request
            self.now = now
        }

        package init(directory presented: String?, request: AuditEvent.RequestInfo, at now: Date) {
            let token = presented.flatMap { SCIMCredential($0) }
            credential = token?.id.description
            buckets = token.map { [(.scimOrganization, $0.organization.description)] } ?? []
            place = "scim"
            failure = .scimTokenAuthFailed
            source = SourceGroup.name(of: request.ip)
            self.request = request
            self.now = now
        }

        fileprivate func demand(_ settings: RateLimitSettings, taking count: Int) -> RateLimitDemand {
            var demand = RateLimitDemand(at: place, settings)
            guard let credential else { return demand }
            if count > 0 { demand.add(0, .failuresClient, of: credential, source) }
            for bucket in buckets {
                // Never more than a bucket can hold beside the one that the request itself took: such a call could never be made.
                let room = settings[bucket.limit].map { max(1, $0.count - 1) } ?? count
                demand.add(min(count, room), bucket.limit, of: bucket.subject)
            }
            return demand
        }
    }

    /// - Parameter count: how many calls it is as good as; nothing is taken unless there is room for all of them.
    /// - Returns: how the scarcest bucket stands, for `RateLimit`; nil where nothing is limited.
    /// - Throws: ``AdminError/rateLimited(_:)``.
    package func admit(_ call: AdminCall, taking count: Int = 1) async throws -> RateLimitState? {
        let verdict = await limiter.decide(call.demand(limiter.settings, taking: count))
        guard let exceeded = verdict.exceeded else { return verdict.scarcest }
        // Whose key it is was not proven: the platform's log, as for keys that nobody has.
        try await refuse(
            exceeded.limit == .failuresClient ? call.failure : .adminAccessDenied, exceeded, in: .platform,
            client: nil, call.request, call.now)
        throw AdminError.rateLimited(exceeded)
    }

    /// Keeps account of a call that proved no credential: what it took is given back. Who only has to come with a nonce has
    /// failed at nothing; every other refusal is of somebody who was proven.
    ///
    /// - Throws: ``AdminError/rateLimited(_:)`` when there were too many failures.
    package func refused(_ call: AdminCall, because error: AdminError) async throws(AdminError) {
        let isFailure: Bool
        switch error {
        case .unauthenticated, .invalidCredential: isFailure = true
        case .proofRefused(let code, _): isFailure = code != OAuthError.Code.useDPoPNonce.rawValue
        default: return
        }
        var demand = call.demand(limiter.settings, taking: -1)
        if isFailure {
            if let credential = call.credential {
                demand.add(Self.wrongSecret, .failuresClient, of: credential, call.source)
            }
            demand.add(1, .failuresSource, of: call.source)
        }
        if let exceeded = await limiter.decide(demand, .each).exceeded { throw .rateLimited(exceeded) }
    }
}
