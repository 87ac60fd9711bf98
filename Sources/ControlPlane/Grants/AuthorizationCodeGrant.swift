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
        let tokens = try await issuance.connect(
            record.authorization,
            spending: GrantStore.SpentCode(digest: code.digest, codeChallenge: record.codeChallenge),
            resources: presented.resources, first, call
        ) { attempt in
            try await refuseSpent(code, verifier, attempt)
        }
        await issuance.transactions.forget(code)
        return tokens
    }

    /// In the RFC's order; a wrong issuer or client leaves the code as it was, a wrong verifier is counted.
    private func check(
        _ record: CodeRecord, _ code: AuthorizationCode, _ verifier: String, _ presented: Presented,
        _ attempt: TokenIssuance.Attempt
    ) async throws {
        guard record.authorization.issuer == attempt.issuer.id, record.authorization.client == attempt.client.id,
            record.authorization.organization == code.organization
        else { throw TokenIssuance.invalidGrant("code_of_another_client") }
        guard record.expiresAt > attempt.now else { throw TokenIssuance.invalidGrant("code_expired") }
        if let redirectURI = presented.redirectURI, redirectURI != record.redirectURI {
            throw TokenIssuance.invalidGrant("redirect_uri_differs")
        }
        if let key = record.boundKey, key != attempt.boundKey { throw TokenIssuance.invalidGrant("dpop_key_differs") }
        guard PKCE.matches(verifier: verifier, challenge: record.codeChallenge) else {
            try await issuance.transactions.countFailure(of: code)
            throw TokenIssuance.invalidGrant("verifier_wrong")
        }
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
