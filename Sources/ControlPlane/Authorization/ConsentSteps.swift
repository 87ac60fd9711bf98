import Audit
import Foundation
import Keys
import Postgres
import Tenancy

extension AuthorizationFlow {
    /// Page two was answered.
    func decided(
        _ allow: Bool, by person: AuthorizationTransaction.SignedIn, _ held: AuthorizationTransactionStore.Held,
        _ visit: Visit
    ) async throws -> AuthorizationReply {
        let scene = try await scene(held, visit)
        // What is allowed is what was shown: a client that describes itself may have changed since (CIMD §8.4).
        guard !allow || person.shown == scene.client.selfDescription else {
            try await refuse(
                scene.destination.denial, in: person.organization, reason: "client_changed",
                actor: .user(person.user, session: person.session.description), client: scene.client.wireID, visit)
            return try await shownAnew(person, scene, visit)
        }
        // Whoever moves the transaction on is the one who answers; a second click finds it moved.
        guard try await transactions.save(held.with(stage: .deciding)) else { throw Refusal.page(.expired) }
        let claimed = AuthorizationTransactionStore.Held(
            handle: held.handle, transaction: held.transaction, version: held.version + 1)
        do {
            return try await allow ? grant(to: person, scene, claimed, visit) : deny(person, scene, claimed, visit)
        } catch {
            // Nothing was written: let the person press again.
            _ = try? await transactions.save(claimed.with(stage: .consent(person)))
            throw error
        }
    }

    /// Shows the consent page as the client stands now, and remembers that.
    func shownAnew(
        _ person: AuthorizationTransaction.SignedIn, _ scene: Scene, _ visit: Visit
    ) async throws -> AuthorizationReply {
        var person = person
        person.shown = scene.client.selfDescription
        let held = scene.held.with(stage: .consent(person))
        guard try await transactions.save(held) else { throw Refusal.page(.expired) }
        let problem = "The application changed while you were here. Look again before you allow it."
        return AuthorizationReply(try await page(of: held, problem: problem, visit))
    }

    /// - Parameter decision: what policy said, where it and not the person is why.
    private func deny(
        _ person: AuthorizationTransaction.SignedIn, _ scene: Scene, _ held: AuthorizationTransactionStore.Held,
        _ visit: Visit, because decision: ScopeDecision? = nil
    ) async throws -> AuthorizationReply {
        try await refuse(
            scene.destination.denial, in: person.organization,
            reason: decision == nil ? "person_declined" : "no_scope_allowed",
            actor: .user(person.user, session: person.session.description), client: scene.client.wireID,
            policy: decision?.record, visit)
        let step: AuthorizationStep
        switch scene.destination {
        case .redirect(let redirect, let asked):
            step = .redirect(
                ClientRedirect(
                    error: OAuthError(.accessDenied, "The person did not allow it."), to: redirect, state: asked.state,
                    issuer: scene.issuer.url))
        case .device(let tag, _):
            // One that is over by now tells the device as much.
            _ = try await devices.answer(tag, with: nil, at: visit.now)
            step = .message(.deviceDeclined)
        }
        _ = try await transactions.save(held.with(stage: .finished))
        return AuthorizationReply(step)
    }

    /// Writes consent, admission and events down in one transaction, and only then makes a code.
    private func grant(
        to person: AuthorizationTransaction.SignedIn, _ scene: Scene, _ held: AuthorizationTransactionStore.Held,
        _ visit: Visit
    ) async throws -> AuthorizationReply {
        let id = person.organization
        guard let organization = try await catalog.snapshot(of: id), organization.organization.status == .active,
            organization.mayUse(scene.resource)
        else { throw Refusal.page(.disabled) }
        // It was fresh when they came; a page can be left open.
        guard scene.resource.takes(authentication: person.authTime, at: visit.now) else { throw Refusal.page(.expired) }
        let membership = try await membership(of: person, in: organization)
        let policy = try await organization.policy(over: scene.resource, for: membership.membership, roles)
        let decision = policy.decide(
            ScopeRequest(
                person, membership, scene.client, scene.resource, RequestedScopes(scene.asked.resourceScopes),
                visit),
            at: visit.now)
        guard !decision.granted.isEmpty else { return try await deny(person, scene, held, visit, because: decision) }
        if case .device(let tag, _) = scene.destination, try await devices.pending(tag, at: visit.now) == nil {
            throw Refusal.page(.deviceExpired)
        }
        let answer = Answer(
            issuer: scene.issuer.id, client: scene.client.id, nonce: scene.destination.nonce, person: person,
            membership: membership, resource: scene.resource, grantedScopes: decision.granted,
            openIDScopes: scene.asked.openIDScopes)
        let grantType = scene.destination.grantType
        let consented = answer.event(
            .consentGranted, decision, client: scene.client, grantType: grantType, visit, random)
        let granted = answer.event(
            scene.destination.approval, decision, client: scene.client, grantType: grantType, visit, random)
        try await write(consented, granted, decision, answer, scene, organization, visit)
        if scene.client.expiresAt != nil {
            try await clients.keep(scene.client.id, in: scene.client.registry)
        }
        let step = try await deliver(answer, scene, held, visit)
        _ = try await transactions.save(held.with(stage: .finished))
        return AuthorizationReply(step)
    }

