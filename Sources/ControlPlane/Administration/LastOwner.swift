import Postgres
import Tenancy

extension Administration {
    /// Does what may take an owner away. Where somebody active was owner before, somebody active is afterwards (T-24).
    ///
    /// All that may take one away wait for each other here, so that two of them never take the last two. To be called before
    /// the transaction locks anything else.
    ///
    /// - Throws: ``AdminError/lastOwner``, whereupon the transaction is rolled back.
    func keepingAnOwner<Value>(
        of organization: OrganizationID, _ transaction: PostgresTransaction, _ change: () async throws -> Value
    ) async throws -> Value {
        try await roles.lockOwnership(of: organization, transaction)
        let hadOne = try await roles.hasActiveOwner(organization, transaction)
        let value = try await change()
        guard hadOne else { return value }
        guard try await roles.hasActiveOwner(organization, transaction) else { throw AdminError.lastOwner }
        return value
    }
}

extension AdminError {
    package static let lastOwner = AdminError.conflict(
        "Nobody active would be owner of the organization any more. Give the role owner to somebody else first.")
}
