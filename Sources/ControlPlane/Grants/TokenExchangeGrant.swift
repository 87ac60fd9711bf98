import Audit
import Foundation
import Keys
import Tenancy

/// A client exchanges an access token of its own for a narrower one, or for one that another resource takes (RFC 8693).
///
/// The new token speaks for the same subject and ends with the old one at the latest; it names the client as who acts
/// (`act`), though that was the client before. Within the resource nothing is added; another resource has to be named by
/// a policy statement.
struct TokenExchangeGrant: Sendable {
    static let type = "urn:ietf:params:oauth:grant-type:token-exchange"

    let issuance: TokenIssuance

    func redeem(
        _ subjectToken: Secret, scope: String?, _ target: [String], _ first: TokenIssuance.Attempt,
        _ call: TokenIssuance.Call
    ) async throws -> IssuedTokens {
        let asked = try ValidRequest.scopes(in: scope).filter { !OpenIDScope.all.contains($0) }
        var attempt = first
        // A guard may move once between reading and writing; then everything is decided again, the client included.
        for turn in 0..<2 {
            if turn > 0 { attempt = try await issuance.attempt(call) }
            let token = try await verified(subjectToken, attempt)
            if let tokens = try await issue(token, asked, target, attempt) { return tokens }
            try await issuance.doubt(token.organization)
        }
        throw Self.invalidSubject("no_longer_allowed")
    }

    /// The subject token, if this client may exchange it (RFC 8693 §2.1): live, from this issuer, issued to this client,
    /// and bound to the key that the client proved if it is bound to any.
    private func verified(
        _ text: Secret, _ attempt: TokenIssuance.Attempt
    ) async throws -> VerifiedAccessToken {
        guard
            let token = try await issuance.verifier.verify(
                text.revealed, expecting: .issued(by: attempt.issuer), at: attempt.now)
        else { throw Self.invalidSubject("subject_token_invalid") }
        guard token.clientID == attempt.client.wireID else {
            throw Self.invalidSubject("subject_token_of_another_client")
        }
        // Whoever else has such a key can sign what we never issued.
        guard !token.isKeyImported else { throw Self.invalidSubject("subject_token_of_imported_key") }
        guard token.boundKey == nil || token.boundKey == attempt.boundKey else {
            throw Self.invalidSubject("subject_token_of_another_key")
        }
        // A public client's token is all that proves it, unless the token is bound to its key.
        guard attempt.client.isAdministered, attempt.client.isConfidential || token.boundKey != nil else {
            throw OAuthError(
                .unauthorizedClient, "This client may not use this grant.", reason: "client_not_confidential")
        }
        guard try await issuance.verifier.isLive(token, at: attempt.now) else {
            throw Self.invalidSubject("subject_token_ended")
        }
        return token
    }

    private enum Speaker {
        case user(UserID, DatedMembership?)
        case service(String)
    }

    /// Whom a token speaks for, and what policy may ask about them.
    private struct Standing {
        var subject: TokenIssuance.Subject
        let speaker: Speaker
        var upstreamCeiling: [String]?
        var grant: Grant?
    }

    private func standing(
        of token: VerifiedAccessToken, _ attempt: TokenIssuance.Attempt
    ) async throws -> Standing {
        var standing: Standing
        if let id = token.grant {
            guard let state = try await issuance.grants.state(of: id, in: token.organization) else {
                throw Self.invalidSubject("grant_unknown")
            }
            let grant = state.grant
            standing = Standing(
                subject: .user(grant.user, grant: id, authTime: grant.authTime, mfa: grant.mfa),
                speaker: .user(grant.user, state.membership), upstreamCeiling: grant.upstreamCeiling, grant: grant)
        } else if let user = UserID(token.subject) {
            standing = Standing(subject: .user(user), speaker: .user(user, nil))
        } else {
            standing = Standing(
                subject: .service(attempt.client), speaker: .service(attempt.client.wireID))
        }
        standing.subject.exchanged = token
        return standing
    }

    /// - Returns: nil when a guard moved.
    private func principal(
        _ speaker: Speaker, _ target: TokenIssuance.Target
    ) async throws -> ScopeRequest.Principal? {
        switch speaker {
        case .user(let user, let known):
            try await issuance.membership(of: user, known: known, target).map { .user(user, $0.membership) }
        case .service(let client): .service(client)
        }
    }