    /// Puts what was allowed where the client gets it.
    private func deliver(
        _ answer: Answer, _ scene: Scene, _ held: AuthorizationTransactionStore.Held, _ visit: Visit
    ) async throws -> AuthorizationStep {
        switch scene.destination {
        case .redirect(let redirect, let asked):
            let code = AuthorizationCode(organization: answer.person.organization, tag: held.tag, random)
            let record = answer.record(
                for: code, redirectURI: redirect.text, codeChallenge: asked.codeChallenge, boundKey: asked.boundKey,
                at: visit.now)
            try await transactions.store(record, for: code)
            return .redirect(ClientRedirect(code: code, to: redirect, state: asked.state, issuer: scene.issuer.url))
        case .device(let tag, _):
            guard try await devices.answer(tag, with: answer.authorization, at: visit.now) else {
                return .message(.deviceExpired)
            }
            return .message(.deviceConnected)
        }
    }

    private func write(
        _ consented: AuditEvent, _ granted: AuditEvent, _ decision: ScopeDecision, _ answer: Answer, _ scene: Scene,
        _ organization: TenantSnapshot, _ visit: Visit
    ) async throws {
        let id = organization.organization.id
        let needsApproval = organization.organization.settings.approvalRequiredFor.contains(scene.client.kind)
        let wanted = ClientAdmission(of: scene.client, status: needsApproval ? .pending : .active, at: visit.now)
        let client = scene.client
        let events = [consented.outboxEvent(random), granted.outboxEvent(random)]
        let status = try await database.transaction(id, events: events.map(\.id)) {
            transaction in
            // Locked, so that disabling the person and this consent happen one after the other.
            guard let user = try await users.find(answer.person.user, in: id, locking: transaction),
                user.status == .active
            else { throw Refusal.page(.disabled) }
            guard try await sessions.isLive(answer.person.session, in: id, at: visit.now, transaction) else {
                throw Refusal.page(.expired)
            }
            let admission = try await clients.admit(wanted, by: id, in: transaction).admission
            guard admission.status == .active else { return admission.status }
            if !admission.trusts(client) {
                guard !needsApproval else { return .pending }
                try await trustAnew(client, insteadOf: admission, in: id, visit, transaction)
            }
            try await grants.recordConsent(
                of: answer.person.user, client: answer.client, resource: answer.resource.id,
                scope: decision.granted + answer.openIDScopes, in: id, at: visit.now, transaction)
            for event in events { try await transaction.query(event.insertion) }
            return admission.status
        }
        guard status == .active else {
            throw Refusal.page(status == .pending ? .pending(client, at: organization) : .clientDenied)
        }
    }

    /// The document of a client changed since the organization last trusted it, and a person trusts it now. What others
    /// consented to they are asked again; connections that began under other keys end, since whoever holds the new ones may
    /// not be whom they were made with (CIMD §8.4).
    private func trustAnew(
        _ client: Client, insteadOf old: ClientAdmission, in organization: OrganizationID, _ visit: Visit,
        _ transaction: PostgresTransaction
    ) async throws {
        var ended = 0
        if old.keysDigest != client.keysDigest {
            ended = try await grants.revokeAll(
                of: client.id, in: organization, because: AuditEventType.clientJwksChanged.rawValue, transaction
            ).count
        }
        try await grants.forgetConsents(to: client.id, in: organization, transaction)
        try await clients.trust(
            ClientAdmission(of: client, status: .active, at: visit.now), by: organization, at: visit.now,
            in: transaction)
        let event = AuditEvent(
            .consentRevoked, organization: organization, id: EventID.make(at: visit.now, random), time: visit.now,
            reason: "client_document_changed", actor: .system("client_documents"), targets: [client.auditTarget],
            client: client.wireID, request: visit.request, metadata: ["grants_ended": "\(ended)"])
        try await transaction.query(event.outboxEvent(random).insertion)
    }
}

extension AuthorizationFlow.Scene.Destination {
    fileprivate var nonce: String? {
        if case .redirect(_, let asked) = self { asked.nonce } else { nil }
    }

    fileprivate var grantType: String {
        switch self {
        case .redirect: "authorization_code"
        case .device: DeviceCodeGrant.type
        }
    }

    /// What the log calls it when the person allows it.
    fileprivate var approval: AuditEventType {
        switch self {
        case .redirect: .authorizeGranted
        case .device: .deviceApproved
        }
    }

    /// What the log calls it when the person declines.
    fileprivate var denial: AuditEventType {
        switch self {
        case .redirect: .authorizeDenied
        case .device: .deviceDenied
        }
    }
}
