import ControlPlane
import Foundation
import Keys
import Postgres
import Tenancy
import TestSupport
import Testing

@Suite("Access reviews", .tags(.admin))
struct AccessReviewTests {
    /// Who could do what at a moment, as the tables said it then.
    private struct Snapshot {
        let moment: Date
        let rows: [AccessRow]
    }

    /// 50 unless the environment says otherwise.
    private static let histories =
        ProcessInfo.processInfo.environment["GATEHOUSE_RANDOM_HISTORIES"].flatMap { Int($0) } ?? 50
    private static let changes = 14

    @Test("Design 4 the review of any past moment of a random history is what the tables said at that moment")
    func randomHistories() async throws {
        let seed = UInt64.random(in: 0...UInt64.max / 2)
        try await withThrowingTaskGroup(of: Int.self) { group in
            var rows = 0
            for index in 0..<Self.histories {
                if index >= 4 { rows += try await group.next() ?? 0 }
                group.addTask { try await Self.check(seed: seed + UInt64(index), touchesPlatform: index % 8 == 0) }
            }
            for try await some in group { rows += some }
            #expect(rows > 0)
            print(
                "figure: \(Self.histories) random histories from seed \(seed), reviews of \(Self.histories * Self.changes) "
                    + "past moments, \(rows) rows compared")
        }
    }

    /// - Returns: how many rows were compared.
    private static func check(seed: UInt64, touchesPlatform: Bool) async throws -> Int {
        var world = try await AccessWorld(seed: seed, touchesPlatform: touchesPlatform)
        try await world.settle()
        var snapshots: [Snapshot] = []
        for _ in 0..<changes {
            try await world.change()
            let moment = try await world.moment()
            snapshots.append(Snapshot(moment: moment, rows: try await world.rows(at: moment)))
        }
        for (index, snapshot) in snapshots.enumerated() {
            let rows = try await review(world, at: snapshot.moment)
            #expect(rows == snapshot.rows, "seed \(seed), change \(index)")
        }
        return snapshots.reduce(0) { $0 + $1.rows.count }
    }

    private static func review(
        _ world: AccessWorld, at moment: Date, _ filter: AccessReview.Filter = .init(), by limit: Int = 10_000
    ) async throws -> [AccessRow] {
        let review = AccessReview(
            id: .make(at: moment, .system), organization: world.organization, moment: moment, filter: filter,
            combinations: 0, createdBy: "tests", createdAt: moment)
        var reader = try await world.administration.read(review)
        var rows: [AccessRow] = []
        while true {
            let page = try await reader.lines(after: rows.last?.position, limit: limit).map(\.row)
            rows += page
            if page.count < limit { return rows }
        }
    }

    // MARK: What policy never does

    @Test("Design 4 removing an allow statement never grants anything, and adding a deny never does")
    func policiesOnlyNarrow() async throws {
        var world = try await AccessWorld(seed: .random(in: 0...UInt64.max))
        try await world.settle()
        for _ in 0..<10 { try await world.change() }
        for _ in 0..<300 {
            let policy = (0..<6).map { _ in world.statement() }
            // Statements begin and end while this runs: all is decided as of one moment.
            let now = Date()
            let before = try Self.decisions(world, policy, at: now)
            if let allow = policy.first(where: { $0.effect == .allow }) {
                let after = try Self.decisions(world, policy.filter { $0.id != allow.id }, at: now)
                #expect(zip(after, before).allSatisfy { $0.isSubset(of: $1) })
            }
            var deny = world.statement()
            deny.effect = .deny
            let after = try Self.decisions(world, policy + [deny], at: now)
            #expect(zip(after, before).allSatisfy { $0.isSubset(of: $1) })
        }
    }

