import Foundation
import Logging
import Postgres
import Testing

extension Tag {
    @Tag static var race: Self
    @Tag static var failure: Self
}

/// Nothing is logged: lost connections are what many of these tests are about.
let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// A database of its own on the server of `DATABASE_ADMIN_URL`, dropped at the end.
struct ScratchDatabase: Sendable {
    let name: String
    /// As the superuser.
    let conninfo: String

    struct Missing: Error, CustomStringConvertible {
        let description = "DATABASE_ADMIN_URL is not set: run ./ops/test, which starts the servers that tests need"
    }

    static func adminConninfo() throws -> String {
        guard let url = ProcessInfo.processInfo.environment["DATABASE_ADMIN_URL"], !url.isEmpty else { throw Missing() }
        return url
    }

    /// The superuser's connection string with another database, and perhaps another role.
    static func conninfo(_ admin: String, database: String, role: String? = nil, password: String? = nil) -> String {
        if var components = URLComponents(string: admin), let scheme = components.scheme, scheme.hasPrefix("postgres") {
            components.path = "/" + database
            if let role { components.user = role }
            if let password { components.password = password }
            return components.string ?? admin
        }
        return admin + " dbname=\(database)" + (role.map { " user=\($0)" } ?? "")
            + (password.map { " password=\($0)" } ?? "")
    }

    static func with(
        admin: String? = nil, schema: String = "", _ body: @Sendable (ScratchDatabase) async throws -> Void
    ) async throws {
        let admin = try admin ?? adminConninfo()
        let name = "gatehouse_test_" + UUID().uuidString.lowercased().replacing("-", with: "")
        try await session(admin) { try await $0.script("CREATE DATABASE \(name)") }
        let database = ScratchDatabase(name: name, conninfo: conninfo(admin, database: name))
        let result: Result<Void, any Error>
        do {
            if !schema.isEmpty { try await session(database.conninfo) { try await $0.script(schema) } }
            result = .success(try await body(database))
        } catch {
            result = .failure(error)
        }
        try? await session(admin) { try await $0.script("DROP DATABASE \(name) WITH (FORCE)") }
        try result.get()
    }

    /// One connection for the length of the closure.
    @discardableResult
    static func session<T: Sendable>(
        _ conninfo: String, _ body: @Sendable (PostgresConnection) async throws -> T
    ) async throws -> T {
        var settings = PostgresSettings(conninfo: conninfo)
        settings.pinnedConnections = 1
        settings.answerDeadline = .seconds(10)
        return try await withPool(settings) { pool in
            try await pool.withConnection(statementTimeout: .seconds(30), body)
        }
    }

    func session<T: Sendable>(_ body: @Sendable (PostgresConnection) async throws -> T) async throws -> T {
        try await Self.session(conninfo, body)
    }

    var settings: PostgresSettings { PostgresSettings(conninfo: conninfo) }
}

func withPool<T: Sendable>(
    _ settings: PostgresSettings, eventsExist: EventQuestion? = nil,
    _ body: @Sendable (PostgresPool) async throws -> T
) async throws -> T {
    let pool = PostgresPool(settings: settings, eventsExist: eventsExist, logger: quiet)
    pool.start()
    let result: Result<T, any Error>
    do { result = .success(try await body(pool)) } catch { result = .failure(error) }
    await pool.shutdown(within: .seconds(1))
    return try result.get()
}

func withReadLane<T: Sendable>(
    _ settings: PostgresSettings, _ body: @Sendable (PostgresReadLane) async throws -> T
) async throws -> T {
    let lane = PostgresReadLane(settings: settings, logger: quiet)
    lane.start()
    let result: Result<T, any Error>
    do { result = .success(try await body(lane)) } catch { result = .failure(error) }
    await lane.shutdown(within: .seconds(1))
    return try result.get()
}

