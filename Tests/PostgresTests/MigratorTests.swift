import Foundation
import Postgres
import Testing

@Suite("Migrations")
struct MigratorTests {
    /// A directory of SQL files for the length of the closure.
    private func withDirectory(_ files: [String: String], _ body: (String) async throws -> Void) async throws {
        let path = FileManager.default.temporaryDirectory.path + "/migrations-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        for (name, text) in files { try put(text, path, name) }
        defer { try? FileManager.default.removeItem(atPath: path) }
        try await body(path)
    }

    private func put(_ text: String, _ directory: String, _ name: String) throws {
        try text.write(toFile: directory + "/" + name, atomically: true, encoding: .utf8)
    }

    private func refusal(_ migrator: Migrator) async -> String? {
        do {
            _ = try await migrator.migrate()
            return nil
        } catch {
            return "\(error)"
        }
    }

    private static let files = [
        "0001_first.sql": "CREATE TABLE first (id int);\nINSERT INTO first VALUES (1);\n",
        "0002_index.sql":
            "-- Alone.\n-- transaction: none\nCREATE INDEX CONCURRENTLY IF NOT EXISTS first_id ON first (id);\n",
        "0003_second.sql": "CREATE TABLE second (id int);",
    ]

    @Test("files are applied once, in order; a dry listing changes nothing")
    func applied() async throws {
        try await ScratchDatabase.with { database in
            try await withDirectory(Self.files) { directory in
                let migrator = Migrator(directory: directory, conninfo: database.conninfo, logger: quiet)
                #expect(try await migrator.pending().map(\.version) == [1, 2, 3])
                #expect(try await migrator.migrate().map(\.fileName) == Self.files.keys.sorted())
                #expect(try await migrator.pending().isEmpty)
                #expect(try await migrator.migrate().isEmpty)
                try await withReadLane(database.settings) { lane in
                    let state = try await migrator.state(over: lane)
                    #expect(state.databaseVersion == 3 && state.directoryVersion == 3 && state.isServable)
                    #expect(try await lane.query("SELECT id FROM first").count == 1)
                }
                try put("CREATE TABLE fourth (id int)", directory, "0004_fourth.sql")
                try await withReadLane(database.settings) { lane in
                    let state = try await migrator.state(over: lane)
                    #expect(!state.isServable)
                }
                #expect(try await migrator.migrate().map(\.version) == [4])
            }
        }
    }

    @Test("an empty database has version 0")
    func empty() async throws {
        try await ScratchDatabase.with { database in
            try await withDirectory(Self.files) { directory in
                let migrator = Migrator(directory: directory, conninfo: database.conninfo, logger: quiet)
                try await withReadLane(database.settings) { lane in
                    let state = try await migrator.state(over: lane)
                    #expect(state.databaseVersion == 0 && !state.isServable)
                }
            }
        }
    }

