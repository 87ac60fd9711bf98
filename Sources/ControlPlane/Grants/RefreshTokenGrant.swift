import Audit
import Foundation
import Keys
import Tenancy

/// Redeems a refresh token (RFC 6749 §6, OAuth 2.1 §4.3): rotates it, answers a retry with the same successor, and ends
/// the family when an older one comes back.
struct RefreshTokenGrant: Sendable {
    let issuance: TokenIssuance

    /// What a presented token is to its family.
    private enum Standing {
        case current
        /// The one before the current, inside the grace window, and its successor was not used: a reply was lost.
        case retried(successor: RefreshToken)
        /// Genuine and spent.
        case reused
    }

    func redeem(
        _ secret: Secret, scope: String?, resources: [String], _ first: TokenIssuance.Attempt,
        _ call: TokenIssuance.Call
    ) async throws -> IssuedTokens {
        guard let presented = RefreshToken(secret) else { throw TokenIssuance.invalidGrant("token_malformed") }
        let narrowed = try ValidRequest.scopes(in: scope)
        var attempt = first
        // Each turn reads anew: a lost race is classified from what stands now, never from an old snapshot.
        for turn in 0..<4 {
            if turn > 0 { attempt = try await issuance.attempt(call) }
            if turn == 0, let known = try await remembered(presented, attempt) {
                let tokens = try await issue(
                    .current, presented, known.grant, known.membership, narrowed, resources, attempt)
                if let tokens { return tokens }
                // Moved since; the turn is not lost on anything that the database said.
                issuance.remembered.forget(known.grant.id)
                try await issuance.doubt(presented.organization)
                attempt = try await issuance.attempt(call)
            }
            let state = try await state(of: presented, attempt)
            guard let family = state.grant.family, family.familyDigest == presented.familyDigest else {
                throw TokenIssuance.invalidGrant("token_unknown")
            }
            try await checkLife(of: state, in: presented.organization, attempt)
            let standing = try await standing(of: presented, in: family, attempt)
            if case .reused = standing {
                try await issuance.revoke(state.grant.id, in: presented.organization, as: .tokenReuseDetected, attempt)
            }
            let tokens = try await issue(
                standing, presented, state.grant, state.membership, narrowed, resources, attempt)
            if let tokens { return tokens }
            try await issuance.doubt(presented.organization)
        }
        throw OAuthError.unavailable(nil)
    }

    private func remembered(
        _ presented: RefreshToken, _ attempt: TokenIssuance.Attempt
    ) async throws -> RememberedGrants.Entry? {
        guard let known = issuance.remembered.entry(of: presented, at: attempt.now),
            known.grant.issuer == attempt.issuer.id, known.grant.client == attempt.client.id,
            Self.isKeyRight(of: known.grant, attempt),
            try await isLive(known.grant, in: presented.organization, at: attempt.now)
        else { return nil }
        return known
    }

    private func isLive(_ grant: Grant, in organization: OrganizationID, at now: Date) async throws -> Bool {
        guard let home = try await issuance.catalog.snapshot(of: organization) else { return false }
        return grant.isLive(at: now, under: home.organization.settings)
    }

    private func state(
        of presented: RefreshToken, _ attempt: TokenIssuance.Attempt
    ) async throws -> GrantStore.State {
        // Another issuer's or client's token is nothing here, and its family is left alone.
        guard let state = try await issuance.grants.state(of: presented.grant, in: presented.organization),
            state.grant.issuer == attempt.issuer.id, state.grant.client == attempt.client.id
        else { throw TokenIssuance.invalidGrant("token_unknown") }
        // A stolen token without its key opens nothing and ends nothing, whichever generation it is.
        guard Self.isKeyRight(of: state.grant, attempt) else { throw TokenIssuance.invalidGrant("dpop_key_differs") }
        return state
    }

    /// Whether whoever presents a bound token proved its key (RFC 9449 §5).
    private static func isKeyRight(of grant: Grant, _ attempt: TokenIssuance.Attempt) -> Bool {
        grant.boundKey == nil || grant.boundKey == attempt.boundKey
    }

    private func checkLife(
        of state: GrantStore.State, in organization: OrganizationID, _ attempt: TokenIssuance.Attempt
    ) async throws {
        guard state.grant.status == .active else { throw TokenIssuance.invalidGrant("grant_revoked") }
        guard try await isLive(state.grant, in: organization, at: attempt.now) else {
            throw TokenIssuance.invalidGrant("grant_expired")
        }
        guard state.user == .active else { throw TokenIssuance.invalidGrant("user_disabled") }
        guard state.admission == .active else { throw TokenIssuance.invalidGrant("client_not_admitted") }
        // Who holds the keys that a document names now may not be whom the person trusted (CIMD §8.4).
        guard state.admittedKeys == attempt.client.admittedKeys else {
            throw TokenIssuance.invalidGrant("client_keys_changed")
        }
    }

    private func standing(
        of presented: RefreshToken, in family: Grant.Family, _ attempt: TokenIssuance.Attempt
    ) async throws -> Standing {
        if family.currentDigest == presented.digest { return .current }
        // No earlier one, so nothing that was ever issued: a damaged or invented token, which proves no theft.
        guard presented.generation < family.generation else { throw TokenIssuance.invalidGrant("token_unknown") }
        guard family.previousDigest == presented.digest, family.generation == presented.generation + 1,
            let spentAt = family.previousAt, let sealed = family.sealedSuccessor,
            let organization = try await issuance.catalog.snapshot(of: presented.organization)
        else { return .reused }
        let grace = Double(min(30, max(0, organization.organization.settings.refreshGraceSeconds)))
        // Without a window nothing is young enough, not even what a clock ahead of ours spent in our future.
        guard grace > 0, attempt.now.timeIntervalSince(spentAt) < grace else { return .reused }
        do {
            return .retried(successor: try presented.successor(sealed: sealed))
        } catch {
            throw OAuthError(.serverError, "The refresh token could not be read.", reason: "seal_broken", cause: error)
        }
    }

