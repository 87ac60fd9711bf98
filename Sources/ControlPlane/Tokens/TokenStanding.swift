import Foundation
import Keys
import Tenancy

/// Whether what a token says is still what was given: for tokens that live long, and for those that others than we could
/// have signed.
extension AccessTokenVerifier {
    /// A named token is live while its row says the same as the token, and policy would still give all of its scopes. It
    /// lives for months, and neither a statement's end nor a later denial reaches it otherwise.
    func isStillGiven(named token: VerifiedAccessToken, _ home: TenantSnapshot, at now: Date) async throws -> Bool {
        guard let live = try await namedTokens.live(token.id, in: token.organization, at: now) else { return false }
        let row = live.token
        guard row.issuer == token.issuer, row.resource == token.resource, row.signingKey == token.key,
            token.expiresAt <= row.expiresAt, Set(token.scopes).isSubset(of: row.scope),
            let resource = try await resource(token.resource, in: home)
        else { return false }
        let (principal, client): (ScopeRequest.Principal, ScopeRequest.Through)
        switch row.principal {
        case .user(let user):
            guard token.subject == user.description else { return false }
            (principal, client) = (.user(user, live.membership), .administrators)
        case .service(let id):
            guard token.subject == id.description,
                let found = try await issuers.catalog.client(id, in: home, at: now), found.isLive(at: now)
            else { return false }
            (principal, client) = (.service(found.wireID), ScopeRequest.Through(found))
        }
        let decision = ScopePolicy(home.policy).decide(
            ScopeRequest(
                namedTokenFor: principal, through: client, resource, token.scopes, upstreamCeiling: live.upstreamCeiling
            ),
            at: now)
        return Set(token.scopes).isSubset(of: decision.effective)
    }

    /// Whether a token that an imported key signed says no more than its grant does: whoever else holds that key can write
    /// what they like. What was exchanged for another resource is held against policy as it is now.
    func isWithinGrant(
        _ token: VerifiedAccessToken, _ id: GrantID, of client: Client, at now: Date
    ) async throws -> Bool {
        guard let state = try await grants.state(of: id, in: token.organization) else { return false }
        let grant = state.grant
        guard grant.issuer == token.issuer, grant.client == client.id, grant.user.description == token.subject,
            grant.boundKey == nil || grant.boundKey == token.boundKey,
            let home = try await issuers.catalog.snapshot(of: token.organization),
            let resource = try await resource(token.resource, in: home)
        else { return false }
        if grant.resource == resource.id {
            let openID = grant.scope.filter(OpenIDScope.all.contains)
            return Set(token.scopes).isSubset(of: resource.expanding(Set(grant.scope)) + openID)
        }
        let policy = ScopePolicy(home.policy)
        guard policy.names(exchangeOf: grant.resource, for: resource.id) else { return false }
        let decision = policy.decide(
            ScopeRequest(
                principal: .user(grant.user, state.membership.membership), client: client, resource: resource,
                scopes: .named(token.scopes), address: nil, authTime: grant.authTime, mfa: grant.mfa,
                upstreamCeiling: grant.upstreamCeiling, exchangedFrom: grant.resource),
            at: now)
        return Set(token.scopes).isSubset(of: decision.effective)
    }

    private func resource(_ id: ResourceID, in home: TenantSnapshot) async throws -> Resource? {
        if let own = home.resources.first(where: { $0.id == id }) { return own }
        return try await issuers.catalog.snapshot(of: .platform)?.resources.first { $0.id == id }
    }
}

extension ScopeRequest {
    /// What an administrator asks for in a person's or a service's place: nobody is there, and nothing is known of them.
    init(
        namedTokenFor principal: Principal, through client: Through, _ resource: Resource, _ scopes: [String],
        upstreamCeiling: [String]?
    ) {
        self.init(
            principal: principal, client: client, resource: Target(resource), scopes: .named(scopes), address: nil,
            authTime: nil, mfa: false, upstreamCeiling: upstreamCeiling)
    }
}

extension ScopeRequest.Through {
    /// What policy sees as the client of a token that an administrator hands to a person: registered by an administrator,
    /// without an address.
    static let administrators = ScopeRequest.Through(id: nil, kind: .registered)
}
