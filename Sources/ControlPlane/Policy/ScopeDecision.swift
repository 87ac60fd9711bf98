package import Audit
package import Foundation
package import Tenancy

/// The words of OpenID Connect and OAuth that are scopes of no resource and need no policy.
package enum OpenIDScope {
    package static let all = ["openid", "profile", "email", "offline_access"]
}

/// Which scopes of a resource are asked for.
package enum RequestedScopes: Sendable, Equatable {
    /// Every scope the resource has: nothing in particular was named.
    case all
    /// These and no others; none of them may still exist.
    case named([String])

    /// What the absence of a name means in a request.
    package init(_ names: [String]) {
        self = names.isEmpty ? .all : .named(names)
    }
}

/// A principal asking for scopes of a resource through a client: everything a policy may look at.
package struct ScopeRequest: Sendable {
    package enum Principal: Sendable, Equatable {
        case user(UserID, Membership)
        /// A service client, by its wire id.
        case service(String)
    }

    package let principal: Principal
    package let client: Client
    package let resource: Resource
    package let scopes: RequestedScopes
    /// The caller's address, where one is known.
    package let address: String?
    package let authTime: Date?
    package let mfa: Bool
    /// What the identity provider lets the person have at most (`custom_claims.scopes`).
    package let upstreamCeiling: [String]?
    /// What the person was shown at most; nil where nobody was shown anything.
    package let offered: [String]?
    /// The other resource whose token is exchanged for one of this (RFC 8693); nil where none is.
    package let exchangedFrom: ResourceID?

    package init(
        principal: Principal, client: Client, resource: Resource, scopes: RequestedScopes, address: String?,
        authTime: Date?, mfa: Bool, upstreamCeiling: [String]?, offered: [String]? = nil,
        exchangedFrom: ResourceID? = nil
    ) {
        self.principal = principal
        self.client = client
        self.resource = resource
        self.scopes = scopes
        self.address = address
        self.authTime = authTime
        self.mfa = mfa
        self.upstreamCeiling = upstreamCeiling
        self.offered = offered
        self.exchangedFrom = exchangedFrom
    }
}

/// What policy says to a ``ScopeRequest``, and why.
package struct ScopeDecision: Sendable {
    /// One scope's fate.
    package struct Finding: Sendable, Equatable {
        package enum Result: String, Sendable { case allowed, denied }

        package let scope: String
        package let result: Result
        /// The statement that decided, or the rule: `no_statement`, `client_ceiling`, `upstream_ceiling`,
        /// `not_offered`.
        package let rule: String
    }

    /// Granted scopes in the resource's order, implications not expanded.
    package let granted: [String]
    /// What a token may carry: the granted scopes and what they imply, without what a deny or a ceiling names.
    package let effective: [String]
    package let findings: [Finding]

    package var withheld: [String] { findings.filter { $0.result == .denied }.map(\.scope) }

    /// The form that stands in audit events and replies.
    package var info: AuditEvent.PolicyInfo {
        let decision = granted.isEmpty ? "deny" : withheld.isEmpty ? "allow" : "narrowed"
        let decisive = findings.first { ($0.result == .denied) == granted.isEmpty }
        return AuditEvent.PolicyInfo(
            decision: decision, rule: decisive?.rule,
            trace: findings.map {
                AuditEvent.PolicyInfo.Finding(scope: $0.scope, result: $0.result.rawValue, rule: $0.rule)
            })
    }
}

/// The scope policy of an organization at one moment.
package struct ScopePolicy: Sendable {
    package let statements: [ScopePolicyStatement]

    package init(_ statements: [ScopePolicyStatement]) {
        self.statements = statements
    }

    /// Decides each scope by itself: it is granted iff the resource has it, the ceilings allow it, some `allow` statement
    /// matches and no `deny` does. In exchange for a token of another resource a second `allow` has to name that exchange.
    /// Pure: same input, same decision and trace.
    package func decide(_ request: ScopeRequest, at now: Date) -> ScopeDecision {
        let known = request.resource.scopes.map(\.name)
        let asked: [String]
        switch request.scopes {
        case .all: asked = known
        case .named(let names): asked = known.filter(Set(names).contains)
        }
        let relevant = statements.filter { $0.applies(to: request, at: now) }
        /// What forbids a scope however it is come by; implied ones too.
        func bar(_ scope: String) -> String? {
            if let ceiling = request.client.scopeCeiling, !ceiling.contains(scope) { return "client_ceiling" }
            if let ceiling = request.upstreamCeiling, !ceiling.contains(scope) { return "upstream_ceiling" }
            return relevant.first { $0.effect == .deny && $0.names(scope) }?.name
        }
        let findings = asked.map { scope -> ScopeDecision.Finding in
            func finding(_ result: ScopeDecision.Finding.Result, _ rule: String) -> ScopeDecision.Finding {
                ScopeDecision.Finding(scope: scope, result: result, rule: rule)
            }
            if let bar = bar(scope) { return finding(.denied, bar) }
            if let offered = request.offered, !offered.contains(scope) { return finding(.denied, "not_offered") }
            let allows = relevant.filter { $0.effect == .allow && $0.names(scope) }
            guard let allow = allows.first(where: { $0.conditions.exchangedFrom == nil }) else {
                return finding(.denied, "no_statement")
            }
            guard request.exchangedFrom != nil else { return finding(.allowed, allow.name) }
            // What the person may have anyway, and what a statement says may be had by exchange: both.
            guard let exchange = allows.first(where: { $0.conditions.exchangedFrom != nil }) else {
                return finding(.denied, "no_exchange_statement")
            }
            return finding(.allowed, exchange.name)
        }
        let granted = findings.filter { $0.result == .allowed }.map(\.scope)
        let effective = request.resource.expanding(Set(granted)).filter { bar($0) == nil }
        return ScopeDecision(granted: granted, effective: effective, findings: findings)
    }
}

extension ScopePolicy {
    /// When scopes that are given now would be lost if nothing but time moved on: the first moment before `end` at which a
    /// statement begins or ends to apply and not all of them are given any more.
    package func lapse(of scopes: [String], for request: ScopeRequest, after now: Date, before end: Date) -> Date? {
        let moments = statements.flatMap { [$0.conditions.validFrom, $0.conditions.validUntil] }.compactMap(\.self)
        return Set(moments).filter { $0 > now && $0 < end }.sorted().first { moment in
            !Set(scopes).isSubset(of: decide(request, at: moment).effective)
        }
    }

    /// Whether any statement says that tokens of one resource may be exchanged for those of another (RFC 8693).
    package func names(exchangeOf source: ResourceID, for target: ResourceID) -> Bool {
        statements.contains {
            $0.effect == .allow && $0.resources.contains(target)
                && $0.conditions.exchangedFrom?.contains(source) == true
        }
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
    func include(_ principal: ScopeRequest.Principal) -> Bool {
        switch principal {
        case .user(let user, let membership):
            everyone || users.contains(user) || groups.contains(where: membership.groups.contains)
                || roles.contains(where: membership.roles.contains)
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
        if let exchangedFrom {
            guard let source = request.exchangedFrom, exchangedFrom.contains(source) else { return false }
        }
        return true
    }
}
