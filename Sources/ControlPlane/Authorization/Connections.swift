package import Audit
package import Foundation
import Keys
import Tenancy

// `P/connections`: what a person connected, for them to see and to end. They sign in as for a client, with their
// organization's provider, and see that organization's connections alone.
extension AuthorizationFlow {
    /// Connections that one page shows.
    private static let mostConnections = 100

    /// `GET P/connections`: the connections at an organization this browser is signed in to, or the way to sign in.
    ///
    /// - Parameters:
    ///   - slug: which organization; one that this browser is not signed in to means another sign-in.
    ///   - ended: the connection that was just ended.
    package func connections(
        at slug: String?, ended: String?, from browser: BrowserContext, request: AuditEvent.RequestInfo, at now: Date
    ) async -> AuthorizationReply {
        let visit = Visit(browser: browser, request: request, now: now)
        return await answering(visit, issuer: nil) {
            let places = try await signedIn(visit)
            guard let place = places.first(where: { slug == nil || $0.snapshot.organization.slug == slug }) else {
                return try await signInForConnections(visit)
            }
            return AuthorizationReply(.connections(try await page(of: place, among: places, ended: ended, visit)))
        }
    }

    /// `POST P/connections`: ends one connection of the person themselves.
    package func endConnection(
        _ text: String, at slug: String, csrfToken: String, from browser: BrowserContext,
        request: AuditEvent.RequestInfo, at now: Date
    ) async -> AuthorizationReply {
        let visit = Visit(browser: browser, request: request, now: now)
        return await answering(visit, issuer: nil) {
            guard let place = try await signedIn(visit).first(where: { $0.snapshot.organization.slug == slug }) else {
                return AuthorizationReply(.redirect(ClientRedirect(location: connectionsURL(slug))))
            }
            let id = place.snapshot.organization.id
            guard ConstantTime.equal(place.csrfToken, csrfToken) else {
                try await refuse(
                    .grantRevoked, in: id, reason: "foreign_form", actor: .anonymous, client: nil, visit)
                throw Refusal.page(.expired)
            }
            // Another person's is as unknown as none.
            if let grant = GrantID(text), let found = try await grants.find(grant, in: id),
                found.user == place.session.user
            {
                try await end(found, by: place, visit)
            }
            return AuthorizationReply(.redirect(ClientRedirect(location: connectionsURL(slug, ended: text))))
        }
    }

    private func end(_ grant: Grant, by place: SignedInPlace, _ visit: Visit) async throws {
        let organization = place.snapshot.organization.id
        let client = try await client(of: grant, visit)
        let event = AuditEvent(
            .grantRevoked, organization: organization, id: EventID.make(at: visit.now, random), time: visit.now,
            actor: .user(grant.user, session: place.session.id.description),
            targets: [AuditEvent.Target(type: "grant", id: grant.id.description)],
            client: client?.wireID ?? grant.client.description, scopes: grant.scope.sorted(), request: visit.request)
        // No row: it ended before, which is as well.
        _ = try await grants.revoke(
            grant.id, in: organization, because: "person", recording: event.outboxEvent(random))
    }

    // MARK: Who is signed in where

    /// An organization that this browser is signed in to.
    private struct SignedInPlace {
        let snapshot: TenantSnapshot
        let session: Session
        /// Nobody but this browser and we can know it: the cookie is out of reach of pages, ours included.
        let csrfToken: String
    }

    private func signedIn(_ visit: Visit) async throws -> [SignedInPlace] {
        var found: [SignedInPlace] = []
        for (id, cookie) in visit.browser.sessions.sorted(by: { $0.key < $1.key }).prefix(10) {
            guard let session = try await session(at: id, visit), let snapshot = try await catalog.snapshot(of: id),
                snapshot.organization.status == .active
            else { continue }
            found.append(
                SignedInPlace(
                    snapshot: snapshot, session: session,
                    csrfToken: Base64URL.encode(sha256("gatehouse connections form|\(cookie)"))))
        }
        return found
    }

    private func signInForConnections(_ visit: Visit) async throws -> AuthorizationReply {
        let transaction = AuthorizationTransaction(
            issuer: .platform, asked: nil, organization: nil, loginHint: nil, mustSignIn: true,
            csrfToken: Base64URL.encode(random.generate(32)), binding: nil, stage: .start, createdAt: visit.now)
        return AuthorizationReply(try await page(of: try await transactions.create(transaction), visit))
    }