func withWriteLane<T: Sendable>(
    _ settings: PostgresSettings, _ body: @Sendable (PostgresWriteLane) async throws -> T
) async throws -> T {
    let lane = PostgresWriteLane(
        settings: settings,
        eventsExist: { "SELECT id FROM event WHERE organization_id = \($0) AND id = ANY (\($1))" }, logger: quiet)
    lane.start()
    let result: Result<T, any Error>
    do { result = .success(try await body(lane)) } catch { result = .failure(error) }
    await lane.shutdown(within: .seconds(1))
    return try result.get()
}

/// The error that `body` throws, of this room's kind.
func postgresError(_ body: () async throws -> Void) async -> PostgresError? {
    do {
        try await body()
        return nil
    } catch {
        return error as? PostgresError
    }
}

/// A PostgreSQL server of one test alone, which may stop and start it.
final class PrivateServer: Sendable {
    private let programs: String
    private let folder: String
    private let port: Int

    /// As the superuser, over a unix socket.
    var conninfo: String { "host=\(folder) port=\(port) user=postgres dbname=postgres connect_timeout=2" }

    /// Where the server's programs are; tests that need a server of their own are skipped without them.
    static let programs: String? = {
        let root = "/usr/lib/postgresql"
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
        return versions.sorted { (Int($0) ?? 0) > (Int($1) ?? 0) }.map { "\(root)/\($0)/bin" }
            .first { FileManager.default.isExecutableFile(atPath: $0 + "/initdb") }
    }()

    private init(programs: String) {
        self.programs = programs
        folder = "/tmp/gatehouse-pg-" + UUID().uuidString.prefix(8)
        port = Int.random(in: 20_000...29_999)
    }

    static func with(_ body: @Sendable (PrivateServer) async throws -> Void) async throws {
        let server = PrivateServer(programs: try #require(Self.programs))
        try await server.run("mkdir", "-p", server.folder)
        try await server.run(
            server.programs + "/initdb", "-D", server.folder + "/data", "-U", "postgres", "-A", "trust", "-E", "UTF8",
            "--no-sync")
        try await server.start()
        let result: Result<Void, any Error>
        do { result = .success(try await body(server)) } catch { result = .failure(error) }
        try? await server.stop("immediate")
        try? await server.run("rm", "-rf", server.folder)
        try result.get()
    }

    func start() async throws {
        let options = "-p \(port) -c listen_addresses='' -c unix_socket_directories=\(folder) -c max_connections=120"
        try await run(
            programs + "/pg_ctl", "-D", folder + "/data", "-w", "-l", folder + "/log", "-o", options, "start")
    }

    func stop(_ mode: String) async throws {
        try await run(programs + "/pg_ctl", "-D", folder + "/data", "-w", "-m", mode, "stop")
    }

    /// Has every connection over the socket ask for a password.
    func requirePasswords() async throws {
        try await run("sh", "-c", "echo 'local all all scram-sha-256' > \(folder)/data/pg_hba.conf")
        try await run(programs + "/pg_ctl", "-D", folder + "/data", "reload")
    }

    struct Failed: Error {
        let command: String
    }

    /// Runs a command as a user the server accepts (it refuses root) and waits for its end on a thread of its own.
    ///
    /// By posix_spawn: Foundation's `Process` also waits for the daemon that pg_ctl leaves behind.
    private func run(_ command: String...) async throws {
        let asPostgres = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        let quoted = ((getuid() == 0 ? asPostgres : []) + command)
            .map { "'" + $0.replacing("'", with: "'\\''") + "'" }.joined(separator: " ")
        let script = "cd /tmp && exec \(quoted) </dev/null >/dev/null 2>&1"
        let status = await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                var arguments: [UnsafeMutablePointer<CChar>?] = [strdup("sh"), strdup("-c"), strdup(script), nil]
                defer { arguments.forEach { free($0) } }
                var child = pid_t()
                var status: Int32 = -1
                if posix_spawn(&child, "/bin/sh", nil, nil, &arguments, environ) == 0 { waitpid(child, &status, 0) }
                continuation.resume(returning: status)
            }
        }
        guard status == 0 else { throw Failed(command: command.joined(separator: " ")) }
    }
}
