package import Foundation
package import Tenancy

/// What an administrator wants to know of policy.
package struct PolicyQuestion: Sendable {
    package enum Principal: Sendable {
        case user(UserID, through: ClientID)
        /// A service client, which speaks for itself.
        case service(ClientID)
    }

    package var principal: Principal
    package var resource: ResourceID
    /// None means every scope of the resource.
    package var scopes: [String] = []
    /// The other resource whose token would be exchanged.
    package var exchangedFrom: ResourceID?
    package var address: String?
    /// How long ago the person signed in; nil: this moment.
    package var authAgeSeconds: Int?
    package var mfa = false
    /// What the identity provider lets the person have at most.
    package var upstreamScopes: [String]?
    /// nil: now.
    package var time: Date?
    /// A tool of the resource that would be called.
    package var tool: String?

    package init(_ principal: Principal, resource: ResourceID) {
        self.principal = principal
        self.resource = resource
    }
}

/// What policy says, and what that means for the tool that was asked about.
package struct PolicyAnswer: Sendable {
    package let explanation: ScopeExplanation
    package let tool: ToolAnswer?
}

/// Whether a call of a tool would be allowed, and why.
package struct ToolAnswer: Sendable {
    package enum Reason: String, Sendable, CaseIterable {
        case allowed
        /// Nobody looked at it yet.
        case notReviewed = "not_reviewed"
        /// It says something else than when somebody looked at it.
        case changedSinceReview = "changed_since_review"
        /// The server has it no more.
        case gone
        /// The token would lack a scope.
        case missingScopes = "missing_scopes"
    }

    package let tool: ResourceTool
    /// Scopes that a call needs and the token would not carry.
    package let missing: [String]

    /// - Parameter effective: what the token would carry.
    package init(_ tool: ResourceTool, with effective: [String]) {
        self.tool = tool
        missing = tool.scopes.filter { !effective.contains($0) }
    }

    package var reason: Reason {
        switch tool.state {
        case .new: .notReviewed
        case .changed: .changedSinceReview
        case .gone: .gone
        case .reviewed: missing.isEmpty && !tool.scopes.isEmpty ? .allowed : .missingScopes
        }
    }
}

extension Administration {
    /// What policy would say, and why; nothing is changed and nothing recorded.
    package func evaluate(
        _ question: PolicyQuestion, in organization: OrganizationID, at now: Date
    ) async throws -> PolicyAnswer {
        var checks = FieldChecks()
        let usable = try await usableResources(of: organization)
        let target = usable.first { $0.id == question.resource }
        if target == nil { checks.add(.unknown("/resource")) }
        if let source = question.exchangedFrom,
            source == question.resource || !usable.contains(where: { $0.id == source })
        {
            checks.add(.unknown("/exchanged_from"))
        }
        for (index, scope) in question.scopes.enumerated() {
            if let target, !target.scopes.contains(where: { $0.name == scope }) {
                checks.add(.unknown("/scopes/\(index)"))
            }
        }
        if let address = question.address {
            checks.require(
                AddressRange(address) != nil && !address.contains("/"), "/address", "invalid", "This is not an address."
            )
        }
        if let age = question.authAgeSeconds { checks.range(age, 0...31_536_000, "/auth_age_seconds") }
        var tool: ResourceTool?
        if let name = question.tool, let target {
            tool = try await tools.find(name, of: target.id, ownedBy: target.owner)
            if tool == nil { checks.add(.unknown("/tool")) }
        }
        let speaker = try await speaker(question.principal, organization, &checks)
        try checks.finish()
        guard let speaker, let target else { throw AdminError.notFound }
        let time = question.time ?? now
        let isPerson = if case .user = question.principal { true } else { false }
        let explanation = ScopePolicy(try await policies.all(of: organization)).explain(
            ScopeRequest(
                principal: speaker.principal, client: speaker.client, resource: target,
                scopes: RequestedScopes(question.scopes), address: question.address,
                authTime: isPerson ? time - Double(question.authAgeSeconds ?? 0) : nil,
                mfa: isPerson && question.mfa, upstreamCeiling: isPerson ? question.upstreamScopes : nil,
                exchangedFrom: question.exchangedFrom),
            at: time)
        return PolicyAnswer(
            explanation: explanation, tool: tool.map { ToolAnswer($0, with: explanation.decision.effective) })
    }

    private func speaker(
        _ principal: PolicyQuestion.Principal, _ organization: OrganizationID, _ checks: inout FieldChecks
    ) async throws -> (principal: ScopeRequest.Principal, client: Client)? {
        switch principal {
        case .user(let user, let client):
            let member = try await users.member(user, in: organization)
            if member == nil { checks.add(.unknown("/user")) }
            let known = try await known(client, to: organization)
            if known == nil { checks.add(.unknown("/client")) }
            guard let member, let known else { return nil }
            return (.user(user, member.membership.membership), known)
        case .service(let client):
            guard let found = try await clients.find(client, in: organization), found.kind == .service else {
                checks.add(.unknown("/service"))
                return nil
            }
            return (.service(found.wireID), found)
        }
    }

    /// A client is known by the organization's own registry, or because the organization has met it.
    func known(_ client: ClientID, to organization: OrganizationID) async throws -> Client? {
        if let own = try await clients.find(client, in: organization) { return own }
        guard let admission = try await clients.admission(of: client, by: organization) else { return nil }
        return try await clients.find(client, in: admission.registry)
    }
}
