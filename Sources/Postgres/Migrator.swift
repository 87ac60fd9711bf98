import Crypto
import Foundation
package import Logging

/// Brings a database to the schema of a directory of SQL files, forward only.
///
/// Files are `NNNN_name.sql`, numbered from 0001 without gaps. Each runs in a transaction together with its row in
/// `schema_migration`. A file whose first lines hold `-- transaction: none` is one statement that may not run in a
/// transaction; it must be safe to run again, because a crash can come between it and its row. Runs as the owner of the
/// schema, under a session advisory lock, with a `lock_timeout` of 2 s so that serving nodes never queue behind it.
package struct Migrator: Sendable {
    /// One file of the directory.
    package struct Migration: Sendable, Equatable {
        package let version: Int
        /// The whole file name, such as `0001_tenant.sql`.
        package let fileName: String
        package let sha256: [UInt8]
        package let runsInTransaction: Bool
        let text: String
    }

    /// How a database stands to a directory.
    package struct SchemaState: Sendable, Equatable {
        /// The newest migration of the database; 0 when there is none.
        package let databaseVersion: Int
        /// The newest migration of the directory.
        package let directoryVersion: Int

        /// Whether a program built with the directory may serve. A newer schema is allowed: migrations are safe while
        /// the previous release runs.
        package var isServable: Bool { databaseVersion >= directoryVersion }
    }

    private let directory: String
    private let settings: PostgresSettings
    private let logger: Logger

    /// - Parameter conninfo: of the schema's owner.
    package init(directory: String, conninfo: String, logger: Logger) {
        self.directory = directory
        self.logger = logger
        var settings = PostgresSettings(conninfo: conninfo)
        settings.applicationName = "gatehouse migrate"
        settings.pinnedConnections = 1
        settings.pinnedLockTimeout = .seconds(2)
        settings.answerDeadline = .seconds(10)
        self.settings = settings
    }

    /// "gatehouse" in ASCII, cut to eight bytes: one migrator at a time in one database.
    private static let lockKey: Int64 = 0x6761_7465_686f_7573
    private static let lockPatience: Duration = .seconds(60)

    // MARK: Doors

    /// Applies what is missing, in order. - Returns: the migrations applied by this call.
    /// - Throws: ``MigrationError``; ``PostgresError`` when the database cannot be reached.
    package func migrate() async throws -> [Migration] {
        let files = try readDirectory()
        return try await withSession { connection in
            try await lock(connection)
            try await connection.script(
                """
                CREATE TABLE IF NOT EXISTS schema_migration (
                    version integer PRIMARY KEY,
                    name text NOT NULL,
                    sha256 bytea NOT NULL,
                    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
                );
                GRANT SELECT ON schema_migration TO PUBLIC
                """)
            let pending = try Self.pending(files, after: try await Self.applied(connection))
            for migration in pending {
                logger.info("applying migration", metadata: ["file": "\(migration.fileName)"])
                try await apply(migration, on: connection)
            }
            return pending
        }
    }

    /// What ``migrate()`` would apply; changes nothing.
    package func pending() async throws -> [Migration] {
        let files = try readDirectory()
        return try await withSession { connection in
            let isFresh = try await connection.query("SELECT to_regclass('schema_migration') IS NULL AS fresh")
            if try isFresh.first?.decode("fresh") ?? true { return files }
            return try Self.pending(files, after: try await Self.applied(connection))
        }
    }

    /// How the database stands to the directory, asked over a serving role's connection.
    package func state(over lane: PostgresReadLane) async throws -> SchemaState {
        let files = try readDirectory()
        var version = 0
        do {
            let rows = try await lane.query("SELECT coalesce(max(version), 0) AS version FROM schema_migration")
            version = try rows.first?.decode("version") ?? 0
        } catch {
            // No such table: nothing was ever migrated.
            guard error.sqlState == "42P01" else { throw error }
        }
        return SchemaState(databaseVersion: version, directoryVersion: files.last?.version ?? 0)
    }

    // MARK: The directory

    /// The files in order. - Throws: ``MigrationError`` for a name that does not fit, a gap or a number used twice.
    package func readDirectory() throws -> [Migration] {
        let names: [String]
        do {
            names = try FileManager.default.contentsOfDirectory(atPath: directory)
                .filter { $0.hasSuffix(".sql") }.sorted()
        } catch {
            throw MigrationError.unreadable(directory)
        }
        var migrations: [Migration] = []
        for name in names {
            let number = name.prefix(4)
            guard name.count > 9, name.dropFirst(4).first == "_",
                number.utf8.allSatisfy({ PostgresText.digit($0) != nil }), let version = Int(number)
            else { throw MigrationError.badName(name) }
            guard version == migrations.count + 1 else {
                throw MigrationError.gap(expected: migrations.count + 1, found: name)
            }
            guard let data = FileManager.default.contents(atPath: directory + "/" + name),
                let text = String(data: data, encoding: .utf8)
            else { throw MigrationError.unreadable(name) }
            migrations.append(
                Migration(
                    version: version, fileName: name, sha256: Array(SHA256.hash(data: data)),
                    runsInTransaction: !Self.header(of: text).contains("-- transaction: none"), text: text))
        }
        return migrations
    }

    /// The comment lines a file begins with.
    private static func header(of text: String) -> [String] {
        text.split(separator: "\n", omittingEmptySubsequences: false).lazy
            .map { $0.trimmingCharacters(in: .whitespaces) }.prefix { $0.hasPrefix("--") || $0.isEmpty }
    }

    // MARK: The database

    private struct Applied: Sendable {
        let version: Int
        let name: String
        let sha256: [UInt8]
    }

    private static func applied(_ connection: PostgresConnection) async throws -> [Applied] {
        try await connection.query("SELECT version, name, sha256 FROM schema_migration ORDER BY version").map { row in
            Applied(
                version: try row.decode("version"), name: try row.decode("name"), sha256: try row.decode("sha256"))
        }
    }

    /// The files not applied yet, once everything applied is known to be unchanged.
    private static func pending(_ files: [Migration], after applied: [Applied]) throws -> [Migration] {
        for (index, row) in applied.enumerated() {
            guard row.version == index + 1 else { throw MigrationError.gap(expected: index + 1, found: row.name) }
            guard index < files.count else { throw MigrationError.missingFile(row.name) }
            let file = files[index]
            guard file.fileName == row.name else { throw MigrationError.missingFile(row.name) }
            guard file.sha256 == row.sha256 else { throw MigrationError.changedFile(row.name) }
        }
        return Array(files.dropFirst(applied.count))
    }

    private func apply(_ migration: Migration, on connection: PostgresConnection) async throws {
        do {
            if migration.runsInTransaction {
                try await connection.script("BEGIN")
                try await connection.execute("SELECT set_config('gatehouse.migration', \(migration.fileName), true)")
                try await connection.script(migration.text)
                let rows = try await connection.query("SELECT current_setting('gatehouse.migration', true) AS mark")
                // The local setting is gone if the file ended the transaction itself.
                guard try rows.first?.decode("mark", as: String?.self) == migration.fileName else {
                    throw MigrationError.endsTransaction(migration.fileName)
                }
                try await record(migration, on: connection)
                try await connection.script("COMMIT")
            } else {
                try await connection.script(migration.text)
                try await record(migration, on: connection)
            }
        } catch let error as PostgresError {
            throw MigrationError.failed(migration.fileName, error)
        }
    }

    private func record(_ migration: Migration, on connection: PostgresConnection) async throws {
        try await connection.execute(
            """
            INSERT INTO schema_migration (version, name, sha256)
            VALUES (\(migration.version), \(migration.fileName), \(migration.sha256))
            """)
    }

    /// Waits its turn without holding a place in the lock's queue.
    private func lock(_ connection: PostgresConnection) async throws {
        let deadline = ContinuousClock.now + Self.lockPatience
        while true {
            let rows = try await connection.query("SELECT pg_try_advisory_lock(\(Self.lockKey)) AS locked")
            if try rows.first?.decode("locked") ?? false { return }
            guard .now < deadline else { throw MigrationError.busy }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    private func withSession<T: Sendable>(
        _ body: @Sendable (PostgresConnection) async throws -> T
    ) async throws -> T {
        let pool = PostgresPool(settings: settings, logger: logger)
        pool.start()
        let result: Result<T, any Error>
        do {
            result = .success(try await pool.withConnection(statementTimeout: nil, body))
        } catch {
            result = .failure(error)
        }
        await pool.shutdown(within: .zero)
        return try result.get()
    }
}

/// Why a migration was not carried out. Each case names the file to look at.
package enum MigrationError: Error, CustomStringConvertible {
    case unreadable(String)
    case badName(String)
    case gap(expected: Int, found: String)
    /// It was applied before, and is not in the directory any more.
    case missingFile(String)
    /// It was applied before, and its content is another now.
    case changedFile(String)
    case endsTransaction(String)
    /// Another migrator is at work.
    case busy
    case failed(String, PostgresError)

    package var description: String {
        switch self {
        case .unreadable(let name): "\(name) cannot be read as a UTF-8 file"
        case .badName(let name): "\(name) is not named NNNN_name.sql"
        case .gap(let expected, let found): "migration \(expected) is missing before \(found)"
        case .missingFile(let name): "\(name) was applied to this database but is not in the directory"
        case .changedFile(let name):
            "\(name) was applied to this database and has been changed since; add a new file instead"
        case .endsTransaction(let name):
            "\(name) ends its transaction itself; use '-- transaction: none' or remove that"
        case .busy: "another migration is running in this database"
        case .failed(let name, let error): "\(name) failed: \(String(reflecting: error))"
        }
    }
}
