import Foundation
package import Logging
import ServiceLifecycle
package import Tenancy

/// Removes what time has made worthless: sealed successors whose grace is over, and registrations that nobody used.
///
/// Nothing depends on it being punctual: what is over is refused by its own date. Every node does it, and doing it twice
/// changes nothing.
package struct Housekeeping: Service {
    /// The longest grace window there is, and a little more.
    private static let grace: TimeInterval = 35
    private static let pause: Duration = .seconds(60)

    private let organizations: OrganizationStore
    private let grants: GrantStore
    private let clients: ClientStore
    private let clock: WallClock
    private let logger: Logger

    package init(database: TenantDatabase, clock: WallClock, logger: Logger) {
        organizations = OrganizationStore(database: database)
        grants = GrantStore(database: database)
        clients = ClientStore(database: database)
        self.clock = clock
        self.logger = logger
    }

    package func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    try await pass()
                } catch {
                    logger.warning(
                        "housekeeping will be tried again", metadata: ["error": "\(String(reflecting: error))"])
                }
                try? await Task.sleep(for: Self.pause)
            }
        }
    }

    /// Goes through all organizations once, the platform included.
    package func pass() async throws {
        try await clean(.platform)
        var after: UUID?
        repeat {
            let page = try await organizations.ids(Page(after: after, limit: 500))
            for organization in page { try await clean(organization) }
            after = page.last?.uuid
        } while after != nil && !Task.isCancelled
    }

    private func clean(_ organization: OrganizationID) async throws {
        let now = clock.now()
        try await grants.eraseSuccessors(olderThan: now - Self.grace, in: organization)
        try await clients.deleteExpired(in: organization, at: now)
    }
}
