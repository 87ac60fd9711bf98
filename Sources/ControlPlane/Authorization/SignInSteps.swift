import Audit
import Foundation
import Identity
import Keys
import Tenancy

extension AuthorizationFlow {
    /// Mails that one transaction may ask for, and wrong codes it survives.
    private static let mostSendings = 5
    private static let mostAttempts = 5

    // MARK: Page one

    /// Page one was answered: go on as who is signed in, or send a code.
    func identified(
        _ held: AuthorizationTransactionStore.Held, organization typed: String?, email: String?, useSession: Bool,
        _ visit: Visit
    ) async throws -> AuthorizationReply {
        let transaction = held.transaction
        // A second click, or the way back from the code page, starts over; what is decided stays decided.
        switch transaction.stage {
        case .start, .code: break
        default: return AuthorizationReply(try await page(of: held, visit))
        }
        let resource = try await sceneIfAny(held, visit)?.resource
        let chosen = try await organization(of: transaction, typed: typed, email: email, using: resource, visit)
        if useSession, !transaction.mustSignIn, let chosen,
            let session = try await session(at: chosen.organization.id, for: resource, visit)
        {
            return try await goOn(as: session, in: chosen, held, visit)
        }
        let entered = email
        guard let email = email.flatMap(EmailAddress.init)?.description else {
            let problem = "Enter your work e-mail address, such as name@example.com."
            return AuthorizationReply(
                try await page(of: held.with(stage: .start), problem: problem, typed: entered, visit))
        }
        let shown = transaction.organization == nil ? typed ?? mailDomain(of: email) ?? email : nil
        let pending = AuthorizationTransaction.PendingCode(
            organization: chosen?.organization.id, shown: shown ?? chosen?.organization.name ?? "", challenge: nil,
            email: email, attempts: 0, sendings: transaction.sendings)
        return try await send(pending, held, visit)
    }

    /// The organization the person signs in to; nil where what they typed names none that may use the resource, or two.
    private func organization(
        of transaction: AuthorizationTransaction, typed: String?, email: String?, using resource: Resource?,
        _ visit: Visit
    ) async throws -> TenantSnapshot? {
        if let fixed = transaction.organization {
            return try await catalog.snapshot(of: fixed)
        }
        var named: [TenantSnapshot] = []
        if let typed {
            guard let found = try await organization(named: typed) else { return nil }
            named.append(found)
        }
        if let domain = email.flatMap(mailDomain(of:)), let found = try await organization(ofDomain: domain) {
            named.append(found)
        }
        guard let first = named.first, named.allSatisfy({ $0.organization.id == first.organization.id }) else {
            return nil
        }
        guard resource.map(first.mayUse) ?? true else {
            // The page tells nobody. Without a word in the log its administrators would look in vain.
            try await refuse(
                .loginFailed, in: first.organization.id, reason: "resource_not_enabled", actor: .anonymous, client: nil,
                visit)
            return nil
        }
        return first
    }

    // MARK: The code

    /// Has a code sent, or seems to: where there is nobody to send to, the page is the same.
    func send(
        _ pending: AuthorizationTransaction.PendingCode, _ held: AuthorizationTransactionStore.Held, _ visit: Visit
    ) async throws -> AuthorizationReply {
        var pending = pending
        guard pending.sendings < Self.mostSendings else {
            let problem =
                "That was the last code we can send for this sign-in. Go back to the application and start again."
            return AuthorizationReply(try await page(of: held.with(stage: .code(pending)), problem: problem, visit))
        }
        // No mail goes out, so none is counted: who tries again and again may go on when the provider is back.
        if let organization = pending.organization, let snapshot = try await catalog.snapshot(of: organization),
            let found = try? provider(of: snapshot, for: pending.email), providers.isLeftAlone(found.record)
        {
            try await fail(.unavailable(retryAfter: nil), in: organization, pending, held, visit)
        }
        guard await limits.mayHaveCodeSent(Self.visitor(pending, visit)) else {
            try await refuseThrottled(pending, visit)
            let problem = "Too many codes were sent to this address. Wait a few minutes and try again."
            return AuthorizationReply(try await page(of: held, problem: problem, visit))
        }
        pending.sendings += 1
        pending.attempts = 0
        // Written down before anything is sent, so that parallel requests cannot send more than they may.
        guard try await transactions.save(held.with(stage: .code(pending.awaiting(nil)))) else {
            throw Refusal.page(.expired)
        }
        let counted = AuthorizationTransactionStore.Held(
            handle: held.handle, transaction: held.with(stage: .code(pending.awaiting(nil))).transaction,
            version: held.version + 1)
        var challenge: SignInChallenge?
        if let organization = pending.organization, let snapshot = try await catalog.snapshot(of: organization) {
            do {
                challenge = try await provider(of: snapshot, for: pending.email).provider.start(email: pending.email)
            } catch let error as SignInError {
                if case .refused = error {
                    let problem = "Enter your work e-mail address, such as name@example.com."
                    return AuthorizationReply(
                        try await page(
                            of: counted.with(stage: .start), problem: problem, typed: pending.email, visit))
                }
                try await fail(error, in: organization, pending, counted, visit)
            }
        }
        return try await moved(counted.with(stage: .code(pending.awaiting(challenge))), visit)
    }

