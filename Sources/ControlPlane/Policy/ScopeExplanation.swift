import Audit
package import Foundation
package import Tenancy

/// A decision with what each statement had to do with it, for people who ask why.
package struct ScopeExplanation: Sendable {
    /// A statement that names at least one of the scopes in question.
    package struct Reading: Sendable {
        package let statement: ScopePolicyStatement
        /// JSON pointer to the first member of the statement by which it does not apply; nil when it applies.
        package let mismatch: String?
        /// Each condition that the statement has.
        package let conditions: [ConditionReading]

        package var applies: Bool { mismatch == nil }
    }

    package struct ConditionReading: Sendable {
        package let condition: ScopePolicyStatement.Condition
        package let isMet: Bool
        /// What it was held against, as text; nil where nothing was known.
        package let saw: String?
    }

    package let decision: ScopeDecision
    package let decidedAt: Date
    package let readings: [Reading]

    /// The statements that apply and name the scope, in the order in which they were read.
    package func matching(_ scope: String) -> [ScopePolicyStatement] {
        readings.filter { $0.applies && $0.statement.names(scope) }.map(\.statement)
    }
}

extension ScopePolicy {
    /// ``decide(_:at:)`` and why: what it says is read from the same predicates.
    package func explain(_ request: ScopeRequest, at now: Date) -> ScopeExplanation {
        let decision = decide(request, at: now)
        let scopes = Set(decision.findings.map(\.scope) + decision.effective)
        let readings = statements.filter { scopes.contains(where: $0.names) }.map { statement in
            ScopeExplanation.Reading(
                statement: statement, mismatch: statement.mismatch(with: request, at: now),
                conditions: statement.conditions.present.map { condition in
                    ScopeExplanation.ConditionReading(
                        condition: condition, isMet: statement.isMet(condition, by: request, at: now),
                        saw: request.value(for: condition, at: now))
                })
        }
        return ScopeExplanation(decision: decision, decidedAt: now, readings: readings)
    }
}

extension ScopePolicyStatement.Conditions {
    fileprivate var present: [ScopePolicyStatement.Condition] {
        ScopePolicyStatement.Condition.allCases.filter { condition in
            switch condition {
            case .validFrom: validFrom != nil
            case .validUntil: validUntil != nil
            case .ipRanges: ipRanges != nil
            case .maxAuthAge: maxAuthAgeSeconds != nil
            case .mfa: mfa != nil
            case .exchangedFrom: exchangedFrom != nil
            }
        }
    }
}

extension ScopeRequest {
    /// What a condition is held against.
    fileprivate func value(for condition: ScopePolicyStatement.Condition, at now: Date) -> String? {
        switch condition {
        case .validFrom, .validUntil: Timestamp.text(now)
        case .ipRanges: address
        case .maxAuthAge: authTime.map { "\(Int(now.timeIntervalSince($0)))" }
        case .mfa: mfa ? "true" : "false"
        case .exchangedFrom: exchangedFrom?.description
        }
    }
}
