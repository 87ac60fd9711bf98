package import Foundation
package import Keys
package import Tenancy

/// Proves which client speaks (RFC 6749 §2.3), at every endpoint where one does.
package struct ClientAuthentication: Sendable {
    let clients: ClientDirectory
    let keys: PublishedKeys
    let assertions: AssertionStore
    let random: RandomBytes

    package init(clients: ClientDirectory, keys: PublishedKeys, database: TenantDatabase, random: RandomBytes) {
        self.clients = clients
        self.keys = keys
        assertions = AssertionStore(database: database)
        self.random = random
    }

    /// - Parameter isRepeat: the same request is decided again, since something moved under it; what may be used once was
    ///   taken the first time.
    /// - Throws: `invalid_client`; unknown client, wrong secret and wrong method look the same to the client, and the
    ///   reason in the error tells them apart for the log.
    package func authenticate(
        _ credentials: ClientCredentials, at issuer: Issuer, isRepeat: Bool = false, now: Date
    ) async throws -> Client {
        guard let client = try await client(credentials.clientID, at: issuer, now) else {
            throw Self.refusal("client_unknown")
        }
        // Only a registered method works (RFC 7591 §2): a confidential client cannot become a public one by silence.
        guard client.accepts(credentials.method) else { throw Self.refusal("wrong_auth_method") }
        switch credentials {
        case .none: break
        case .basic(_, let secret), .post(_, let secret): try Self.check(secret, of: client, now)
        case .assertion(let assertion):
            try await check(assertion, of: AssertionMaker(client), at: issuer, isRepeat: isRepeat, now: now)
        }
        return client
    }

    private func client(_ clientID: String, at issuer: Issuer, _ now: Date) async throws -> Client? {
        do {
            return try await clients.client(clientID, at: issuer, now: now)
        } catch let error as ClientDocumentError {
            guard error.isTemporary else { throw Self.refusal(error.reason) }
            throw OAuthError.unavailable(error)
        }
    }

    private static func check(_ secret: Secret, of client: Client, _ now: Date) throws(OAuthError) {
        let presented = SecretDigest(of: secret)
        if let current = client.secretDigest, presented == current { return }
        if let previous = client.previousSecret, presented == previous.digest {
            guard previous.expiresAt > now else { throw refusal("secret_ended") }
            return
        }
        throw refusal("wrong_secret")
    }

    /// Whom an assertion claims to be from, and what they can prove it with.
    struct AssertionMaker: Sendable {
        let id: String
        /// Where its row is.
        let organization: OrganizationID
        let keys: Client.KeySource?
        /// The only algorithm it uses, if it said so.
        let algorithm: SigningAlgorithm?
        /// Anybody registers by themselves and names anybody's host: until somebody connected with it, a stranger.
        let isStranger: Bool
    }

    /// An assertion is used up once its signature is known to be right, whatever becomes of the request: a client makes a new
    /// one for each (RFC 7523 §3; ADR 12).
    func check(
        _ assertion: ClientAssertion, of maker: AssertionMaker, at issuer: Issuer, isRepeat: Bool = false, now: Date
    ) async throws {
        let use: ClientAssertion.Use
        do {
            use = try assertion.checked(audiences: issuer.assertionAudiences, at: now)
        } catch {
            throw Self.refusal(error.reason)
        }
        if let only = maker.algorithm, assertion.jws.algorithm != only {
            throw Self.refusal("assertion_algorithm")
        }
        guard try await isSigned(assertion.jws, by: maker, now) else { throw Self.refusal("assertion_signature") }
        guard !isRepeat else { return }
        let isFirst = try await assertions.claim(
            use.jti, of: maker.id, in: maker.organization, until: use.expiresAt,
            as: EventID.make(at: now, random))
        guard isFirst else { throw Self.refusal("assertion_reused") }
    }

    /// Whether one of its maker's own keys signed.
    private func isSigned(_ jws: CompactJWS, by maker: AssertionMaker, _ now: Date) async throws -> Bool {
        guard let source = maker.keys else { return false }
        let caller: DocumentFetcher.Caller =
            maker.isStranger ? .stranger(in: maker.organization, from: maker.id) : .known(in: maker.organization)
        do {
            return try await keys.signed(jws, by: source, for: caller, now: now)
        } catch {
            guard error.isTemporary else { throw Self.refusal("keys_\(error.reason)") }
            throw OAuthError.unavailable(error)
        }
    }

    private static func refusal(_ reason: String) -> OAuthError {
        OAuthError(.invalidClient, "Client authentication failed.", reason: reason)
    }
}

extension ClientAuthentication.AssertionMaker {
    fileprivate init(_ client: Client) {
        self.init(
            id: client.wireID, organization: client.registry, keys: client.keys, algorithm: client.assertionAlgorithm,
            isStranger: client.expiresAt != nil)
    }
}