    /// - Returns: nil when a guard moved.
    private func issue(
        _ token: VerifiedAccessToken, _ asked: [String], _ named: [String], _ attempt: TokenIssuance.Attempt
    ) async throws -> IssuedTokens? {
        let (source, target) = try await resources(of: token, named, attempt)
        let policy = ScopePolicy(target.organization.policy)
        let isElsewhere = target.resource.id != source.id
        guard !isElsewhere || policy.names(exchangeOf: source.id, for: target.resource.id) else {
            throw Self.unknownTarget
        }
        // Within the resource nothing is added. A scope that both resources have must be held too, so that an exchange
        // never makes a reader a writer.
        let held = Set(token.scopes)
        let known = Set(source.scopes.map(\.name))
        let standing = try await standing(of: token, attempt)
        guard let principal = try await principal(standing.speaker, target) else { return nil }
        // On the way back to the resource a person allowed, never more than they allowed.
        let allowedOnce = standing.grant.flatMap { grant in
            grant.resource == target.resource.id ? Set(target.resource.expanding(Set(grant.scope))) : nil
        }
        let offered = target.resource.scopes.map(\.name).filter {
            (held.contains($0) || (isElsewhere && !known.contains($0))) && allowedOnce?.contains($0) ?? true
        }
        guard Set(asked).isSubset(of: offered) else {
            throw OAuthError(
                .invalidScope, "The subject token does not hold every requested scope.", reason: "scope_wider")
        }
        let decision = policy.decide(
            ScopeRequest(
                principal: principal, client: attempt.client, resource: target.resource,
                scopes: .named(asked.isEmpty ? offered : asked), address: attempt.request.ip,
                authTime: standing.subject.authTime, mfa: standing.subject.mfa,
                upstreamCeiling: standing.upstreamCeiling, held: offered,
                exchangedFrom: isElsewhere ? source.id : nil),
            at: attempt.now)
        let allowed = decision.effective.filter(offered.contains)
        guard !allowed.isEmpty else {
            throw OAuthError(.invalidScope, "Policy allows none of the requested scopes.", reason: "policy_denies")
                .denied(by: decision, to: standing.subject.actor, in: target.organization.organization.id)
        }
        let (made, text) = try issuance.accessToken(for: standing.subject, scopes: allowed, target, attempt)
        let event = issuance.event(
            .tokenExchanged, made, for: standing.subject, grantType: Self.type, decision,
            metadata: ["subject_token": token.id.description], target, attempt)
        guard try await record(event, of: token, target, attempt) else { return nil }
        return IssuedTokens(text, of: made, issuedTokenType: TokenType.accessToken)
    }

    /// What the subject token was issued on has to stand still at this very moment.
    private func record(
        _ event: OutboxEvent, of token: VerifiedAccessToken, _ target: TokenIssuance.Target,
        _ attempt: TokenIssuance.Attempt
    ) async throws -> Bool {
        let issued = issuance.issued
        if let grant = token.grant {
            return try await issued.record(event, on: grant, at: attempt.now, guardedBy: target.guardian)
        }
        if let user = UserID(token.subject) {
            return try await issued.record(event, for: user, through: attempt.client.id, guardedBy: target.guardian)
        }
        return try await issuance.database.append(event, guardedBy: target.guardian)
    }

    /// The resource of the subject token and the one that is asked for; without a name it is the same.
    ///
    /// - Throws: `invalid_target` (RFC 8693 §2.2.2); unknown resources and those closed to this issuer look the same.
    private func resources(
        of token: VerifiedAccessToken, _ named: [String], _ attempt: TokenIssuance.Attempt
    ) async throws -> (source: Resource, target: TokenIssuance.Target) {
        let issuer = attempt.issuer
        let found =
            token.organization == issuer.id ? issuer.home : try await issuance.catalog.snapshot(of: token.organization)
        let candidates = (found?.resources ?? []) + issuer.platform.resources
        guard let source = candidates.first(where: { $0.id == token.resource }) else {
            throw Self.invalidSubject("resource_closed")
        }
        let wanted = Set(named.map { ResourceURI($0)?.canonical ?? "" })
        guard wanted.count <= 1 else {
            throw OAuthError(.invalidTarget, "Ask for one resource at a time.", reason: "several_resources")
        }
        let chosen = try wanted.first.map { uri in
            guard let found = candidates.first(where: { $0.canonicalURI == uri }) else { throw Self.unknownTarget }
            return found
        }
        let resource = chosen ?? source
        do {
            let target = try await issuance.target(
                of: resource.id, ownedBy: resource.owner, for: token.organization, attempt)
            return (source, target)
        } catch let error as OAuthError where error.code == .invalidGrant {
            throw Self.unknownTarget
        }
    }

    private static let unknownTarget = OAuthError(
        .invalidTarget, "This token cannot be exchanged for one of the requested resource.", reason: "target_not_named")

    /// "If the subject_token is invalid for any reason … the value of the error parameter MUST be invalid_request"
    /// (RFC 8693 §2.2.2). The client is told no more.
    private static func invalidSubject(_ reason: String) -> OAuthError {
        OAuthError(.invalidRequest, "The subject token cannot be exchanged.", reason: reason)
    }
}
