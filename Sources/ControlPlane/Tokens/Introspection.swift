package import Audit
package import Foundation
package import Keys
package import Tenancy

/// Tells those who may know whether a token works, and what it stands for (RFC 7662).
///
/// A resource may ask about access tokens meant for it, from whichever issuer it accepts; a confidential client about
/// tokens that were issued to it. To all else the answer is the same: not active (RFC 7662 §2.2), whether the token is
/// over, another's or no token at all. Answers leave no event; refused callers do.
package struct Introspection: Sendable {
    /// What the caller is told.
    package enum Answer: Sendable, Equatable {
        case inactive
        /// The members of the answer as JSON.
        case active([UInt8])

        /// The body of the answer (RFC 7662 §2.2).
        package var body: [UInt8] {
            switch self {
            case .inactive: Self.inactiveBody
            case .active(let body): body
            }
        }

        private static let inactiveBody = JSONWriter.object { $0.bool("active", false) }
    }

    /// Who asks, proven.
    package enum Caller: Sendable {
        case client(Client)
        /// A resource by one of its credentials, with whoever owns it.
        case resource(Resource, ResourceCredentialID, owner: TenantSnapshot)

        /// What it calls itself.
        var id: String {
            switch self {
            case .client(let client): client.wireID
            case .resource(_, let credential, _): credential.description
            }
        }
    }

    private let issuers: IssuerDirectory
    private let authentication: ClientAuthentication
    private let verifier: AccessTokenVerifier
    private let grants: GrantStore
    private let refusals: ClientRefusals

    package init(
        issuers: IssuerDirectory, authentication: ClientAuthentication, verifier: AccessTokenVerifier,
        database: TenantDatabase, refusals: RefusalLog, random: RandomBytes
    ) {
        self.issuers = issuers
        self.authentication = authentication
        self.verifier = verifier
        grants = GrantStore(database: database)
        self.refusals = ClientRefusals(log: refusals, random: random)
    }

    /// - Throws: ``OAuthError``: `invalid_client` for whoever is nobody here, is a public client, or did not prove it
    ///   (RFC 7662 §2.1: "the endpoint MUST also require some form of authorization").
    package func introspect(
        _ token: String, by credentials: ClientCredentials, at issuer: Issuer, request: AuditEvent.RequestInfo,
        at now: Date
    ) async throws -> (answer: Answer, caller: Caller) {
        do {
            let caller = try await caller(credentials, at: issuer, now: now)
            return (try await answer(about: token, to: caller, at: issuer, now), caller)
        } catch let error as OAuthError {
            try await refusals.record(error, of: credentials, at: issuer.id, request, now)
            throw error
        } catch  where error.isStoreFailure {
            throw OAuthError.unavailable(error)
        }
    }

    private func caller(_ credentials: ClientCredentials, at issuer: Issuer, now: Date) async throws -> Caller {
        if let id = ResourceCredentialID(credentials.clientID) {
            return try await resource(id, credentials, at: issuer, now)
        }
        let client = try await authentication.authenticate(credentials, at: issuer, now: now)
        guard client.isConfidential else {
            throw Self.refusal("public_client")
        }
        return .client(client)
    }

    /// A resource asks at the issuer of its organization, or at the platform's.
    private func resource(
        _ id: ResourceCredentialID, _ credentials: ClientCredentials, at issuer: Issuer, _ now: Date
    ) async throws -> Caller {
        guard let owner = try await owner(of: id, at: issuer), let known = owner.resourceCredentials[id],
            let resource = owner.resources.first(where: { $0.id == known.resource })
        else { throw Self.refusal("credential_unknown") }
        switch (known.proof, credentials) {
        case (.secret(let digest), .basic(_, let secret)), (.secret(let digest), .post(_, let secret)):
            guard digest == SecretDigest(of: secret) else { throw Self.refusal("wrong_secret") }
        case (.keys(let set), .assertion(let assertion)):
            let maker = ClientAuthentication.AssertionMaker(
                id: id.description, organization: owner.organization.id, keys: .given(set), algorithm: nil,
                isStranger: false)
            try await authentication.check(assertion, of: maker, at: issuer, now: now)
        default: throw Self.refusal("wrong_auth_method")
        }
        return .resource(resource, id, owner: owner)
    }

    private func owner(of credential: ResourceCredentialID, at issuer: Issuer) async throws -> TenantSnapshot? {
        if issuer.kind == .organization { return issuer.home }
        switch try await issuers.catalog.organization(credential: credential) {
        case nil: return nil
        case OrganizationID.platform: return issuer.platform
        case let id?:
            let owner = try await issuers.catalog.snapshot(of: id)
            return owner?.organization.status == .deleted ? nil : owner
        }
    }

    private static func refusal(_ reason: String) -> OAuthError {
        OAuthError(.invalidClient, "Client authentication failed.", reason: reason)
    }

    private func answer(about token: String, to caller: Caller, at issuer: Issuer, _ now: Date) async throws -> Answer {
        // A suspended organization's tokens do not work, and its callers are told so.
        guard issuer.home.organization.status == .active else { return .inactive }
        switch caller {
        case .client(let client):
            if let refresh = RefreshToken(Secret(token)) {
                return try await answer(about: refresh, of: client, at: issuer, now)
            }
            guard let verified = try await verifier.verify(token, expecting: .issued(by: issuer), at: now),
                verified.clientID == client.wireID, try await verifier.isLive(verified, at: now)
            else { return .inactive }
            return .active(Self.body(of: verified))
        case .resource(let resource, _, let owner):
            guard let verified = try await verifier.verify(token, expecting: .meant(for: resource, of: owner), at: now),
                try await verifier.isLive(verified, at: now)
            else { return .inactive }
            return .active(Self.body(of: verified))
        }
    }

    /// The answer as a JWT that the issuer signs for the caller (RFC 9701 §5).
    ///
    /// Its `typ` and its audience, which is no resource, keep it from being taken for an access token (§8.1).
    package func signed(_ answer: Answer, for caller: Caller, by issuer: Issuer, at now: Date) throws -> String {
        guard let (key, kid) = issuer.introspectionKey else { throw OAuthError.noSigningKey }
        let payload = JSONWriter.object(capacity: 1024) { json in
            json.string("iss", issuer.url)
            json.string("aud", caller.id)
            json.int("iat", Int(now.timeIntervalSince1970))
            json.raw("token_introspection", answer.body)
        }
        do {
            return try JWSSigner(key: key, keyID: kid, type: "token-introspection+jwt").sign(payload)
        } catch {
            throw OAuthError(.serverError, "The answer could not be signed.", reason: "signing_failed", cause: error)
        }
    }

    /// The claims as they stand in the token, and what RFC 7662 §2.2 adds to them.
    private static func body(of token: VerifiedAccessToken) -> [UInt8] {
        let lead: StaticString =
            token.boundKey == nil ? #"{"active":true,"token_type":"Bearer","# : #"{"active":true,"token_type":"DPoP","#
        var body: [UInt8] = []
        body.reserveCapacity(lead.utf8CodeUnitCount + token.payload.count)
        body.append(contentsOf: UnsafeBufferPointer(start: lead.utf8Start, count: lead.utf8CodeUnitCount))
        // The payload is an object that is not empty, and its first byte is its brace.
        body.append(contentsOf: token.payload[1...])
        return body
    }

    /// About the refresh token that may be used next, and no other.
    private func answer(
        about token: RefreshToken, of client: Client, at issuer: Issuer, _ now: Date
    ) async throws -> Answer {
        guard let state = try await grants.state(of: token.grant, in: token.organization),
            state.grant.issuer == issuer.id, state.grant.client == client.id,
            state.user == .active, state.admission == .active, state.admittedKeys == client.admittedKeys,
            state.grant.family?.currentDigest == token.digest,
            let home = try await issuers.catalog.snapshot(of: token.organization), home.organization.status == .active,
            state.grant.isLive(at: now, under: home.organization.settings)
        else { return .inactive }
        let grant = state.grant
        return .active(
            JSONWriter.object { json in
                json.bool("active", true)
                json.string("iss", issuer.url)
                json.string("sub", grant.user.description)
                json.string("client_id", client.wireID)
                json.string("scope", grant.scope.joined(separator: " "))
                json.int("iat", Int(grant.lastUsedAt.timeIntervalSince1970))
                json.int("exp", Int(min(grant.expiresAt, grant.idleExpiresAt).timeIntervalSince1970))
                json.string("org_id", home.organization.id.description)
                json.string("org_slug", home.organization.slug)
                json.string("grant_id", grant.id.description)
            })
    }
}
