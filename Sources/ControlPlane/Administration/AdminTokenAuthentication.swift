package import Audit
package import Foundation
package import Keys
package import Tenancy

/// Proves which person administers, by an access token of the admin API, and writes down who was refused.
///
/// The token says at most what may be done, never that it may be done now: client, grant, person and roles are looked at
/// each time, in the database, and the scopes of both are what counts.
package struct AdminTokenAuthentication: Sendable {
    private let issuers: IssuerDirectory
    private let verifier: AccessTokenVerifier
    private let grants: GrantStore
    private let roles: RoleStore
    private let refusals: RefusalLog
    private let random: RandomBytes

    package init(
        issuers: IssuerDirectory, verifier: AccessTokenVerifier, database: TenantDatabase, refusals: RefusalLog,
        random: RandomBytes = .system
    ) {
        self.issuers = issuers
        self.verifier = verifier
        grants = GrantStore(database: database)
        roles = RoleStore(database: database)
        self.refusals = refusals
        self.random = random
    }

    /// - Parameter key: the one that the request proved; a token that is bound to another, or to none, opens nothing with
    ///   it, and one that is bound to a key opens nothing without (RFC 9449 §7.1, §7.2).
    /// - Throws: ``AdminError/invalidCredential``, the same for every reason but one:
    ///   ``AdminError/authenticationTooOld`` for what was right until its time was over (RFC 9470 §3).
    package func authenticate(
        _ text: String, provenBy key: String?, request: AuditEvent.RequestInfo, at now: Date
    ) async throws -> Administrator {
        guard let claimed = ClaimedAdminToken(text), let issuer = try await issuers.issuer(claimed.organization),
            let resource = issuer.adminAPI
        else { throw try await refusal("token_foreign", in: .platform, request, now) }
        let expectation = AccessTokenVerifier.Expectation.meant(for: resource, of: issuer.home)
        guard let token = try await verifier.verify(text, expecting: expectation, at: now) else {
            // Who still holds what was right a moment before its end is told what to do.
            let wasRight =
                claimed.expiresAt <= now
                ? try await verifier.verify(text, expecting: expectation, at: claimed.expiresAt - 1) : nil
            guard let wasRight, wasRight.boundKey == key else {
                throw try await refusal("token_invalid", in: .platform, request, now)
            }
            throw AdminError.authenticationTooOld
        }
        // From here on it is a token that this organization's issuer signed.
        let home = token.organization
        guard token.boundKey == key else { throw try await refusal("token_key", in: home, request, now) }
        guard let id = token.grant, !token.isProgrammatic, !token.isKeyImported,
            try await verifier.isLive(token, at: now),
            let state = try await grants.state(of: id, in: home), state.user == .active, state.admission == .active
        else { throw try await refusal("token_ended", in: home, request, now) }
        let grant = state.grant
        // The audience is a text, which somebody might have brought about otherwise; the grant is our own word.
        guard grant.resource == .adminAPI, grant.issuer == home, grant.user.description == token.subject,
            grant.boundKey == nil || grant.boundKey == token.boundKey,
            let client = try await issuers.catalog.client(grant.client, in: issuer.home, at: now),
            client.wireID == token.clientID, client.administers(home)
        else { throw try await refusal("token_client", in: home, request, now) }
        guard resource.takes(authentication: grant.authTime, at: now) else { throw AdminError.authenticationTooOld }
        let membership = state.membership.membership
        let decision = try await issuer.home.policy(over: resource, for: membership, roles).decide(
            ScopeRequest(
                principal: .user(grant.user, membership), client: client, resource: resource,
                scopes: .named(token.scopes), address: request.ip, authTime: grant.authTime, mfa: grant.mfa,
                upstreamCeiling: grant.upstreamCeiling, held: token.scopes),
            at: now)
        let person = Administrator.Person(
            organization: home, user: grant.user, grant: id, clientID: client.wireID,
            scopes: Set(decision.effective.compactMap(AdminScope.init)))
        return Administrator(person: person, provenBy: Secret(text), request: request, now: now)
    }

    private func refusal(
        _ reason: String, in organization: OrganizationID, _ request: AuditEvent.RequestInfo, _ now: Date
    ) async throws -> AdminError {
        try await refusals.refuse(
            AuditEvent(
                .adminAccessDenied, organization: organization, id: EventID.make(at: now, random), time: now,
                outcome: .denied, reason: reason, actor: .anonymous, targets: [], request: request),
            source: request.ip)
        return .invalidCredential
    }
}

/// What a text that looks like an access token says of itself, before anything is believed: enough to find whom to ask, and
/// whose budget to take it from.
struct ClaimedAdminToken {
    let organization: OrganizationID
    let grant: GrantID
    let expiresAt: Date

    /// Longer ones are none of ours.
    private static let longest = 8_192

    init?(_ text: String) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard text.utf8.count <= Self.longest, parts.count == 3, let payload = Base64URL.decode(String(parts[1])),
            let members = (try? JSONText.parse(payload))?.object,
            let organization = members["org_id"]?.string.flatMap({ OrganizationID($0) }),
            let grant = members["grant_id"]?.string.flatMap({ GrantID($0) }), let end = members["exp"]?.integer
        else { return nil }
        self.organization = organization
        self.grant = grant
        expiresAt = Date(timeIntervalSince1970: Double(end))
    }
}
