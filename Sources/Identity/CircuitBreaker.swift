import Synchronization
import Tenancy

/// Leaves a failing identity provider alone for a while, each by itself, and keeps a slow one from taking every
/// connection.
///
/// Keyed by provider and version of its configuration, so that a mended configuration is tried at once.
final class CircuitBreaker: Sendable {
    struct Settings: Sendable {
        /// Failures in a row after which a provider is left alone …
        var threshold = 5
        /// … for this long; then one call at a time may try, and its success lets all pass again.
        var openTime = Duration.seconds(10)
        /// Calls under way to one provider.
        var concurrency = 32
    }

    /// What came of a call, as far as the provider's health goes.
    enum Health { case good, bad, unknown }

    /// Nothing was sent.
    struct Open: Error {
        /// When to try again; nil where too many calls are under way.
        let retryAfter: Duration?
    }

    /// One call that may be made; settled exactly once.
    struct Permit: Sendable {
        fileprivate let provider: IdentityProviderID
        fileprivate let version: Int64
        fileprivate let isProbe: Bool
    }

    private struct Circuit {
        let version: Int64
        var inFlight: Int
        var failures = 0
        var openUntil: ContinuousClock.Instant?
        var isProbing = false
        var isIdle: Bool { inFlight == 0 && failures == 0 && openUntil == nil }
    }

    private let settings: Settings
    private let now: @Sendable () -> ContinuousClock.Instant
    private let circuits = Mutex<[IdentityProviderID: Circuit]>([:])

    init(_ settings: Settings = Settings(), now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }) {
        self.settings = settings
        self.now = now
    }

    /// Asks to make a call; every permit is followed by one ``settle(_:_:)``.
    ///
    /// - Throws: ``Open``.
    func admit(_ provider: IdentityProviderID, version: Int64) throws(Open) -> Permit {
        let now = now()
        return try circuits.withLock { circuits throws(Open) in
            var circuit = circuits[provider] ?? Circuit(version: version, inFlight: 0)
            if circuit.version < version { circuit = Circuit(version: version, inFlight: circuit.inFlight) }
            if circuit.inFlight >= settings.concurrency { throw Open(retryAfter: nil) }
            var isProbe = false
            if let openUntil = circuit.openUntil {
                if now < openUntil { throw Open(retryAfter: openUntil - now) }
                if circuit.isProbing { throw Open(retryAfter: .seconds(1)) }
                isProbe = true
                circuit.isProbing = true
            }
            circuit.inFlight += 1
            circuits[provider] = circuit
            return Permit(provider: provider, version: circuit.version, isProbe: isProbe)
        }
    }

    /// Whether a call would be refused for earlier failures; takes no turn.
    func isOpen(_ provider: IdentityProviderID, version: Int64) -> Bool {
        let now = now()
        return circuits.withLock { circuits in
            guard let circuit = circuits[provider], circuit.version >= version, let openUntil = circuit.openUntil else {
                return false
            }
            return now < openUntil || circuit.isProbing
        }
    }

    func settle(_ permit: Permit, _ health: Health) {
        let now = now()
        circuits.withLock { circuits in
            guard var circuit = circuits[permit.provider] else { return }
            circuit.inFlight -= 1
            // A call made under an older configuration says nothing about this one.
            let health = circuit.version == permit.version ? health : .unknown
            if circuit.version == permit.version, permit.isProbe { circuit.isProbing = false }
            switch health {
            case .good:
                circuit.failures = 0
                circuit.openUntil = nil
            case .bad:
                circuit.failures += 1
                if circuit.failures >= settings.threshold || permit.isProbe {
                    circuit.openUntil = now + settings.openTime
                }
            case .unknown: break
            }
            circuits[permit.provider] = circuit.isIdle ? nil : circuit
        }
    }
}
