package import Audit
package import Foundation
package import Tenancy

/// What policy says to a ``ScopeRequest``, and why.
package struct ScopeDecision: Sendable {
    /// One scope's fate.
    package struct Finding: Sendable, Equatable {
        package enum Result: String, Sendable { case allowed, denied }

        package let scope: String
        package let result: Result
        /// The statement that decided, or the rule: `no_statement`, `no_exchange_statement`, `client_ceiling`,
        /// `upstream_ceiling`, `not_held`, `not_offered`.
        package let rule: String
    }

    package let request: ScopeRequest
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
        let known = request.resource.scopes
        let asked: [String]
        switch request.scopes {
        case .all: asked = known
        case .named(let names): asked = known.filter(Set(names).contains)
        }
        let relevant = statements.filter { $0.mismatch(with: request, at: now) == nil }
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
            if let held = request.held, !held.contains(scope) { return finding(.denied, "not_held") }
            let allows = relevant.filter { $0.effect == .allow && $0.names(scope) }
            guard let allow = allows.first(where: { $0.conditions.exchangedFrom == nil }) else {
                return finding(.denied, "no_statement")
            }
            // Said last: whether policy allows it is the better reason where it does not.
            if let offered = request.offered, !offered.contains(scope) { return finding(.denied, "not_offered") }
            guard request.exchangedFrom != nil else { return finding(.allowed, allow.name) }
            // What the person may have anyway, and what a statement says may be had by exchange: both.
            guard let exchange = allows.first(where: { $0.conditions.exchangedFrom != nil }) else {
                return finding(.denied, "no_exchange_statement")
            }
            return finding(.allowed, exchange.name)
        }
        let granted = findings.filter { $0.result == .allowed }.map(\.scope)
        let effective = Resource.expanding(
            Set(granted), over: known, implying: request.resource.implications
        ).filter { bar($0) == nil }
        return ScopeDecision(request: request, granted: granted, effective: effective, findings: findings)
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
    func names(_ scope: String) -> Bool {
        scopes.contains { pattern in
            pattern.hasSuffix("*") ? scope.hasPrefix(pattern.dropLast()) : scope == pattern
        }
    }

    /// The first member by which it does not speak of a request, as a JSON pointer into the statement; nil when it does.
    func mismatch(with request: ScopeRequest, at now: Date) -> String? {
        if !resources.isEmpty, !resources.contains(request.resource.id) { return "/resources" }
        if !principals.include(request.principal) { return "/principals" }
        if let member = clients.mismatch(with: request.client) { return member }
        for condition in Condition.allCases where !isMet(condition, by: request, at: now) { return condition.pointer }
        return nil
    }

    /// Whether a condition holds; one that the statement does not have always does.
    ///
    /// About something we were not told a condition of a deny holds, and one of an allow does not.
    func isMet(_ condition: Condition, by request: ScopeRequest, at now: Date) -> Bool {
        let whenUnknown = effect == .deny
        switch condition {
        case .validFrom: return conditions.validFrom.map { now >= $0 } ?? true
        case .validUntil: return conditions.validUntil.map { now < $0 } ?? true
        case .ipRanges:
            guard let ranges = conditions.ipRanges else { return true }
            guard let address = request.address else { return whenUnknown }
            return ranges.contains { AddressRange($0)?.contains(address) ?? whenUnknown }
        case .maxAuthAge:
            guard let age = conditions.maxAuthAgeSeconds else { return true }
            guard let authTime = request.authTime else { return whenUnknown }
            return now.timeIntervalSince(authTime) <= Double(age)
        case .mfa: return conditions.mfa.map { $0 == request.mfa } ?? true
        case .exchangedFrom:
            guard let sources = conditions.exchangedFrom else { return true }
            return request.exchangedFrom.map(sources.contains) ?? false
        }
    }

    /// The members of a statement's `conditions`.
    package enum Condition: String, Sendable, CaseIterable {
        case validFrom = "valid_from"
        case validUntil = "valid_until"
        case ipRanges = "ip_ranges"
        case maxAuthAge = "max_auth_age_seconds"
        case mfa
        case exchangedFrom = "exchanged_from"

        package var pointer: String { "/conditions/\(rawValue)" }
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
    /// The first member that is present and does not match.
    fileprivate func mismatch(with client: ScopeRequest.Through) -> String? {
        if let kinds, !kinds.contains(client.kind) { return "/clients/kinds" }
        if let ids, !(client.id.map(ids.contains) ?? false) { return "/clients/ids" }
        if let hosts {
            let own = client.hosts
            // Every place an answer could go must be one of the named hosts.
            guard !own.isEmpty, own.allSatisfy(hosts.contains) else { return "/clients/hosts" }
        }
        return nil
    }
}
