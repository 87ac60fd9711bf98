import Foundation
import Keys
package import Redis
package import Tenancy

/// How often one address of one organization may have a code sent, and may get one wrong, however many sign-ins are begun:
/// otherwise beginning anew would make every other limit worthless (K-17).
///
/// Counted for each source by itself, and far higher for all of them together: whoever floods an address from elsewhere
/// does not lock its owner out.
///
/// Redis keys `gatehouse:{digest}:codes` and `gatehouse:{digest}:guesses`: counters that end with their window. The digest
/// hides address and source.
package struct SignInLimits: Sendable {
    private static let codes = (perSource: Int64(10), inAll: Int64(40), window: Duration.seconds(600))
    private static let guesses = (perSource: Int64(20), inAll: Int64(200), window: Duration.seconds(3600))
    private static let userCodes = (perSource: Int64(20), window: Duration.seconds(600))

    private let redis: RedisClient

    package init(redis: RedisClient) {
        self.redis = redis
    }

    /// Counts one more code; false when there were too many.
    package func mayHaveCodeSent(
        _ email: String, in organization: OrganizationID?, from source: String?
    ) async throws -> Bool {
        let place = Place(email: email, organization: organization)
        let here = try await count("codes", place, source ?? "-", window: Self.codes.window)
        guard here <= Self.codes.perSource else { return false }
        return try await count("codes", place, nil, window: Self.codes.window) <= Self.codes.inAll
    }

    /// Counts one more guess; false when there were too many.
    package func mayGuess(_ email: String, in organization: OrganizationID?, from source: String?) async throws -> Bool
    {
        let place = Place(email: email, organization: organization)
        let here = try await count("guesses", place, source ?? "-", window: Self.guesses.window)
        guard here <= Self.guesses.perSource else { return false }
        return try await count("guesses", place, nil, window: Self.guesses.window) <= Self.guesses.inAll
    }

    /// Counts one more entry of a device's code; false when there were too many (RFC 8628 §5.1).
    ///
    /// By source alone: one count for all of them would let anybody keep everybody out, and 34 bits outlast what many
    /// sources can try while a code lives.
    package func mayEnterUserCode(from source: String?) async throws -> Bool {
        try await count("user_codes", Place(email: "", organization: nil), source ?? "-", window: Self.userCodes.window)
            <= Self.userCodes.perSource
    }

    /// Starts counting anew for somebody who proved who they are; best effort.
    package func forgive(_ email: String, in organization: OrganizationID, from source: String?) async {
        let place = Place(email: email, organization: organization)
        for name in ["codes", "guesses"] {
            for source in [source ?? "-", nil] { _ = try? await redis.delete([key(name, place, source)]) }
        }
    }

    private struct Place {
        let email: String
        let organization: OrganizationID?
    }

    private func count(_ name: String, _ place: Place, _ source: String?, window: Duration) async throws -> Int64 {
        let reply = try await redis.evaluate(
            Self.increment, keys: [key(name, place, source)], arguments: [.integer(window.components.seconds)])
        return reply.integer ?? .max
    }

    private func key(_ name: String, _ place: Place, _ source: String?) -> String {
        let text = [place.organization?.description ?? "-", place.email.lowercased(), source ?? ""].joined(
            separator: "|")
        return "gatehouse:{\(Base64URL.encode(Array(sha256(text).prefix(16))))}:\(name)"
    }

    private static let increment = RedisScript(
        """
        local count = redis.call('INCR', KEYS[1])
        if count == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
        return count
        """)
}
