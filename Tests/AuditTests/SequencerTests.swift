import Audit
import Foundation
import Keys
import Postgres
import Synchronization
import Tenancy
import Testing

@Suite("Sequencer on PostgreSQL", .serialized)
struct SequencerTests {
    private struct RolledBack: Error {}

    /// What each writer committed, in its own order.
    private final class Written: Sendable {
        let events = Mutex<[OrganizationID: [Int: [EventID]]]>([:])
    }

    @Test(
        "eight writers with rollbacks, two sequencers and broken connections: dense, complete, in each writer's order")
    func race() async throws {
        try await AuditDatabase.use { database in
            let organizations = (0..<4).map { _ in AuditDatabase.organization() }
            let written = Written()
            let lost = try await database.sequencing(by: 2) { sequencers in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for writer in 0..<8 {
                        group.addTask {
                            for number in 0..<150 {
                                let organization = organizations[(writer + number) % organizations.count]
                                let event = AuditDatabase.event(organization, actor: "writer-\(writer)")
                                do {
                                    try await database.app.transaction(settings: AuditDatabase.setting(organization)) {
                                        transaction in
                                        try await transaction.execute(event.insertion)
                                        if Int.random(in: 0..<20) == 0 { throw RolledBack() }
                                    }
                                    written.events.withLock {
                                        $0[organization, default: [:]][writer, default: []].append(event.id)
                                    }
                                } catch is RolledBack {}
                            }
                        }
                    }
                    group.addTask {
                        for _ in 0..<4 {
                            try await Task.sleep(for: .milliseconds(400))
                            _ = try await database.admin.withConnection {
                                try await $0.query(
                                    """
                                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                                     WHERE usename = 'gatehouse_sequencer' AND datname = current_database()
                                    """)
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                #expect(try await database.drained(organizations))
                return sequencers.map(\.status.lostConnections).reduce(0, +)
            }
            #expect(lost > 0)
            for organization in organizations {
                let entries = try await database.log(of: organization)
                let writers = written.events.withLock { $0[organization] ?? [:] }
                #expect(entries.map(\.seq) == Array(entries.indices))
                #expect(entries.count == writers.values.map(\.count).reduce(0, +))
                #expect(Set(entries.map(\.id)) == Set(writers.values.joined()))
                #expect(try await AuditLog(database: database.tenants).size(of: organization) == entries.count)
                let places = Dictionary(uniqueKeysWithValues: entries.map { ($0.id, $0.seq) })
                for events in writers.values {
                    let order = events.compactMap { places[$0] }
                    #expect(order == order.sorted())
                }
                for entry in entries {
                    let leaf = try CanonicalJSON.parse(entry.leaf)
                    #expect(leaf.bytes == entry.leaf)
                    #expect(leaf["seq"] == .int(entry.seq) && leaf["id"]?.text == entry.id.description)
                    #expect(leaf["sd"]?.texts == entry.disclosures.map { Base64URL.encode(sha256($0)) }.sorted())
                }
            }
        }
    }

    @Test("two workers on one shard without a lock: the guard on the heads lets one of them commit")
    func fence() async throws {
        try await AuditDatabase.use { database in
            // All in one shard, so that both always meet.
            let organizations = (0..<5).map { _ in AuditDatabase.organization(inShard: 7) }
            var settings = database.sequencerSettings
            settings.pinnedConnections = 2
            let pool = PostgresPool(settings: settings, logger: AuditDatabase.logger)
            pool.start()
            var expected: [OrganizationID: Int] = [:]
            for _ in 0..<20 {
                for organization in organizations {
                    let count = Int.random(in: 1...20)
                    expected[organization, default: 0] += count
                    try await database.app.transaction(settings: AuditDatabase.setting(organization)) { transaction in
                        for _ in 0..<count {
                            try await transaction.execute(AuditDatabase.event(organization).insertion)
                        }
                    }
                }
                await withTaskGroup(of: Void.self) { group in
                    for _ in 0..<2 {
                        group.addTask {
                            do {
                                try await pool.withConnection { _ = try await $0.query(Sequencer.batch(of: [7])) }
                            } catch {
                                let state = (error as? PostgresError)?.sqlState
                                #expect(["22012", "23505", "40P01"].contains(state), "\(error)")
                            }
                        }
                    }
                }
            }
            while try await !database.drained(organizations, within: .milliseconds(1)) {
                _ = try await pool.withConnection { try await $0.query(Sequencer.batch(of: [7])) }
            }
            await pool.shutdown()
            for organization in organizations {
                let entries = try await database.log(of: organization)
                #expect(entries.map(\.seq) == Array(0..<(expected[organization] ?? 0)))
                #expect(Set(entries.map(\.id)).count == entries.count)
            }
        }
    }

    @Test("50,000 events of 20 organizations are sequenced without a gap")
    func scale() async throws {
        try await AuditDatabase.use { database in
            let organizations = (0..<20).map { _ in AuditDatabase.organization() }
            for organization in organizations {
                let event = AuditDatabase.event(organization)
                try await database.app.transaction(settings: AuditDatabase.setting(organization)) { transaction in
                    _ = try await transaction.execute(
                        """
                        INSERT INTO audit_outbox (organization_id, id, type, time, outcome, severity, actor_id,
                                                  client_id, target_id, leaf_prefix, leaf_suffix, disclosures)
                        SELECT \(organization), gen_random_uuid(), \(event.type), \(event.time), \(event.outcome), 1,
                               \(event.actorID), \(event.clientID), \(event.targetID), \(event.leafPrefix),
                               \(event.leafSuffix), \(event.disclosures)
                          FROM generate_series(1, 2500)
                        """)
                }
            }
            let clock = ContinuousClock()
            let start = clock.now
            let status = try await database.sequencing { sequencers in
                let isDrained = try await database.drained(organizations)
                #expect(isDrained)
                return sequencers[0].status
            }
            print("sequenced 50,000 events in \(clock.now - start): \(status)")
            #expect(status.sequenced >= 50_000 && status.batches >= 25 && status.isConnected && status.shards == 16)
            let ids = organizations.map(\.uuid)
            let rows = try await database.admin.withConnection {
                try await $0.query(
                    """
                    SELECT count(*) AS events, min(seq) AS first, max(seq) AS last, count(DISTINCT seq) AS places,
                           bool_and(leaf_hash = sha256('\\x00'::bytea || leaf)) AS hashed
                      FROM audit_event WHERE organization_id = ANY(\(ids)) GROUP BY organization_id
                    """)
            }
            #expect(rows.count == 20)
            for row in rows {
                #expect(try row.decode("events", as: Int.self) == 2_500)
                #expect(try row.decode("first", as: Int.self) == 0)
                #expect(try row.decode("last", as: Int.self) == 2_499)
                #expect(try row.decode("places", as: Int.self) == 2_500)
                #expect(try row.decode("hashed", as: Bool.self))
            }
        }
    }

    @Test("lag is the age of the oldest event, and a clock that stepped back is noticed")
    func alarms() async throws {
        try await AuditDatabase.use { database in
            let organization = AuditDatabase.organization()
            @Sendable func insert(_ event: OutboxEvent, shift: String) async throws {
                try await database.admin.transaction { transaction in
                    try await transaction.execute(event.insertion)
                    try await transaction.execute(
                        """
                        UPDATE audit_outbox SET recorded_at = clock_timestamp() + \(shift)::text::interval
                         WHERE id = \(event.id)
                        """)
                }
            }
            try await database.sequencing { sequencers in
                let sequencer = sequencers[0]
                try await insert(AuditDatabase.event(organization), shift: "0 s")
                let isDrained = try await database.drained([organization])
                #expect(isDrained)
                #expect(await Self.soon { sequencer.status.lag == .zero })
                #expect(sequencer.status.clockSteps == 0 && !sequencer.status.clockIsBehind)
                try await insert(AuditDatabase.event(organization), shift: "5 s")
                #expect(await Self.soon { sequencer.status.clockSteps == 1 && sequencer.status.clockIsBehind })
                #expect(await Self.soon { sequencer.status.clockSteps == 1 && !sequencer.status.clockIsBehind })
            }
            // Somebody else holds all shards: a stand-by still sees how old the oldest event is.
            try await database.admin.withConnection { holder in
                _ = try await holder.query(
                    "SELECT pg_advisory_lock(\(Sequencer.lockNamespace)::int, s) FROM generate_series(0, 15) AS s")
                try await database.sequencing { sequencers in
                    try await database.tenants.append(AuditDatabase.event(organization))
                    #expect(await Self.soon { sequencers[0].status.lag > .milliseconds(800) })
                    #expect(sequencers[0].status.shards == 0 && sequencers[0].status.isConnected)
                }
            }
            #expect(try await database.sequence([organization]))
        }
    }

    /// Whether it becomes true within some seconds.
    private static func soon(_ isTrue: () -> Bool) async -> Bool {
        for _ in 0..<600 where !isTrue() { try? await Task.sleep(for: .milliseconds(25)) }
        return isTrue()
    }

    @Test("the log is append-only for everybody, even where triggers are switched off for replication")
    func appendOnly() async throws {
        try await AuditDatabase.use { database in
            let organization = AuditDatabase.organization()
            try await database.tenants.append(AuditDatabase.event(organization))
            #expect(try await database.sequence([organization]))
            for role in ["origin", "replica"] {
                for statement: SQL in [
                    "UPDATE audit_event SET leaf = '' WHERE organization_id = \(organization)",
                    "UPDATE audit_event SET disclosures = '{}' WHERE organization_id = \(organization)",
                    "DELETE FROM audit_event WHERE organization_id = \(organization)", "TRUNCATE audit_event",
                ] {
                    let state = try await database.admin.withConnection { connection in
                        _ = try await connection.query("SELECT set_config('session_replication_role', \(role), false)")
                        return await Self.state { try await connection.execute(statement) }
                    }
                    #expect(state == "42501", "\(role): \(statement.text)")
                }
            }
            #expect(try await database.log(of: organization).count == 1)
        }
    }

    @Test("roles cannot do what is not theirs")
    func roles() async throws {
        try await AuditDatabase.use { database in
            let organization = AuditDatabase.organization()
            let other = AuditDatabase.organization()
            try await database.tenants.append(AuditDatabase.event(organization))
            let app: [SQL] = [
                "UPDATE audit_outbox SET type = 'x'", "DELETE FROM audit_outbox", "TRUNCATE audit_outbox",
                AuditDatabase.event(other).insertion,
                """
                INSERT INTO audit_outbox (organization_id, id, recorded_at, type, time, outcome, severity, actor_id,
                                          target_id, leaf_prefix, leaf_suffix, disclosures)
                VALUES (\(organization), gen_random_uuid(), now(), 'x', now(), 'success', 1, '-', '-', '', '', '{}')
                """,
                """
                INSERT INTO audit_event (organization_id, seq, id, recorded_at, type, time, outcome, severity, actor_id,
                                         target_id, leaf, leaf_hash, disclosures)
                VALUES (\(organization), 0, gen_random_uuid(), now(), 'x', now(), 'success', 1, '-', '-', '', '', '{}')
                """,
                "INSERT INTO audit_head VALUES (\(organization), 5)", "UPDATE audit_head SET size = 0",
                "UPDATE audit_event SET leaf = ''", "DELETE FROM audit_event", "DELETE FROM audit_head",
            ]
            for statement in app {
                let state = await Self.state {
                    try await database.app.transaction(settings: AuditDatabase.setting(organization)) {
                        try await $0.execute(statement)
                    }
                }
                #expect(state == "42501", "\(statement.text)")
            }
            let pool = PostgresPool(settings: database.sequencerSettings, logger: AuditDatabase.logger)
            pool.start()
            let sequencer: [SQL] = [
                AuditDatabase.event(organization).insertion, "UPDATE audit_outbox SET type = 'x'",
                "UPDATE audit_event SET leaf = ''",
                "DELETE FROM audit_event", "DELETE FROM audit_head", "TRUNCATE audit_outbox", "SELECT id FROM \"user\"",
                "SELECT id FROM signing_key", "SELECT id FROM \"grant\"", "CREATE TABLE mine (id int)",
            ]
            for statement in sequencer {
                let state = await Self.state { try await pool.withConnection { try await $0.execute(statement) } }
                #expect(state == "42501", "\(statement.text)")
            }
            await pool.shutdown()
            #expect(try await database.sequence([organization]))
            // Another organization's setting shows nothing, whatever the statement asks for.
            let seen = try await database.tenants.read(
                other, "SELECT id FROM audit_event WHERE organization_id = \(organization)"
            ) {
                try $0.decode("id", as: UUID.self)
            }
            #expect(seen.isEmpty)
        }
    }

    private static func state(_ body: () async throws -> Int) async -> String? {
        do {
            _ = try await body()
            return nil
        } catch {
            return (error as? PostgresError)?.sqlState ?? "\(error)"
        }
    }
}

@Suite("Audit log on PostgreSQL", .serialized)
struct AuditLogTests {
    @Test("pages by sequence number in both orders, filters, and finds one event by id")
    func reading() async throws {
        try await AuditDatabase.use { database in
            let organization = AuditDatabase.organization()
            let start = Date(timeIntervalSince1970: 1_767_323_045)
            var events: [OutboxEvent] = []
            for number in 0..<10 {
                let event = AuditDatabase.event(
                    organization, number % 2 == 0 ? .tokenIssued : .clientCreated, actor: "usr_\(number % 3)",
                    target: "t\(number)", at: start + Double(number))
                events.append(event)
                try await database.tenants.append(event)
            }
            let log = AuditLog(database: database.tenants)
            #expect(try await database.sequence([organization]))

            let first = try await log.events(of: organization, limit: 4)
            let rest = try await log.events(of: organization, after: first.last?.seq, limit: 100)
            #expect((first + rest).map(\.id) == events.map(\.id))
            let newest = try await log.events(of: organization, limit: 3, order: .newestFirst)
            #expect(newest.map(\.seq) == [9, 8, 7])
            #expect(
                try await log.events(of: organization, after: 7, limit: 2, order: .newestFirst).map(\.seq) == [6, 5])

            func seqs(_ change: (inout AuditLog.Filter) -> Void) async throws -> [Int] {
                var filter = AuditLog.Filter()
                change(&filter)
                return try await log.events(of: organization, limit: 100, filter: filter).map(\.seq)
            }
            #expect(try await seqs { $0.types = [.clientCreated] } == [1, 3, 5, 7, 9])
            #expect(try await seqs { $0.types = [.clientCreated, .tokenIssued] } == Array(0..<10))
            #expect(try await seqs { $0.actor = "usr_1" } == [1, 4, 7])
            #expect(try await seqs { $0.target = "t6" } == [6])
            #expect(try await seqs { $0.client = "cli_1" } == Array(0..<10))
            #expect(try await seqs { $0.outcome = .denied }.isEmpty)
            #expect(
                try await seqs {
                    $0.from = start + 3; $0.until = start + 6
                } == [3, 4, 5])
            #expect(
                try await seqs {
                    $0.types = [.tokenIssued]; $0.actor = "usr_1"
                } == [4])

            let entry = try #require(try await log.event(events[4].id, of: organization))
            #expect(entry.seq == 4)
            #expect(entry.leaf == events[4].leafPrefix + Array("4".utf8) + events[4].leafSuffix)
            #expect(entry.disclosures == events[4].disclosures)
            #expect(try await log.event(events[4].id, of: AuditDatabase.organization()) == nil)
            #expect(try await log.size(of: organization) == 10)
            #expect(try await log.size(of: AuditDatabase.organization()) == 0)
        }
    }

    @Test("hostile text survives the database byte for byte")
    func hostileText() async throws {
        try await AuditDatabase.use { database in
            let events = AuditEventTests.hostile.map { AuditEventTests().full(text: $0).outboxEvent(.system) }
            for event in events { try await database.tenants.append(event) }
            #expect(try await database.sequence(events.map(\.organization)))
            for event in events {
                let entry = try #require(try await database.log(of: event.organization).first)
                #expect(entry.leaf == event.leafPrefix + Array("0".utf8) + event.leafSuffix)
                #expect(entry.disclosures == event.disclosures)
            }
        }
    }
}
