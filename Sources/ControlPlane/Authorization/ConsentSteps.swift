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

    private func deny(
        _ person: AuthorizationTransaction.SignedIn, _ scene: Scene, _ held: AuthorizationTransactionStore.Held,
        _ visit: Visit
    ) async throws -> AuthorizationReply {
        try await refuse(
            .authorizeDenied, in: person.organization, reason: "person_declined",
            actor: .user(person.user, session: person.session.description), client: scene.client.wireID, visit)
        _ = try await transactions.save(held.with(stage: .finished))
        return AuthorizationReply(
            .redirect(
                ClientRedirect(
                    error: OAuthError(.accessDenied, "The person did not allow it."), to: scene.redirect,
                    state: scene.transaction.state, issuer: scene.issuer.url)))
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
        let decision = ScopePolicy(organization.policy).decide(
            ScopeRequest(
                person, scene.client, scene.resource, RequestedScopes(scene.transaction.resourceScopes), visit),
            at: visit.now)
        guard !decision.granted.isEmpty else { return try await deny(person, scene, held, visit) }
        let answer = Answer(
            issuer: scene.issuer.id, client: scene.client.id, nonce: scene.transaction.nonce, person: person,
            resource: scene.resource,
            grantedScopes: decision.granted, openIDScopes: scene.transaction.openIDScopes)
        let consented = answer.event(.consentGranted, decision, client: scene.client, visit, random)
        let granted = answer.event(.authorizeGranted, decision, client: scene.client, visit, random)
        try await write(consented, granted, decision, answer, scene, organization, visit)
        if scene.client.expiresAt != nil {
            try await clients.keep(scene.client.id, in: scene.client.registry)
        }
        let code = AuthorizationCode(organization: id, tag: held.tag, random)
        let record = answer.record(
            for: code, redirectURI: scene.redirect.text, codeChallenge: scene.transaction.codeChallenge,
            boundKey: scene.transaction.boundKey, at: visit.now)
        try await transactions.store(record, for: code)
        _ = try await transactions.save(held.with(stage: .finished))
        return AuthorizationReply(
            .redirect(
                ClientRedirect(
                    code: code, to: scene.redirect, state: scene.transaction.state, issuer: scene.issuer.url)))
    }

    private func write(
        _ consented: AuditEvent, _ granted: AuditEvent, _ decision: ScopeDecision, _ answer: Answer, _ scene: Scene,
        _ organization: TenantSnapshot, _ visit: Visit
    ) async throws {
        let id = organization.organization.id
        let needsApproval = organization.organization.settings.approvalRequiredFor.contains(scene.client.kind)
        let wanted = ClientAdmission(
            client: scene.client.id, registry: scene.client.registry, status: needsApproval ? .pending : .active,
            createdAt: visit.now)
        let events = [consented.outboxEvent(random), granted.outboxEvent(random)]
        let status = try await database.transaction(id, events: events.map(\.id)) {
            [users, clients, grants] transaction in
            // Locked, so that disabling the person and this consent happen one after the other.
            guard let user = try await users.find(answer.person.user, in: id, locking: transaction),
                user.status == .active
            else { throw Refusal.page(.disabled) }
            let admission = try await clients.admit(wanted, by: id, in: transaction).admission
            guard admission.status == .active else { return admission.status }
            try await grants.recordConsent(
                of: answer.person.user, client: answer.client, resource: answer.resource.id,
                scope: decision.granted + answer.openIDScopes, in: id, at: visit.now, transaction)
            for event in events { try await transaction.query(event.insertion) }
            return admission.status
        }
        guard status == .active else { throw Refusal.page(status == .pending ? .clientPending : .clientDenied) }
    }
}
