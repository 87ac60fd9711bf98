package import Foundation
package import Logging
import ServiceLifecycle
import Synchronization
package import Tenancy

/// Removes what time has made worthless: sealed successors whose grace is over, registrations that nobody used,
/// assertions that ended, replies kept for who repeats a request, what became of long work, and organizations that were
/// deleted long enough ago. And it makes the signing keys that a resource still lacks.
///
/// Each minute it looks after the grants whose refresh tokens this node rotated; each hour, and at start, after
/// all of them, for what other nodes left behind. Nothing depends on it being punctual: what is over is refused by its own
/// date, and a sealed successor opens for the holder of the token before it alone. So where there are many organizations it
/// rests after each for three times as long as that one took: requests go before.
package final class Housekeeping: Service {
    /// The longest grace window there is, and a little more.
    private static let grace: TimeInterval = 35
    /// How long lists still show a token that ended by itself, and an operation that is over.
    private static let remembrance: TimeInterval = 30 * 86_400
    private static let pause: Duration = .seconds(60)
    private static let minutesBetweenRounds = 60
    /// How many organizations a round looks after without a rest.
    private static let organizationsAtOnce = 500

    private let organizations: OrganizationStore
    private let grants: GrantStore
    private let clients: ClientStore
    private let assertions: AssertionStore
    private let accessTokens: AccessTokenStore
    private let programmaticTokens: ProgrammaticTokenStore
    private let idempotency: IdempotencyStore
    private let operations: OperationStore
    private let erasure: OrganizationErasure
    private let administration: Administration
    private let clock: WallClock
    private let logger: Logger
    /// Grants that this node rotated, and when last: their sealed successors will have to be erased.
    private let rotated = Mutex<[OrganizationID: [GrantID: Date]]>([:])
    /// Beyond so many of one organization the hourly round does it.
    private static let mostRotated = 100_000

    package init(administration: Administration, clock: WallClock, logger: Logger) {
        let database = administration.database
        self.administration = administration
        organizations = OrganizationStore(database: database)
        grants = GrantStore(database: database)
        clients = ClientStore(database: database)
        assertions = AssertionStore(database: database)
        accessTokens = AccessTokenStore(database: database)
        programmaticTokens = ProgrammaticTokenStore(database: database)
        idempotency = IdempotencyStore(database: database)
        operations = OperationStore(database: database)
        erasure = OrganizationErasure(database: database, logger: logger)
        self.clock = clock
        self.logger = logger
    }

    /// A refresh token of this grant was rotated on this node.
    package func expectErasure(of grant: GrantID, in organization: OrganizationID, at now: Date) {
        rotated.withLock { rotated in
            guard (rotated[organization]?.count ?? 0) < Self.mostRotated else { return }
            rotated[organization, default: [:]][grant] = now
        }
    }

    package func run() async throws {
        await cancelWhenGracefulShutdown {
            var minute = 0
            while !Task.isCancelled {
                do {
                    if minute % Self.minutesBetweenRounds == 0 {
                        try await self.cleanAll()
                        try await self.makeMissingKeys()
                    } else {
                        try await self.eraseExpected()
                    }
                } catch {
                    self.logger.warning(
                        "housekeeping will be tried again", metadata: ["error": "\(String(reflecting: error))"])
                }
                minute += 1
                try? await Task.sleep(for: Self.pause)
            }
        }
    }

    private func eraseExpected() async throws {
        let end = clock.now() - Self.grace
        let due = rotated.withLock { rotated in
            var due: [OrganizationID: [GrantID: Date]] = [:]
            for (organization, grants) in rotated {
                let over = grants.filter { $0.value < end }
                guard !over.isEmpty else { continue }
                due[organization] = over
                rotated[organization] = over.count == grants.count ? nil : grants.filter { $0.value >= end }
            }
            return due
        }
        for (organization, grants) in due {
            do {
                try await self.grants.eraseSuccessors(of: Array(grants.keys), olderThan: end, in: organization)
            } catch {
                for (grant, date) in grants { expectErasure(of: grant, in: organization, at: date) }
                throw error
            }
        }
    }

    /// Goes through all organizations once, the platform included.
    package func cleanAll() async throws {
        try await clean(.platform)
        try await each(.present) { try await clean($0) }
        try await each(.deleted) { organization in
            if try await !erasure.run(on: organization, at: clock.now()) { try await clean(organization) }
        }
    }

    /// What registering a resource could not finish: a node may end between a commit and the keys that follow it.
    private func makeMissingKeys() async throws {
        try await administration.makeMissingKeys(of: .platform, at: clock.now())
        try await each(.present) { try await administration.makeMissingKeys(of: $0, at: clock.now()) }
    }

    private func each(
        _ presence: OrganizationStore.Presence, _ body: (OrganizationID) async throws -> Void
    ) async throws {
        var after: UUID?
        repeat {
            let page = try await organizations.ids(Page(after: after, limit: Self.organizationsAtOnce), presence)
            for organization in page {
                if Task.isCancelled { return }
                let start = ContinuousClock.now
                do {
                    try await body(organization)
                } catch {
                    // What is wrong with one keeps none behind it waiting (F-18).
                    logger.warning(
                        "housekeeping of an organization will be tried again",
                        metadata: ["organization": "\(organization)", "error": "\(String(reflecting: error))"])
                }
                if after != nil { try? await Task.sleep(for: (.now - start) * 3) }
            }
            after = page.last?.uuid
        } while after != nil && !Task.isCancelled
    }

    private func clean(_ organization: OrganizationID) async throws {
        let now = clock.now()
        try await grants.eraseSuccessors(olderThan: now - Self.grace, in: organization)
        try await clients.deleteExpired(in: organization, at: now)
        // A node whose clock is behind ours still takes an assertion or a token for a moment.
        try await assertions.deleteExpired(in: organization, at: now - 60)
        try await accessTokens.deleteExpired(in: organization, at: now - 60)
        try await programmaticTokens.deleteExpired(in: organization, before: now - Self.remembrance)
        try await idempotency.deleteExpired(in: organization, at: now - 60)
        try await operations.deleteOver(in: organization, before: now - Self.remembrance)
    }
}
