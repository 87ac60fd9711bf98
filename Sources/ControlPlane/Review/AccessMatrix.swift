package import Foundation
package import Tenancy

// This folder owns access reviews: who could do what through which client at a moment. What held then comes from history
// (``AccessHistoryStore``); what it meant is decided here, by the same ``ScopePolicy`` that decides about tokens.

/// Who may do what through which client, by rules of one moment. Pure: the same rules and people give the same rows.
package struct AccessMatrix: Sendable {
    package let rules: AccessRules
    let moment: Date
    private let filter: AccessReview.Filter
    private let atLeast: ScopePolicy
    private let atMost: ScopePolicy
    private let clients: [ClientID: Client]
    private let resources: [ResourceID: Resource]
    /// Clients that people could connect with, services, and open resources; by their ids, as the filter wants them.
    private let connectable: [Client]
    private let services: [Client]
    private let open: [Resource]
    /// What was decided before, since many people are alike to a policy.
    private var decided: [Question: Answer] = [:]
    private static let mostDecided = 20_000

    private struct Question: Hashable {
        let statements: [ScopePolicyID]
        let client: ClientID
        let resource: ResourceID
    }
    private struct Answer {
        let scopes: [String]
        let conditionalScopes: [String]
        let findings: [ScopeDecision.Finding]
        let conditionalFindings: [ScopeDecision.Finding]
    }

    package init(_ rules: AccessRules, at moment: Date, of organization: OrganizationID, _ filter: AccessReview.Filter)
    {
        self.rules = rules
        self.moment = moment
        self.filter = filter
        let policy = ScopePolicy(rules.policy)
        atLeast = policy.atLeast
        atMost = policy.atMost
        clients = Dictionary(rules.clients.map { ($0.id, $0) }) { one, _ in one }
        resources = Dictionary(rules.resources.map { ($0.id, $0) }) { one, _ in one }
        let onboarding = OnboardingPolicy(rules.settings.onboarding)
        let usable = rules.clients.filter { client in
            (filter.client ?? client.id) == client.id && client.isLive(at: moment)
                && (client.kind == .service
                    ? client.registry == organization
                    : rules.admits(client) && onboarding.admits(client))
        }.sorted { $0.id < $1.id }
        let isOpen = rules.status == .active
        connectable = isOpen ? usable.filter { $0.kind != .service } : []
        services = isOpen && filter.user == nil && filter.group == nil ? usable.filter { $0.kind == .service } : []
        open = rules.resources.filter { resource in
            (filter.resource ?? resource.id) == resource.id && rules.opens(resource)
        }.sorted { $0.id < $1.id }
    }

    /// How many rows it could have for so many users.
    package func combinations(users: Int) -> Int {
        (users * connectable.count + services.count) * open.count
    }

    package func client(_ id: ClientID) -> Client? { clients[id] }
    package func resource(_ id: ResourceID) -> Resource? { resources[id] }

    /// What a user could do; rows without any scope and any connection are left out.
    package mutating func rows(of user: PastUser) -> [AccessRow] {
        var connected = Dictionary(
            grouping: user.grants.filter { $0.wasLive(at: moment, under: rules.settings) && isAsked($0) },
            by: { Pair(client: $0.client, resource: $0.resource) })
        var rows: [AccessRow] = []
        if user.status == .active {
            let principal = ScopeRequest.Principal.user(user.id, user.membership)
            let statements = statements(about: principal)
            for client in connectable {
                for resource in open where resource.acceptedIssuers.contains(client.registry) {
                    let answer = answer(principal, statements, client, resource)
                    let grants = connected.removeValue(forKey: Pair(client: client.id, resource: resource.id)) ?? []
                    if let row = row(.user(user.id), client, resource, answer, grants) { rows.append(row) }
                }
            }
        }
        guard !connected.isEmpty else { return rows }
        rows += connected.map { pair, grants in
            AccessRow(
                principal: .user(user.id), client: pair.client, resource: pair.resource, scopes: [],
                conditionalScopes: [], findings: [], conditionalFindings: [],
                closure: closure(of: pair, for: user), grants: grants)
        }
        return rows.sorted { $0.position < $1.position }
    }

    /// What services could do for themselves.
    package mutating func rowsOfServices() -> [AccessRow] {
        var rows: [AccessRow] = []
        for client in services {
            let principal = ScopeRequest.Principal.service(client.wireID)
            let statements = statements(about: principal)
            for resource in open where resource.acceptedIssuers.contains(client.registry) {
                let answer = answer(principal, statements, client, resource)
                if let row = row(.service(client.id), client, resource, answer, []) { rows.append(row) }
            }
        }
        return rows
    }

    // MARK: Deciding

    private struct Pair: Hashable {
        let client: ClientID
        let resource: ResourceID
    }

    private func isAsked(_ grant: PastGrant) -> Bool {
        // Who could administer is a question to roles; a grant of the admin API lives for minutes.
        grant.resource != .adminAPI && (filter.client ?? grant.client) == grant.client
            && (filter.resource ?? grant.resource) == grant.resource
    }

    private func statements(about principal: ScopeRequest.Principal) -> [ScopePolicyID] {
        ScopePolicy(rules.policy).statements(about: principal)
    }

    private mutating func answer(
        _ principal: ScopeRequest.Principal, _ statements: [ScopePolicyID], _ client: Client, _ resource: Resource
    ) -> Answer {
        let question = Question(statements: statements, client: client.id, resource: resource.id)
        if let known = decided[question] { return known }
        let request = ScopeRequest(
            principal: principal, client: client, resource: resource, scopes: .all, address: nil, authTime: nil,
            mfa: false, upstreamCeiling: nil)
        let least = atLeast.decide(request, at: moment)
        let most = atMost.decide(request, at: moment)
        let certain = Set(least.granted)
        let answer = Answer(
            scopes: least.effective, conditionalScopes: most.effective.filter { !least.effective.contains($0) },
            findings: least.findings,
            conditionalFindings: most.findings.filter { $0.result == .allowed && !certain.contains($0.scope) })
        if decided.count >= Self.mostDecided { decided = [:] }
        decided[question] = answer
        return answer
    }

    private func row(
        _ principal: AccessRow.Principal, _ client: Client, _ resource: Resource, _ answer: Answer,
        _ grants: [PastGrant]
    ) -> AccessRow? {
        guard !answer.scopes.isEmpty || !answer.conditionalScopes.isEmpty || !grants.isEmpty else { return nil }
        return AccessRow(
            principal: principal, client: client.id, resource: resource.id, scopes: answer.scopes,
            conditionalScopes: answer.conditionalScopes, findings: answer.findings,
            conditionalFindings: answer.conditionalFindings, closure: nil, grants: grants)
    }

    private func closure(of pair: Pair, for user: PastUser) -> AccessRow.Closure {
        if rules.status != .active { return .organization }
        if user.status != .active { return .user }
        return connectable.contains { $0.id == pair.client } ? .resource : .client
    }
}

extension AccessRules {
    /// Whether people could connect with a client: it was admitted, or would have been when the first of them came.
    fileprivate func admits(_ client: Client) -> Bool {
        if let standing = admissions[client.id] { return standing == .active }
        return client.registry != .platform && !settings.approvalRequiredFor.contains(client.kind)
    }

    fileprivate func opens(_ resource: Resource) -> Bool {
        resource.status == .active && (!resource.isShared || admittedResources.contains(resource.id))
    }
}
