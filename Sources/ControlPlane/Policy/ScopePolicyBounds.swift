import Tenancy

extension ScopePolicy {
    /// What the policy gives whatever the circumstances of a request are: its address, how and when the person signed in.
    /// An `allow` that depends on them counts for nothing, a `deny` that does counts always.
    package var atLeast: ScopePolicy { under(.deny) }

    /// What it gives when the circumstances are just right: an `allow` that depends on them counts always, a `deny` that
    /// does for nothing.
    package var atMost: ScopePolicy { under(.allow) }

    /// - Parameter effect: that of the conditional statements which count.
    private func under(_ effect: ScopePolicyStatement.Effect) -> ScopePolicy {
        ScopePolicy(
            statements.compactMap { statement in
                guard statement.conditions.areCircumstances else { return statement }
                guard statement.effect == effect else { return nil }
                var unconditional = statement
                unconditional.conditions.forgetCircumstances()
                return unconditional
            })
    }

    /// The statements that speak of a principal. Principals of whom the same ones speak are decided about alike.
    func statements(about principal: ScopeRequest.Principal) -> [ScopePolicyID] {
        statements.filter { $0.principals.include(principal) }.map(\.id)
    }
}

extension ScopePolicyStatement.Conditions {
    /// Whether they ask for more than the moment and what is exchanged.
    fileprivate var areCircumstances: Bool { ipRanges != nil || maxAuthAgeSeconds != nil || mfa != nil }

    fileprivate mutating func forgetCircumstances() {
        ipRanges = nil
        maxAuthAgeSeconds = nil
        mfa = nil
    }
}
