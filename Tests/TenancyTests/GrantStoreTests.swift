import Audit
import Foundation
import Keys
import Postgres
import Tenancy
import TestSupport
import Testing

/// One organization with a user and an admitted client, and what a redemption needs.
private struct Fixture {
    let database: TenantDatabase
    let organization: Organization
    let user: User
    let client = ClientID.make(at: Date(), .system)
    let now = Date()

    var store: GrantStore { GrantStore(database: database) }

    init() async throws {
        database = try TestDatabase.open()
        organization = try await TestDatabase.freshOrganization()
        user = User(
            id: .make(at: now, .system), email: "a@example.com", emailVerified: true, name: nil, status: .active,
            version: 1, createdAt: now, updatedAt: now)
        let (id, user, client, now) = (organization.id, user, client, now)
        let (users, clients) = (UserStore(database: database), ClientStore(database: database))
        try await database.transaction(id) { transaction in
            _ = try await users.insert(user, of: id, in: transaction)
            let admission = ClientAdmission(client: client, registry: .platform, status: .active, createdAt: now)
            _ = try await clients.admit(admission, by: id, in: transaction)
        }
    }

    /// Tests of other suites move the platform's epoch meanwhile; a try that lost to one of them is made again.
    func untilGuarded(_ attempt: (EpochGuard) async throws -> Int) async throws -> Int {
        for _ in 0..<20 {
            let won = try await attempt(try await guardian())
            if won > 0 { return won }
        }
        return 0
    }

    func guardian(_ epoch: Int64 = 1) async throws -> EpochGuard {
        let platform = try await OrganizationStore(database: database).epoch(of: .platform) ?? 0
        return EpochGuard(organization: organization.id, organizationEpoch: epoch, platformEpoch: platform)
    }

    func grant(_ refresh: SecretDigest) -> Grant {
        Grant(
            id: .make(at: now, .system), issuer: organization.id, user: user.id, client: client,
            resource: .make(at: now, .system), scope: ["read"], status: .active, authTime: now,
            family: Grant.Family(
                familyDigest: SecretDigest(of: [1]), currentDigest: refresh, previousDigest: nil, previousAt: nil,
                generation: 1, sealedSuccessor: nil),
            mfa: false, upstreamCeiling: nil, boundKey: nil, version: 1, createdAt: now, lastUsedAt: now,
            idleExpiresAt: now + 3600,
            expiresAt: now + 7200)
    }

    func event() -> OutboxEvent {
        AuditEvent(
            .tokenIssued, organization: organization.id, id: .make(at: now, .system), time: now, actor: .user(user.id),
            targets: []
        ).outboxEvent(.system)
    }

    func events() async throws -> Int {
        try await database.read(
            organization.id,
            """
            SELECT (SELECT count(*) FROM audit_outbox WHERE organization_id = \(organization.id))
                   + (SELECT count(*) FROM audit_event WHERE organization_id = \(organization.id)) AS count
            """
        ) { try $0.decode("count", as: Int.self) }.first ?? 0
    }
}

@Suite("Grants in the database", .tags(.token, .race))
struct GrantStoreTests {
    @Test("TK-15 of fifty parallel redemptions of one code one succeeds, with one grant and one event")
    func oneRedemption() async throws {
        let fixture = try await Fixture()
        let code = SecretDigest(of: Secret.random())
        let won = try await fixture.untilGuarded { guardian in
            try await withThrowingTaskGroup(of: Bool.self) { group in
                for _ in 0..<50 {
                    group.addTask {
                        let redemption = GrantStore.Redemption(
                            code: GrantStore.SpentCode(digest: code, codeChallenge: "challenge"),
                            grant: fixture.grant(SecretDigest(of: Secret.random())))
                        return try await fixture.store.redeem(
                            redemption, in: fixture.organization.id, guardedBy: guardian, recording: fixture.event()
                        ).isDone
                    }
                }
                return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
            }
        }
        #expect(won == 1)
        #expect(try await fixture.events() == 1)
        #expect(try await fixture.store.list(Page(limit: 10), of: fixture.organization.id).count == 1)
        #expect(try await fixture.store.redeemed(code, in: fixture.organization.id)?.client == fixture.client)
    }

