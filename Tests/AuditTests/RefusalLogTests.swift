import Foundation
import Keys
import Synchronization
import Tenancy
import Testing

@testable import Audit

@Suite("Refusal log")
struct RefusalLogTests {
    /// A log over memory, with a clock that tests move.
    private final class Bench: Sendable {
        let events = Mutex<[OutboxEvent]>([])
        let now = Mutex(Date(timeIntervalSince1970: 1_767_323_040))
        let isDown = Mutex(false)
        struct Down: Error {}

        var log: RefusalLog {
            RefusalLog(clock: WallClock { self.now.withLock { $0 } }, random: .system, logger: AuditDatabase.logger) {
                event in
                if self.isDown.withLock({ $0 }) { throw Down() }
                self.events.withLock { $0.append(event) }
            }
        }
        var last: OutboxEvent? { events.withLock(\.last) }
        var count: Int { events.withLock(\.count) }

        func refusal(
            _ organization: OrganizationID, _ type: AuditEventType = .clientAuthFailed, ip: String = "192.0.2.1",
            actor: AuditEvent.Actor = .anonymous, reason: String = "invalid_client_secret"
        ) -> AuditEvent {
            let now = now.withLock { $0 }
            return AuditEvent(
                type, organization: organization, id: .make(at: now, .system), time: now, outcome: .denied,
                reason: reason,
                actor: actor, targets: [],
                request: .init(id: .make(at: now, .system), method: "POST", route: "/oauth/token", ip: ip))
        }
    }

    @Test("without credentials ten a minute are events, the rest one summary with a count")
    func summary() async throws {
        let bench = Bench()
        let log = bench.log
        let organization = AuditDatabase.organization()
        for _ in 0..<37 { try await log.refuse(bench.refusal(organization)) }
        #expect(bench.count == 10)
        await log.flush()
        #expect(bench.count == 10)
        bench.now.withLock { $0 += 60 }
        await log.flush()
        await log.flush()
        #expect(bench.count == 11)
        let event = try #require(bench.last)
        let leaf = try CanonicalJSON.parse(event.leafPrefix + [0x30] + event.leafSuffix)
        #expect(leaf["metadata"]?["count"] == "27" && leaf["metadata"]?["summary"] == "true")
        #expect(leaf["type"] == "client.auth_failed" && leaf["outcome"] == "denied")
        #expect(leaf["reason"] == "invalid_client_secret" && leaf["actor"]?["type"] == "anonymous")
        #expect(!String(decoding: leaf.bytes, as: UTF8.self).contains("192.0.2.1"))
        #expect(
            event.disclosures.contains {
                String(decoding: Base64URL.decode($0) ?? [], as: UTF8.self).contains("192.0.2.1")
            })
        try await log.refuse(bench.refusal(organization))
        #expect(bench.count == 12)
    }

    @Test("log, type, source and minute count apart; one IPv6 /64 is one source")
    func keys() async throws {
        let bench = Bench()
        let log = bench.log
        let organization = AuditDatabase.organization()
        for number in 0..<20 {
            try await log.refuse(bench.refusal(organization))
            try await log.refuse(bench.refusal(.platform))
            try await log.refuse(bench.refusal(organization, .authorizeDenied))
            try await log.refuse(bench.refusal(organization, ip: "192.0.2.2"))
            try await log.refuse(bench.refusal(organization, ip: "2001:db8:1:2::\(String(number, radix: 16))"))
        }
        #expect(bench.count == 50)
        bench.now.withLock { $0 += 60 }
        try await log.refuse(bench.refusal(organization))
        #expect(bench.count == 51)
        await log.flush(everything: true)
        #expect(bench.count == 56)
        #expect(SourceGroup.name(of: "2001:db8:1:2:3::4") == SourceGroup.name(of: "2001:0db8:0001:0002::9"))
        #expect(SourceGroup.name(of: "::ffff:192.0.2.1") == "192.0.2.1")
        #expect(SourceGroup.name(of: "not an address") == "not an address")
    }

    @Test("an authenticated party's refusals are always events")
    func authenticated() async throws {
        let bench = Bench()
        let log = bench.log
        for _ in 0..<50 { try await log.refuse(bench.refusal(AuditDatabase.organization(), actor: .client("cli_1"))) }
        let organization = AuditDatabase.organization()
        for _ in 0..<50 { try await log.refuse(bench.refusal(organization, actor: .client("cli_1"))) }
        await log.flush(everything: true)
        #expect(bench.count == 100)
    }

    @Test("without the database a refusal is an error, and no count is lost")
    func unavailable() async throws {
        let bench = Bench()
        let log = bench.log
        let organization = AuditDatabase.organization()
        for _ in 0..<15 { try await log.refuse(bench.refusal(organization)) }
        bench.isDown.withLock { $0 = true }
        await #expect(throws: Bench.Down.self) { try await log.refuse(bench.refusal(organization, .loginFailed)) }
        bench.now.withLock { $0 += 60 }
        await log.flush()
        bench.isDown.withLock { $0 = false }
        await log.flush()
        let event = try #require(bench.last)
        #expect(try CanonicalJSON.parse(event.leafPrefix + [0x30] + event.leafSuffix)["metadata"]?["count"] == "5")
    }

    @Test("very many sources share one count and no more memory")
    func manySources() async throws {
        let bench = Bench()
        let log = bench.log
        let organization = AuditDatabase.organization()
        for number in 0..<20_100 {
            try await log.refuse(
                bench.refusal(organization, ip: "10.\(number >> 16).\(number >> 8 & 255).\(number & 255)"))
        }
        #expect(bench.count == 20_010)
    }

    @Test("different reasons are summed up as several; shutdown writes what is left")
    func shutdown() async throws {
        let bench = Bench()
        let log = bench.log
        let organization = AuditDatabase.organization()
        for number in 0..<12 { try await log.refuse(bench.refusal(organization, reason: "r\(number)")) }
        let running = Task { try await log.run() }
        running.cancel()
        try await running.value
        let event = try #require(bench.last)
        #expect(bench.count == 11)
        #expect(try CanonicalJSON.parse(event.leafPrefix + [0x30] + event.leafSuffix)["reason"] == "several")
    }
}
