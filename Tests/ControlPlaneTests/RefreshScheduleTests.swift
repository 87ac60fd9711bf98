import Foundation
import Tenancy
import TestSupport
import Testing

@testable import ControlPlane

@Suite("Refreshing under every schedule", .tags(.token, .race))
struct RefreshScheduleTests {
    /// Longer than the longest window.
    private static let longWait: TimeInterval = 31

    @Test(
        "TK-18 TK-19 MCP-AS-20 K-05 two refreshers, lost replies, time and a thief: every schedule ends as the rule says (OAuth 2.1 §4.3.1)",
        arguments: [30, 0], [true, false])
    func everySchedule(grace: Int, remembers: Bool) async throws {
        let families = try await RefreshFamilies(remembers: remembers) { $0.refreshGraceSeconds = grace }
        let schedules = RefreshModel.schedules(hasWindow: grace > 0)
        // What the model can reach is known: a change of the model that loses states would go unnoticed otherwise.
        #expect(schedules.count > (grace > 0 ? 600 : 100))
        let failures = try await families.watching {
            try await withThrowingTaskGroup(of: String?.self) { group in
                var failures: [String] = []
                var waiting = schedules[...]
                for schedule in waiting.prefix(32) { group.addTask { try await run(schedule, in: families, grace) } }
                waiting = waiting.dropFirst(32)
                while let failure = try await group.next() {
                    if let failure { failures.append(failure) }
                    if let schedule = waiting.popFirst() {
                        group.addTask { try await run(schedule, in: families, grace) }
                    }
                }
                return failures
            }
        }
        #expect(failures.isEmpty, "\(failures.count) schedules, such as \(failures.first ?? "")")
    }

    /// Plays a schedule against the database beside the model.
    ///
    /// - Returns: what went otherwise than the model says; nil if nothing did.
    private func run(
        _ schedule: [RefreshModel.Action], in families: RefreshFamilies, _ grace: Int
    ) async throws -> String? {
        var model = RefreshModel(hasWindow: grace > 0)
        var tokens = [try await families.begin()]
        var held = [0, 0]
        var replies = [0, 0]
        var now = families.begun
        for (step, action) in schedule.enumerated() {
            func differs(_ what: String) -> String { "\(schedule), step \(step): \(what)" }
            let expected = model.apply(action)
            var presented: Int?
            switch action {
            case .send(let who): presented = held[who]
            case .steal(let lag): presented = tokens.count - 1 - lag
            case .hear(let who): held[who] = replies[who]
            case .lose: break
            case .wait: now += Self.longWait
            }
            guard let presented, let expected else { continue }
            let answer = try await families.present(tokens[presented], at: now)
            switch expected {
            case .rotated:
                guard let answer, answer.generation == tokens.count + 1 else { return differs("not rotated") }
                tokens.append(answer)
            case .retried:
                // The very same successor, never a sibling.
                guard let answer, answer.digest == tokens[tokens.count - 1].digest else {
                    return differs("not retried")
                }
            case .refused:
                guard answer == nil else { return differs("not refused") }
            }
            if case .send(let who) = action { replies[who] = tokens.count - 1 }
        }
        let isRevoked = try await families.isRevoked(tokens[0].grant)
        return isRevoked == !model.isAlive ? nil : "\(schedule): revoked is \(isRevoked)"
    }

    @Test("TK-23 TK-20 an unused connection ends, a used one too in the end, and shorter settings count for older ones")
    func lifetimes() async throws {
        let families = try await RefreshFamilies(remembers: true) {
            $0.grantIdleLifetimeSeconds = 3_600
            $0.grantLifetimeSeconds = 7_200
        }
        try await families.watching {
            // The family was begun with a day of idleness and 400 days of life: the organization's settings are shorter.
            let idle = try await families.begin()
            #expect(try await families.present(idle, at: families.begun + 3_601) == nil)
            #expect(try await !families.isRevoked(idle.grant))
            var token: RefreshToken? = try await families.begin()
            for hour in [0.5, 1.2, 1.9] {
                let presented = try #require(token)
                token = try await families.present(presented, at: families.begun + hour * 3_600)
            }
            let last = try #require(token)
            #expect(try await families.present(last, at: families.begun + 7_201) == nil)
        }
    }

    @Test(
        "TK-19 K-05 both at the same moment, at nodes whose clocks differ: with a window both get the same successor, without one the second is reuse"
    )
    func bothAtOnce() async throws {
        for grace in [30, 0] {
            let families = try await RefreshFamilies { $0.refreshGraceSeconds = grace }
            try await families.watching {
                for _ in 0..<20 {
                    let first = try await families.begin()
                    async let one = families.present(first, at: families.begun)
                    async let other = families.present(first, at: families.begun - 0.5)
                    let answers = try await [one, other].map { $0?.digest }
                    if grace > 0 {
                        #expect(answers[0] != nil && answers[0] == answers[1])
                    } else {
                        #expect(answers.filter { $0 == nil }.count == 1)
                    }
                    #expect(try await families.isRevoked(first.grant) == (grace == 0))
                }
            }
        }
    }
}
