import Audit
import Foundation
import Keys
import Logging
import Postgres
import Tenancy

/// A database of its own for one test, seen through the roles of the product.
///
/// Sequencers hold locks of the whole database and some tests break connections, so these tests share none.
struct AuditDatabase: Sendable {
    struct Missing: Error, CustomStringConvertible {
        let name: String
        var description: String { "\(name) is not set: run ./ops/test, which starts PostgreSQL and sets it" }
    }

    let tenants: TenantDatabase
    /// As the serving role, with more connections than a server would take.
    let app: PostgresPool
    /// As a superuser.
    let admin: PostgresPool
    let sequencerSettings: PostgresSettings

    /// Makes a migrated database, lends it for the length of a test and drops it.
    static func use<Value: Sendable>(_ body: @Sendable (AuditDatabase) async throws -> Value) async throws -> Value {
        let name = "audit_test_\(Base64URL.encode(RandomBytes.system.generate(9)))"
        let server = try pool("DATABASE_ADMIN_URL", connections: 1)
        server.start()
        let result: Result<Value, any Error>
        do {
            try await server.withConnection(statementTimeout: .seconds(60)) { connection in
                _ = try await connection.execute(
                    "CREATE DATABASE \(.identifier(name)) OWNER gatehouse_owner")
            }
            _ = try await Migrator(
                directory: URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../migrations")
                    .path(),
                conninfo: try conninfo("DATABASE_OWNER_URL", database: name), logger: logger
            ).migrate()
            result = .success(try await open(name, body))
        } catch {
            result = .failure(error)
        }
        try? await server.withConnection(statementTimeout: .seconds(60)) { connection in
            _ = try await connection.execute("DROP DATABASE IF EXISTS \(.identifier(name)) WITH (FORCE)")
        }
        await server.shutdown()
        return try result.get()
    }

    private static func open<Value: Sendable>(
        _ name: String, _ body: @Sendable (AuditDatabase) async throws -> Value
    ) async throws -> Value {
        var settings = PostgresSettings(conninfo: try conninfo("DATABASE_URL", database: name))
        settings.answerDeadline = .seconds(20)
        let readLane = PostgresReadLane(settings: settings, logger: logger)
        let writeLane = PostgresWriteLane(settings: settings, eventsExist: existingEvents, logger: logger)
        let app = try pool("DATABASE_URL", database: name, connections: 8)
        let admin = try pool("DATABASE_ADMIN_URL", database: name, connections: 2)
        readLane.start()
        writeLane.start()
        app.start()
        admin.start()
        let database = AuditDatabase(
            tenants: TenantDatabase(readLane: readLane, writeLane: writeLane, pool: app), app: app, admin: admin,
            sequencerSettings: PostgresSettings(conninfo: try conninfo("DATABASE_SEQUENCER_URL", database: name)))
        let result: Result<Value, any Error>
        do { result = .success(try await body(database)) } catch { result = .failure(error) }
        await readLane.shutdown()
        await writeLane.shutdown()
        await app.shutdown()
        await admin.shutdown()
        return try result.get()
    }

    private static func pool(_ variable: String, database: String? = nil, connections: Int) throws -> PostgresPool {
        var settings = PostgresSettings(conninfo: try conninfo(variable, database: database))
        settings.pinnedConnections = connections
        settings.answerDeadline = .seconds(20)
        return PostgresPool(settings: settings, logger: logger)
    }

    /// The connection string of a variable, for another database of the same server. libpq lets the last word win.
    private static func conninfo(_ variable: String, database: String?) throws -> String {
        guard let value = ProcessInfo.processInfo.environment[variable], !value.isEmpty else {
            throw Missing(name: variable)
        }
        guard let database else { return value }
        guard value.contains("://") else { return "\(value) dbname=\(database)" }
        return value + (value.contains("?") ? "&" : "?") + "dbname=\(database)"
    }

    static let logger = Logger(label: "audit-tests") { _ in SwiftLogNoOpLogHandler() }

    /// Runs sequencers while `body` runs.
    func sequencing<Value: Sendable>(
        by count: Int = 1, _ body: @Sendable ([Sequencer]) async throws -> Value
    ) async throws -> Value {
        let sequencers = (0..<count).map { _ in Sequencer(settings: sequencerSettings, logger: Self.logger) }
        return try await withThrowingTaskGroup(of: Void.self) { group in
            for sequencer in sequencers { group.addTask { try await sequencer.run() } }
            let value = try await body(sequencers)
            group.cancelAll()
            try await group.waitForAll()
            return value
        }
    }

    /// Waits until no event of these organizations is in the outbox.
    func drained(_ organizations: [OrganizationID], within limit: Duration = .seconds(60)) async throws -> Bool {
        let deadline = ContinuousClock.now + limit
        let ids = organizations.map(\.uuid)
        while .now < deadline {
            let left = try await admin.withConnection {
                try await $0.query("SELECT FROM audit_outbox WHERE organization_id = ANY(\(ids)) LIMIT 1")
            }
            if left.isEmpty { return true }
            try await Task.sleep(for: .milliseconds(50))
        }
        return false
    }

    /// Gives the waiting events of these organizations their places. - Returns: whether all got one.
    func sequence(_ organizations: [OrganizationID]) async throws -> Bool {
        try await sequencing { _ in try await drained(organizations) }
    }

    func log(of organization: OrganizationID) async throws -> [AuditLog.Entry] {
        let log = AuditLog(database: tenants)
        var entries: [AuditLog.Entry] = []
        while true {
            let page = try await log.events(of: organization, after: entries.last?.seq, limit: 500)
            entries += page
            if page.count < 500 { return entries }
        }
    }

    static func organization() -> OrganizationID { .make(at: Date(), .system) }

    static func organization(inShard shard: UInt8) -> OrganizationID {
        while true {
            let organization = organization()
            if organization.uuid.bytes[15] % 16 == shard { return organization }
        }
    }

    static func event(
        _ organization: OrganizationID, _ type: AuditEventType = .tokenIssued, actor: String = "usr_1",
        target: String = "res_1", at now: Date = Date()
    ) -> OutboxEvent {
        AuditEvent(
            type, organization: organization, id: .make(at: now, .system), time: now,
            actor: .init(kind: .user, id: actor, email: "person@example.test"),
            targets: [.init(type: "resource", id: target, name: "Résumé 😀")], client: "cli_1",
            scopes: ["read"],
            request: .init(id: .make(at: now, .system), method: "POST", route: "/oauth/token", ip: "192.0.2.1")
        ).outboxEvent(.system)
    }

    static func setting(_ organization: OrganizationID) -> PostgresLocalSettings {
        [("app.organization_id", organization.uuid.uuidString)]
    }
}