    /// Checks a code and, if it is right, signs the person in.
    func check(
        _ code: String, of pending: AuthorizationTransaction.PendingCode, _ held: AuthorizationTransactionStore.Held,
        _ visit: Visit
    ) async throws -> AuthorizationReply {
        var pending = pending
        guard pending.attempts < Self.mostAttempts else {
            let problem = "Too many wrong codes. Have a new one sent."
            return AuthorizationReply(try await page(of: held, problem: problem, visit))
        }
        // Counted before it is checked, so that parallel guesses are counted too.
        pending.attempts += 1
        guard try await transactions.save(held.with(stage: .code(pending))) else { throw Refusal.page(.expired) }
        let counted = AuthorizationTransactionStore.Held(
            handle: held.handle, transaction: held.with(stage: .code(pending)).transaction, version: held.version + 1)
        guard await limits.mayGuess(Self.visitor(pending, visit)) else {
            try await refuseThrottled(pending, visit)
            let problem = "Too many wrong codes were typed for this address. Wait a few minutes and try again."
            return AuthorizationReply(try await page(of: counted, problem: problem, visit))
        }
        let digits = code.filter { !$0.isWhitespace && $0 != "-" }
        guard let organization = pending.organization, let challenge = pending.challenge,
            let snapshot = try await catalog.snapshot(of: organization)
        else { return AuthorizationReply(try await page(of: counted, problem: Self.wrongCode, visit)) }
        let (record, provider) = try self.provider(of: snapshot, for: pending.email)
        let identity: VerifiedIdentity
        do {
            identity = try await provider.finish(challenge, code: digits, at: visit.now)
        } catch {
            try await refuse(
                .loginFailed, in: organization, reason: error.reason, actor: .anonymous, client: nil, visit)
            switch error {
            case .wrongCode, .refused:
                return AuthorizationReply(try await page(of: counted, problem: Self.wrongCode, visit))
            case .codeExpired:
                let problem = "This code has expired. Have a new one sent."
                return AuthorizationReply(try await page(of: counted, problem: problem, visit))
            case .tooManyAttempts:
                let problem = "Too many wrong codes. Wait a few minutes, then have a new one sent."
                return AuthorizationReply(try await page(of: counted, problem: problem, visit))
            case .notAdmitted: throw Refusal.page(.pendingLink)
            case .additionalFactorRequired: throw Refusal.page(.additionalFactor)
            case .unavailable, .misconfigured:
                try await fail(error, in: organization, pending, counted, visit)
            }
        }
        guard identity.mfa || !snapshot.organization.settings.mfaRequired else {
            try await refuse(
                .loginFailed, in: organization, reason: "mfa_required", actor: .anonymous, client: nil, visit)
            throw Refusal.page(.additionalFactor)
        }
        return try await welcome(identity, by: record, snapshot, counted, visit)
    }

    private static func visitor(
        _ pending: AuthorizationTransaction.PendingCode, _ visit: Visit
    ) -> SignInLimits.Visitor {
        SignInLimits.Visitor(
            pending.email, in: pending.organization, from: visit.request.ip,
            mark: pending.organization.flatMap { visit.browser.marks[$0] }, at: visit.now)
    }

    private func refuseThrottled(_ pending: AuthorizationTransaction.PendingCode, _ visit: Visit) async throws {
        try await refuse(
            .loginThrottled, in: pending.organization ?? .platform, reason: "too_many_attempts", actor: .anonymous,
            client: nil, visit)
    }

    private static let wrongCode = "That code is not right. Check the newest mail, or have a new one sent."

