package import Foundation
package import Keys
package import Redis
package import Tenancy

/// Device authorizations in Redis (RFC 8628):
///
/// - `gatehouse:{tag}:device`, twice the code's life, so that an expired one can be told from one that never was: hash of
///   `code` (digest, issuer and client that a poll must name), `request` (JSON of ``DeviceAuthorization``), `state`
///   (`pending`, `approved`, `denied`), `answer` (JSON of ``Authorization`` once approved), `expires`, `interval` and
///   `polled` (milliseconds);
/// - `gatehouse:{tag}:user_code`, as long as the code lives: hash of `tag` (the authorization's) and `browser` (SHA-256 of
///   the binding cookie of the browser it was first entered in).
///
/// Tags are halves of digests, so a dump of Redis polls nothing. Whether a code was spent is not decided here.
package struct DeviceAuthorizationStore: Sendable {
    package static let lifetime: Duration = .seconds(600)
    /// How long a device waits between two polls (RFC 8628 §3.2), and by how much an impatient one is slowed down (§3.5).
    package static let interval: Duration = .seconds(5)
    /// Networks deliver polls a little closer together than they were sent.
    private static let slack: Duration = .milliseconds(500)

    private let redis: RedisClient
    private let random: RandomBytes

    package init(redis: RedisClient, random: RandomBytes) {
        self.redis = redis
        self.random = random
    }

    // MARK: The device

    /// Remembers what a device asks for, under two fresh codes.
    package func create(_ request: DeviceAuthorization, at now: Date) async throws -> (
        device: DeviceCode, user: UserCode
    ) {
        let code = DeviceCode(random)
        _ = try await redis.evaluate(
            Self.remember, keys: [key(code.tag)],
            arguments: [
                .string(Self.name(code, issuer: request.issuer, client: request.client)),
                .bytes(Array(try JSONEncoder.stored.encode(request))), .integer(request.expiresAt.milliseconds),
                .integer(Self.interval.milliseconds), .integer(2 * Self.lifetime.components.seconds),
            ])
        // With 34 bits a code that is in use is drawn once in a very long time.
        for _ in 0..<8 {
            let userCode = UserCode(random)
            let isFree = try await redis.evaluate(
                Self.lead, keys: [key(userCode)],
                arguments: [.string(code.tag), .integer(Self.lifetime.components.seconds)])
            if isFree.integer == 1 { return (code, userCode) }
        }
        throw RedisError(.protocolViolation, "eight random user codes were taken")
    }

    private static let remember = RedisScript(
        """
        redis.call('HSET', KEYS[1], 'code', ARGV[1], 'request', ARGV[2], 'expires', ARGV[3], 'interval', ARGV[4],
            'state', 'pending')
        redis.call('EXPIRE', KEYS[1], ARGV[5])
        return 1
        """)

    private static let lead = RedisScript(
        """
        if redis.call('HSETNX', KEYS[1], 'tag', ARGV[1]) == 0 then return 0 end
        redis.call('EXPIRE', KEYS[1], ARGV[2])
        return 1
        """)

    /// What a poll finds (RFC 8628 §3.5).
    package enum Standing: Sendable {
        case pending
        /// The device did not wait as long as it was told; from now on it has to wait five seconds longer.
        case tooFast
        case approved(Authorization)
        case denied
        case expired
        /// There is none, or it is another client's.
        case unknown
    }

    package func poll(
        _ code: DeviceCode, by client: ClientID, at issuer: OrganizationID, now: Date
    ) async throws -> Standing {
        let reply = try await redis.evaluate(
            Self.look, keys: [key(code.tag)],
            arguments: [
                .string(Self.name(code, issuer: issuer, client: client)), .integer(now.milliseconds),
                .integer(Self.interval.milliseconds), .integer(Self.slack.milliseconds),
            ])
        switch reply.array?.first?.string {
        case "pending": return .pending
        case "slow_down": return .tooFast
        case "denied": return .denied
        case "expired": return .expired
        case "approved":
            guard let answer = reply.array?.dropFirst().first?.bytes else { return .unknown }
            return .approved(try JSONDecoder.stored.decode(Authorization.self, from: Data(answer)))
        default: return .unknown
        }
    }

    private static let look = RedisScript(
        """
        local held = redis.call('HMGET', KEYS[1], 'code', 'state', 'expires', 'interval', 'polled', 'answer')
        if held[1] ~= ARGV[1] then return {'unknown'} end
        local now = tonumber(ARGV[2])
        if now >= tonumber(held[3]) then return {'expired'} end
        if held[2] ~= 'pending' then return {held[2], held[6] or ''} end
        redis.call('HSET', KEYS[1], 'polled', ARGV[2])
        if now - tonumber(held[5] or '0') + tonumber(ARGV[4]) >= tonumber(held[4]) then return {'pending'} end
        redis.call('HINCRBY', KEYS[1], 'interval', ARGV[3])
        return {'slow_down'}
        """)

    /// Forgets a code that was redeemed; best effort, since the database remembers.
    package func forget(_ code: DeviceCode) async {
        _ = try? await redis.delete([key(code.tag)])
    }

    // MARK: The person

    /// Finds what waits for this user code, and keeps it for this browser: nobody else can enter the code from then on.
    ///
    /// - Parameter browser: SHA-256 of the browser's binding cookie.
    /// - Returns: nil for a code that nobody has, that another browser entered, that expired or was answered.
    package func enter(
        _ userCode: UserCode, in browser: String, at now: Date
    ) async throws -> (tag: String, request: DeviceAuthorization)? {
        let reply = try await redis.evaluate(Self.claim, keys: [key(userCode)], arguments: [.string(browser)])
        guard let tag = reply.string, let request = try await pending(tag, at: now) else { return nil }
        return (tag, request)
    }

    private static let claim = RedisScript(
        """
        local held = redis.call('HMGET', KEYS[1], 'tag', 'browser')
        if not held[1] or (held[2] and held[2] ~= ARGV[1]) then return false end
        redis.call('HSET', KEYS[1], 'browser', ARGV[1])
        return held[1]
        """)

    /// An authorization that nobody has answered yet and that can still be.
    package func pending(_ tag: String, at now: Date) async throws -> DeviceAuthorization? {
        let reply = try await redis.send(RedisCommand("HMGET", [.string(key(tag)), "state", "request"]))
        guard let fields = reply.array, fields.count == 2, fields[0].string == "pending", let data = fields[1].bytes
        else { return nil }
        let request = try JSONDecoder.stored.decode(DeviceAuthorization.self, from: Data(data))
        return request.expiresAt > now ? request : nil
    }

    /// Writes the person's answer down for the device's next poll.
    ///
    /// - Parameter authorization: nil when the person declined.
    /// - Returns: false when it was answered before, or is over.
    package func answer(_ tag: String, with authorization: Authorization?, at now: Date) async throws -> Bool {
        let reply = try await redis.evaluate(
            Self.settle, keys: [key(tag)],
            arguments: [
                .integer(now.milliseconds), .string(authorization == nil ? "denied" : "approved"),
                .bytes(try authorization.map { Array(try JSONEncoder.stored.encode($0)) } ?? []),
            ])
        return reply.integer == 1
    }

    private static let settle = RedisScript(
        """
        local held = redis.call('HMGET', KEYS[1], 'state', 'expires')
        if held[1] ~= 'pending' or tonumber(ARGV[1]) >= tonumber(held[2]) then return 0 end
        redis.call('HSET', KEYS[1], 'state', ARGV[2], 'answer', ARGV[3])
        return 1
        """)

    // MARK: Keys

    private static func name(_ code: DeviceCode, issuer: OrganizationID, client: ClientID) -> String {
        "\(Base64URL.encode(code.digest.bytes))|\(issuer)|\(client)"
    }

    private func key(_ tag: String) -> String { "gatehouse:{\(tag)}:device" }
    private func key(_ userCode: UserCode) -> String { "gatehouse:{\(userCode.tag)}:user_code" }
}

extension Date {
    fileprivate var milliseconds: Int64 { Int64(timeIntervalSince1970 * 1000) }
}

extension Duration {
    fileprivate var milliseconds: Int64 { Int64(seconds * 1000) }
}
