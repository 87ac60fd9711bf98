package import Foundation

/// The one source of time; tests put their own in its place.
package struct WallClock: Sendable {
    /// The present moment. Asked once per request and passed down as `at now:`.
    package let now: @Sendable () -> Date

    package init(now: @escaping @Sendable () -> Date) {
        self.now = now
    }

    package static let system = WallClock { Date() }
}

extension Duration {
    /// Whole and fractional seconds, for arithmetic with `Date`.
    package var seconds: TimeInterval {
        Double(components.seconds) + Double(components.attoseconds) * 1e-18
    }
}
