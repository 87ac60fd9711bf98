import Dispatch
import Keys
import Synchronization
import Tenancy

/// Making or checking an RSA key keeps a processor busy for up to some seconds. This does one such piece of work at a time
/// in the whole process, on a thread of its own, so that whoever asks for many cannot slow down what everybody needs.
enum RSAWork {
    /// One piece of work of an organization; only one of each is under way at a time.
    enum Errand: Hashable, Sendable {
        case check(OrganizationID)
        case generate(OrganizationID)
    }

    /// How many there may be, the one under way and those that wait; more are turned away at once.
    private static let mostErrands = 8

    /// A key that an issuer should have.
    struct Wanted: Hashable, Sendable {
        let algorithm: SigningAlgorithm
        let purpose: SigningKeyRecord.Purpose
        let issuer: OrganizationID
    }

    private static let wanted = Mutex<Set<Wanted>>([])

    /// Whether somebody may begin to see to it that an issuer has a key; not while somebody else does.
    static func begin(_ key: Wanted) -> Bool {
        wanted.withLock { $0.insert(key).inserted }
    }

    static func end(_ key: Wanted) {
        _ = wanted.withLock { $0.remove(key) }
    }

    private static let errands = Mutex<Set<Errand>>([])
    private static let queue = DispatchQueue(label: "gatehouse.rsa", qos: .utility)

    /// - Throws: ``AdminError/unavailable(retryAfter:)`` when the organization's last such errand is not done, or too many
    ///   others wait; whatever `work` throws.
    static func run<Value: Sendable>(
        _ errand: Errand, _ work: @escaping @Sendable () throws -> Value
    ) async throws -> Value {
        let isAccepted = errands.withLock { errands in
            errands.count < mostErrands && errands.insert(errand).inserted
        }
        guard isAccepted else { throw AdminError.unavailable(retryAfter: .seconds(2)) }
        defer { _ = errands.withLock { $0.remove(errand) } }
        return try await withCheckedThrowingContinuation { continuation in
            queue.async { continuation.resume(with: Result(catching: work)) }
        }
    }
}
