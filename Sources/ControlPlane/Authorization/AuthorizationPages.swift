import Audit
import Foundation
import Identity
import Tenancy

extension AuthorizationFlow {
    /// A transaction with everything its pages speak of.
    struct Scene: Sendable {
        let held: AuthorizationTransactionStore.Held
        let asked: AuthorizationTransaction.ClientRequest
        let issuer: Issuer
        let client: Client
        let destination: Destination
        let resource: Resource

        /// Where the decision goes, as the client stands now.
        enum Destination: Sendable {
            case redirect(RedirectURI, AuthorizationTransaction.Redirect)
            case device(tag: String, userCode: String)
        }

        var transaction: AuthorizationTransaction { held.transaction }

        var requesting: RequestingClient {
            let destination: RequestingClient.Destination =
                switch self.destination {
                case .redirect(let redirect, _):
                    redirect.kind == .loopback ? .thisComputer(redirect.host) : .host(redirect.host)
                case .device(_, let userCode): .device(userCode: userCode)
                }
            return RequestingClient(
                name: client.name, documentHost: client.documentURL.flatMap { ResourceURI($0)?.host },
                destination: destination, isVerified: client.isVouchedFor)
        }
    }

    /// - Throws: a page when something the transaction was begun with is gone.
    func scene(_ held: AuthorizationTransactionStore.Held, _ visit: Visit) async throws -> Scene {
        let transaction = held.transaction
        guard let asked = transaction.asked, let issuer = try await issuers.issuer(transaction.issuer),
            issuer.home.organization.status == .active,
            let client = try await catalog.client(asked.client, in: issuer.home, at: visit.now),
            client.isLive(at: visit.now), let destination = destination(of: asked, client, issuer),
            let owner = try await catalog.snapshot(of: asked.resourceOwner),
            let resource = resource(asked, of: owner, at: issuer, for: client), resource.status == .active
        else { throw Refusal.page(.expired) }
        return Scene(
            held: held, asked: asked, issuer: issuer, client: client, destination: destination, resource: resource)
    }

    /// - Returns: nil when it is gone, or closed to the client by now.
    private func resource(
        _ asked: AuthorizationTransaction.ClientRequest, of owner: TenantSnapshot, at issuer: Issuer, for client: Client
    ) -> Resource? {
        guard asked.resource == .adminAPI else { return owner.resources.first { $0.id == asked.resource } }
        return client.administers(issuer.id) ? issuer.adminAPI : nil
    }

    /// nil where no client asks for anything.
    func sceneIfAny(_ held: AuthorizationTransactionStore.Held, _ visit: Visit) async throws -> Scene? {
        held.transaction.asked == nil ? nil : try await scene(held, visit)
    }

    /// - Returns: nil when the client may not be answered there any more.
    private func destination(
        of request: AuthorizationTransaction.ClientRequest, _ client: Client, _ issuer: Issuer
    ) -> Scene.Destination? {
        switch request.destination {
        case .redirect(let asked):
            client.redirect(for: asked.uri).map { .redirect($0, asked) }
        case .device(let tag, let userCode):
            issuer.connectsDevices(of: client) ? .device(tag: tag, userCode: userCode) : nil
        }
    }

    /// The page of the stage that a transaction is in.
    ///
    /// - Parameter typed: the address that was refused, to be mended rather than typed again.
    func page(
        of held: AuthorizationTransactionStore.Held, problem: String? = nil, typed: String? = nil, _ visit: Visit
    ) async throws -> AuthorizationStep {
        let typed = typed.map { String($0.prefix(EmailAddress.longest)) }
        guard held.transaction.asked != nil else {
            return try await connectionsSignIn(held, problem: problem, typed: typed)
        }
        let scene = try await scene(held, visit)
        switch held.transaction.stage {
        case .start:
            return .start(try await startPage(scene, problem: problem, typed: typed, visit))
        case .code(let pending):
            return .code(try await codePage(pending, scene, problem: problem))
        case .consent(let person):
            var page = try await consentPage(person, scene, visit)
            page.problem = problem
            return .consent(page)
        case .deciding, .finished:
            return .message(.expired)
        }
    }

