import Foundation
import Postgres
import Synchronization
import Testing

@Suite("Transactions")
struct TransactionTests {
    private struct Refused: Error {}

    private static let schema =
        "CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL);"
        + "INSERT INTO account VALUES (1, 0), (2, 0); CREATE TABLE event (organization_id uuid, id uuid PRIMARY KEY)"

    @Test("a transaction commits when its closure returns and leaves nothing when it throws")
    func commitAndRollBack() async throws {
        try await ScratchDatabase.with(schema: Self.schema) { database in
            try await withPool(database.settings) { pool in
                let changed = try await pool.transaction {
                    try await $0.execute("UPDATE account SET balance = \(Int32(5))")
                }
                #expect(changed == 2)
                await #expect(throws: Refused.self) {
                    try await pool.transaction { transaction in
                        try await transaction.execute("DELETE FROM account")
                        throw Refused()
                    }
                }
                let rows = try await pool.transaction { try await $0.query("SELECT balance FROM account") }
                #expect(try rows.map { try $0.decode("balance", as: Int.self) } == [5, 5])
            }
        }
    }

    @Test("an error that the closure swallows still fails the transaction, since its COMMIT would be a ROLLBACK")
    func swallowedError() async throws {
        try await ScratchDatabase.with(schema: Self.schema) { database in
            try await withPool(database.settings) { pool in
                let error = await postgresError {
                    try await pool.transaction { transaction in
                        try await transaction.execute("UPDATE account SET balance = 9")
                        _ = try? await transaction.query("SELECT 1 / 0")
                    }
                }
                #expect(error?.sqlState == "22012")
                let rows = try await pool.transaction { try await $0.query("SELECT 1 FROM account WHERE balance = 9") }
                #expect(rows.isEmpty)
            }
        }
    }

    @Test("a settings value holds through the transaction and is gone for the next borrower")
    func settings() async throws {
        try await ScratchDatabase.with { database in
            var settings = database.settings
            settings.pinnedConnections = 1
            try await withPool(settings) { pool in
                let read: SQL = "SELECT coalesce(current_setting('app.organization_id', true), '') AS v"
                let seen = try await pool.transaction(settings: [("app.organization_id", "here")]) { transaction in
                    _ = try await transaction.query("SELECT 1")
                    return try await transaction.query(read).first?.decode("v", as: String.self)
                }
                #expect(seen == "here")
                let later = try await pool.transaction { try await $0.query(read).first?.decode("v", as: String.self) }
                #expect(later == "")
            }
        }
    }

    @Test("serialization failures run the whole closure again until it commits", .tags(.race))
    func serialization() async throws {
        try await ScratchDatabase.with(schema: Self.schema) { database in
            try await withPool(database.settings) { pool in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for _ in 0..<4 {
                        group.addTask {
                            for _ in 0..<5 {
                                try await pool.transaction(isolation: .serializable, maxAttempts: 100) { transaction in
                                    let rows = try await transaction.query("SELECT balance FROM account WHERE id = 1")
                                    let balance: Int32 = try #require(rows.first).decode("balance")
                                    try await transaction.execute(
                                        "UPDATE account SET balance = \(balance + 1) WHERE id = 1")
                                }
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                let rows = try await pool.transaction { try await $0.query("SELECT balance FROM account WHERE id = 1") }
                #expect(try rows.first?.decode("balance") == 20)
                #expect(pool.counters.retries > 0)
                // The bound holds too.
                let attempts = Counter()
                let error = await postgresError {
                    _ = try await pool.transaction(maxAttempts: 2) { transaction in
                        attempts.advance()
                        try await transaction.execute("DO $do$ BEGIN RAISE SQLSTATE '40001'; END $do$")
                    }
                }
                #expect(error?.sqlState == "40001")
                #expect(attempts.value == 2)
            }
        }
    }

    @Test("deadlocked transactions both end well", .tags(.race))
    func deadlock() async throws {
        try await ScratchDatabase.with(schema: Self.schema) { database in
            var settings = database.settings
            settings.pinnedLockTimeout = .seconds(3)
            settings.pinnedStatementTimeout = .seconds(5)
            try await withPool(settings) { pool in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for (first, second) in [(1, 2), (2, 1)] {
                        group.addTask {
                            try await pool.transaction { transaction in
                                try await transaction.execute(
                                    "UPDATE account SET balance = balance + 1 WHERE id = \(first)")
                                try await Task.sleep(for: .milliseconds(50))
                                try await transaction.execute(
                                    "UPDATE account SET balance = balance + 1 WHERE id = \(second)")
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                let rows = try await pool.transaction { try await $0.query("SELECT balance FROM account") }
                #expect(try rows.map { try $0.decode("balance", as: Int.self) } == [2, 2])
            }
        }
    }

    @Test("a connection killed before the COMMIT is replaced and the closure runs again", .tags(.failure))
    func killedBeforeCommit() async throws {
        try await ScratchDatabase.with(schema: Self.schema) { database in
            try await withPool(database.settings) { pool in
                let attempts = Counter()
                try await pool.transaction { transaction in
                    try await transaction.execute("UPDATE account SET balance = balance + 1")
                    if attempts.advance() == 1 {
                        try await transaction.execute("SELECT pg_terminate_backend(pg_backend_pid())")
                    }
                }
                #expect(attempts.value == 2)
                let rows = try await pool.transaction { try await $0.query("SELECT balance FROM account") }
                #expect(try rows.map { try $0.decode("balance", as: Int.self) } == [1, 1])
            }
        }
    }

    /// A deferred trigger ends the session inside COMMIT, so that its outcome is lost to the client.
    private static let killAtCommit = """
        CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $f$
        BEGIN
            IF (SELECT balance FROM account WHERE id = 2) = 0 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
            RETURN NULL;
        END $f$;
        CREATE CONSTRAINT TRIGGER die AFTER INSERT ON event DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION die();
        """

    @Test(
        "a lost COMMIT without proof is reported as unknown; with proof it is asked for, and done again if it never was",
        .tags(.failure))
    func lostCommit() async throws {
        try await ScratchDatabase.with(schema: Self.schema + ";" + Self.killAtCommit) { database in
            let exists: EventQuestion = { "SELECT id FROM event WHERE organization_id = \($0) AND id = ANY (\($1))" }
            try await withPool(database.settings, eventsExist: exists) { pool in
                let (organization, event) = (UUID(), UUID())
                let error = await postgresError {
                    _ = try await pool.transaction { transaction in
                        try await transaction.execute("INSERT INTO event VALUES (\(organization), \(event))")
                    }
                }
                #expect(error?.kind == .outcomeUnknown)

                let attempts = Counter()
                let proof = CommitProof(organization: organization, eventIDs: [event])
                try await pool.transaction(proof: proof) { transaction in
                    if attempts.advance() == 2 {
                        try await transaction.execute("UPDATE account SET balance = 1 WHERE id = 2")
                    }
                    try await transaction.execute("INSERT INTO event VALUES (\(organization), \(event))")
                }
                #expect(attempts.value == 2)
                let rows = try await pool.transaction { try await $0.query("SELECT id FROM event") }
                #expect(try rows.map { try $0.decode("id", as: UUID.self) } == [event])
            }
        }
    }

    @Test("a cancelled task rolls back, gives its connection back, and its COMMIT is not cancelled")
    func cancellation() async throws {
        try await ScratchDatabase.with(schema: Self.schema) { database in
            var settings = database.settings
            settings.pinnedConnections = 1
            try await withPool(settings) { pool in
                let updates = Counter()
                let task = Task {
                    try await pool.transaction { transaction in
                        try await transaction.execute("UPDATE account SET balance = 3")
                        updates.advance()
                        try await Task.sleep(for: .seconds(10))
                    }
                }
                while updates.value == 0 { try await Task.sleep(for: .milliseconds(5)) }
                task.cancel()
                await #expect(throws: CancellationError.self) { try await task.value }
                let rows = try await pool.transaction { try await $0.query("SELECT 1 FROM account WHERE balance = 3") }
                #expect(rows.isEmpty)
                let committed = Task {
                    try await pool.transaction { transaction in
                        try await transaction.execute("UPDATE account SET balance = 4")
                        withUnsafeCurrentTask { $0?.cancel() }
                    }
                }
                try await committed.value
                let after = try await pool.transaction { try await $0.query("SELECT 1 FROM account WHERE balance = 4") }
                #expect(after.count == 2)
            }
        }
    }

    @Test("session work: scripts of many statements, advisory locks released at its end, nothing left behind")
    func sessions() async throws {
        try await ScratchDatabase.with { database in
            var settings = database.settings
            settings.pinnedConnections = 2
            try await withPool(settings) { pool in
                for round in 0..<3 {
                    try await pool.withConnection { connection in
                        let rows = try await connection.query("SELECT pg_try_advisory_lock(42) AS got")
                        #expect(try rows.first?.decode("got") == true, "round \(round)")
                        try await connection.script(
                            "CREATE TABLE IF NOT EXISTS s (v text); INSERT INTO s VALUES ('a;b'); SET search_path = nowhere"
                        )
                        let error = await postgresError {
                            try await connection.script("SELECT 1; SELECT 1/0; SELECT 2")
                        }
                        #expect(error?.sqlState == "22012")
                        #expect(try await connection.query("SELECT 1 AS v").count == 1)
                    }
                }
                let count = try await pool.transaction { try await $0.query("SELECT v FROM s").count }
                #expect(count == 3)
            }
        }
    }
}

/// Counts across the runs of a closure.
private final class Counter: Sendable {
    private let count = Mutex(0)
    var value: Int { count.withLock { $0 } }

    @discardableResult
    func advance() -> Int {
        count.withLock { count in
            count += 1
            return count
        }
    }
}
