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
    let roles: RoleStore
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
        roles = RoleStore(database: database)
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
