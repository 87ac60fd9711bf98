import Postgres
import Synchronization

/// Whose search may run: few at once, and never two of one organization, so that whoever asks much waits for themselves
/// and takes no connection from those who ask little.
final class SearchTurns: Sendable {
    private struct Waiter {
        let id: Int
        let organization: OrganizationID
        let continuation: CheckedContinuation<Bool, Never>
    }

    private struct State {
        var running: Set<OrganizationID> = []
        var waiting: [Waiter] = []
        var lastID = 0
    }

    private let most: Int
    private let patience: Duration
    private let state = Mutex(State())
    /// Of one organization, and of all.
    private static let longestQueue = (own: 32, all: 256)

    /// - Parameters:
    ///   - most: searches at once.
    ///   - patience: the longest wait for a turn.
    init(most: Int = 2, patience: Duration = .seconds(10)) {
        self.most = most
        self.patience = patience
    }

    /// - Throws: `overloaded` where no turn came in time; what `search` throws.
    func take<Found>(for organization: OrganizationID, _ search: () async throws -> Found) async throws -> Found {
        guard await begin(organization) else { throw PostgresError(.overloaded) }
        defer { end(organization) }
        return try await search()
    }

    private func begin(_ organization: OrganizationID) async -> Bool {
        let id = state.withLock { state in
            state.lastID += 1
            return state.lastID
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let mayRun: Bool? = state.withLock { state in
                    if state.running.count < most, state.running.insert(organization).inserted { return true }
                    guard state.waiting.count < Self.longestQueue.all,
                        state.waiting.count(where: { $0.organization == organization }) < Self.longestQueue.own
                    else { return false }
                    state.waiting.append(Waiter(id: id, organization: organization, continuation: continuation))
                    return nil
                }
                if let mayRun { return continuation.resume(returning: mayRun) }
                Task { [self] in
                    try? await Task.sleep(for: patience)
                    leave(id)
                }
            }
        } onCancel: {
            leave(id)
        }
    }

    private func leave(_ id: Int) {
        let waiter: Waiter? = state.withLock { state in
            state.waiting.firstIndex { $0.id == id }.map { state.waiting.remove(at: $0) }
        }
        waiter?.continuation.resume(returning: false)
    }

    private func end(_ organization: OrganizationID) {
        let next: Waiter? = state.withLock { state in
            state.running.remove(organization)
            guard let place = state.waiting.firstIndex(where: { !state.running.contains($0.organization) }) else {
                return nil
            }
            let waiter = state.waiting.remove(at: place)
            state.running.insert(waiter.organization)
            return waiter
        }
        next?.continuation.resume(returning: true)
    }
}