    /// What each user may have of each resource through each client, in several circumstances, and at least and at most.
    private static func decisions(
        _ world: AccessWorld, _ statements: [ScopePolicyStatement], at now: Date
    ) throws -> [Set<String>] {
        let policy = ScopePolicy(statements)
        var found: [Set<String>] = []
        for user in world.users {
            for client in world.clients {
                for resource in world.resources {
                    func request(_ address: String?, mfa: Bool) -> ScopeRequest {
                        ScopeRequest(
                            principal: .user(user, Membership(groups: world.groups, roles: world.roles)),
                            client: client,
                            resource: resource, scopes: .all, address: address, authTime: now, mfa: mfa,
                            upstreamCeiling: nil)
                    }
                    let circumstances = [request(nil, mfa: false), request("192.0.2.1", mfa: true)]
                    let least = Set(policy.atLeast.decide(circumstances[0], at: now).effective)
                    let most = Set(policy.atMost.decide(circumstances[0], at: now).effective)
                    for request in circumstances {
                        let scopes = Set(policy.decide(request, at: now).effective)
                        #expect(least.isSubset(of: scopes) && scopes.isSubset(of: most))
                        found.append(scopes)
                    }
                    found += [least, most]
                }
            }
        }
        return found
    }

    // MARK: Reviews

    @Test("Design 4 a review reads the same in pages, narrowed as its parts, and beside the policy's own evaluation")
    func pagesAndFilters() async throws {
        var world = try await AccessWorld(seed: .random(in: 0...UInt64.max))
        try await world.settle()
        for _ in 0..<25 { try await world.change() }
        _ = try await world.administration.resumeOrganization(world.organization, by: world.administrator)
        let moment = try await world.moment()
        let rows = try await Self.review(world, at: moment)
        #expect(try await Self.review(world, at: moment, by: 1) == rows)
        for user in world.users {
            let own = try await Self.review(world, at: moment, .init(user: user))
            #expect(own == rows.filter { $0.principal == .user(user) })
        }
        for resource in world.resources {
            let own = try await Self.review(world, at: moment, .init(resource: resource.id))
            #expect(own == rows.filter { $0.resource == resource.id })
        }
        for client in world.clients {
            let own = try await Self.review(world, at: moment, .init(client: client.id))
            #expect(own == rows.filter { $0.client == client.id })
        }
        for row in rows {
            guard case .user(let user) = row.principal, row.closure == nil else { continue }
            let now = try await world.administration.evaluate(
                PolicyQuestion(.user(user, through: row.client), resource: row.resource), in: world.organization,
                at: moment
            ).explanation.decision
            #expect(Set(row.scopes).isSubset(of: now.effective))
            #expect(row.widest.isSuperset(of: now.effective))
        }
    }

    @Test("Design 4 a review of a moment to come, of one before history began, or of somebody unknown is refused")
    func refusedReviews() async throws {
        let world = try await AccessWorld(seed: 1)
        let other = try await AccessWorld(seed: 2)
        let stranger = try await other.administration.createUser(
            email: "s@example.com", name: nil, in: other.organization, by: other.administrator
        ).value.id
        let administration = world.administration
        for (moment, filter, pointer) in [
            (Date() + 60, AccessReview.Filter(), "/at"), (Date() - 86_400, AccessReview.Filter(), "/at"),
            (nil, AccessReview.Filter(user: stranger), "/user"),
            (nil, AccessReview.Filter(client: .make(at: Date(), .system)), "/client"),
            (nil, AccessReview.Filter(resource: .make(at: Date(), .system)), "/resource"),
            (nil, AccessReview.Filter(group: .make(at: Date(), .system)), "/group"),
        ] {
            do {
                _ = try await administration.createAccessReview(
                    at: moment, filter, in: world.organization, by: world.administrator)
                Issue.record("a review with a wrong \(pointer) was made")
            } catch AdminError.invalid(let errors) {
                #expect(errors.map(\.pointer) == [pointer])
            }
        }
        #expect(try await administration.accessReviews.list(Page(limit: 10), of: world.organization).isEmpty)
    }
}
