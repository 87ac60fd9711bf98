import Foundation
import Keys
import Tenancy
import Testing

@testable import ControlPlane

@Suite struct ErrandTests {
    @Test("RL-03 S-10 one organization's errands that take long leave room for the others' (own)")
    func room() async throws {
        let errands = Errands()
        let (greedy, other) = (OrganizationID.make(at: Date(), .system), OrganizationID.make(at: Date(), .system))
        let (ends, release) = AsyncStream<Void>.makeStream()
        let (begun, begin) = AsyncStream<Void>.makeStream()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<2 {
                group.addTask {
                    try await errands.run("looking", for: greedy) {
                        begin.yield()
                        for await _ in ends { break }
                    }
                }
            }
            for await _ in begun.prefix(2) {}
            await #expect(throws: AdminError.self) { try await errands.run("looking", for: greedy) {} }
            try await errands.run("reading", for: greedy) {}
            try await errands.run("looking", for: other) {}
            release.finish()
            try await group.waitForAll()
        }
        try await errands.run("looking", for: greedy) {}
    }
}