    @Test("a guard that moved lets nothing be issued and leaves the code unspent")
    func movedGuard() async throws {
        let fixture = try await Fixture()
        let code = SecretDigest(of: Secret.random())
        let redemption = GrantStore.Redemption(
            code: GrantStore.SpentCode(digest: code, codeChallenge: "challenge"),
            grant: fixture.grant(SecretDigest(of: Secret.random())))
        let outcome = try await fixture.store.redeem(
            redemption, in: fixture.organization.id, guardedBy: try await fixture.guardian(2),
            recording: fixture.event())
        #expect(!outcome.isDone)
        #expect(try await fixture.store.redeemed(code, in: fixture.organization.id) == nil)
        #expect(try await fixture.events() == 0)
    }

    @Test("TK-23 a disabled user gets nothing")
    func disabledUser() async throws {
        let fixture = try await Fixture()
        var disabled = fixture.user
        disabled.status = .disabled
        let (users, id, user, now) = (
            UserStore(database: fixture.database), fixture.organization.id, disabled, fixture.now
        )
        _ = try await fixture.database.transaction(id) { try await users.update(user, of: id, at: now, in: $0) }
        let redemption = GrantStore.Redemption(
            code: GrantStore.SpentCode(digest: SecretDigest(of: Secret.random()), codeChallenge: "challenge"),
            grant: fixture.grant(SecretDigest(of: Secret.random())))
        let outcome = try await fixture.store.redeem(
            redemption, in: id, guardedBy: try await fixture.guardian(), recording: fixture.event())
        #expect(!outcome.isDone)
    }

    @Test("TK-18 of twenty parallel rotations of one token one succeeds (OAuth 2.1 §4.3.1)")
    func oneRotation() async throws {
        let fixture = try await Fixture()
        let presented = SecretDigest(of: Secret.random())
        let grant = fixture.grant(presented)
        _ = try await fixture.untilGuarded { guardian in
            try await fixture.store.redeem(
                GrantStore.Redemption(
                    code: GrantStore.SpentCode(digest: SecretDigest(of: Secret.random()), codeChallenge: "c"),
                    grant: grant),
                in: fixture.organization.id, guardedBy: guardian, recording: fixture.event()
            ).isDone ? 1 : 0
        }
        let won = try await fixture.untilGuarded { guardian in
            try await withThrowingTaskGroup(of: Bool.self) { group in
                for _ in 0..<20 {
                    group.addTask {
                        let rotation = GrantStore.Rotation(
                            grant: grant.id, version: 1, presented: presented,
                            successor: SecretDigest(of: Secret.random()),
                            sealedSuccessor: [1], idleExpiresAt: fixture.now + 3600, admittedKeys: nil)
                        return try await fixture.store.rotate(
                            rotation, in: fixture.organization.id, guardedBy: guardian, recording: fixture.event(),
                            at: fixture.now
                        ).isDone
                    }
                }
                return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
            }
        }
        #expect(won == 1)
        let after = try #require(try await fixture.store.find(grant.id, in: fixture.organization.id))
        #expect(after.version == 2)
        #expect(after.family?.generation == 2)
        #expect(after.family?.previousDigest == presented)
        #expect(try await fixture.events() == 2)
    }

    @Test("T-06 another organization sees no grant, whatever the statement asks for")
    func isolation() async throws {
        let fixture = try await Fixture()
        let other = try await TestDatabase.freshOrganization()
        let grant = fixture.grant(SecretDigest(of: Secret.random()))
        let made = try await fixture.untilGuarded { guardian in
            try await fixture.store.redeem(
                GrantStore.Redemption(
                    code: GrantStore.SpentCode(digest: SecretDigest(of: Secret.random()), codeChallenge: "c"),
                    grant: grant),
                in: fixture.organization.id, guardedBy: guardian, recording: fixture.event()
            ).isDone ? 1 : 0
        }
        #expect(made == 1)
        #expect(try await fixture.store.find(grant.id, in: other.id) == nil)
        // The wall itself: no filter at all, and still nothing of anybody else.
        for table in ["grant", "user", "client_admission", "redeemed_code", "audit_outbox", "organization"] {
            let statement: SQL = "SELECT organization_id FROM \(.identifier(table))"
            let seen = try await fixture.database.read(other.id, statement) {
                try $0.decode("organization_id", as: UUID.self)
            }
            #expect(seen.allSatisfy { $0 == other.id.uuid }, "\(table)")
        }
    }
}