    private func startPage(
        _ scene: Scene, problem: String?, typed: String?, _ visit: Visit
    ) async throws -> StartPage {
        let transaction = scene.transaction
        var organization: PageOrganization?
        var account: String?
        if let id = transaction.organization, let snapshot = try await catalog.snapshot(of: id) {
            organization = PageOrganization(snapshot)
            if !transaction.mustSignIn, let session = try await session(at: id, for: scene.resource, visit) {
                account = try await users.find(session.user, in: id)?.email
            }
        }
        return StartPage(
            transaction: scene.held.handle, csrfToken: transaction.csrfToken, client: scene.requesting,
            resourceName: scene.resource.name, resourceURI: scene.resource.uri, organization: organization,
            signedInAs: account, choices: organization == nil ? try await choices(for: scene, visit) : [],
            emailHint: typed ?? transaction.loginHint, problem: problem)
    }

    /// The organizations in which this browser has a live session and that may use the resource.
    private func choices(for scene: Scene, _ visit: Visit) async throws -> [PageOrganization] {
        var found: [PageOrganization] = []
        for id in visit.browser.sessions.keys.sorted().prefix(10) {
            guard try await session(at: id, visit) != nil, let snapshot = try await catalog.snapshot(of: id),
                snapshot.organization.status == .active, snapshot.mayUse(scene.resource)
            else { continue }
            found.append(PageOrganization(snapshot))
        }
        return found
    }

    private func codePage(
        _ pending: AuthorizationTransaction.PendingCode, _ scene: Scene, problem: String?
    ) async throws -> CodePage {
        // What somebody typed says nothing, not even whether there is such an organization.
        var organization = PageOrganization(slug: pending.shown, name: pending.shown)
        if let fixed = scene.transaction.organization, let snapshot = try await catalog.snapshot(of: fixed) {
            organization = PageOrganization(snapshot)
        }
        return CodePage(
            transaction: scene.held.handle, csrfToken: scene.transaction.csrfToken, client: scene.requesting,
            organization: organization, email: pending.email, problem: problem)
    }

    private func consentPage(
        _ person: AuthorizationTransaction.SignedIn, _ scene: Scene, _ visit: Visit
    ) async throws -> ConsentPage {
        guard let organization = try await catalog.snapshot(of: person.organization) else {
            throw Refusal.page(.expired)
        }
        let membership = try await membership(of: person, in: organization)
        let policy = try await organization.policy(over: scene.resource, for: membership.membership, roles)
        let decision = policy.decide(
            ScopeRequest(
                person, membership, scene.client, scene.resource, RequestedScopes(scene.asked.resourceScopes),
                visit),
            at: visit.now)
        let asked = scene.asked.resourceScopes
        let wanted = asked.isEmpty ? scene.resource.scopes.map(\.name) : asked
        return ConsentPage(
            transaction: scene.held.handle, csrfToken: scene.transaction.csrfToken, client: scene.requesting,
            organization: PageOrganization(organization), account: person.account,
            resourceName: scene.resource.name, resourceURI: scene.resource.uri,
            scopes: scene.resource.scopes.filter { decision.effective.contains($0.name) },
            personalScopes: scene.asked.openIDScopes.filter { $0 == "profile" || $0 == "email" },
            withheld: wanted.filter { !decision.effective.contains($0) }, redirectTarget: scene.destination.formAction,
            staysConnected: !scene.resource.isAdminAPI && scene.client.grantTypes.contains("refresh_token"))
    }
}

extension AuthorizationFlow.Scene.Destination {
    /// For the page's `form-action`; nil where no redirect follows.
    fileprivate var formAction: String? {
        if case .redirect(let redirect, _) = self { redirect.formAction } else { nil }
    }
}

extension PageOrganization {
    init(_ snapshot: TenantSnapshot) {
        let (organization, branding) = (snapshot.organization, snapshot.branding)
        self.init(
            slug: organization.slug, name: branding.displayName ?? organization.name,
            brand: branding.isPlain ? nil : Brand(organization: organization.id, branding: branding))
    }
}
