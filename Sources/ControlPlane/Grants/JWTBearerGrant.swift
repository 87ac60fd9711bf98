import Audit
import Foundation
import Identity
import Keys
import Tenancy

/// A client presents what an issuer that its organization trusts says about a person (RFC 7523 §2.1 with the ID-JAG
/// profile; "enterprise-managed authorization" in MCP), and gets an access token for that person, without any page.
///
/// Who the person is here, the identity linked to (issuer, subject) says; a first link follows the rules of every sign-in.
/// No grant is made and no refresh token: the issuer is asked again for each token, and may decline.
struct JWTBearerGrant: Sendable {
    static let type = "urn:ietf:params:oauth:grant-type:jwt-bearer"

    let issuance: TokenIssuance

    func redeem(
        _ text: Secret, scope: String?, resources: [String], _ first: TokenIssuance.Attempt, _ call: TokenIssuance.Call
    ) async throws -> IssuedTokens {
        let asked = try ValidRequest.scopes(in: scope).filter { !OpenIDScope.all.contains($0) }
        var attempt = first
        // A guard may move once between reading and writing; then everything is decided again, the client included.
        for turn in 0..<2 {
            if turn > 0 { attempt = try await issuance.attempt(call) }
            let (assertion, trusted) = try await believed(text, attempt)
            if turn == 0 { try await claim(assertion, attempt) }
            let resource = try resource(of: assertion, resources, attempt)
            let person = try await person(of: assertion, by: trusted, attempt)
            try await admit(attempt)
            if let tokens = try await issue(to: person, assertion, by: trusted, asked, resource, attempt) {
                return tokens
            }
            try await issuance.doubt(attempt.issuer.id)
        }
        throw TokenIssuance.invalidGrant("no_longer_allowed")
    }

    // MARK: The assertion

    /// The assertion, if an issuer that the organization trusts signed it for this client.
    private func believed(
        _ text: Secret, _ attempt: TokenIssuance.Attempt
    ) async throws -> (IdentityAssertion, TrustedIssuer) {
        let (client, issuer) = (attempt.client, attempt.issuer)
        guard client.isAdministered, client.isConfidential else {
            throw OAuthError(
                .unauthorizedClient, "This client may not use this grant.", reason: "client_not_confidential")
        }
        let assertion: IdentityAssertion
        do {
            assertion = try IdentityAssertion(text.revealed, for: issuer.url, at: attempt.now)
        } catch {
            throw TokenIssuance.invalidGrant(error.reason)
        }
        guard
            let trusted = issuer.home.trustedIssuers.first(where: {
                $0.issuer == assertion.issuer && $0.provider.status == .active
            })
        else { throw TokenIssuance.invalidGrant("assertion_issuer") }
        guard assertion.clientID == client.wireID, trusted.clients.contains(client.id) else {
            throw TokenIssuance.invalidGrant("assertion_of_another_client")
        }
        guard assertion.boundKey == nil || assertion.boundKey == attempt.boundKey else {
            throw TokenIssuance.invalidGrant("assertion_of_another_key")
        }
        guard assertion.carries(trusted.requiredClaims) else { throw TokenIssuance.invalidGrant("assertion_claims") }
        do {
            let keys = issuance.authentication.keys
            let isSigned = try await keys.signed(
                assertion.jws, by: trusted.keys, for: .known(in: issuer.id), now: attempt.now)
            guard isSigned else {
                throw TokenIssuance.invalidGrant("assertion_signature")
            }
        } catch let failure as DocumentFetcher.Failure {
            guard failure.isTemporary else { throw TokenIssuance.invalidGrant("keys_\(failure.reason)") }
            throw OAuthError.unavailable(failure)
        }
        return (assertion, trusted)
    }

    /// Takes the assertion for this request, once on every node; it stays taken whatever comes of the request.
    private func claim(_ assertion: IdentityAssertion, _ attempt: TokenIssuance.Attempt) async throws {
        let isFirst = try await issuance.authentication.assertions.claim(
            assertion.jti, of: "issuer \(assertion.issuer)", in: attempt.issuer.id, until: assertion.expiresAt,
            as: EventID.make(at: attempt.now, issuance.random))
        guard isFirst else { throw TokenIssuance.invalidGrant("assertion_reused") }
    }

    /// The resource that the assertion is for; the request may only repeat it.
    private func resource(
        of assertion: IdentityAssertion, _ named: [String], _ attempt: TokenIssuance.Attempt
    ) throws(OAuthError) -> Resource {
        let resource = try issuance.resource(asked: [assertion.resource], attempt.issuer)
        try issuance.check(named, against: resource)
        return resource
    }

    // MARK: Whom it stands for

    /// Somebody the assertion stands for; what they belong to is not known of whoever comes for the first time.
    private struct Person {
        let user: UserID
        let membership: DatedMembership?
    }

