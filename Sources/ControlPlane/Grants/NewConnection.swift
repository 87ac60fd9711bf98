import Audit
import Foundation
import Keys
import Tenancy

extension TokenIssuance {
    /// Makes the grant that a person allowed, with its first tokens, and spends what the client presented for it: one
    /// statement, at most once, however many servers try (RFC 6749 §10.5).
    ///
    /// - Parameters:
    ///   - code: what is spent, whatever the grant type calls it.
    ///   - resources: what the token request names; it may only repeat what was granted.
    ///   - refuseSpent: says what it means that somebody spent the code before.
    func connect(
        _ authorization: Authorization, spending code: GrantStore.SpentCode, resources: [String],
        _ first: Attempt, _ call: Call, refuseSpent: (Attempt) async throws -> Never
    ) async throws -> IssuedTokens {
        // A guard may move once between reading and writing; then everything is decided again, the client included.
        var attempt = first
        for turn in 0..<2 {
            if turn > 0 { attempt = try await self.attempt(call) }
            let tokens = try await connect(
                authorization, spending: code, resources: resources, grantType: call.grantType, attempt)
            if let tokens { return tokens }
            if try await grants.redeemed(code.digest, in: authorization.organization) != nil {
                try await refuseSpent(attempt)
            }
            try await doubt(authorization.organization)
        }
        throw Self.invalidGrant("no_longer_allowed")
    }

    /// Policy decides again, over what the person saw.
    ///
    /// - Returns: nil when the statement changed nothing: the code was spent, or a guard moved.
    private func connect(
        _ authorization: Authorization, spending code: GrantStore.SpentCode, resources: [String], grantType: String,
        _ attempt: Attempt
    ) async throws -> IssuedTokens? {
        let target = try await target(
            of: authorization.resource, ownedBy: authorization.resourceOwner, for: authorization.organization, attempt)
        try check(resources, against: target.resource)
        guard target.resource.takes(authentication: authorization.authTime, at: attempt.now) else {
            throw Self.invalidGrant("authentication_too_old")
        }
        guard
            let membership = try await membership(of: authorization.user, known: authorization.membership, target)
        else { return nil }
        let policy = try await target.organization.policy(over: target.resource, for: membership.membership, roles)
        let decision = policy.decide(
            ScopeRequest(
                principal: .user(authorization.user, membership.membership), client: attempt.client,
                resource: target.resource, scopes: .named(authorization.grantedScopes), address: attempt.request.ip,
                authTime: authorization.authTime, mfa: authorization.mfa,
                upstreamCeiling: authorization.upstreamCeiling),
            at: attempt.now)
        guard !decision.effective.isEmpty else {
            throw Self.invalidGrant("policy_denies").denied(
                by: decision, to: .user(authorization.user), in: authorization.organization)
        }
        let settings = target.organization.organization.settings
        let grantID = GrantID.make(at: attempt.now, random)
        let refresh =
            attempt.client.grantTypes.contains("refresh_token") && !target.resource.isAdminAPI
            ? RefreshToken(organization: authorization.organization, grant: grantID, random) : nil
        var expiresAt = attempt.now + Double(settings.grantLifetimeSeconds)
        if target.resource.isAdminAPI {
            expiresAt = min(expiresAt, authorization.authTime + Double(AdminAPI.longestAuthenticationAge))
        }
        let grant = Grant(
            id: grantID, issuer: attempt.issuer.id, user: authorization.user, client: authorization.client,
            resource: authorization.resource, scope: decision.granted + authorization.openIDScopes, status: .active,
            authTime: authorization.authTime,
            family: refresh.map {
                Grant.Family(
                    familyDigest: $0.familyDigest, currentDigest: $0.digest, previousDigest: nil, previousAt: nil,
                    generation: $0.generation, sealedSuccessor: nil)
            },
            mfa: authorization.mfa, upstreamCeiling: authorization.upstreamCeiling,
            // A confidential client proves itself with every refresh already (RFC 9449 §5).
            boundKey: attempt.client.isConfidential ? nil : attempt.boundKey, version: 1, createdAt: attempt.now,
            lastUsedAt: attempt.now,
            idleExpiresAt: min(attempt.now + Double(settings.grantIdleLifetimeSeconds), expiresAt), expiresAt: expiresAt
        )
        let subject = Subject.user(
            authorization.user, grant: grantID, authTime: authorization.authTime, mfa: authorization.mfa)
        let (token, text) = try accessToken(
            for: subject, scopes: decision.effective, openID: authorization.openIDScopes, target, attempt)
        let idToken = try await idToken(for: authorization, beside: text, target, attempt)
        let event = event(.tokenIssued, token, for: subject, grantType: grantType, decision, target, attempt)
        let outcome = try await grants.redeem(
            GrantStore.Redemption(code: code, grant: grant), in: authorization.organization,
            guardedBy: target.guardian, recording: event)
        guard outcome.isDone else { return nil }
        remembered.remember(grant, membership)
        return IssuedTokens(text, of: token, refreshToken: refresh?.secret, idToken: idToken)
    }
}
