import Foundation
package import Keys
package import Redis
import Tenancy

/// Authorization requests that clients pushed (RFC 9126), in Redis: `gatehouse:{tag}:pushed`, JSON, for as long as the
/// reference is good. The reference holds 256 random bits; the tag is half of its SHA-256.
package struct PushedRequestStore: Sendable {
    /// How long a reference is good: a browser is on its way already (RFC 9126 §2.2: "5 … 600 seconds").
    package static let lifetime: Duration = .seconds(90)
    /// What `request_uri` begins with when it is ours (RFC 9126 §2.2); nothing else is one, and nothing is ever fetched.
    private static let prefix = "urn:ietf:params:oauth:request_uri:"
    /// Room for every parameter there is; what is larger is no request.
    static let largest = 16 * 1024

    private let redis: RedisClient
    private let random: RandomBytes

    package init(redis: RedisClient, random: RandomBytes) {
        self.redis = redis
        self.random = random
    }

    private struct Entry: Codable {
        let issuer: OrganizationID
        /// On the wire.
        let client: String
        let values: [String: String]
        let resources: [String]
    }

    /// Remembers what a client asks for.
    ///
    /// - Returns: the reference; nil for a request that is too large.
    func push(
        _ parameters: AuthorizationParameters, of client: Client, at issuer: OrganizationID
    ) async throws -> String? {
        // Who authenticated by a header need not have said its name once more.
        let values = parameters.values.merging(["client_id": client.wireID]) { $1 }
        let entry = Entry(issuer: issuer, client: client.wireID, values: values, resources: parameters.resources)
        let bytes = Array(try JSONEncoder.stored.encode(entry))
        guard bytes.count <= Self.largest else { return nil }
        let handle = Base64URL.encode(random.generate(32))
        _ = try await redis.set(Self.key(handle), bytes, expireIn: Self.lifetime)
        return Self.prefix + handle
    }

    /// Whether this is a reference of ours, good or not.
    static func isReference(_ text: String) -> Bool { text.hasPrefix(prefix) }

    /// What a reference stands for, once: of two browsers that come with it one gets in.
    ///
    /// - Returns: nil for one that ended, was used, or is another client's or issuer's, whom it stays good for.
    func take(
        _ reference: String, of clientID: String?, at issuer: OrganizationID
    ) async throws -> AuthorizationParameters? {
        let handle = String(reference.dropFirst(Self.prefix.count))
        guard handle.utf8.count == 43, Base64URL.decode(handle) != nil,
            let data = try await redis.get(Self.key(handle))
        else { return nil }
        let entry = try JSONDecoder.stored.decode(Entry.self, from: Data(data))
        guard entry.issuer == issuer, entry.client == clientID, try await redis.delete([Self.key(handle)]) == 1 else {
            return nil
        }
        return AuthorizationParameters(pushed: entry.values, resources: entry.resources)
    }

    private static func key(_ handle: String) -> String {
        "gatehouse:{\(AuthorizationTransactionStore.tag(of: handle))}:pushed"
    }
}
