import Foundation
import Keys
import Logging
import Postgres
import Tenancy
import TestSupport
import Testing

@testable import ControlPlane

@Suite struct HousekeepingTests {
    @Test("F-18 what is wrong with one organization keeps none behind it waiting; many old replies go in pieces")
    func oneAfterTheOther() async throws {
        let database = try TestDatabase.open()
        let first = try await TestDatabase.freshOrganization().id
        let second = try await TestDatabase.freshOrganization().id
        let store = IdempotencyStore(database: database)
        let over = Date() - 3_600
        for (organization, count) in [(first, 1), (second, 1_001)] {
            try await database.transaction(organization) { transaction in
                for number in 0..<count {
                    try await store.keep(
                        KeptReply(requestDigest: [], sealed: []), for: Array(sha256("\(number)")), in: organization,
                        until: over, transaction)
                }
            }
        }
        @Sendable func left(_ organization: OrganizationID) async throws -> Int {
            try await database.read(
                organization, "SELECT count(*) AS left FROM idempotency_key WHERE organization_id = \(organization)"
            ) { try $0.decode("left", as: Int.self) }.first ?? 0
        }
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let administration = Administration(
            database: database,
            catalog: TenantCatalog(database: database, secrets: TestDatabase.secrets, logger: logger),
            secrets: TestDatabase.secrets, settings: AdministrationSettings(publicURL: "https://as.example"),
            logger: logger)
        let housekeeping = Housekeeping(administration: administration, clock: .system, logger: logger)
        // Somebody holds the first one's row for longer than anybody waits for it.
        try await database.transaction(first) { transaction in
            try await transaction.query(
                "SELECT digest FROM idempotency_key WHERE organization_id = \(first) FOR UPDATE")
            try await housekeeping.cleanAll()
            let own = try await transaction.query(
                "SELECT digest FROM idempotency_key WHERE organization_id = \(first)")
            #expect(own.count == 1)
        }
        #expect(try await left(second) == 0)
    }
}
