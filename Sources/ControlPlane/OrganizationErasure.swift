import Audit
package import Foundation
package import Keys
package import Logging
import Postgres
package import Tenancy

/// The second step of a deletion: erases what an organization owned when its time of grace is over.
///
/// In pieces, so that nobody waits for locks; whatever node begins, any node goes on. The log stays as long as its
/// retention says, and the slug stays taken.
package struct OrganizationErasure: Sendable {
    /// Rows of each table that go in one transaction.
    private static let batch = 500

    private let organizations: OrganizationStore
    private let random: RandomBytes
    private let logger: Logger

    package init(database: TenantDatabase, random: RandomBytes = .system, logger: Logger) {
        organizations = OrganizationStore(database: database)
        self.random = random
        self.logger = logger
    }

    /// Erases an organization if it is due; otherwise nothing happens.
    ///
    /// - Returns: whether nothing is left of it.
    @discardableResult
    package func run(on organization: OrganizationID, at now: Date) async throws -> Bool {
        let isDue = try await organizations.database.transaction(organization) { [organizations] transaction in
            try await organizations.beginErasure(of: organization, at: now, in: transaction)
        }
        guard isDue else { return false }
        while true {
            let some = try await organizations.eraseSome(of: organization, most: Self.batch)
            if some.erased > 0 { continue }
            guard some.blocked else { break }
            logger.error(
                "rows of a deleted organization cannot be erased", metadata: ["organization": "\(organization)"])
            return false
        }
        let id = EventID.make(at: now, random)
        return try await organizations.database.transaction(organization, events: [id]) {
            [organizations, random] transaction in
            guard let erased = try await organizations.endErasure(of: organization, at: now, in: transaction) else {
                return true
            }
            try await organizations.bumpEpoch(of: organization, in: transaction)
            let event = AuditEvent(
                .orgErased, organization: organization, id: id, time: now, actor: .system("housekeeping"),
                targets: [erased.auditTarget])
            try await transaction.query(event.outboxEvent(random).insertion)
            return true
        }
    }
}
