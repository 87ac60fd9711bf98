import Foundation
import Postgres
import Testing

/// Rows that writers change and the events that record it, all hidden from other organizations.
let ledgerSchema = """
    CREATE TABLE event (organization_id uuid NOT NULL, id uuid NOT NULL, note text, PRIMARY KEY (organization_id, id));
    CREATE TABLE ledger (
        organization_id uuid NOT NULL, id uuid NOT NULL, generation bigint NOT NULL DEFAULT 0 CHECK (generation < 1000000),
        PRIMARY KEY (organization_id, id));
    ALTER TABLE event ENABLE ROW LEVEL SECURITY;
    ALTER TABLE ledger ENABLE ROW LEVEL SECURITY;
    CREATE POLICY tenant ON event
        USING (organization_id = (SELECT nullif(current_setting('app.organization_id', true), '')::uuid));
    CREATE POLICY tenant ON ledger
        USING (organization_id = (SELECT nullif(current_setting('app.organization_id', true), '')::uuid));
    """

func tenant(_ organization: UUID) -> PostgresLocalSettings { [("app.organization_id", organization.uuidString)] }

/// Moves a ledger row from one generation to the next, with the event that says so.
func step(_ organization: UUID, _ id: UUID, from generation: Int, event: UUID = UUID()) -> WriteMember {
    WriteMember(
        orderKey: (organization, id), settings: tenant(organization),
        statement: """
            WITH change AS (
                UPDATE ledger SET generation = generation + 1
                 WHERE organization_id = \(organization) AND id = \(id) AND generation = \(generation)
                RETURNING organization_id, generation),
            event AS (
                INSERT INTO event (organization_id, id) SELECT organization_id, \(event) FROM change)
            SELECT generation FROM change
            """,
        eventID: event)
}

