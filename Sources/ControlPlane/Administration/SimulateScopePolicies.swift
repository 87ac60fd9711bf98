import Audit
package import Foundation
package import Tenancy

/// A policy that might be, as a difference from the one that is.
package struct PolicyDraft: Sendable {
    /// Statements beside those that stay.
    package var added: [StatementDraft] = []
    package var replaced: [ScopePolicyID: StatementDraft] = [:]
    package var removed: [ScopePolicyID] = []

    package init() {}
}

/// Which recorded decisions to put again.
package struct SimulationWindow: Sendable {
    package static let limits = 1...20_000

    package let from: Date
    package let to: Date
    package let limit: Int
    /// Where the last page of the log ended.
    package let after: Int?

    package init(from: Date, to: Date, limit: Int, after: Int?) {
        self.from = from
        self.to = to
        self.limit = limit
        self.after = after
    }
}

/// What a draft would have changed in a window of the past.
package struct Simulation: Sendable {
    /// Who would have got, or not got, what.
    package struct Difference: Sendable, Hashable {
        /// A user's id, or a service's wire id.
        package let principal: String
        package let client: String?
        package let resource: ResourceID
        package let scopes: [String]
    }

    /// How often, and when last.
    package struct Count: Sendable {
        package var decisions = 0
        package var last = Date.distantPast
    }

    package var decisions = 0
    package var unchanged = 0
    /// Their address is erased by now, and the draft asks for it.
    package var undecidable = 0
    package var gains: [Difference: Count] = [:]
    package var losses: [Difference: Count] = [:]
    /// Where the next page of the log begins; nil when the window is done.
    package var next: Int?
}

extension Administration {
    /// Puts the decisions that the log recorded in a window to a draft of the policy; nothing is changed and nothing
    /// recorded.
    ///
    /// - Parameter patience: after so long the rest is another call's.
    package func simulate(
        _ draft: PolicyDraft, over window: SimulationWindow, in organization: OrganizationID, at now: Date,
        patience: Duration = .seconds(3)
    ) async throws -> Simulation {
        let policy = ScopePolicy(try await statements(of: draft, in: organization, at: now))
        let asksForAddress = policy.statements.contains { $0.conditions.ipRanges != nil }
        var simulation = Simulation()
        simulation.next = window.after
        var left = window.limit
        let begin = ContinuousClock.now
        // In pieces, of which one is held at a time.
        repeat {
            let page = try await auditLog.decisions(
                of: organization, from: window.from, to: window.to, after: simulation.next,
                limit: min(left, Self.decisionsAtOnce))
            left -= page.entries.count
            simulation.next = page.next
            for entry in page.entries {
                // What a policy costs its own organization decides: others get their turn, and in time it is said where to
                // go on.
                await Task.yield()
                if let recorded = RecordedDecision(leaf: entry.leaf, disclosures: entry.disclosures) {
                    simulation.count(recorded, under: policy, asksForAddress: asksForAddress)
                }
                if ContinuousClock.now - begin > patience {
                    simulation.next = entry.seq
                    return simulation
                }
            }
        } while left > 0 && simulation.next != nil
        return simulation
    }

    private static let decisionsAtOnce = 2_000

    /// The statements of the organization as the draft would leave them.
    private func statements(
        of draft: PolicyDraft, in organization: OrganizationID, at now: Date
    ) async throws -> [ScopePolicyStatement] {
        let current = try await policies.all(of: organization)
        let known = Set(current.map(\.id))
        var errors: [FieldError] = []
        for (index, id) in draft.removed.enumerated() where !known.contains(id) {
            errors.append(.unknown("/remove/\(index)"))
        }
        for id in draft.replaced.keys where !known.contains(id) { errors.append(.unknown("/replace/\(id)")) }
        for (index, statement) in draft.added.enumerated() {
            errors += try await mistakes(in: statement, of: organization, at: "/statements/\(index)")
        }
        for (id, statement) in draft.replaced {
            errors += try await mistakes(in: statement, of: organization, at: "/replace/\(id)")
        }
        guard errors.isEmpty else { throw AdminError.invalid(errors) }
        let kept = current.filter { !draft.removed.contains($0.id) }.map { statement in
            draft.replaced[statement.id]?.statement(
                statement.id, version: statement.version, createdAt: statement.createdAt, updatedAt: now) ?? statement
        }
        return kept
            + draft.added.map {
                $0.statement(ScopePolicyID.make(at: now, random), version: 1, createdAt: now, updatedAt: now)
            }
    }

    private func mistakes(
        in draft: StatementDraft, of organization: OrganizationID, at base: String
    ) async throws -> [FieldError] {
        do {
            try await check(draft, in: organization, at: base)
            return []
        } catch AdminError.invalid(let errors) {
            return errors
        }
    }
}

extension Simulation {
    mutating func count(_ recorded: RecordedDecision, under policy: ScopePolicy, asksForAddress: Bool) {
        decisions += 1
        guard !(recorded.lacksAddress && asksForAddress) else {
            undecidable += 1
            return
        }
        let now = recorded.effective(under: policy)
        let gained = now.subtracting(recorded.effective)
        let lost = recorded.effective.subtracting(now)
        if gained.isEmpty, lost.isEmpty { unchanged += 1 }
        if !gained.isEmpty { gains[recorded.difference(gained), default: Count()].add(recorded.time) }
        if !lost.isEmpty { losses[recorded.difference(lost), default: Count()].add(recorded.time) }
    }
}

extension Simulation.Count {
    fileprivate mutating func add(_ time: Date) {
        decisions += 1
        last = max(last, time)
    }
}

extension RecordedDecision {
    fileprivate func difference(_ scopes: Set<String>) -> Simulation.Difference {
        let principal =
            switch request.principal {
            case .user(let user, _): user.description
            case .service(let client): client
            }
        return Simulation.Difference(
            principal: principal, client: request.client.id, resource: request.resource.id, scopes: scopes.sorted())
    }
}
