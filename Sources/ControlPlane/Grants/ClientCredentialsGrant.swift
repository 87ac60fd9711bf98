import Audit
import Foundation
import Tenancy

/// A client speaks for itself (RFC 6749 §4.4): no person, no refresh token, `sub` is the client.
struct ClientCredentialsGrant: Sendable {
    let issuance: TokenIssuance

    func redeem(
        scope: String?, resources: [String], _ first: TokenIssuance.Attempt, _ call: TokenIssuance.Call
    ) async throws -> IssuedTokens {
        let asked = try ValidRequest.scopes(in: scope)
        var attempt = first
        // A guard may move once between reading and writing; then everything is decided again, the client included.
        for turn in 0..<2 {
            if turn > 0 { attempt = try await issuance.attempt(call) }
            if let tokens = try await issue(asked, resources, attempt) { return tokens }
            try await issuance.doubt(attempt.issuer.id)
        }
        throw OAuthError.unavailable(nil)
    }

    /// - Returns: nil when a guard moved.
    private func issue(
        _ asked: [String], _ resources: [String], _ attempt: TokenIssuance.Attempt
    ) async throws -> IssuedTokens? {
        // "The client credentials grant type MUST only be used by confidential clients" (RFC 6749 §4.4).
        guard attempt.client.kind == .service, attempt.client.isConfidential else {
            throw OAuthError(.unauthorizedClient, "This client may not use this grant.", reason: "not_a_service")
        }
        let resource = try issuance.resource(asked: resources, attempt.issuer)
        let target = try await issuance.target(
            of: resource.id, ownedBy: resource.owner, for: attempt.issuer.id, attempt)
        let wanted = asked.filter { !OpenIDScope.all.contains($0) }
        let decision = ScopePolicy(target.organization.policy).decide(
            ScopeRequest(
                principal: .service(attempt.client.wireID), client: attempt.client, resource: resource,
                scopes: asked.isEmpty ? .all : .named(wanted), address: attempt.request.ip, authTime: nil, mfa: false,
                upstreamCeiling: nil),
            at: attempt.now)
        guard !decision.effective.isEmpty else {
            throw OAuthError(
                .invalidScope, "Policy allows this client none of the requested scopes.", reason: "policy_denies"
            ).denied(by: decision, to: .service(attempt.client.wireID), in: target.organization.organization.id)
        }
        let subject = TokenIssuance.Subject.service(attempt.client)
        let (token, text) = try issuance.accessToken(for: subject, scopes: decision.effective, target, attempt)
        let event = issuance.event(
            .tokenIssued, token, for: subject, grantType: "client_credentials", decision, target, attempt)
        guard try await issuance.database.append(event, guardedBy: target.guardian) else { return nil }
        return IssuedTokens(text, of: token)
    }
}
