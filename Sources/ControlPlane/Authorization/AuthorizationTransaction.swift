package import Foundation
package import Identity
package import Keys
package import Redis
package import Tenancy

/// A sign-in on its way: what it is for, and how far the person has come. Lives in Redis for ten minutes and nowhere else.
package struct AuthorizationTransaction: Codable, Sendable {
    /// How far the person has come. Each stage holds what the next one needs, and nothing more.
    package enum Stage: Codable, Sendable {
        case start
        /// A code was sent by mail; without an organization nothing was sent, and no code will be right.
        case code(PendingCode)
        case consent(SignedIn)
        /// Somebody is writing the decision down; nobody else may.
        case deciding
        /// Answered; the page can only say so.
        case finished
    }

    /// Somebody is typing a code.
    package struct PendingCode: Codable, Sendable {
        /// nil when what was typed names no organization: the page is the same, and no code will be right.
        package let organization: OrganizationID?
        /// What the page calls the organization: what the person typed, until they have proven who they are.
        package let shown: String
        package let challenge: SignInChallenge?
        package let email: String
        package var attempts: Int
        package var sendings: Int
    }

    /// Somebody proved who they are.
    package struct SignedIn: Codable, Sendable {
        package let organization: OrganizationID
        package let user: UserID
        package let account: String
        package let session: SessionID
        package let authTime: Date
        package let mfa: Bool
        package let upstreamCeiling: [String]?
        /// What policy allowed when the person came to the consent page: more than that is never shown, nor granted.
        package let offered: [String]?
        /// What they belonged to when that was decided; nil where it has to be read.
        package let membership: DatedMembership?
        /// ``Client/selfDescription`` as the consent page was made from it; nobody allows what they were not shown.
        package var shown: String?
    }

    /// Where the person's decision goes.
    package enum Destination: Codable, Sendable {
        /// Back through the browser, as a code (RFC 6749 §4.1.2).
        case redirect(Redirect)
        /// To a device that asks for it (RFC 8628 §3.4), by the tag of its authorization.
        case device(tag: String, userCode: String)
    }

    /// What the client said about the code it wants.
    package struct Redirect: Codable, Sendable {
        package let uri: String
        package let state: String?
        package let codeChallenge: String
        /// What the ID token has to repeat (OpenID Connect Core §3.1.2.1).
        package let nonce: String?
        /// The key that the code will be bound to (`dpop_jkt`, RFC 9449 §10).
        package let boundKey: String?
        /// Nobody else may answer (`id_token_hint`).
        package let expectedUser: UserID?
    }

    /// What a client asked for.
    package struct ClientRequest: Codable, Sendable {
        /// The registry is the issuer's own.
        package let client: ClientID
        package let destination: Destination
        /// Resource scopes asked for and known, in order; none means all.
        package let resourceScopes: [String]
        /// `openid profile email offline_access`, as far as asked for.
        package let openIDScopes: [String]
        package let resource: ResourceID
        package let resourceOwner: OrganizationID
    }

    package let issuer: OrganizationID
    /// nil where somebody signs in to see their own connections.
    package let asked: ClientRequest?
    /// Fixed by the issuer, the resource or a hint; otherwise chosen on page one.
    package let organization: OrganizationID?
    package let loginHint: String?
    /// The person must prove who they are anew (`prompt=login`, a session older than `max_age`, or somebody else's).
    package let mustSignIn: Bool
    package let csrfToken: String
    /// SHA-256 of the browser-binding cookie, base64url; set by the first POST.
    package var binding: String?
    package var stage: Stage
    package let createdAt: Date
}

/// What a person allowed a client: all that a grant is made from, whatever the client presents to get it (RFC 6749 §1.3).
package struct Authorization: Codable, Sendable {
    package let issuer: OrganizationID
    package let client: ClientID
    /// What the ID token has to repeat (OpenID Connect Core §3.1.2.1).
    package let nonce: String?
    package let organization: OrganizationID
    package let user: UserID
    package let resource: ResourceID
    package let resourceOwner: OrganizationID
    /// What policy allowed of what the person saw; never empty, and a grant may only narrow it.
    package let grantedScopes: [String]
    package let openIDScopes: [String]
    package let upstreamCeiling: [String]?
    package let authTime: Date
    package let mfa: Bool
    /// What the user belonged to when it was allowed; nil where it has to be read.
    package let membership: DatedMembership?
}

