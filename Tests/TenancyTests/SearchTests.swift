import Foundation
import Keys
import Postgres
import Synchronization
import TestSupport
import Testing

@testable import Tenancy

/// One after the other: together they would hold all turns there are.
@Suite(.serialized) struct SearchTests {
    /// In the order in which they ended.
    private final class Ends: Sendable {
        private let names = Mutex<[String]>([])

        func add(_ name: String) { names.withLock { $0.append(name) } }
        var all: [String] { names.withLock { $0 } }
    }

    @Test("RL-03 F-12 P-17 searches of one organization that take long hold up neither reads nor another's search")
    func apart() async throws {
        let database = try TestDatabase.open()
        let (greedy, other) = (OrganizationID.make(at: Date(), .system), OrganizationID.make(at: Date(), .system))
        let ends = Ends()
        try await withThrowingTaskGroup(of: Void.self) { group in
            // So long in all that others are done before, even where much else runs.
            for _ in 0..<4 {
                group.addTask {
                    _ = try await database.search(greedy, "SELECT pg_sleep(0.7)") { _ in }
                    ends.add("greedy")
                }
            }
            // Until one of them has the turn.
            let running: SQL = """
                SELECT 1 AS one FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(0.7)%'
                """
            while try await database.read(other, running, as: { _ in }).isEmpty { await Task.yield() }
            group.addTask {
                _ = try await database.search(other, "SELECT 1 AS one") { _ in }
                ends.add("other")
            }
            group.addTask {
                for _ in 0..<10 { _ = try await database.read(other, "SELECT 1 AS one") { _ in } }
                ends.add("reads")
            }
            try await group.waitForAll()
        }
        // Other suites use the same few connections, so how many of the greedy ones ended before nobody can say.
        #expect(ends.all.count == 6 && ends.all.last == "greedy")
    }

    @Test("RL-03 F-12 what an organization's review reads of the platform's clients takes no turn of the platform's")
    func ofThePlatform() async throws {
        let database = try TestDatabase.open()
        let organization = try await TestDatabase.freshOrganization().id
        let clients = ClientStore(database: database)
        let client = try await platformClient(clients)
        try await database.transaction(organization) { transaction in
            _ = try await clients.admit(
                ClientAdmission(client: client, registry: .platform, status: .active, createdAt: Date()),
                by: organization, in: transaction)
        }
        let ends = Ends()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    _ = try await database.search(.platform, "SELECT pg_sleep(0.71)") { _ in }
                    ends.add("platform")
                }
            }
            let running: SQL = """
                SELECT 1 AS one FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(0.71)%'
                """
            while try await database.read(organization, running, as: { _ in }).isEmpty { await Task.yield() }
            group.addTask {
                let rules = try await AccessHistoryStore(database: database).rules(of: organization, at: Date() + 1)
                #expect(rules?.clients.contains { $0.id == client } == true)
                ends.add("review")
            }
            try await group.waitForAll()
        }
        #expect(ends.all.count == 5 && ends.all.last == "platform")
    }

    private func platformClient(_ clients: ClientStore) async throws -> ClientID {
        let now = Date()
        let client = Client(
            id: ClientID.make(at: now, .system), registry: .platform, kind: .dynamic, name: "C",
            redirectURIs: ["https://client.example/cb"], grantTypes: ["authorization_code"], responseTypes: ["code"],
            authenticationMethod: .none, applicationType: nil, scopeCeiling: nil, clientURI: nil, logoURI: nil,
            policyURI: nil, tosURI: nil, documentURL: nil, secretDigest: nil, registrationTokenDigest: nil,
            status: .active, expiresAt: nil, version: 1, createdAt: now, updatedAt: now)
        try await clients.database.transaction(.platform) { try await clients.insert(client, in: $0) }
        return client.id
    }

    @Test("F-12 whoever gets no turn in time is told so, and the turn goes on to the next")
    func patience() async throws {
        let turns = SearchTurns(most: 1, patience: .milliseconds(100))
        let organizations = (0..<3).map { _ in OrganizationID.make(at: Date(), .system) }
        let (held, release) = AsyncStream<Void>.makeStream()
        let (begun, begin) = AsyncStream<Void>.makeStream()
        let first = Task {
            try await turns.take(for: organizations[0]) {
                begin.yield()
                for await _ in held { break }
            }
        }
        for await _ in begun { break }
        await #expect(throws: PostgresError.self) { try await turns.take(for: organizations[1]) {} }
        let cancelled = Task { try await turns.take(for: organizations[1]) {} }
        cancelled.cancel()
        await #expect(throws: PostgresError.self) { try await cancelled.value }
        release.yield()
        try await first.value
        #expect(try await turns.take(for: organizations[2]) { true })
    }
}