    @Test("a changed, removed or renamed old file is an error that names it")
    func changed() async throws {
        try await ScratchDatabase.with { database in
            try await withDirectory(Self.files) { directory in
                let migrator = Migrator(directory: directory, conninfo: database.conninfo, logger: quiet)
                _ = try await migrator.migrate()
                try put("CREATE TABLE first (id bigint);", directory, "0001_first.sql")
                #expect(
                    await refusal(migrator)?.contains(
                        "0001_first.sql was applied to this database and has been changed") == true)
                try put(Self.files["0001_first.sql"] ?? "", directory, "0001_first.sql")
                #expect(await refusal(migrator) == nil)
                try FileManager.default.removeItem(atPath: directory + "/0003_second.sql")
                #expect(await refusal(migrator)?.contains("0003_second.sql was applied") == true)
                #expect(await refusal(migrator)?.contains("not in the directory") == true)
            }
        }
    }

    @Test("gaps, numbers used twice and other names are errors before anything is applied")
    func badDirectories() async throws {
        try await ScratchDatabase.with { database in
            for (files, complaint) in [
                (["0001_a.sql": "SELECT 1", "0003_c.sql": "SELECT 1"], "migration 2 is missing before 0003_c.sql"),
                (["0001_a.sql": "SELECT 1", "0001_b.sql": "SELECT 1"], "migration 2 is missing before 0001_b.sql"),
                (["first.sql": "SELECT 1"], "first.sql is not named NNNN_name.sql"),
            ] {
                try await withDirectory(files) { directory in
                    let migrator = Migrator(directory: directory, conninfo: database.conninfo, logger: quiet)
                    #expect(await refusal(migrator) == complaint)
                }
            }
            let table = try await database.session {
                try await $0.query("SELECT to_regclass('schema_migration')::text AS t")
            }
            #expect(try table.first?.decode("t", as: String?.self) == nil)
        }
    }

    @Test("a failing file leaves nothing of itself and the ones before it stay")
    func failing() async throws {
        try await ScratchDatabase.with { database in
            let files = Self.files.merging(["0004_bad.sql": "CREATE TABLE third (id int); SELECT nonsense;"]) { $1 }
            try await withDirectory(files) { directory in
                let migrator = Migrator(directory: directory, conninfo: database.conninfo, logger: quiet)
                let complaint = await refusal(migrator)
                #expect(complaint?.hasPrefix("0004_bad.sql failed") == true)
                #expect(complaint?.contains("42703") == true && complaint?.contains("nonsense") == true)
                let third = try await database.session { try await $0.query("SELECT to_regclass('third')::text AS t") }
                #expect(try third.first?.decode("t", as: String?.self) == nil)
                #expect(try await migrator.pending().map(\.version) == [4])
                try put("CREATE TABLE third (id int); COMMIT; CREATE TABLE fifth (id int)", directory, "0004_bad.sql")
                #expect(await refusal(migrator)?.contains("ends its transaction itself") == true)
            }
        }
    }

    @Test("two migrators at once apply each file once", .tags(.race))
    func concurrent() async throws {
        try await ScratchDatabase.with { database in
            try await withDirectory(Self.files) { directory in
                let migrator = Migrator(directory: directory, conninfo: database.conninfo, logger: quiet)
                let counts = try await withThrowingTaskGroup(of: Int.self) { group in
                    for _ in 0..<3 { group.addTask { try await migrator.migrate().count } }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                #expect(counts.sorted() == [0, 0, 3])
            }
        }
    }

    @Test(
        "roles are made once, kept apart, with the passwords given, and own what they should",
        .enabled(if: PrivateServer.programs != nil))
    func roles() async throws {
        try await PrivateServer.with { server in
            try await ScratchDatabase.with(admin: server.conninfo) { database in
                let passwords: [DatabaseRole: String] = [.owner: "o'w\"n", .app: "app secret", .sequencer: "seq"]
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for _ in 0..<3 {
                        group.addTask {
                            try await DatabaseRole.create(
                                conninfo: database.conninfo, passwords: passwords, logger: quiet)
                        }
                    }
                    try await group.waitForAll()
                }
                try await database.session { connection in
                    try await connection.script(
                        "GRANT gatehouse_owner TO gatehouse_app; ALTER ROLE gatehouse_sequencer BYPASSRLS")
                    try await connection.script("ALTER ROLE postgres PASSWORD 'admin'")
                }
                try await DatabaseRole.create(conninfo: database.conninfo, passwords: passwords, logger: quiet)
                let rows = try await database.session { connection in
                    try await connection.query(
                        """
                        SELECT rolname::text AS name, rolcanlogin AND NOT (rolsuper OR rolbypassrls) AS fits,
                               EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid) AS is_member
                          FROM pg_roles r WHERE rolname LIKE 'gatehouse%' ORDER BY 1
                        """)
                }
                #expect(
                    try rows.map { try $0.decode("name", as: String.self) }
                        == ["gatehouse_app", "gatehouse_owner", "gatehouse_sequencer"])
                for row in rows {
                    #expect(try row.decode("fits") == true)
                    #expect(try row.decode("is_member") == false)
                }

                try await server.requirePasswords()
                func conninfo(_ role: DatabaseRole, _ password: String) -> String {
                    let quoted = password.replacing("'", with: "\\'")
                    return database.conninfo + " user=\(role.rawValue) password='\(quoted)'"
                }
                try await withDirectory(Self.files) { directory in
                    let migrator = Migrator(
                        directory: directory, conninfo: conninfo(.owner, "o'w\"n"), logger: quiet)
                    #expect(try await migrator.migrate().count == 3)
                    try await withReadLane(PostgresSettings(conninfo: conninfo(.app, "app secret"))) { lane in
                        let state = try await migrator.state(over: lane)
                        #expect(state.isServable)
                        let refused = await postgresError { _ = try await lane.query("SELECT id FROM first") }
                        #expect(refused?.sqlState == "42501")
                    }
                    try await withPool(PostgresSettings(conninfo: conninfo(.app, "app secret"))) { pool in
                        let refused = await postgresError {
                            _ = try await pool.transaction { try await $0.execute("CREATE TABLE mine (id int)") }
                        }
                        #expect(refused?.sqlState == "42501")
                    }
                }
                var wrong = PostgresSettings(conninfo: conninfo(.app, "wrong"))
                wrong.answerDeadline = .milliseconds(500)
                try await withReadLane(wrong) { lane in
                    #expect(await postgresError { _ = try await lane.query("SELECT 1") }?.kind == .unavailable)
                }
                // The scratch database is dropped by the superuser, who must now show a password, too.
                try await ScratchDatabase.session(server.conninfo + " password=admin") { connection in
                    try await connection.script("DROP DATABASE \(database.name) WITH (FORCE)")
                }
            }
        }
    }
}
