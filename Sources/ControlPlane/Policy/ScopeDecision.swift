package import Audit
package import Foundation
package import Tenancy

/// A principal asking for scopes of a resource through a client: everything a policy may look at.
package struct ScopeRequest: Sendable {
    package enum Principal: Sendable, Equatable {
        case user(UserID, groups: [GroupID], roles: [RoleID])
        /// A service client, by its wire id.
        case service(String)
    }

    package let principal: Principal
    package let client: Client
    package let resource: Resource
    /// Resource scopes asked for; none means all the resource has.
    package let scopes: [String]
    /// The caller's address, where one is known.
    package let address: String?
    package let authTime: Date?
    package let mfa: Bool
    /// What the identity provider lets the person have at most (`custom_claims.scopes`).
    package let upstreamCeiling: [String]?

    package init(
        principal: Principal, client: Client, resource: Resource, scopes: [String], address: String? = nil,
        authTime: Date? = nil, mfa: Bool = false, upstreamCeiling: [String]? = nil
    ) {
        self.principal = principal
        self.client = client
        self.resource = resource
        self.scopes = scopes
        self.address = address
        self.authTime = authTime
        self.mfa = mfa
        self.upstreamCeiling = upstreamCeiling
    }
}

/// What policy says to a ``ScopeRequest``, and why.
package struct ScopeDecision: Sendable {
    /// One scope's fate.
    package struct Finding: Sendable, Equatable {
        package enum Result: String, Sendable { case allowed, denied }

        package let scope: String
        package let result: Result
        /// The statement that decided, or the rule: `no_statement`, `client_ceiling`, `upstream_ceiling`.
        package let rule: String
    }

    /// Granted scopes in the resource's order, implications not expanded.
    package let granted: [String]
    package let findings: [Finding]

    package var withheld: [String] { findings.filter { $0.result == .denied }.map(\.scope) }

    /// The form that stands in audit events and replies.
    package var info: AuditEvent.PolicyInfo {
        let decision = granted.isEmpty ? "deny" : withheld.isEmpty ? "allow" : "narrowed"
        let decisive = findings.first { ($0.result == .denied) == granted.isEmpty }
        return AuditEvent.PolicyInfo(
            decision: decision, rule: decisive?.rule,
            trace: .array(
                findings.map { finding in
                    [
                        "scope": .string(finding.scope), "result": .string(finding.result.rawValue),
                        "rule": .string(finding.rule),
                    ]
                }))
    }
}

/// The scope policy of an organization at one moment.
package struct ScopePolicy: Sendable {
    package let statements: [ScopePolicyStatement]

    package init(_ statements: [ScopePolicyStatement]) {
        self.statements = statements
    }

    /// Decides each scope by itself: it is granted iff the resource has it, the ceilings allow it, some `allow` statement
    /// matches and no `deny` does. Pure: same input, same decision and trace.
    package func decide(_ request: ScopeRequest, at now: Date) -> ScopeDecision {
        let known = request.resource.scopes.map(\.name)
        let asked = request.scopes.isEmpty ? known : known.filter(Set(request.scopes).contains)
        let relevant = statements.filter { $0.applies(to: request, at: now) }
        let findings = asked.map { scope -> ScopeDecision.Finding in
            func finding(_ result: ScopeDecision.Finding.Result, _ rule: String) -> ScopeDecision.Finding {
                ScopeDecision.Finding(scope: scope, result: result, rule: rule)
            }
            if let ceiling = request.client.scopeCeiling, !ceiling.contains(scope) {
                return finding(.denied, "client_ceiling")
            }
            if let ceiling = request.upstreamCeiling, !ceiling.contains(scope) {
                return finding(.denied, "upstream_ceiling")
            }
            if let deny = relevant.first(where: { $0.effect == .deny && $0.names(scope) }) {
                return finding(.denied, deny.name)
            }
            if let allow = relevant.first(where: { $0.effect == .allow && $0.names(scope) }) {
                return finding(.allowed, allow.name)
            }
            return finding(.denied, "no_statement")
        }
        return ScopeDecision(granted: findings.filter { $0.result == .allowed }.map(\.scope), findings: findings)
    }
}

extension ScopePolicyStatement {
    /// Whether it speaks of this scope: by name, or by a prefix that ends in `*`.
    fileprivate func names(_ scope: String) -> Bool {
        scopes.contains { pattern in
            pattern.hasSuffix("*") ? scope.hasPrefix(pattern.dropLast()) : scope == pattern
        }
    }

    fileprivate func applies(to request: ScopeRequest, at now: Date) -> Bool {
        (resources.isEmpty || resources.contains(request.resource.id))
            && principals.include(request.principal) && clients.include(request.client)
            && conditions.hold(for: request, at: now, whenUnknown: effect == .deny)
    }
}

extension ScopePolicyStatement.Principals {
    fileprivate func include(_ principal: ScopeRequest.Principal) -> Bool {
        switch principal {
        case .user(let user, let memberships, let bindings):
            everyone || users.contains(user) || groups.contains(where: memberships.contains)
                || roles.contains(where: bindings.contains)
        case .service(let client):
            services.contains(client)
        }
    }
}

extension ScopePolicyStatement.Clients {
    fileprivate func include(_ client: Client) -> Bool {
        if let kinds, !kinds.contains(client.kind) { return false }
        if let ids, !ids.contains(client.wireID) { return false }
        if let hosts {
            let own =
                client.documentURL.flatMap { ResourceURI($0)?.host }
                .map { [$0] } ?? client.redirectURIs.compactMap { RedirectURI($0)?.host }
            // Every place an answer could go must be one of the named hosts.
            guard !own.isEmpty, own.allSatisfy(hosts.contains) else { return false }
        }
        return true
    }
}

extension ScopePolicyStatement.Conditions {
    /// - Parameter whenUnknown: what a condition about something we were not told counts as: a deny then holds, an allow
    ///   does not.
    fileprivate func hold(for request: ScopeRequest, at now: Date, whenUnknown: Bool) -> Bool {
        if let validFrom, now < validFrom { return false }
        if let validUntil, now >= validUntil { return false }
        if let ipRanges {
            guard let address = request.address else { return whenUnknown }
            if !ipRanges.contains(where: { AddressRange($0)?.contains(address) ?? whenUnknown }) { return false }
        }
        if let maxAuthAgeSeconds {
            guard let authTime = request.authTime else { return whenUnknown }
            if now.timeIntervalSince(authTime) > Double(maxAuthAgeSeconds) { return false }
        }
        if let mfa, mfa != request.mfa { return false }
        return true
    }
}
