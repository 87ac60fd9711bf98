package import Audit
package import Foundation
package import Keys
import Postgres
package import Tenancy

/// The token endpoint's pipeline, the same for every grant: authenticate the client, may it use the grant, redeem,
/// narrow, sign, and store change and event together. Nothing is changed before everything is known to be right.
package struct TokenIssuance: Sendable {
    let issuers: IssuerDirectory
    let transactions: AuthorizationTransactionStore
    let grants: GrantStore
    let database: TenantDatabase
    let refusals: RefusalLog
    let housekeeping: Housekeeping
    let random: RandomBytes

    package init(
        issuers: IssuerDirectory, transactions: AuthorizationTransactionStore, database: TenantDatabase,
        refusals: RefusalLog, housekeeping: Housekeeping, random: RandomBytes
    ) {
        self.issuers = issuers
        self.transactions = transactions
        grants = GrantStore(database: database)
        self.database = database
        self.refusals = refusals
        self.housekeeping = housekeeping
        self.random = random
    }

    var catalog: TenantCatalog { issuers.catalog }

    /// Everything that stays the same while one request is served.
    struct Attempt: Sendable {
        let client: Client
        let issuer: Issuer
        let request: AuditEvent.RequestInfo
        let now: Date
    }

    /// - Throws: ``OAuthError``; a refusal is in the log before the client hears of it.
    package func issue(
        _ request: TokenRequest, to credentials: ClientCredentials, from issuer: Issuer,
        request info: AuditEvent.RequestInfo, at now: Date
    ) async throws -> IssuedTokens {
        var client: Client?
        do {
            let authenticated = try await ClientAuthentication(catalog: catalog).authenticate(
                credentials, at: issuer, now: now)
            client = authenticated
            guard authenticated.grantTypes.contains(request.grantType) else {
                throw OAuthError(.unauthorizedClient, "This client may not use this grant.")
            }
            let attempt = Attempt(client: authenticated, issuer: issuer, request: info, now: now)
            switch request {
            case .authorizationCode(let code, let redirectURI, let verifier, let resources):
                let presented = AuthorizationCodeGrant.Presented(
                    code: code, redirectURI: redirectURI, verifier: verifier, resources: resources)
                return try await AuthorizationCodeGrant(issuance: self).redeem(presented, attempt)
            case .refreshToken(let token, let scope, let resources):
                return try await RefreshTokenGrant(issuance: self).redeem(
                    token, scope: scope, resources: resources, attempt)
            }
        } catch let error as OAuthError {
            try await record(error, client: client, credentials, request, issuer, info, now)
            throw error
        } catch  where error.isStoreFailure {
            throw OAuthError.unavailable(error)
        }
    }

    /// Writes a refusal down. What the store itself could not do is not a refusal.
    private func record(
        _ error: OAuthError, client: Client?, _ credentials: ClientCredentials, _ request: TokenRequest,
        _ issuer: Issuer, _ info: AuditEvent.RequestInfo, _ now: Date
    ) async throws {
        guard error.code != .temporarilyUnavailable, error.code != .serverError else { return }
        let known = client?.isConfidential == true
        let event = AuditEvent(
            error.code == .invalidClient ? .clientAuthFailed : .tokenDenied, organization: issuer.id,
            id: EventID.make(at: now, random), time: now, outcome: .denied, reason: error.reason,
            actor: known ? .client(credentials.clientID) : .anonymous,
            targets: [AuditEvent.Target(type: "organization", id: issuer.id.description)],
            client: client?.wireID, grant: request.grantType, request: info)
        do {
            try await refusals.refuse(event, source: info.ip)
        } catch  where error.isStoreFailure {
            throw OAuthError.unavailable(error)
        }
    }

    // MARK: What both grants share

    /// A resource, the snapshot its keys come from, and the organization a token will name.
    struct Target: Sendable {
        let organization: TenantSnapshot
        let resource: Resource
        let owner: TenantSnapshot
    }

    /// What a grant is for, as things stand now.
    ///
    /// - Throws: `invalid_grant` when the organization or the resource is no longer there for this issuer.
    func target(
        of resource: ResourceID, ownedBy owner: OrganizationID, for organization: OrganizationID, _ attempt: Attempt
    ) async throws -> Target {
        guard let home = try await catalog.snapshot(of: organization), home.organization.status == .active,
            let holder = try await catalog.snapshot(of: owner),
            let found = holder.resources.first(where: { $0.id == resource }), found.status == .active,
            found.acceptedIssuers.contains(attempt.issuer.id), home.mayUse(found)
        else { throw Self.invalidGrant("resource_closed") }
        return Target(organization: home, resource: found, owner: holder)
    }

    /// A token request may only repeat the resource that was granted (RFC 8707 §2.2).
    func check(_ asked: [String], against resource: Resource) throws(OAuthError) {
        guard asked.allSatisfy({ ResourceURI($0)?.canonical == resource.canonicalURI }) else {
            throw OAuthError(.invalidTarget, "The grant is for another resource.", reason: "resource_not_granted")
        }
    }

    /// A signed access token that says who may do what for whom.
    func accessToken(
        for user: UserID, scopes: [String], openID: [String], grant: GrantID, authTime: Date, _ target: Target,
        _ attempt: Attempt
    ) throws -> (token: AccessToken, text: String) {
        guard let (key, kid) = attempt.issuer.signingKey(for: target.resource, owner: target.owner) else {
            throw OAuthError.noSigningKey
        }
        let organization = target.organization.organization
        let token = AccessToken(
            issuer: attempt.issuer.url, subject: user.description, audience: target.resource.uri,
            clientID: attempt.client.wireID, id: TokenID.make(at: attempt.now, random), issuedAt: attempt.now,
            lifetimeSeconds: target.resource.accessTokenLifetimeSeconds,
            scopes: target.resource.expanding(Set(scopes)) + openID.filter { $0 != "offline_access" },
            organization: organization.id, organizationSlug: organization.slug, grant: grant, authTime: authTime)
        do {
            return (token, try token.signed(by: key, kid: kid))
        } catch {
            throw OAuthError(.serverError, "The token could not be signed.", reason: "signing_failed", cause: error)
        }
    }

    /// The event of an issued token.
    func event(
        _ type: AuditEventType, _ token: AccessToken, user: UserID, grant: GrantID, grantType: String,
        _ decision: ScopeDecision, metadata: [String: String] = [:], _ target: Target, _ attempt: Attempt
    ) -> OutboxEvent {
        AuditEvent(
            type, organization: target.organization.organization.id, id: EventID.make(at: attempt.now, random),
            time: attempt.now, actor: .user(user, session: grant.description),
            targets: [
                AuditEvent.Target(type: "grant", id: grant.description),
                AuditEvent.Target(type: "resource", id: target.resource.id.description),
            ],
            client: attempt.client.wireID, scopes: token.scopes.sorted(), audience: [token.audience], grant: grantType,
            token: token.id.description, request: attempt.request, policy: decision.info, metadata: metadata
        ).outboxEvent(random)
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