    private func person(
        of assertion: IdentityAssertion, by trusted: TrustedIssuer, _ attempt: TokenIssuance.Attempt
    ) async throws -> Person {
        let organization = attempt.issuer.home.organization
        let key = IdentityKey(
            identityProvider: trusted.id, provider: trusted.provider.population, subject: assertion.subject)
        if let known = try await issuance.users.member(of: key, in: organization.id) {
            guard known.user.status == .active else { throw TokenIssuance.invalidGrant("user_disabled") }
            return Person(user: known.user.id, membership: known.membership)
        }
        let identity = VerifiedIdentity(
            key: key, email: assertion.email.flatMap(EmailAddress.init)?.description,
            emailVerified: assertion.emailVerified, name: assertion.name, authTime: assertion.authTime ?? attempt.now,
            mfa: assertion.mfa, scopeCeiling: nil)
        do {
            let resolved = try await issuance.signIn.resolve(
                identity, by: trusted.provider, organization: organization, request: attempt.request,
                client: attempt.client.wireID, at: attempt.now)
            switch resolved {
            case .user(let user): return Person(user: user.id, membership: nil)
            case .pendingLink: throw TokenIssuance.invalidGrant("identity_not_linked")
            case .disabled: throw TokenIssuance.invalidGrant("user_disabled")
            }
        } catch let error as SignInError {
            throw TokenIssuance.invalidGrant(error.reason)
        }
    }

    /// Meets the client on behalf of the organization, or refuses what it keeps out.
    private func admit(_ attempt: TokenIssuance.Attempt) async throws {
        let (client, organization) = (attempt.client, attempt.issuer.home.organization)
        var status = try await issuance.clients.admission(of: client.id, by: organization.id)?.status
        if status == nil {
            let needsApproval = organization.settings.approvalRequiredFor.contains(client.kind)
            let wanted = ClientAdmission(of: client, status: needsApproval ? .pending : .active, at: attempt.now)
            status = try await issuance.database.transaction(organization.id) {
                [clients = issuance.clients] transaction in
                try await clients.admit(wanted, by: organization.id, in: transaction).admission.status
            }
        }
        guard status == .active else {
            throw TokenIssuance.invalidGrant(status == .pending ? "client_pending" : "client_denied")
        }
    }

    // MARK: The token

    /// - Returns: nil when a guard moved.
    private func issue(
        to person: Person, _ assertion: IdentityAssertion, by trusted: TrustedIssuer, _ asked: [String],
        _ resource: Resource, _ attempt: TokenIssuance.Attempt
    ) async throws -> IssuedTokens? {
        let target = try await issuance.target(
            of: resource.id, ownedBy: resource.owner, for: attempt.issuer.id, attempt)
        let user = person.user
        guard let membership = try await issuance.membership(of: user, known: person.membership, target) else {
            return nil
        }
        if let most = assertion.scopes {
            guard Set(asked).isSubset(of: most) else {
                throw OAuthError(
                    .invalidScope, "The assertion does not hold every requested scope.", reason: "scope_wider")
            }
        }
        let wanted = asked.isEmpty ? assertion.scopes?.filter { !OpenIDScope.all.contains($0) } ?? [] : asked
        let decision = ScopePolicy(target.organization.policy).decide(
            ScopeRequest(
                principal: .user(user, membership.membership), client: attempt.client, resource: resource,
                scopes: RequestedScopes(wanted), address: attempt.request.ip, authTime: assertion.authTime,
                mfa: assertion.mfa, upstreamCeiling: nil, held: assertion.scopes),
            at: attempt.now)
        guard !decision.effective.isEmpty else {
            throw OAuthError(
                .invalidScope, "Policy allows none of the requested scopes.", reason: "policy_denies"
            ).denied(by: decision, to: .user(user), in: target.organization.organization.id)
        }
        let subject = TokenIssuance.Subject.user(user, authTime: assertion.authTime, mfa: assertion.mfa)
        let (token, text) = try issuance.accessToken(for: subject, scopes: decision.effective, target, attempt)
        let event = issuance.event(
            .tokenIssued, token, for: subject, grantType: Self.type, decision,
            metadata: ["assertion": assertion.jti, "identity_provider": trusted.id.description], target, attempt)
        let isRecorded = try await issuance.issued.record(
            event, for: user, through: attempt.client.id, guardedBy: target.guardian)
        return isRecorded ? IssuedTokens(text, of: token) : nil
    }
}

extension Issuer {
    /// Whether it takes another issuer's word about a person at all: an organization that trusts one.
    package var takesIdentityAssertions: Bool {
        kind == .organization && home.trustedIssuers.contains { $0.provider.status == .active }
    }
}
