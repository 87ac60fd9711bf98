package import Audit
package import Foundation
package import Identity
package import Keys
package import Logging
import Postgres
import Redis
package import Tenancy

/// The code flow as a person sees it: from the client's request to its answer.
///
/// Every function ends in a page or a redirect and none throws: a browser is never left with a blank error. Two pages of
/// ours are always shown to people of clients nobody vouches for: one before anything is sent upstream, naming who asks,
/// and one after sign-in, asking for consent (MCP-AS-25, RFC 9700 §4.7).
package struct AuthorizationFlow: Sendable {
    let issuers: IssuerDirectory
    let directory: ClientDirectory
    let transactions: AuthorizationTransactionStore
    let pushedRequests: PushedRequestStore
    let devices: DeviceAuthorizationStore
    let limits: SignInLimits
    let idTokenKeys: IDTokenKeys
    let providers: IdentityProviders
    let signIn: SignIn
    let clients: ClientStore
    let grants: GrantStore
    let resources: ResourceStore
    let organizations: OrganizationStore
    let users: UserStore
    let sessions: SessionStore
    let database: TenantDatabase
    let refusals: RefusalLog
    let random: RandomBytes
    let logger: Logger

    package init(
        issuers: IssuerDirectory, directory: ClientDirectory, transactions: AuthorizationTransactionStore,
        pushedRequests: PushedRequestStore, devices: DeviceAuthorizationStore, limits: SignInLimits,
        idTokenKeys: IDTokenKeys,
        providers: IdentityProviders, signIn: SignIn, database: TenantDatabase, refusals: RefusalLog,
        random: RandomBytes, logger: Logger
    ) {
        self.issuers = issuers
        self.directory = directory
        self.transactions = transactions
        self.pushedRequests = pushedRequests
        self.devices = devices
        self.limits = limits
        self.idTokenKeys = idTokenKeys
        self.providers = providers
        self.signIn = signIn
        clients = ClientStore(database: database)
        grants = GrantStore(database: database)
        resources = ResourceStore(database: database)
        organizations = OrganizationStore(database: database)
        users = UserStore(database: database)
        sessions = SessionStore(database: database)
        self.database = database
        self.refusals = refusals
        self.random = random
        self.logger = logger
    }

    var catalog: TenantCatalog { issuers.catalog }

    /// What every step needs to know about the request it answers.
    struct Visit: Sendable {
        let browser: BrowserContext
        let request: AuditEvent.RequestInfo
        let now: Date
    }

    // MARK: The five doors

    /// `GET` or `POST I/oauth/authorize` (RFC 6749 §4.1.1).
    package func begin(
        _ parameters: AuthorizationParameters, at issuer: Issuer, from browser: BrowserContext,
        request: AuditEvent.RequestInfo, at now: Date
    ) async -> AuthorizationReply {
        let visit = Visit(browser: browser, request: request, now: now)
        return await answering(visit, issuer: issuer) {
            let addressed = try await AddressedRequest.find(
                resolved(parameters, at: issuer), at: issuer, in: directory, request: request, at: now)
            do {
                return try await open(addressed, at: issuer, visit)
            } catch let error as OAuthError {
                throw Refusal.client(error, addressed)
            } catch  where error.isStoreFailure {
                // The client is known and may be told (AZ-19).
                throw Refusal.client(.unavailable(error), addressed)
            }
        }
    }

    /// `GET P/signin/{transaction}`: wherever the person is now.
    package func show(
        _ handle: String, from browser: BrowserContext, request: AuditEvent.RequestInfo, at now: Date
    ) async -> AuthorizationReply {
        let visit = Visit(browser: browser, request: request, now: now)
        return await answering(visit, issuer: nil) {
            guard let held = try await transactions.find(handle), held.transaction.isBound(to: browser) else {
                throw Refusal.page(.expired)
            }
            if case .consent(let person) = held.transaction.stage {
                let scene = try await scene(held, visit)
                if person.shown != scene.client.selfDescription { return try await shownAnew(person, scene, visit) }
            }
            return AuthorizationReply(try await page(of: held, visit))
        }
    }

    /// `POST P/signin/{transaction}`: page one was answered.
    package func identify(
        _ handle: String, csrfToken: String, organization: String?, email: String?, useSession: Bool,
        from browser: BrowserContext, request: AuditEvent.RequestInfo, at now: Date
    ) async -> AuthorizationReply {
        let visit = Visit(browser: browser, request: request, now: now)
        return await answering(visit, issuer: nil) {
            var held = try await hold(handle, csrfToken, visit)
            var binding: String?
            if held.transaction.binding == nil {
                // The first POST binds the transaction to this browser; upstream state comes only after it.
                let value = browser.boundValue ?? Base64URL.encode(random.generate(32))
                held.transaction.binding = Base64URL.encode(sha256(value))
                binding = value
            }
            var reply = try await identified(
                held, organization: organization, email: email, useSession: useSession, visit)
            reply.setBinding = binding
            return reply
        }
    }

    /// `POST P/signin/{transaction}/code`.
    package func verify(
        _ handle: String, csrfToken: String, code: String?, resend: Bool, from browser: BrowserContext,
        request: AuditEvent.RequestInfo, at now: Date
    ) async -> AuthorizationReply {
        let visit = Visit(browser: browser, request: request, now: now)
        return await answering(visit, issuer: nil) {
            let held = try await hold(handle, csrfToken, visit)
            guard case .code(let pending) = held.transaction.stage else {
                return AuthorizationReply(try await page(of: held, visit))
            }
            if resend { return try await send(pending, held, visit) }
            return try await check(code ?? "", of: pending, held, visit)
        }
    }

    /// `POST P/signin/{transaction}/consent`: page two was answered.
    package func decide(
        _ handle: String, csrfToken: String, allow: Bool, from browser: BrowserContext,
        request: AuditEvent.RequestInfo, at now: Date
    ) async -> AuthorizationReply {
        let visit = Visit(browser: browser, request: request, now: now)
        return await answering(visit, issuer: nil) {
            let held = try await hold(handle, csrfToken, visit)
            guard case .consent(let person) = held.transaction.stage else {
                return AuthorizationReply(try await page(of: held, visit))
            }
            return try await decided(allow, by: person, held, visit)
        }
    }

    /// Another site sent a form of ours in this browser's name: an attack, which the platform's log has to show.
    package func recordForeignForm(_ request: AuditEvent.RequestInfo, at now: Date) async throws {
        let visit = Visit(browser: BrowserContext(binding: nil, sessions: [:]), request: request, now: now)
        try await refuse(
            .authorizeDenied, in: .platform, reason: "foreign_origin", actor: .anonymous, client: nil, visit)
    }

    // MARK: Turning failures into answers

    /// Runs a step and turns whatever it throws into a page or a redirect, with the event a refusal is due.
    func answering(
        _ visit: Visit, issuer: Issuer?, _ step: () async throws -> AuthorizationReply
    ) async -> AuthorizationReply {
        do {
            return try await step()
        } catch Refusal.page(let page, let type, let client, let reason) {
            return await refused(visit, then: .message(page)) {
                guard let type, let issuer else { return }
                try await refuse(
                    type, in: issuer.id, reason: reason ?? page.errorCode ?? "refused", actor: .anonymous,
                    client: client, visit)
            }
        } catch Refusal.client(let error, let addressed) {
            guard let issuer else { return AuthorizationReply(.message(.unavailable)) }
            return await refused(visit, then: leave(addressed, with: error, issuer: issuer)) {
                guard error.code != .temporarilyUnavailable else { return }
                try await refuse(
                    .authorizeDenied, in: issuer.id, reason: error.reason, actor: .anonymous,
                    client: addressed.client.wireID, visit)
            }
        } catch {
            return failed(error, visit)
        }
    }

    /// A refusal is written down before anybody hears of it; one that cannot be is no answer at all.
    private func refused(
        _ visit: Visit, then step: AuthorizationStep, _ record: () async throws -> Void
    ) async -> AuthorizationReply {
        do {
            try await record()
            return AuthorizationReply(step)
        } catch {
            return failed(error, visit)
        }
    }

    private func failed(_ error: any Error, _ visit: Visit) -> AuthorizationReply {
        logger.log(
            level: error.isStoreFailure ? .warning : .error, "a sign-in page could not be served",
            metadata: ["error": "\(String(reflecting: error))", "request_id": "\(visit.request.id)"])
        return AuthorizationReply(.message(.unavailable))
    }

    /// Sends an error to the client, or lets the person choose to where nobody vouches for it.
    private func leave(_ addressed: AddressedRequest, with error: OAuthError, issuer: Issuer) -> AuthorizationStep {
        let response = ClientRedirect(error: error, to: addressed.redirect, state: addressed.state, issuer: issuer.url)
        guard !addressed.mayRedirectUnasked else { return .redirect(response) }
        var page = MessagePage(
            kind: error.code == .temporarilyUnavailable ? .unavailable : .badRequest,
            title: "The application's request cannot be answered",
            explanation: error.description,
            advice: "You can go back to the application and tell it. Do so only if you started there yourself.",
            errorCode: error.code.rawValue)
        page.wayBack = MessagePage.WayBack(host: addressed.redirect.host, location: response.location)
        return .message(page)
    }

    /// Records a refusal; bounded where nobody is authenticated.
    func refuse(
        _ type: AuditEventType, in organization: OrganizationID, reason: String, actor: AuditEvent.Actor,
        client: String?, policy: AuditEvent.PolicyInfo? = nil, _ visit: Visit
    ) async throws {
        let event = AuditEvent(
            type, organization: organization, id: EventID.make(at: visit.now, random), time: visit.now,
            outcome: .denied,
            reason: reason, actor: actor,
            targets: [AuditEvent.Target(type: "organization", id: organization.description)], client: client,
            request: visit.request, policy: policy)
        try await refusals.refuse(event, source: visit.request.ip)
    }

    // MARK: Opening

    /// Judges the request and either answers at once or begins a transaction.
    private func open(_ addressed: AddressedRequest, at issuer: Issuer, _ visit: Visit) async throws
        -> AuthorizationReply
    {
        try ValidRequest.checkForm(of: addressed)
        let hint = IDTokenHint(addressed, at: issuer)
        let place = try await Place.find(for: addressed.parameters, hint, at: issuer, self)
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
        guard client.isVouchedFor, request.addressed.redirect.kind == .https,
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

    // MARK: Holding a transaction

    /// The transaction of a POST: right browser, right token, not over (BC-04).
    private func hold(
        _ handle: String, _ csrfToken: String, _ visit: Visit
    ) async throws -> AuthorizationTransactionStore.Held {
        guard let held = try await transactions.find(handle) else { throw Refusal.page(.expired) }
        guard held.transaction.isBound(to: visit.browser), ConstantTime.equal(held.transaction.csrfToken, csrfToken)
        else {
            try await refuse(
                .authorizeDenied, in: held.transaction.issuer, reason: "foreign_form", actor: .anonymous,
                client: held.transaction.asked?.client.description, visit)
            throw Refusal.page(.expired)
        }
        return held
    }
}

extension AuthorizationTransaction {
    /// Whether this browser may go on: the one that answered page one, or any before that.
    fileprivate func isBound(to browser: BrowserContext) -> Bool {
        guard let binding else { return true }
        guard let presented = browser.binding else { return false }
        return ConstantTime.equal(binding, Base64URL.encode(sha256(presented)))
    }
}
