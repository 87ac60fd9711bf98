import Audit
import Foundation
import Keys
import Postgres
import Tenancy
import TestSupport
import Testing

@Suite struct AppendTests {
    private func event(_ organization: OrganizationID, id: EventID = .make(at: Date(), .system)) -> OutboxEvent {
        AuditEvent(
            .tokenIssued, organization: organization, id: id, time: Date(), actor: .anonymous, targets: []
        ).outboxEvent(.system)
    }

    private func stored(_ events: [OutboxEvent], in organization: OrganizationID) async throws -> Int {
        try await TestDatabase.open().read(organization, existingEvents(organization.uuid, events.map(\.id.uuid))) {
            _ in
        }.count
    }

    @Test("events that come together go as few statements, and every one of them is there")
    func many() async throws {
        let database = try TestDatabase.open()
        let organizations = [
            try await TestDatabase.freshOrganization().id, try await TestDatabase.freshOrganization().id,
        ]
        let events = (0..<200).map { event(organizations[$0 % 2]) }
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for event in events { group.addTask { try await database.append(event) } }
            for try await isWritten in group { #expect(isWritten) }
        }
        for organization in organizations {
            let own = events.filter { $0.organization == organization }
            #expect(try await stored(own, in: organization) == 100)
        }
    }

    @Test("one event that cannot be written spoils none of its neighbours")
    func neighbours() async throws {
        let database = try TestDatabase.open()
        let organization = try await TestDatabase.freshOrganization().id
        let first = event(organization)
        #expect(try await database.append(first))
        // The same id again: the unique key refuses it, with whatever went along.
        let again = event(organization, id: first.id)
        let others = (0..<30).map { _ in event(organization) }
        try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                await #expect(throws: PostgresError.self) { try await database.append(again) }
                return true
            }
            for event in others { group.addTask { try await database.append(event) } }
            for try await isWritten in group { #expect(isWritten) }
        }
        #expect(try await stored(others + [first], in: organization) == 31)
    }

    @Test("a guard that moved keeps out its own events and no others")
    func guards() async throws {
        let database = try TestDatabase.open()
        let organization = try await TestDatabase.freshOrganization().id
        let organizations = OrganizationStore(database: database)
        let epoch = try #require(try await organizations.epoch(of: organization))
        let platform = try await organizations.epoch(of: .platform) ?? 0
        let old = EpochGuard(organization: organization, organizationEpoch: epoch - 1, platformEpoch: platform)
        let refused = (0..<20).map { _ in event(organization) }
        let free = (0..<20).map { _ in event(organization) }
        let written = try await withThrowingTaskGroup(of: (EventID, Bool).self) { group in
            for event in refused {
                group.addTask { (event.id, try await database.append(event, guardedBy: old)) }
            }
            for event in free { group.addTask { (event.id, try await database.append(event)) } }
            return try await group.reduce(into: [EventID: Bool]()) { $0[$1.0] = $1.1 }
        }
        #expect(refused.allSatisfy { written[$0.id] == false })
        #expect(free.allSatisfy { written[$0.id] == true })
        #expect(try await stored(refused, in: organization) == 0)
        #expect(try await stored(free, in: organization) == 20)
    }

    @Test("events of many organizations share statements, each under its own organization's wall and guard")
    func organizations() async throws {
        let database = try TestDatabase.open()
        let organizations = OrganizationStore(database: database)
        var tenants: [(id: OrganizationID, epoch: Int64)] = []
        for _ in 0..<12 {
            let organization = try await TestDatabase.freshOrganization().id
            tenants.append((organization, try #require(try await organizations.epoch(of: organization))))
        }
        // Other suites change the platform, whose epoch is in every guard: then none is written, and it is tried anew.
        for _ in 0..<100 {
            let platform = try await organizations.epoch(of: .platform) ?? 0
            var attempts: [(event: OutboxEvent, guardian: EpochGuard, isTrue: Bool)] = []
            for (number, tenant) in tenants.enumerated() {
                for _ in 0..<5 {
                    let isTrue = number % 3 > 0
                    let guardian = EpochGuard(
                        organization: tenant.id, organizationEpoch: isTrue ? tenant.epoch : tenant.epoch - 1,
                        platformEpoch: platform)
                    attempts.append((event(tenant.id), guardian, isTrue))
                }
            }
            let written = try await withThrowingTaskGroup(of: (EventID, Bool).self) { group in
                for attempt in attempts.shuffled() {
                    group.addTask {
                        (attempt.event.id, try await database.append(attempt.event, guardedBy: attempt.guardian))
                    }
                }
                return try await group.reduce(into: [EventID: Bool]()) { $0[$1.0] = $1.1 }
            }
            for attempt in attempts {
                let found = try await stored([attempt.event], in: attempt.event.organization)
                #expect(found == (written[attempt.event.id] == true ? 1 : 0))
                #expect(attempt.isTrue || found == 0)
            }
            guard try await organizations.epoch(of: .platform) ?? 0 == platform else { continue }
            #expect(attempts.allSatisfy { written[$0.event.id] == $0.isTrue })
            return
        }
        Issue.record("the platform never stood still")
    }

    @Test("T-22 the outbox takes a row under its own organization's setting alone, and shows no other's (design 6)")
    func wall() async throws {
        let database = try TestDatabase.open()
        let own = try await TestDatabase.freshOrganization().id
        let other = try await TestDatabase.freshOrganization().id
        #expect(try await database.append(event(other)))
        #expect(try await database.append(event(own)))
        let seen = try await database.read(own, "SELECT DISTINCT organization_id FROM audit_outbox") {
            try $0.decode("organization_id", as: UUID.self)
        }
        #expect(Set(seen).isSubset(of: [own.uuid]))
        await #expect(throws: PostgresError.self) {
            try await database.transaction(own) { try await $0.query(event(other).insertion) }
        }
        // Made for the first of two rows only, the setting keeps out the second and with it both.
        let both: SQL = """
            INSERT INTO audit_outbox (organization_id, id, type, time, outcome, severity, actor_id, target_id, leaf_prefix,
                leaf_suffix, disclosures)
            SELECT made.id, gen_random_uuid(), 'x', now(), 'success', 1, '-', '-', '', '', '{}'
              FROM (VALUES (\(own)), (\(other))) AS made (id)
             WHERE made.id <> \(own) OR set_config('app.organization_id', made.id::text, true) <> ''
            """
        await #expect(throws: PostgresError.self) { try await database.transaction(own) { try await $0.query(both) } }
    }
}
