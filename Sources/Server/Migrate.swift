import ArgumentParser
import Foundation
import Logging
import Postgres

/// `gatehouse migrate`
struct Migrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Bring the database to this program's schema.",
        discussion: """
            Runs as gatehouse_owner (DATABASE_OWNER_URL). Safe to repeat and to run from several places at once. With \
            --create-roles it first makes the roles gatehouse_owner, gatehouse_app and gatehouse_sequencer as a superuser \
            (DATABASE_ADMIN_URL, which names the same database), with the passwords found in DATABASE_OWNER_URL, DATABASE_URL \
            and DATABASE_SEQUENCER_URL where these are URLs, and gives the database to the owner.
            """)

    @OptionGroup var options: CommonOptions
    @OptionGroup var schema: MigrationOptions

    @Flag(help: "Make the three login roles first; needs DATABASE_ADMIN_URL.")
    var createRoles = false

    func run() async throws {
        let settings = try await reportingProblems {
            try await MigrationConfiguration.read(file: options.config, createsRoles: createRoles)
        }
        LoggingSystem.bootstrap { LineLogHandler(label: $0, format: .text, level: .warning) }
        let logger = Logger(label: "gatehouse")
        if let admin = settings.adminURL {
            try await DatabaseRole.create(conninfo: admin, passwords: settings.passwords, logger: logger)
            print("roles: gatehouse_owner, gatehouse_app, gatehouse_sequencer")
        }
        let migrator = Migrator(
            directory: try MigrationFolder.find(schema.migrations), conninfo: settings.ownerURL, logger: logger)
        let applied = try await migrator.migrate()
        for migration in applied { print("applied \(migration.fileName)") }
        if applied.isEmpty { print("the schema is up to date") }
    }
}

/// Where the migration files are.
enum MigrationFolder {
    /// The folder given, else `share/gatehouse/migrations` beside the executable's folder, else `migrations` here.
    ///
    /// - Throws: ``CommandFailure`` when there is none.
    static func find(_ given: String?) throws -> String {
        let executable = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        let installed = URL(filePath: executable).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "share/gatehouse/migrations").path
        for folder in given.map({ [$0] }) ?? [installed, "migrations"] {
            var isFolder: ObjCBool = false
            if FileManager.default.fileExists(atPath: folder, isDirectory: &isFolder), isFolder.boolValue {
                return folder
            }
        }
        throw CommandFailure(
            given.map { "There is no folder \($0)." }
                ?? "No migrations folder was found; name it with --migrations DIR.")
    }
}