    /// - Returns: nil when the statement changed nothing: somebody was faster, or a guard moved.
    private func issue(
        _ standing: Standing, _ presented: RefreshToken, _ grant: Grant, _ known: DatedMembership?,
        _ narrowed: [String], _ resources: [String], _ attempt: TokenIssuance.Attempt
    ) async throws -> IssuedTokens? {
        let target = try await target(of: grant, presented, attempt)
        try issuance.check(resources, against: target.resource)
        let scopes = try scopes(of: grant, narrowedTo: narrowed, target.resource)
        guard let membership = try await issuance.membership(of: grant.user, known: known, target) else { return nil }
        let decision = ScopePolicy(target.organization.policy).decide(
            ScopeRequest(
                principal: .user(grant.user, membership.membership), client: attempt.client,
                resource: target.resource, scopes: .named(scopes.granted), address: attempt.request.ip,
                authTime: grant.authTime, mfa: grant.mfa, upstreamCeiling: grant.upstreamCeiling),
            at: attempt.now)
        let allowed = decision.effective.filter { scopes.wanted?.contains($0) ?? true }
        guard !allowed.isEmpty else {
            throw TokenIssuance.invalidGrant("policy_denies").denied(
                by: decision, to: .user(grant.user, session: grant.id.description), in: presented.organization)
        }
        let subject = TokenIssuance.Subject.user(grant.user, grant: grant.id, authTime: grant.authTime, mfa: grant.mfa)
        let (token, text) = try issuance.accessToken(
            for: subject, scopes: allowed, openID: scopes.openID, target, attempt)
        let successor: RefreshToken
        let outcome: WriteOutcome<GrantID>
        switch standing {
        case .current:
            successor = presented.successor(issuance.random)
            let event = issuance.event(
                .tokenRefreshed, token, for: subject, grantType: "refresh_token", decision, target, attempt)
            let settings = target.organization.organization.settings
            let rotation = GrantStore.Rotation(
                grant: grant.id, version: grant.version, presented: presented.digest, successor: successor.digest,
                sealedSuccessor: try presented.seal(successor, issuance.random),
                idleExpiresAt: attempt.now + Double(settings.grantIdleLifetimeSeconds),
                admittedKeys: attempt.client.admittedKeys)
            outcome = try await issuance.grants.rotate(
                rotation, in: presented.organization, guardedBy: target.guardian, recording: event, at: attempt.now)
            if outcome.isDone {
                issuance.remembered.remember(grant.rotated(rotation, at: attempt.now), membership)
                issuance.housekeeping.expectErasure(of: grant.id, in: presented.organization, at: attempt.now)
            }
        case .retried(let sealed):
            successor = sealed
            let event = issuance.event(
                .tokenRefreshed, token, for: subject, grantType: "refresh_token", decision,
                metadata: ["retried": "true"], target, attempt)
            outcome = try await issuance.grants.retry(
                grant.id, version: grant.version, admittedKeys: attempt.client.admittedKeys,
                in: presented.organization, guardedBy: target.guardian, recording: event, at: attempt.now)
        case .reused:
            return nil
        }
        guard outcome.isDone else { return nil }
        return IssuedTokens(text, of: token, refreshToken: successor.secret)
    }

    private func target(
        of grant: Grant, _ presented: RefreshToken, _ attempt: TokenIssuance.Attempt
    ) async throws -> TokenIssuance.Target {
        let home = try await issuance.catalog.snapshot(of: presented.organization)
        let owner = home?.resources.contains { $0.id == grant.resource } == true ? presented.organization : .platform
        return try await issuance.target(of: grant.resource, ownedBy: owner, for: presented.organization, attempt)
    }

    /// What a refresh speaks of: the resource scopes the grant holds, those of them (and of what they imply) that were
    /// asked for if any were, and the OpenID words. The grant itself stays as wide as it was (RFC 6749 §6).
    private func scopes(
        of grant: Grant, narrowedTo asked: [String], _ resource: Resource
    ) throws(OAuthError) -> (granted: [String], wanted: Set<String>?, openID: [String]) {
        let names = Set(resource.scopes.map(\.name))
        let granted = grant.scope.filter(names.contains)
        let openID = grant.scope.filter(OpenIDScope.all.contains)
        // Whatever else it held, the resource has no more; an empty list must never be read as "all".
        guard !granted.isEmpty else { throw TokenIssuance.invalidGrant("scopes_gone") }
        guard !asked.isEmpty else { return (granted, nil, openID) }
        guard Set(asked).isSubset(of: Set(resource.expanding(Set(granted)) + openID)) else {
            throw OAuthError(.invalidScope, "The grant does not hold every requested scope.", reason: "scope_wider")
        }
        // With OpenID words alone the resource's scopes stay as granted, since a token without any opens nothing.
        let wanted = Set(asked).intersection(names)
        return (granted, wanted.isEmpty ? nil : wanted, openID.filter(asked.contains))
    }
}
