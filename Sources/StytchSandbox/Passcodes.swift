import Foundation

/// The one-time passcodes of one project, by the method (e-mail id or member id) they were sent to.
///
/// A newer code ends the life of the older ones; a code is accepted once.
struct Passcodes: Sendable {
    enum Redemption { case accepted, wrong, spent, neverSent }
    private struct Passcode {
        let code: String
        let expiresAt: Date
        var isSpent = false
    }

    private var sent: [String: [Passcode]] = [:]

    /// A fresh six-digit code for `method`.
    mutating func issue(for method: String, lifetime: Duration, at now: Date) -> String {
        let code = String((0..<6).map { _ in Character(String(Int.random(in: 0...9))) })
        // Earlier codes are remembered only to tell a spent code from a wrong one; a few suffice.
        var older = (sent[method] ?? []).suffix(8).filter { $0.code != code }
        for index in older.indices { older[index].isSpent = true }
        sent[method] = older + [Passcode(code: code, expiresAt: now + lifetime.timeInterval)]
        return code
    }

    mutating func redeem(_ code: String, for method: String, at now: Date) -> Redemption {
        guard let index = sent[method]?.firstIndex(where: { $0.code == code }) else {
            return sent[method] == nil ? .neverSent : .wrong
        }
        guard let passcode = sent[method]?[index], !passcode.isSpent, now < passcode.expiresAt else { return .spent }
        sent[method]?[index].isSpent = true
        return .accepted
    }
}

/// Locks an account for a while after too many failed attempts in a row.
struct Lockout: Sendable {
    /// How many failures lock, and for how long.
    struct Rule: Sendable {
        var threshold = 10
        var lifetime = Duration.seconds(3600)
    }

    private var failures = 0
    private(set) var lockedAt: Date?
    private(set) var expiresAt: Date?

    func isLocked(at now: Date) -> Bool { expiresAt.map { now < $0 } ?? false }

    /// Counts a failure; the one that reaches the threshold locks.
    mutating func fail(under rule: Rule, at now: Date) {
        if let expiresAt, now >= expiresAt { self = Lockout() }
        failures += 1
        if failures >= rule.threshold { (lockedAt, expiresAt) = (now, now + rule.lifetime.timeInterval) }
    }

    mutating func succeed() { self = Lockout() }
}

extension Duration {
    /// In seconds, as `Date` counts.
    var timeInterval: TimeInterval { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
