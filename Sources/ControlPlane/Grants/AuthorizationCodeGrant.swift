import Audit
import Foundation
import Keys
import Redis
import Tenancy

/// Redeems an authorization code (RFC 6749 §4.1.3), once.
struct AuthorizationCodeGrant: Sendable {
    let issuance: TokenIssuance

    struct Presented: Sendable {
        let code: String
        let redirectURI: String?
        let verifier: String?
        let resources: [String]
    }

    func redeem(
        _ presented: Presented, _ first: TokenIssuance.Attempt, _ call: TokenIssuance.Call
    ) async throws -> IssuedTokens {
        guard let verifier = presented.verifier else {
            throw OAuthError(.invalidRequest, "code_verifier is required (PKCE).", reason: "verifier_missing")
        }
        guard let code = AuthorizationCode(presented.code) else { throw TokenIssuance.invalidGrant("code_malformed") }
        guard let record = try await issuance.transactions.record(of: code) else {
            try await refuseSpent(code, verifier, first)
        }
        try await check(record, code, verifier, presented, first)
        // A guard may move once between reading and writing; then everything is decided again, the client included.
        var attempt = first
        for turn in 0..<2 {
            if turn > 0 { attempt = try await issuance.attempt(call) }
            if let tokens = try await issue(record, code, presented, attempt) { return tokens }
            if try await issuance.grants.redeemed(code.digest, in: code.organization) != nil {
                try await refuseSpent(code, verifier, attempt)
            }
            try await issuance.doubt(code.organization)
        }
        throw TokenIssuance.invalidGrant("no_longer_allowed")
    }

    /// In the RFC's order; a wrong issuer or client leaves the code as it was, a wrong verifier is counted.
    private func check(
        _ record: CodeRecord, _ code: AuthorizationCode, _ verifier: String, _ presented: Presented,
        _ attempt: TokenIssuance.Attempt
    ) async throws {
        guard record.issuer == attempt.issuer.id, record.client == attempt.client.id,
            record.organization == code.organization
        else { throw TokenIssuance.invalidGrant("code_of_another_client") }
        guard record.expiresAt > attempt.now else { throw TokenIssuance.invalidGrant("code_expired") }
        if let redirectURI = presented.redirectURI, redirectURI != record.redirectURI {
            throw TokenIssuance.invalidGrant("redirect_uri_differs")
        }
        guard PKCE.matches(verifier: verifier, challenge: record.codeChallenge) else {
            try await issuance.transactions.countFailure(of: code)
            throw TokenIssuance.invalidGrant("verifier_wrong")
        }
    }

    /// - Returns: nil when the statement changed nothing: the code was spent, or a guard moved.
    private func issue(
        _ record: CodeRecord, _ code: AuthorizationCode, _ presented: Presented, _ attempt: TokenIssuance.Attempt
    ) async throws -> IssuedTokens? {
        let target = try await issuance.target(
            of: record.resource, ownedBy: record.resourceOwner, for: record.organization, attempt)
        try issuance.check(presented.resources, against: target.resource)
        let decision = ScopePolicy(target.organization.policy).decide(
            ScopeRequest(
                principal: .user(record.user, groups: [], roles: []), client: attempt.client, resource: target.resource,
                scopes: .named(record.grantedScopes), address: attempt.request.ip, authTime: record.authTime,
                mfa: record.mfa,
                upstreamCeiling: record.upstreamCeiling),
            at: attempt.now)
        guard !decision.effective.isEmpty else { throw TokenIssuance.invalidGrant("policy_denies") }
        let settings = target.organization.organization.settings
        let grantID = GrantID.make(at: attempt.now, issuance.random)
        let refresh =
            attempt.client.grantTypes.contains("refresh_token")
            ? RefreshToken(organization: record.organization, grant: grantID, issuance.random) : nil
        let expiresAt = attempt.now + Double(settings.grantLifetimeSeconds)
        let grant = Grant(
            id: grantID, issuer: attempt.issuer.id, user: record.user, client: record.client, resource: record.resource,
            scope: decision.granted + record.openIDScopes, status: .active, authTime: record.authTime,
            family: refresh.map {
                Grant.Family(
                    familyDigest: $0.familyDigest, currentDigest: $0.digest, previousDigest: nil, previousAt: nil,
                    generation: $0.generation, sealedSuccessor: nil)
            },
            mfa: record.mfa, upstreamCeiling: record.upstreamCeiling, version: 1, createdAt: attempt.now,
            lastUsedAt: attempt.now,
            idleExpiresAt: min(attempt.now + Double(settings.grantIdleLifetimeSeconds), expiresAt), expiresAt: expiresAt
        )
        let subject = TokenIssuance.Subject.user(record.user, grant: grantID, authTime: record.authTime)
        let (token, text) = try issuance.accessToken(
            for: subject, scopes: decision.effective, openID: record.openIDScopes, target, attempt)
        let event = issuance.event(
            .tokenIssued, token, for: subject, grantType: "authorization_code", decision, target, attempt)
        let outcome = try await issuance.grants.redeem(
            GrantStore.Redemption(codeDigest: code.digest, codeChallenge: record.codeChallenge, grant: grant),
            in: record.organization, guardedBy: target.guardian,
            recording: event)
        guard outcome.isDone else { return nil }
        await issuance.transactions.forget(code)
        return IssuedTokens(text, of: token, refreshToken: refresh?.secret)
    }

    /// A code that Redis does not know, or that was spent: if the one who presents it could have redeemed it, somebody else
    /// did, or twice, and everything it gave is ended (RFC 6749 §10.5). Anybody else learns nothing and breaks nothing.
    private func refuseSpent(
        _ code: AuthorizationCode, _ verifier: String, _ attempt: TokenIssuance.Attempt
    ) async throws -> Never {
        guard let spent = try await issuance.grants.redeemed(code.digest, in: code.organization) else {
            throw TokenIssuance.invalidGrant("code_unknown")
        }
        guard spent.client == attempt.client.id, PKCE.matches(verifier: verifier, challenge: spent.codeChallenge) else {
            throw TokenIssuance.invalidGrant("code_used")
        }
        try await issuance.revoke(spent.grant, in: code.organization, as: .authorizeCodeReplayed, attempt)
    }
}
