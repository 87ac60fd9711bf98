/// Tokens that belong to no grant: all that is stored of one is its event.
package struct IssuedTokenStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    /// Writes the event of a token down if nothing its decision rests on has changed; without it the token is not handed
    /// out.
    ///
    /// - Parameter guardian: of the event's organization.
    /// - Returns: false when a guard moved, and nothing was written.
    package func record(_ event: OutboxEvent, guardedBy guardian: EpochGuard) async throws -> Bool {
        try await database.append(event, guardedBy: guardian)
    }
}
