import Foundation
import Keys
package import Redis
package import Tenancy

/// How often one address of one organization may have a code sent, and may get one wrong, however many sign-ins are begun:
/// otherwise beginning anew would make every other limit worthless (K-17).
///
/// Redis keys `gatehouse:{digest}:codes` and `gatehouse:{digest}:guesses`: counters that end with their window. The digest
/// hides the address.
package struct SignInLimits: Sendable {
    private static let codes = (most: Int64(10), window: Duration.seconds(600))
    private static let guesses = (most: Int64(20), window: Duration.seconds(3600))

    private let redis: RedisClient

    package init(redis: RedisClient) {
        self.redis = redis
    }

    /// Counts one more code; false when there were too many.
    package func mayHaveCodeSent(_ email: String, in organization: OrganizationID?) async throws -> Bool {
        try await count("codes", email, organization, window: Self.codes.window) <= Self.codes.most
    }

    /// Counts one more guess; false when there were too many.
    package func mayGuess(_ email: String, in organization: OrganizationID?) async throws -> Bool {
        try await count("guesses", email, organization, window: Self.guesses.window) <= Self.guesses.most
    }

    /// Starts counting anew for somebody who proved who they are; best effort.
    package func forgive(_ email: String, in organization: OrganizationID) async {
        _ = try? await redis.delete(["codes", "guesses"].map { key($0, email, organization) })
    }

    private func count(
        _ name: String, _ email: String, _ organization: OrganizationID?, window: Duration
    ) async throws -> Int64 {
        let reply = try await redis.evaluate(
            Self.increment, keys: [key(name, email, organization)],
            arguments: [.integer(window.components.seconds)])
        return reply.integer ?? .max
    }

    private func key(_ name: String, _ email: String, _ organization: OrganizationID?) -> String {
        let place = organization?.description ?? "-"
        return "gatehouse:{\(Base64URL.encode(Array(sha256("\(place)|\(email.lowercased())").prefix(16))))}:\(name)"
    }

    private static let increment = RedisScript(
        """
        local count = redis.call('INCR', KEYS[1])
        if count == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
        return count
        """)
}