@Suite("Lanes")
struct LaneTests {
    @Test("the tenant setting lasts for its own statement alone")
    func settingsAreLocal() async throws {
        try await withReadLane(PostgresSettings(conninfo: try ScratchDatabase.adminConninfo())) { lane in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<200 {
                    group.addTask {
                        let organization = UUID()
                        let settings = number.isMultiple(of: 2) ? tenant(organization) : []
                        let rows = try await lane.query(
                            settings: settings,
                            "SELECT coalesce(current_setting('app.organization_id', true), '') AS tenant")
                        let seen: String = try #require(rows.first).decode("tenant")
                        #expect(seen == (number.isMultiple(of: 2) ? organization.uuidString : ""))
                    }
                }
                try await group.waitForAll()
            }
            let counters = lane.counters
            #expect(counters.statements >= 200)
            #expect(counters.retries == 0)
            #expect(counters.isReady && counters.queueDepth == 0)
        }
    }

    @Test("the read lane refuses to write, and a neighbour's error is its own")
    func readLaneErrors() async throws {
        try await ScratchDatabase.with(schema: ledgerSchema) { database in
            try await withReadLane(database.settings) { lane in
                let write = await postgresError { _ = try await lane.query("DELETE FROM event RETURNING id") }
                #expect(write?.kind == .server("25006"))
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for number in 0..<100 {
                        group.addTask {
                            if number % 7 == 3 {
                                let error = await postgresError { _ = try await lane.query("SELECT 1 / \(0) AS v") }
                                #expect(error?.sqlState == "22012")
                            } else if number % 7 == 5 {
                                let error = await postgresError { _ = try await lane.query("SELECT nothing \(number)") }
                                #expect(error?.sqlState == "42601")
                            } else {
                                let rows = try await lane.query("SELECT \(number) AS v")
                                #expect(try rows.first?.decode("v") == number)
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                #expect(abs(try await lane.clock().timeIntervalSinceNow) < 5)
            }
        }
    }

    @Test("a changed table does not break statements that were prepared before")
    func changedTable() async throws {
        try await ScratchDatabase.with(schema: "CREATE TABLE t (a int); INSERT INTO t VALUES (1)") { database in
            try await withReadLane(database.settings) { lane in
                func count() async throws -> Int { try await lane.query("TABLE t").count }
                for _ in 0..<20 { #expect(try await count() == 1) }
                try await database.session { try await $0.script("ALTER TABLE t ADD COLUMN b text DEFAULT 'x'") }
                for _ in 0..<20 { #expect(try await count() == 1) }
                try await database.session { try await $0.script("ALTER TABLE t ALTER COLUMN a TYPE text") }
                for _ in 0..<20 { #expect(try await count() == 1) }
            }
        }
    }

    @Test("of writers that race for one generation one wins and the others see no row", .tags(.race))
    func race() async throws {
        let (organization, id) = (UUID(), UUID())
        let schema = ledgerSchema + "INSERT INTO ledger VALUES ('\(organization)', '\(id)')"
        try await ScratchDatabase.with(schema: schema) { database in
            try await withWriteLane(database.settings) { left in
                try await withWriteLane(database.settings) { right in
                    for generation in 0..<20 {
                        let outcomes = try await withThrowingTaskGroup(of: Int.self) { group in
                            for writer in 0..<8 {
                                group.addTask {
                                    let lane = writer.isMultiple(of: 2) ? left : right
                                    switch try await lane.execute(step(organization, id, from: generation)) {
                                    case .rows(let rows): return rows.count
                                    case .recovered: return 100
                                    }
                                }
                            }
                            return try await group.reduce(into: []) { $0.append($1) }
                        }
                        #expect(outcomes.sorted() == [0, 0, 0, 0, 0, 0, 0, 1])
                    }
                }
            }
            let events: Int = try await database.session {
                try await $0.query("SELECT count(*) AS n FROM event").first?.decode("n") ?? 0
            }
            #expect(events == 20)
        }
    }

    @Test("a member that fails is alone in it: its neighbours of the batch commit exactly once")
    func poison() async throws {
        let organizations = [UUID(), UUID(), UUID()]
        try await ScratchDatabase.with(schema: ledgerSchema) { database in
            let written = try await withWriteLane(database.settings) { lane in
                let written = try await withThrowingTaskGroup(of: UUID?.self) { group in
                    for number in 0..<300 {
                        group.addTask {
                            let organization = organizations[number % 3]
                            let event = UUID()
                            let isPoison = number % 29 == 7
                            let member = WriteMember(
                                orderKey: (organization, event), settings: tenant(organization),
                                statement: """
                                    INSERT INTO event (organization_id, id, note)
                                    SELECT \(organization), \(event), (1 / \(isPoison ? 0 : 1))::text
                                     WHERE current_setting('app.organization_id') = \(organization.uuidString)
                                    RETURNING id
                                    """,
                                eventID: event)
                            if isPoison {
                                let error = await postgresError { _ = try await lane.execute(member) }
                                #expect(error?.sqlState == "22012")
                                return nil
                            }
                            guard case .rows(let rows) = try await lane.execute(member) else { return nil }
                            #expect(rows.count == 1)
                            return event
                        }
                    }
                    return try await group.reduce(into: Set<UUID>()) { set, event in if let event { set.insert(event) }
                    }
                }
                let counters = lane.counters
                #expect(counters.largestBatch > 1 && counters.largestBatch <= 64)
                #expect(counters.retries > 0)
                return written
            }
            #expect(written.count == 300 - (0..<300).count { $0 % 29 == 7 })
            let stored = try await database.session { connection in
                Set(try await connection.query("SELECT id FROM event").map { try $0.decode("id", as: UUID.self) })
            }
            #expect(stored == written)
        }
    }

    @Test("in a crowd members wait for each other; who comes alone has a batch of their own (design §6.1)")
    func company() async throws {
        try await ScratchDatabase.with(schema: ledgerSchema) { database in
            try await withWriteLane(database.settings) { lane in
                @Sendable func write() async throws {
                    let (organization, event) = (UUID(), UUID())
                    let member = WriteMember(
                        orderKey: (organization, event), settings: tenant(organization),
                        statement: "INSERT INTO event VALUES (\(organization), \(event))", eventID: event)
                    _ = try await lane.execute(member)
                }
                for _ in 0..<10 { try await write() }
                let alone = lane.counters
                #expect(alone.batches == 10 && alone.batchMembers == 10)
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for _ in 0..<32 { group.addTask { for _ in 0..<20 { try await write() } } }
                    try await group.waitForAll()
                }
                let crowd = lane.counters
                #expect(crowd.batchMembers - alone.batchMembers == 640)
                #expect(crowd.batches - alone.batches <= 160, "at least four to a commit")
                // The first of these may still wait for a crowd that is gone.
                for _ in 0..<5 { try await write() }
                #expect(lane.counters.batches - crowd.batches == 5)
            }
        }
    }

    @Test("a setting of one member never reaches its neighbour in the batch")
    func batchSettings() async throws {
        try await ScratchDatabase.with(schema: ledgerSchema) { database in
            try await withWriteLane(database.settings) { lane in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for number in 0..<120 {
                        group.addTask {
                            let (organization, event) = (UUID(), UUID())
                            let settings: PostgresLocalSettings =
                                number.isMultiple(of: 3) ? [] : tenant(organization) + [("app.other", "\(number)")]
                            let member = WriteMember(
                                orderKey: (organization, event), settings: settings,
                                statement: """
                                    INSERT INTO event VALUES (\(organization), \(event))
                                    RETURNING coalesce(current_setting('app.organization_id', true), '')
                                           || coalesce(current_setting('app.other', true), '') AS seen
                                    """,
                                eventID: event)
                            guard case .rows(let rows) = try await lane.execute(member) else { return }
                            let seen: String = try #require(rows.first).decode("seen")
                            #expect(seen == settings.map(\.value).joined())
                        }
                    }
                    try await group.waitForAll()
                }
            }
        }
    }

    @Test("a member held up by a lock is tried again and does not take its neighbours with it", .tags(.race))
    func lockedRow() async throws {
        let (organization, held, free) = (UUID(), UUID(), UUID())
        let schema =
            ledgerSchema + "INSERT INTO ledger VALUES ('\(organization)', '\(held)'), ('\(organization)', '\(free)')"
        try await ScratchDatabase.with(schema: schema) { database in
            try await withWriteLane(database.settings) { lane in
                try await withPool(database.settings) { pool in
                    let released = try await pool.transaction { transaction in
                        _ = try await transaction.query("SELECT 1 FROM ledger WHERE id = \(held) FOR UPDATE")
                        let blocked = Task { try await lane.execute(step(organization, held, from: 0)) }
                        let neighbour = Task { try await lane.execute(step(organization, free, from: 0)) }
                        guard case .rows(let rows) = try await neighbour.value else { return false }
                        #expect(rows.count == 1)
                        let error = await postgresError { _ = try await blocked.value }
                        #expect(error?.sqlState == "55P03")
                        return true
                    }
                    #expect(released)
                    guard case .rows(let rows) = try await lane.execute(step(organization, held, from: 0)) else {
                        return
                    }
                    #expect(rows.count == 1)
                }
            }
        }
    }

    @Test(
        "a full queue is answered at once, a missing server within two seconds, for everyone who waits", .tags(.failure)
    )
    func overloadAndAbsence() async throws {
        var settings = PostgresSettings(conninfo: "host=127.0.0.1 port=1 user=nobody dbname=none")
        settings.queueLimit = 10
        try await withReadLane(settings) { [settings] lane in
            try await withWriteLane(settings) { writer in
                try await withPool(settings) { pool in
                    let began = ContinuousClock.now
                    let kinds = await withTaskGroup(of: (PostgresError.Kind?, Duration).self) { group in
                        for number in 0..<60 {
                            group.addTask {
                                let began = ContinuousClock.now
                                let error = await postgresError {
                                    switch number % 3 {
                                    case 0: _ = try await lane.query("SELECT 1")
                                    case 1: _ = try await writer.execute(step(UUID(), UUID(), from: 0))
                                    default: _ = try await pool.transaction { try await $0.query("SELECT 1") }
                                    }
                                }
                                return (error?.kind, .now - began)
                            }
                        }
                        return await group.reduce(into: []) { $0.append($1) }
                    }
                    #expect(.now - began < .milliseconds(2_600))
                    #expect(kinds.count { $0.0 == .overloaded } == 30)
                    #expect(kinds.count { $0.0 == .unavailable } == 30)
                    #expect(kinds.filter { $0.0 == .overloaded }.allSatisfy { $0.1 < .milliseconds(500) })
                    // After that long without a server nobody waits any more.
                    let again = ContinuousClock.now
                    #expect(await postgresError { _ = try await lane.query("SELECT 1") }?.kind == .unavailable)
                    #expect(.now - again < .milliseconds(200))
                    #expect(!lane.counters.isReady)
                }
            }
        }
    }

    @Test("a slow statement holds up nobody for long: another connection takes those who come after it")
    func slowNeighbour() async throws {
        try await withReadLane(PostgresSettings(conninfo: try ScratchDatabase.adminConninfo())) { lane in
            while lane.counters.linksUp < 2 { try await Task.sleep(for: .milliseconds(5)) }
            let before = lane.counters.statements
            let slow = Task {
                _ = try await lane.query("SELECT pg_sleep(1)")
                return ContinuousClock.now
            }
            while lane.counters.statements == before { try await Task.sleep(for: .milliseconds(5)) }
            for number in 0..<10 {
                #expect(try await lane.query("SELECT \(number) AS v").first?.decode("v") == number)
            }
            let end = ContinuousClock.now
            #expect(try await end < slow.value)
        }
    }

    @Test("cancelling a waiting task answers it at once and leaves the lane alone")
    func cancellation() async throws {
        try await withReadLane(PostgresSettings(conninfo: try ScratchDatabase.adminConninfo())) { lane in
            let slow = Task { try await lane.query("SELECT pg_sleep(0.5), 7 AS v") }
            try await Task.sleep(for: .milliseconds(100))
            let began = ContinuousClock.now
            slow.cancel()
            let error = await postgresError { _ = try await slow.value }
            #expect(error?.kind == .cancelled)
            #expect(.now - began < .milliseconds(250))
            #expect(try await lane.query("SELECT \(8) AS v").first?.decode("v") == 8)
            #expect(lane.counters.lostLinks == 0)
        }
    }

    @Test("shutting down finishes what was begun and refuses the rest")
    func drain() async throws {
        try await ScratchDatabase.with(schema: ledgerSchema) { database in
            let lane = PostgresReadLane(settings: database.settings, logger: quiet)
            lane.start()
            _ = try await lane.query("SELECT 1")
            let slow = Task { try await lane.query("SELECT pg_sleep(0.3), 7 AS v") }
            try await Task.sleep(for: .milliseconds(50))
            await lane.shutdown(within: .seconds(2))
            #expect(try await slow.value.first?.decode("v") == 7)
            #expect(await postgresError { _ = try await lane.query("SELECT 1") }?.kind == .unavailable)
        }
    }

    @Test("an operation costs the statements and round trips it says")
    func costs() async throws {
        let (organization, id) = (UUID(), UUID())
        let schema = ledgerSchema + "INSERT INTO ledger VALUES ('\(organization)', '\(id)')"
        try await ScratchDatabase.with(schema: schema) { database in
            var settings = database.settings
            settings.readConnections = 1
            settings.writeConnections = 1
            settings.pinnedConnections = 1
            try await withReadLane(settings) { lane in
                _ = try await lane.query("SELECT 1")
                let before = lane.counters
                _ = try await lane.query(
                    settings: tenant(organization), "SELECT generation FROM ledger WHERE id = \(id)")
                #expect(lane.counters.statements - before.statements == 1)
                #expect(lane.counters.roundTrips - before.roundTrips == 1)
            }
            try await withWriteLane(settings) { lane in
                _ = try await lane.execute(step(organization, id, from: 0))
                let before = lane.counters
                _ = try await lane.execute(step(organization, id, from: 1))
                #expect(lane.counters.statements - before.statements == 1)
                #expect(lane.counters.roundTrips - before.roundTrips == 1)
            }
            try await withPool(settings) { pool in
                try await pool.transaction { _ in }
                let before = pool.counters
                try await pool.transaction(settings: tenant(organization)) { transaction in
                    _ = try await transaction.query("SELECT 1")
                    try await transaction.execute("DELETE FROM event WHERE id = \(UUID())")
                }
                // BEGIN and the settings travel with the first statement.
                #expect(pool.counters.roundTrips - before.roundTrips == 3)
            }
        }
    }
}
