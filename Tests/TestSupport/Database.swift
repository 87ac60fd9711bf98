package import Foundation
package import Keys
import Logging
import Postgres
package import Tenancy

/// What tests take from their environment; `./ops/test` starts the servers and sets it.
package enum TestEnvironment {
    /// A server that a test needs and nobody started.
    package struct Missing: Error, CustomStringConvertible {
        let name: String
        package var description: String {
            "\(name) is not set: run the tests with ./ops/test, which starts the servers they need"
        }
    }

    /// - Throws: ``Missing``.
    package static func require(_ name: String) throws -> String {
        guard let value = ProcessInfo.processInfo.environment[name], !value.isEmpty else { throw Missing(name: name) }
        return value
    }
}

/// The migrated database of `DATABASE_URL`, which all tests of a process share: isolation is what keeps them apart.
package enum TestDatabase {
    private static let shared = Result<TenantDatabase, any Error> {
        let settings = PostgresSettings(conninfo: try TestEnvironment.require("DATABASE_URL"))
        let logger = Logger(label: "test")
        let readLane = PostgresReadLane(settings: settings, logger: logger)
        let writeLane = PostgresWriteLane(settings: settings, eventsExist: existingEvents, logger: logger)
        let pool = PostgresPool(settings: settings, eventsExist: existingEvents, logger: logger)
        readLane.start()
        writeLane.start()
        pool.start()
        return TenantDatabase(readLane: readLane, writeLane: writeLane, pool: pool)
    }

    /// The three doors, open.
    ///
    /// - Throws: ``TestEnvironment/Missing``.
    package static func open() throws -> TenantDatabase { try shared.get() }

    /// Seals under the master key that the servers of this run use too.
    package static let secrets = TenantSecrets(
        keyring: MasterKeyring(current: masterKey), random: .system)

    package static let masterKey: MasterKey = {
        do {
            return try MasterKey(file: try TestEnvironment.require("GATEHOUSE_MASTER_KEY_FILE"))
        } catch {
            fatalError("\(error)")
        }
    }()

    /// A new active organization with a slug of its own.
    package static func freshOrganization(
        settings: OrganizationSettings = OrganizationSettings(), at now: Date = Date()
    ) async throws -> Organization {
        let database = try open()
        let id = OrganizationID.make(at: now, .system)
        let organization = Organization(
            id: id, slug: "test-\(id.description.suffix(16))", name: "Test", status: .active,
            wrappedDataKey: try secrets.makeDataKey(for: id), settings: settings, version: 1, createdAt: now,
            updatedAt: now)
        let isNew = try await database.transaction(id) { transaction in
            try await OrganizationStore(database: database).insert(organization, in: transaction)
        }
        precondition(isNew, "a random slug was taken")
        return organization
    }
}
