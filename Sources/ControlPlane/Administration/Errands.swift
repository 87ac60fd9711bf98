import Synchronization
import Tenancy

/// Errands to the outside, which take as long as somebody else likes: a few of each organization at a time, so that none
/// keeps the others from theirs.
package final class Errands: Sendable {
    private struct Errand: Hashable {
        let name: String
        let organization: OrganizationID
    }

    private static let most = 2
    private let underWay = Mutex<[Errand: Int]>([:])

    package init() {}

    /// - Parameter name: what is done, for people.
    /// - Throws: ``AdminError/conflict(_:)`` while too many are under way; what `body` throws.
    func run<Found>(
        _ name: String, for organization: OrganizationID, _ body: () async throws -> Found
    ) async throws -> Found {
        let errand = Errand(name: name, organization: organization)
        let mayGo = underWay.withLock { underWay in
            guard underWay[errand, default: 0] < Self.most else { return false }
            underWay[errand, default: 0] += 1
            return true
        }
        guard mayGo else {
            throw AdminError.conflict("\(Self.most) requests are \(name) of this organization just now; try again.")
        }
        defer {
            underWay.withLock { underWay in
                underWay[errand, default: 0] -= 1
                if underWay[errand] == 0 { underWay[errand] = nil }
            }
        }
        return try await body()
    }
}