/// Transactions and codes in Redis. All keys of one transaction share the hash tag `{tag}`:
///
/// - `gatehouse:{tag}:transaction`: hash of `version` (a counter) and `data` (JSON), ten minutes;
/// - `gatehouse:{tag}:code`: JSON of ``CodeRecord``, sixty seconds;
/// - `gatehouse:{tag}:failures`: wrong verifiers so far, as long as the code.
///
/// The handle in the browser's URL is 256 random bits; the tag is half of its SHA-256, so a dump of Redis opens nothing.
package struct AuthorizationTransactionStore: Sendable {
    package static let lifetime: Duration = .seconds(600)
    package static let codeLifetime: Duration = .seconds(60)
    /// Wrong verifiers that a code survives (PK-07).
    private static let verifierAttempts = 5

    private let redis: RedisClient
    private let random: RandomBytes

    package init(redis: RedisClient, random: RandomBytes) {
        self.redis = redis
        self.random = random
    }

    /// A transaction as read, and the version that a change must find unmoved.
    package struct Held: Sendable {
        package let handle: String
        package var transaction: AuthorizationTransaction
        package let version: Int64

        package var tag: String { AuthorizationTransactionStore.tag(of: handle) }
    }

    package func create(_ transaction: AuthorizationTransaction) async throws -> Held {
        let handle = Base64URL.encode(random.generate(32))
        let held = Held(handle: handle, transaction: transaction, version: 0)
        guard try await save(held) else { throw RedisError(.protocolViolation, "a random handle was taken") }
        return Held(handle: handle, transaction: transaction, version: 1)
    }

    /// - Returns: nil when there is none, or it is over.
    package func find(_ handle: String) async throws -> Held? {
        guard handle.utf8.count == 43, Base64URL.decode(handle) != nil else { return nil }
        let reply = try await redis.send(
            RedisCommand("HMGET", [.string(key(Self.tag(of: handle), "transaction")), "version", "data"]))
        guard let fields = reply.array, fields.count == 2, let version = fields[0].string.flatMap(Int64.init),
            let data = fields[1].bytes
        else { return nil }
        let transaction = try JSONDecoder.stored.decode(AuthorizationTransaction.self, from: Data(data))
        return Held(handle: handle, transaction: transaction, version: version)
    }

    /// Writes the transaction if nobody else did since it was read.
    ///
    /// - Returns: false when somebody did, such as the same person's second click.
    package func save(_ held: Held) async throws -> Bool {
        let reply = try await redis.evaluate(
            Self.swap, keys: [key(held.tag, "transaction")],
            arguments: [
                .integer(held.version), .bytes(Array(try JSONEncoder.stored.encode(held.transaction))),
                .integer(Self.lifetime.components.seconds),
            ])
        return reply.integer == 1
    }

    private static let swap = RedisScript(
        """
        local version = tonumber(redis.call('HGET', KEYS[1], 'version') or '0')
        if version ~= tonumber(ARGV[1]) then return 0 end
        redis.call('HSET', KEYS[1], 'version', version + 1, 'data', ARGV[2])
        if version == 0 then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
        return 1
        """)

    // MARK: Codes

    package func store(_ record: CodeRecord, for code: AuthorizationCode) async throws {
        _ = try await redis.set(
            key(code.tag, "code"), record.stored, expireIn: Self.codeLifetime)
    }

    /// What this code was given for; read, never consumed: PostgreSQL alone decides "once".
    package func record(of code: AuthorizationCode) async throws -> CodeRecord? {
        guard let data = try await redis.get(key(code.tag, "code")) else { return nil }
        guard let record = CodeRecord(stored: data) else { return nil }
        let presented = Base64URL.encode(code.digest.bytes)
        return ConstantTime.equal(record.digest, presented) ? record : nil
    }

    /// Counts a wrong verifier; the fifth burns the code.
    package func countFailure(of code: AuthorizationCode) async throws {
        _ = try await redis.evaluate(
            Self.fail, keys: [key(code.tag, "failures"), key(code.tag, "code")],
            arguments: [.integer(Self.codeLifetime.components.seconds), .integer(Int64(Self.verifierAttempts))])
    }

    private static let fail = RedisScript(
        """
        local failures = redis.call('INCR', KEYS[1])
        redis.call('EXPIRE', KEYS[1], ARGV[1])
        if failures >= tonumber(ARGV[2]) then redis.call('DEL', KEYS[2]) end
        return failures
        """)

    /// Forgets a code that was redeemed; best effort, since the database remembers.
    package func forget(_ code: AuthorizationCode) async {
        _ = try? await redis.delete([key(code.tag, "code")])
    }

    static func tag(of handle: String) -> String {
        Base64URL.encode(Array(sha256(handle).prefix(16)))
    }

    private func key(_ tag: String, _ name: String) -> String {
        "gatehouse:{\(tag)}:\(name)"
    }
}

extension JSONEncoder {
    static var stored: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.dateEncodingStrategy = .secondsSince1970
        return encoder
    }
}

extension JSONDecoder {
    static var stored: JSONDecoder {
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .secondsSince1970
        return decoder
    }
}
