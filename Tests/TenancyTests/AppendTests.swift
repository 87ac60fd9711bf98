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
}