    /// Turns a proven identity into a session and goes on to consent.
    private func welcome(
        _ identity: VerifiedIdentity, by record: IdentityProviderRecord, _ organization: TenantSnapshot,
        _ held: AuthorizationTransactionStore.Held, _ visit: Visit
    ) async throws -> AuthorizationReply {
        let client = try await sceneIfAny(held, visit)?.client
        let invitation = try await invitation(in: organization.organization.id, visit)
        let result = try await signIn.complete(
            identity, by: record, organization: organization.organization, invitation: invitation?.id,
            request: visit.request, client: client?.wireID, at: visit.now)
        switch result {
        case .signedIn(let user, let session, let secret):
            if let email = identity.email {
                await limits.forgive(
                    email, in: organization.organization.id, from: visit.request.ip)
            }
            var reply = try await goOn(as: session, in: organization, account: user.email, held, visit)
            if let email = identity.email {
                reply.setMark = (
                    organization.organization.id,
                    limits.mark(for: email, in: organization.organization.id, at: visit.now, random),
                    BrowserMarks.lifetime
                )
            }
            reply.setSession = (
                organization.organization.id, "\(session.id).\(secret.revealed)",
                .seconds(organization.organization.settings.sessionLifetimeSeconds)
            )
            return reply
        case .pendingLink: throw Refusal.page(.pendingLink)
        case .disabled: throw Refusal.page(.disabled)
        }
    }

    /// The invitation this browser opened, if it is this organization's.
    private func invitation(in organization: OrganizationID, _ visit: Visit) async throws -> Invitation? {
        guard let text = visit.browser.invitation, let token = InvitationToken(text), token.organization == organization
        else { return nil }
        return try await users.invitation(opening: token.digest, in: organization, at: visit.now)
    }

    // MARK: Providers and failures

    /// The provider that signs people with this address in: one that speaks for their domain, else the first.
    private func provider(
        of organization: TenantSnapshot, for email: String
    ) throws -> (record: IdentityProviderRecord, provider: any IdentityProvider) {
        let live = organization.identityProviders.filter { $0.status == .active && $0.kind != .trustedIssuer }
        let domain = mailDomain(of: email) ?? ""
        guard let record = live.first(where: { $0.authoritativeDomains.contains(domain) }) ?? live.first else {
            throw SignInError.misconfigured(.noProvider)
        }
        return (record, try providers.provider(record, of: organization.organization))
    }

    /// Ends a step that the identity provider cannot serve: a page, and the client's error behind a link on it.
    private func fail(
        _ error: SignInError, in organization: OrganizationID, _ pending: AuthorizationTransaction.PendingCode,
        _ held: AuthorizationTransactionStore.Held, _ visit: Visit
    ) async throws -> Never {
        try await refuse(.loginFailed, in: organization, reason: error.reason, actor: .anonymous, client: nil, visit)
        let scene = try await sceneIfAny(held, visit)
        var page: MessagePage
        switch error {
        case .misconfigured: page = .misconfigured(pending.shown)
        default: page = .providerUnavailable
        }
        if let scene, case .redirect(let redirect, let asked) = scene.destination {
            let answer = ClientRedirect(
                error: OAuthError(
                    .temporarilyUnavailable, "The identity provider of the organization is not available."),
                to: redirect, state: asked.state, issuer: scene.issuer.url)
            page.wayBack = MessagePage.WayBack(host: redirect.host, location: answer.location)
        }
        throw Refusal.page(page)
    }

    /// Saves a transaction that moved on and shows its new page.
    func moved(_ held: AuthorizationTransactionStore.Held, _ visit: Visit) async throws -> AuthorizationReply {
        guard try await transactions.save(held) else { throw Refusal.page(.expired) }
        return AuthorizationReply(try await page(of: held, visit))
    }
}

extension AuthorizationTransaction.PendingCode {
    /// The same, waiting for the code of this sending.
    fileprivate func awaiting(_ challenge: SignInChallenge?) -> Self {
        Self(
            organization: organization, shown: shown, challenge: challenge, email: email, attempts: attempts,
            sendings: sendings)
    }
}

extension AuthorizationTransaction {
    /// Mails asked for so far.
    fileprivate var sendings: Int {
        if case .code(let pending) = stage { pending.sendings } else { 0 }
    }
}

extension AuthorizationTransactionStore.Held {
    /// The same transaction in another stage, not saved yet.
    func with(stage: AuthorizationTransaction.Stage) -> Self {
        var copy = self
        copy.transaction.stage = stage
        return copy
    }
}
