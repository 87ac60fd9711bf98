import Audit
import Foundation
import Keys
import Tenancy

extension AuthorizationFlow {
    /// Judges the request and either answers at once or begins a transaction.
    func open(_ addressed: AddressedRequest, at issuer: Issuer, _ visit: Visit) async throws -> AuthorizationReply {
        try ValidRequest.checkForm(of: addressed)
        let hint = IDTokenHint(addressed, at: issuer)
        let place = try await Place.find(
            for: addressed.parameters, of: addressed.client, hint, at: issuer, self)
        let request = try ValidRequest(addressed, resource: place.resource)
        let known = try await acquaintance(in: place, request, hint, visit)
        if let known, let organization = place.organization,
            let reply = try await answerAtOnce(request, known, organization, place, issuer, visit)
        {
            return reply
        }
        let session = known?.session
        if request.prompts.contains("none") {
            throw session == nil
                ? OAuthError(.loginRequired, "The person has to sign in.")
                : OAuthError(.consentRequired, "The person has to consent.")
        }
        let transaction = AuthorizationTransaction(
            issuer: issuer.id,
            asked: AuthorizationTransaction.ClientRequest(
                client: addressed.client.id,
                destination: .redirect(
                    AuthorizationTransaction.Redirect(
                        uri: addressed.redirect.text, state: addressed.state, codeChallenge: request.codeChallenge,
                        nonce: request.nonce, boundKey: request.boundKey, expectedUser: hint?.user)),
                resourceScopes: request.resourceScopes, openIDScopes: request.openIDScopes, resource: place.resource.id,
                resourceOwner: place.resource.owner),
            organization: place.organization?.organization.id, loginHint: addressed.parameters["login_hint"],
            // Too old a session, somebody else's, or one that cannot be judged yet, is as good as none.
            mustSignIn: request.prompts.contains("login")
                || ((request.maxAge != nil || hint != nil) && session == nil),
            csrfToken: Base64URL.encode(random.generate(32)),
            binding: nil, stage: .start, createdAt: visit.now)
        return AuthorizationReply(try await page(of: try await transactions.create(transaction), visit))
    }

    /// The person's session at the organization, fresh enough for what the request asks and theirs whom it means.
    private func acquaintance(
        in place: Place, _ request: ValidRequest, _ hint: IDTokenHint?, _ visit: Visit
    ) async throws -> SessionStore.Acquaintance? {
        guard let organization = place.organization?.organization.id, !request.prompts.contains("login"),
            let cookie = sessionCookie(of: organization, visit),
            let known = try await sessions.acquaintance(
                cookie.id, secret: cookie.secret, with: request.addressed.client.id, over: place.resource.id,
                in: organization, at: visit.now),
            hint?.means(known.session.user) ?? true, try await isAccepted(known.session, at: organization, visit)
        else { return nil }
        if let maxAge = request.maxAge, visit.now.timeIntervalSince(known.session.authTime) > Double(maxAge) {
            return nil
        }
        return known
    }

    /// The person's session there, if it is one that may be used for this resource.
    func session(at organization: OrganizationID, for resource: Resource?, _ visit: Visit) async throws -> Session? {
        guard let found = try await session(at: organization, visit),
            resource?.takes(authentication: found.authTime, at: visit.now) ?? true
        else { return nil }
        return found
    }

    func session(at organization: OrganizationID, _ visit: Visit) async throws -> Session? {
        guard let cookie = sessionCookie(of: organization, visit),
            let found = try await sessions.find(cookie.id, secret: cookie.secret, in: organization, at: visit.now),
            try await isAccepted(found, at: organization, visit)
        else { return nil }
        return found
    }

    /// Whether the organization's rules still take the session; one that is taken was used.
    private func isAccepted(_ session: Session, at organization: OrganizationID, _ visit: Visit) async throws -> Bool {
        guard let snapshot = try await catalog.snapshot(of: organization),
            session.isAccepted(under: snapshot.organization.settings, at: visit.now)
        else { return false }
        if visit.now.timeIntervalSince(session.lastUsedAt ?? session.createdAt) > Self.sessionUseInterval {
            try await sessions.noteUse(of: session.id, in: organization, at: visit.now, every: Self.sessionUseInterval)
        }
        return true
    }

