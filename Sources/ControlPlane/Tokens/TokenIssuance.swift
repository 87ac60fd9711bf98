package import Audit
package import Foundation
import Identity
package import Keys
import Postgres
package import Tenancy

/// The token endpoint's pipeline, the same for every grant: authenticate the client, may it use the grant, redeem,
/// narrow, sign, and store change and event together. Nothing is changed before everything is known to be right.
package struct TokenIssuance: Sendable {
    let issuers: IssuerDirectory
    let authentication: ClientAuthentication
    let transactions: AuthorizationTransactionStore
    let idTokenKeys: IDTokenKeys
    let devices: DeviceAuthorizationStore
    let verifier: AccessTokenVerifier
    let grants: GrantStore
    let remembered: RememberedGrants
    let issued: IssuedTokenStore
    let clients: ClientStore
    let users: UserStore
    let roles: RoleStore
    let signIn: SignIn
    let database: TenantDatabase
    let refusals: RefusalLog
    let housekeeping: Housekeeping
    let random: RandomBytes

    package init(
        issuers: IssuerDirectory, authentication: ClientAuthentication, transactions: AuthorizationTransactionStore,
        devices: DeviceAuthorizationStore, verifier: AccessTokenVerifier, idTokenKeys: IDTokenKeys,
        database: TenantDatabase, refusals: RefusalLog,
        housekeeping: Housekeeping, remembered: RememberedGrants,
        random: RandomBytes
    ) {
        self.issuers = issuers
        self.authentication = authentication
        self.transactions = transactions
        self.idTokenKeys = idTokenKeys
        self.devices = devices
        self.verifier = verifier
        grants = GrantStore(database: database)
        issued = IssuedTokenStore(database: database)
        clients = ClientStore(database: database)
        users = UserStore(database: database)
        roles = RoleStore(database: database)
        signIn = SignIn(database: database, random: random)
        self.database = database
        self.refusals = refusals
        self.housekeeping = housekeeping
        self.remembered = remembered
        self.random = random
    }

    var catalog: TenantCatalog { issuers.catalog }

    /// What one try at serving a request is decided from: a client and an issuer read at the same epochs.
    struct Attempt: Sendable {
        let client: Client
        let issuer: Issuer
        /// RFC 7638 thumbprint of the key that the client proved to hold; its tokens are bound to it (RFC 9449 §5).
        let boundKey: String?
        let request: AuditEvent.RequestInfo
        let now: Date
    }

    /// What stays the same however often it is tried.
    struct Call: Sendable {
        let credentials: ClientCredentials
        let grantType: String
        let issuer: OrganizationID
        let boundKey: String?
        let request: AuditEvent.RequestInfo
        let now: Date
    }

    /// Reads issuer and client as they are now, and proves the client. A guard that moved under a decision means to begin
    /// here again: the client may have been the very thing that changed.
    func attempt(_ call: Call, isRepeat: Bool = true) async throws -> Attempt {
        guard let issuer = try await issuers.issuer(call.issuer), issuer.home.organization.status == .active else {
            throw OAuthError(.invalidClient, "Client authentication failed.", reason: "issuer_closed")
        }
        let client = try await authentication.authenticate(
            call.credentials, at: issuer, isRepeat: isRepeat, now: call.now)
        guard client.grantTypes.contains(call.grantType) else {
            throw OAuthError(.unauthorizedClient, "This client may not use this grant.")
        }
        return Attempt(
            client: client, issuer: issuer, boundKey: call.boundKey, request: call.request, now: call.now)
    }

    /// Looks again at what a lost statement was guarded by.
    func doubt(_ organization: OrganizationID) async throws {
        try await catalog.recheck(organization)
        try await catalog.recheck(.platform)
    }

    /// - Parameter boundKey: the thumbprint of the key that this request proved (RFC 9449 §5), if it proved one.
    /// - Throws: ``OAuthError``; a refusal is in the log before the client hears of it.
    package func issue(
        _ request: TokenRequest, to credentials: ClientCredentials, from issuer: OrganizationID,
        boundTo boundKey: String?, request info: AuditEvent.RequestInfo, at now: Date
    ) async throws -> IssuedTokens {
        let call = Call(
            credentials: credentials, grantType: request.grantType, issuer: issuer, boundKey: boundKey, request: info,
            now: now)
        return try await answering(call) { attempt in
            // "The authorization server MUST reject token requests from the client that do not contain the DPoP header"
            // (RFC 9449 §5.2).
            guard boundKey != nil || !attempt.client.demands.proofOfPossession else {
                throw DPoPProof.invalid("missing")
            }
            switch request {
            case .authorizationCode(let code, let redirectURI, let verifier, let resources):
                let presented = AuthorizationCodeGrant.Presented(
                    code: code, redirectURI: redirectURI, verifier: verifier, resources: resources)
                return try await AuthorizationCodeGrant(issuance: self).redeem(presented, attempt, call)
            case .refreshToken(let token, let scope, let resources):
                return try await RefreshTokenGrant(issuance: self).redeem(
                    token, scope: scope, resources: resources, attempt, call)
            case .clientCredentials(let scope, let resources):
                return try await ClientCredentialsGrant(issuance: self).redeem(
                    scope: scope, resources: resources, attempt, call)
            case .deviceCode(let code, let resources):
                return try await DeviceCodeGrant(issuance: self).redeem(code, resources: resources, attempt, call)
            case .assertion(let assertion, let scope, let resources):
                return try await JWTBearerGrant(issuance: self).redeem(
                    assertion, scope: scope, resources: resources, attempt, call)
            case .tokenExchange(let token, let scope, let target):
                return try await TokenExchangeGrant(issuance: self).redeem(token, scope: scope, target, attempt, call)
            }
        }
    }

    /// Proves the client and answers it; a refusal is written down before the client hears of it.
    func answering<Answer>(_ call: Call, _ answer: (Attempt) async throws -> Answer) async throws -> Answer {
        var client: Client?
        do {
            let attempt = try await attempt(call, isRepeat: false)
            client = attempt.client
            return try await answer(attempt)
        } catch let error as OAuthError {
            try await record(error, client: client, call)
            throw error
        } catch  where error.isStoreFailure {
            throw OAuthError.unavailable(error)
        }
    }

    /// Writes a refusal down. What the store itself could not do is not a refusal.
    private func record(_ error: OAuthError, client: Client?, _ call: Call) async throws {
        switch error.code {
        case .temporarilyUnavailable, .serverError: return
        // A device that waits was refused nothing.
        case .authorizationPending, .slowDown: return
        default: break
        }
        // Anybody can register a dynamic client, so its secret makes nobody an authenticated party.
        let isKnown = client.map { $0.isConfidential && $0.kind != .dynamic } ?? false
        let event = AuditEvent(
            error.code == .invalidClient ? .clientAuthFailed : .tokenDenied,
            // What an organization's policy refused stands in that organization's log.
            organization: error.denial?.organization ?? call.issuer,
            id: EventID.make(at: call.now, random), time: call.now, outcome: .denied, reason: error.reason,
            actor: error.denial?.actor ?? (isKnown ? .client(call.credentials.clientID) : .anonymous),
            targets: [
                error.denial.map { AuditEvent.Target(type: "resource", id: $0.resource.description) }
                    ?? AuditEvent.Target(type: "organization", id: call.issuer.description)
            ],
            // Nobody proved it, but what was claimed helps to find out why a connection fails.
            client: client?.wireID ?? ClientID(call.credentials.clientID)?.description, grant: call.grantType,
            request: call.request, policy: error.denial?.policy)
        do {
            try await refusals.refuse(event, source: call.request.ip)
        } catch  where error.isStoreFailure {
            throw OAuthError.unavailable(error)
        }
    }

    // MARK: What grants share

    /// A resource, the snapshot its keys come from, and the organization a token will name.
    struct Target: Sendable {
        let organization: TenantSnapshot
        let resource: Resource
        let owner: TenantSnapshot
        /// Made of the very snapshots above and the issuer's, so that nothing the decision rests on can have moved.
        let guardian: EpochGuard
    }

    /// What a grant is for, as things stand now.
    ///
    /// - Throws: `invalid_grant` when the organization or the resource is no longer there for this issuer.
    func target(
        of resource: ResourceID, ownedBy owner: OrganizationID, for organization: OrganizationID, _ attempt: Attempt
    ) async throws -> Target {
        let issuer = attempt.issuer
        let home = organization == issuer.id ? issuer.home : try await catalog.snapshot(of: organization)
        // Only the organization itself and the platform own what it may use.
        guard let home, home.organization.status == .active,
            let holder = owner == .platform ? issuer.platform : owner == organization ? home : nil,
            let found = open(resource, of: holder, attempt), found.status == .active,
            found.acceptedIssuers.contains(issuer.id), home.mayUse(found)
        else { throw Self.invalidGrant("resource_closed") }
        // Judged anew each time: a host may have been denied since.
        guard OnboardingPolicy(home.organization).admits(attempt.client) else {
            throw Self.invalidGrant("client_host_denied")
        }
        return Target(
            organization: home, resource: found, owner: holder, guardian: catalog.guardian(home, issuer.platform))
    }

    /// The admin API is there for the clients that may use it, and no others.
    private func open(_ resource: ResourceID, of holder: TenantSnapshot, _ attempt: Attempt) -> Resource? {
        guard resource == .adminAPI else { return holder.resources.first { $0.id == resource } }
        return attempt.client.administers(holder.organization.id) ? attempt.issuer.adminAPI : nil
    }

    /// What a user belongs to at the very epoch by which the token will be guarded.
    ///
    /// - Parameter known: what was read before, good as long as that epoch stands.
    /// - Returns: nil when the guard has moved already.
    func membership(
        of user: UserID, known: DatedMembership? = nil, _ target: Target
    ) async throws -> DatedMembership? {
        let epoch = target.guardian.organizationEpoch
        if let known, known.epoch == epoch { return known }
        let read = try await users.membership(of: user, in: target.organization.organization.id)
        return read?.epoch == epoch ? read : nil
    }

    /// The resource that a request without a grant means: the one it names, or the issuer's default.
    ///
    /// - Throws: `invalid_target` (RFC 8707 §2).
    func resource(asked: [String], _ issuer: Issuer) throws(OAuthError) -> Resource {
        guard asked.count <= 1 else {
            throw OAuthError(.invalidTarget, "Ask for one resource at a time.", reason: "several_resources")
        }
        guard let named = asked.first else {
            guard let standard = issuer.defaultResource else {
                throw OAuthError(
                    .invalidTarget, "Name the resource: this issuer has no default one.", reason: "resource_missing")
            }
            return standard
        }
        guard let found = issuer.resource(at: named) else {
            throw OAuthError.resourceUnknown
        }
        return found
    }

    /// A token request may only repeat the resource that was granted (RFC 8707 §2.2).
    func check(_ asked: [String], against resource: Resource) throws(OAuthError) {
        guard asked.allSatisfy({ ResourceURI($0)?.canonical == resource.canonicalURI }) else {
            throw OAuthError(.invalidTarget, "The grant is for another resource.", reason: "resource_not_granted")
        }
    }

    /// Ends a grant because somebody else holds what only its client should, and says so in the log; then refuses.
    func revoke(
        _ grant: GrantID, in organization: OrganizationID, as type: AuditEventType, _ attempt: Attempt
    ) async throws -> Never {
        let event = AuditEvent(
            type, organization: organization, id: EventID.make(at: attempt.now, random), time: attempt.now,
            outcome: .denied, reason: "grant_revoked", actor: .client(attempt.client.wireID),
            targets: [AuditEvent.Target(type: "grant", id: grant.description)], client: attempt.client.wireID,
            request: attempt.request)
        _ = try await grants.revoke(
            grant, in: organization, because: type.rawValue, recording: event.outboxEvent(random))
        throw Self.invalidGrant(type.rawValue)
    }

    static func invalidGrant(_ reason: String) -> OAuthError {
        OAuthError(.invalidGrant, "The grant is invalid, expired, revoked or was used before.", reason: reason)
    }
}
