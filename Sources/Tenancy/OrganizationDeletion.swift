package import Foundation
package import Postgres

// The end of an organization: everything of it stops with the first step, and nothing is lost before the second.
extension OrganizationStore {
    /// Marks an organization as deleted whose version is still `organization.version`.
    ///
    /// - Returns: the new state; nil when somebody else changed it first.
    package func delete(
        _ organization: Organization, until deletesAt: Date, at now: Date, in transaction: PostgresTransaction
    ) async throws -> Organization? {
        let deleted = try await transaction.query(
            """
            UPDATE organization SET status = 'deleted', status_before_deletion = status, deleted_at = \(now),
                   deletes_at = \(deletesAt), version = version + 1, updated_at = \(now)
             WHERE organization_id = \(organization.id) AND version = \(organization.version) AND status <> 'deleted'
            RETURNING \(organizationColumns)
            """
        ).map(Organization.init(row:)).first
        if deleted != nil { try await set(.deleted, in: transaction) }
        return deleted
    }

    /// Brings a deleted organization back to what it was, if its time of grace lasts.
    ///
    /// - Returns: the new state; nil when it is not deleted, or being erased.
    package func restore(
        _ organization: OrganizationID, at now: Date, in transaction: PostgresTransaction
    ) async throws -> Organization? {
        let restored = try await transaction.query(
            """
            UPDATE organization SET status = status_before_deletion, status_before_deletion = NULL, deleted_at = NULL,
                   deletes_at = NULL, version = version + 1, updated_at = \(now)
             WHERE organization_id = \(organization) AND status = 'deleted' AND erasing_since IS NULL
               AND deletes_at > \(now)
            RETURNING \(organizationColumns)
            """
        ).map(Organization.init(row:)).first
        if restored != nil { try await set(.present, in: transaction) }
        return restored
    }

    /// Begins to erase an organization whose time of grace is over: from here on nothing brings it back.
    ///
    /// - Returns: false when it is not due, or erased already.
    package func beginErasure(
        of organization: OrganizationID, at now: Date, in transaction: PostgresTransaction
    ) async throws -> Bool {
        try await !transaction.query(
            """
            UPDATE organization SET erasing_since = coalesce(erasing_since, \(now))
             WHERE organization_id = \(organization) AND status = 'deleted' AND erased_at IS NULL
               AND (erasing_since IS NOT NULL OR deletes_at <= \(now))
            RETURNING organization_id
            """
        ).isEmpty
    }

    /// Erases at most so many rows of each table.
    ///
    /// - Returns: how many went, and whether some wait for others to go first.
    package func eraseSome(
        of organization: OrganizationID, most: Int
    ) async throws -> (erased: Int64, blocked: Bool) {
        try await database.transaction(organization) { transaction in
            let row = try await transaction.query("SELECT erased, blocked FROM erase_rows(\(Int64(most)))").first
            return (try row?.decode("erased") ?? 0, try row?.decode("blocked") ?? true)
        }
    }

    /// Says that nothing is left, and gives back what names the organization held; its slug stays taken.
    ///
    /// - Returns: nil when somebody else said so.
    package func endErasure(
        of organization: OrganizationID, at now: Date, in transaction: PostgresTransaction
    ) async throws -> Organization? {
        let erased = try await transaction.query(
            """
            UPDATE organization SET erased_at = \(now), settings = \(json: OrganizationSettings()),
                   version = version + 1, updated_at = \(now)
             WHERE organization_id = \(organization) AND erasing_since IS NOT NULL AND erased_at IS NULL
            RETURNING \(organizationColumns)
            """
        ).map(Organization.init(row:)).first
        guard let erased else { return nil }
        try await transaction.query("SELECT release_routes()")
        try await set(.erased, in: transaction)
        return erased
    }

    private func set(_ presence: Presence, in transaction: PostgresTransaction) async throws {
        try await transaction.query("SELECT set_slug_state(\(presence.rawValue))")
    }
}
