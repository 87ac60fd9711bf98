import Audit
import Foundation
import Tenancy

extension AuthorizationFlow {
    /// Goes to page two, if the organization admits the client at all.
    func goOn(
        as session: Session, in organization: TenantSnapshot, account: String? = nil,
        _ held: AuthorizationTransactionStore.Held, _ visit: Visit
    ) async throws -> AuthorizationReply {
        guard held.transaction.asked != nil else { return try await goToConnections(of: organization, held) }
        let scene = try await scene(held, visit)
        let id = organization.organization.id
        guard organization.organization.status == .active, organization.mayUse(scene.resource),
            let member = try await users.member(session.user, in: id), member.user.status == .active
        else { throw Refusal.page(.disabled) }
        let (user, membership) = (member.user, member.membership)
        if case .redirect(let redirect, let asked) = scene.destination, let expected = asked.expectedUser,
            expected != user.id
        {
            try await refuseOther(session, in: organization, scene, visit)
            let error = OAuthError(.loginRequired, "Somebody else signed in than id_token_hint names.")
            return AuthorizationReply(
                .redirect(ClientRedirect(error: error, to: redirect, state: asked.state, issuer: scene.issuer.url)))
        }
        try await checkAdmission(of: scene.client, answering: scene.destination, by: organization, session, visit)
        func person(offered: [String]?) -> AuthorizationTransaction.SignedIn {
            AuthorizationTransaction.SignedIn(
                organization: id, user: user.id, account: account ?? user.email ?? user.id.description,
                session: session.id, authTime: session.authTime, mfa: session.mfa,
                upstreamCeiling: session.scopeCeiling, offered: offered,
                membership: membership.isSmall ? membership : nil, shown: scene.client.selfDescription)
        }
        let asked = RequestedScopes(scene.asked.resourceScopes)
        let policy = try await organization.policy(over: scene.resource, for: membership.membership, roles)
        let decision = policy.decide(
            ScopeRequest(person(offered: nil), membership, scene.client, scene.resource, asked, visit), at: visit.now)
        if decision.granted.isEmpty {
            try await refuse(
                .policyDenied, in: id, reason: "no_scope_allowed",
                actor: .user(user.id, session: session.id.description), client: scene.client.wireID,
                policy: decision.record, visit)
        }
        let person = person(offered: decision.granted)
        if scene.asked.openIDScopes.contains("openid") { idTokenKeys.prepare(for: scene.issuer, at: visit.now) }
        return try await moved(held.with(stage: .consent(person)), visit)
    }

    /// Somebody else signed in than the client said it is about; it gets nobody (OpenID Connect Core §3.1.2.1).
    private func refuseOther(
        _ session: Session, in organization: TenantSnapshot, _ scene: Scene, _ visit: Visit
    ) async throws {
        try await refuse(
            .authorizeDenied, in: organization.organization.id, reason: "another_person",
            actor: .user(session.user, session: session.id.description), client: scene.client.wireID, visit)
        _ = try await transactions.save(scene.held.with(stage: .finished))
    }

    /// Meets the client on behalf of the organization, or says that it may not be connected.
    private func checkAdmission(
        of client: Client, answering destination: Scene.Destination, by organization: TenantSnapshot,
        _ session: Session, _ visit: Visit
    ) async throws {
        let id = organization.organization.id
        let needsApproval = organization.organization.settings.approvalRequiredFor.contains(client.kind)
        let standing = try await clients.admission(of: client.id, by: id)
        var status = standing?.status
        var reason = "client_pending"
        if let refusal = refusal(of: client, standing, by: organization, destination) {
            try await refuse(
                .authorizeDenied, in: id, reason: refusal,
                actor: .user(session.user, session: session.id.description), client: client.wireID, visit)
            throw Refusal.page(.clientDenied)
        }
        if standing == nil, needsApproval {
            let wanted = ClientAdmission(of: client, status: .pending, at: visit.now)
            status = try await database.transaction(id) { [clients] transaction in
                try await clients.admit(wanted, by: id, in: transaction).admission.status
            }
        } else if let standing, standing.status == .active, needsApproval, !standing.trusts(client) {
            // What was approved is not what the document says now.
            status = .pending
            reason = "client_document_changed"
            try await database.transaction(id) { [clients] transaction in
                _ = try await clients.setAdmission(
                    of: client.id, to: .pending, by: id, at: visit.now, in: transaction)
            }
        }
        guard let status, status != .active else { return }
        try await refuse(
            .authorizeDenied, in: id, reason: status == .pending ? reason : "client_denied",
            actor: .user(session.user, session: session.id.description), client: client.wireID, visit)
        throw Refusal.page(status == .pending ? .pending(client, at: organization) : .clientDenied)
    }

    /// Why the organization's policy keeps a client out that made itself known.
    private func refusal(
        of client: Client, _ standing: ClientAdmission?, by organization: TenantSnapshot,
        _ destination: Scene.Destination
    ) -> String? {
        let policy = OnboardingPolicy(organization.organization)
        if standing == nil, !policy.mayMeet(client) { return "client_kind_closed" }
        guard policy.admits(client) else { return "client_host_denied" }
        if case .redirect(let redirect, _) = destination, client.kind != .registered, !policy.admits(redirect) {
            return "redirect_host_denied"
        }
        return nil
    }
}