    /// Times of use are kept by the minute.
    private static let sessionUseInterval: TimeInterval = 60

    private func sessionCookie(of organization: OrganizationID, _ visit: Visit) -> (
        id: SessionID, secret: SecretDigest
    )? {
        guard let cookie = visit.browser.sessions[organization] else { return nil }
        let parts = cookie.split(separator: ".", maxSplits: 1)
        guard parts.count == 2, let id = SessionID(parts[0]) else { return nil }
        return (id, SecretDigest(of: Secret(String(parts[1]))))
    }

    /// An administrator registered the client, it answers to an https address, the person is signed in and has consented
    /// to as much before: then no page is needed.
    private func answerAtOnce(
        _ request: ValidRequest, _ known: SessionStore.Acquaintance, _ organization: TenantSnapshot, _ place: Place,
        _ issuer: Issuer, _ visit: Visit
    ) async throws -> AuthorizationReply? {
        let client = request.addressed.client
        let session = known.session
        // Whoever hands their administration to a client says so each time.
        guard !place.resource.isAdminAPI, client.isVouchedFor, request.addressed.redirect.kind == .https,
            organization.organization.settings.consent == .remember,
            request.prompts.isDisjoint(with: ["consent", "select_account"]), known.admission == .active,
            let consented = known.consented, try await isStillTrusted(client, by: organization.organization.id)
        else { return nil }
        let person = AuthorizationTransaction.SignedIn(
            organization: organization.organization.id, user: session.user, account: "", session: session.id,
            authTime: session.authTime, mfa: session.mfa, upstreamCeiling: session.scopeCeiling, offered: nil,
            membership: known.membership, shown: nil)
        let decision = ScopePolicy(organization.policy).decide(
            ScopeRequest(
                person, known.membership, client, place.resource, RequestedScopes(request.resourceScopes), visit),
            at: visit.now)
        guard !decision.granted.isEmpty, Set(decision.granted + request.openIDScopes).isSubset(of: consented) else {
            return nil
        }
        let code = AuthorizationCode(
            organization: organization.organization.id, tag: Base64URL.encode(random.generate(16)), random)
        let answer = Answer(
            issuer: issuer.id, client: client.id, nonce: request.nonce, person: person,
            membership: known.membership, resource: place.resource, grantedScopes: decision.granted,
            openIDScopes: request.openIDScopes)
        let record = answer.record(
            for: code, redirectURI: request.addressed.redirect.text, codeChallenge: request.codeChallenge,
            boundKey: request.boundKey, at: visit.now)
        try await database.append(
            answer.event(.authorizeGranted, decision, client: client, visit, random).outboxEvent(random))
        try await transactions.store(record, for: code)
        return AuthorizationReply(
            .redirect(
                ClientRedirect(
                    code: code, to: request.addressed.redirect, state: request.addressed.state, issuer: issuer.url)))
    }

    /// Whether a metadata document is still what the organization trusted; other clients do not change by themselves.
    private func isStillTrusted(_ client: Client, by organization: OrganizationID) async throws -> Bool {
        guard client.kind == .metadataDocument else { return true }
        return try await clients.admission(of: client.id, by: organization)?.trusts(client) ?? false
    }

    /// What a person belongs to now, as the organization's snapshot stands: as it is known, or read anew where it may have
    /// changed since.
    func membership(
        of person: AuthorizationTransaction.SignedIn, in organization: TenantSnapshot
    ) async throws -> DatedMembership {
        if let known = person.membership, known.epoch == organization.epoch { return known }
        guard let read = try await users.membership(of: person.user, in: organization.organization.id) else {
            throw Refusal.page(.disabled)
        }
        return read
    }
}
