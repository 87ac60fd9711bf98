import Tenancy

// What every node reads of an organization whenever it changes, and looks at in every decision, has an end: whoever
// writes much of it would take the time of all the others.

extension Administration {
    /// Of one owner.
    static let mostResources = 1_000
    static let mostDomains = 200
    static let mostIdentityProviders = 100
    static let mostScopePolicies = 500
    /// In the conditions of all statements together.
    static let mostPolicyRanges = 5_000
    /// Imports of users that are not over.
    static let mostImports = 10

    /// - Throws: ``AdminError/conflict(_:)`` where there are as many as may be.
    func checkRoom(_ count: Int, below most: Int, for what: String) throws(AdminError) {
        guard count < most else {
            throw .conflict("There are \(most) \(what) already, which is as many as there may be.")
        }
    }

    /// - Parameter replaced: the one whose place it takes.
    func checkRoom(
        for statement: StatementDraft, insteadOf replaced: ScopePolicyID? = nil, in organization: OrganizationID
    ) async throws {
        let others = try await policies.all(of: organization).filter { $0.id != replaced }
        try checkRoom(others.count, below: Self.mostScopePolicies, for: "scope policies")
        let ranges = others.reduce(statement.conditions.ipRanges?.count ?? 0) {
            $0 + ($1.conditions.ipRanges?.count ?? 0)
        }
        guard ranges <= Self.mostPolicyRanges else {
            throw AdminError.conflict(
                "The scope policies together name at most \(Self.mostPolicyRanges) address ranges.")
        }
    }
}