    /// The page of a sign-in that no client asked for.
    func connectionsSignIn(
        _ held: AuthorizationTransactionStore.Held, problem: String?, typed: String?
    ) async throws -> AuthorizationStep {
        let transaction = held.transaction
        switch transaction.stage {
        case .start:
            return .start(
                StartPage(
                    transaction: held.handle, csrfToken: transaction.csrfToken, client: nil, resourceName: nil,
                    resourceURI: nil, organization: nil, signedInAs: nil, choices: [], emailHint: typed,
                    problem: problem))
        case .code(let pending):
            return .code(
                CodePage(
                    transaction: held.handle, csrfToken: transaction.csrfToken, client: nil,
                    organization: PageOrganization(slug: pending.shown, name: pending.shown), email: pending.email,
                    problem: problem))
        case .consent, .deciding, .finished:
            return .message(.expired)
        }
    }

    /// Somebody signed in for this: on to the page itself.
    func goToConnections(
        of organization: TenantSnapshot, _ held: AuthorizationTransactionStore.Held
    ) async throws -> AuthorizationReply {
        guard organization.organization.status == .active else { throw Refusal.page(.disabled) }
        guard try await transactions.save(held.with(stage: .finished)) else { throw Refusal.page(.expired) }
        return AuthorizationReply(
            .redirect(ClientRedirect(location: connectionsURL(organization.organization.slug))))
    }

    private func connectionsURL(_ slug: String, ended: String? = nil) -> String {
        // Both came from a form: whatever is no slug or id of ours goes into no address.
        var parameters = Organization.isValid(slug: slug) ? ["organization=\(slug)"] : []
        if let grant = ended.flatMap({ GrantID($0) }) { parameters.append("ended=\(grant)") }
        let query = parameters.isEmpty ? "" : "?" + parameters.joined(separator: "&")
        return "\(issuers.publicURL)/connections\(query)"
    }

    // MARK: The page

    private func page(
        of place: SignedInPlace, among places: [SignedInPlace], ended: String?, _ visit: Visit
    ) async throws -> ConnectionsPage {
        let organization = place.snapshot.organization
        let rows = try await grants.list(
            Page(after: nil, limit: 1_000), of: organization.id,
            GrantFilter(user: place.session.user, status: .active))
        var connections: [ConnectionsPage.Connection] = []
        for grant in rows.filter({ $0.isLive(at: visit.now, under: organization.settings) })
            .sorted(by: { $0.createdAt > $1.createdAt }).prefix(Self.mostConnections)
        {
            connections.append(try await connection(grant, in: place.snapshot, visit))
        }
        var endedName: String?
        if let id = ended.flatMap({ GrantID($0) }), let grant = try await grants.find(id, in: organization.id),
            grant.user == place.session.user, grant.status == .revoked
        {
            endedName = try await client(of: grant, visit)?.name ?? "The application"
        }
        let email = try await users.find(place.session.user, in: organization.id)?.email
        return ConnectionsPage(
            csrfToken: place.csrfToken, organization: PageOrganization(place.snapshot),
            account: email ?? place.session.user.description, connections: connections,
            others: places.filter { $0.snapshot.organization.id != organization.id }
                .map { PageOrganization($0.snapshot) },
            ended: endedName)
    }

    private func connection(
        _ grant: Grant, in organization: TenantSnapshot, _ visit: Visit
    ) async throws -> ConnectionsPage.Connection {
        let client = try await client(of: grant, visit)
        var resource = organization.resources.first { $0.id == grant.resource }
        if grant.resource == .adminAPI {
            resource = AdminAPI.resource(of: organization.organization, at: issuers.publicURL)
        } else if resource == nil {
            resource = try await catalog.snapshot(of: .platform)?.resources.first { $0.id == grant.resource }
        }
        let known = resource?.scopes ?? []
        return ConnectionsPage.Connection(
            grant: grant.id, clientName: client?.name ?? "An application that is gone",
            clientHost: client.flatMap { client in
                client.documentURL.flatMap { ResourceURI($0)?.host }
                    ?? client.redirectURIs.first.flatMap { RedirectURI($0)?.host }
            },
            resourceName: resource?.name ?? "A server that is gone", resourceURI: resource?.uri,
            scopes: known.filter { grant.scope.contains($0.name) }, since: grant.createdAt, lastUsed: grant.lastUsedAt)
    }

    private func client(of grant: Grant, _ visit: Visit) async throws -> Client? {
        guard let registry = try await catalog.snapshot(of: grant.issuer) else { return nil }
        return try await catalog.client(grant.client, in: registry, at: visit.now)
    }
}
