package import Audit
package import Foundation
package import Keys
package import Tenancy

/// Ends tokens for the client that holds them (RFC 7009).
///
/// A refresh token takes its whole grant along, access tokens included; an access token ends alone. Another client's token,
/// one that is over and a text that is no token are answered alike and nothing happens (RFC 7009 §2.2), so that nobody
/// learns by asking. What was ended is ended on every node with the answer, since all of them ask the database.
package struct Revocation: Sendable {
    private let authentication: ClientAuthentication
    private let verifier: AccessTokenVerifier
    private let grants: GrantStore
    private let tokens: AccessTokenStore
    private let refusals: ClientRefusals
    private let random: RandomBytes

    package init(
        authentication: ClientAuthentication, verifier: AccessTokenVerifier, database: TenantDatabase,
        refusals: RefusalLog, random: RandomBytes
    ) {
        self.authentication = authentication
        self.verifier = verifier
        grants = GrantStore(database: database)
        tokens = AccessTokenStore(database: database)
        self.refusals = ClientRefusals(log: refusals, random: random)
        self.random = random
    }

    /// One request to end a token.
    private struct Call {
        let client: Client
        let issuer: Issuer
        let request: AuditEvent.RequestInfo
        let now: Date
    }

    /// Ends the token if it is this client's; returns when that is stored, or when there is nothing to end.
    ///
    /// - Throws: ``OAuthError``: `invalid_client`, `unsupported_token_type`, `temporarily_unavailable`.
    package func revoke(
        _ token: String, by credentials: ClientCredentials, at issuer: Issuer, request: AuditEvent.RequestInfo,
        at now: Date
    ) async throws {
        do {
            let client = try await authentication.authenticate(credentials, at: issuer, now: now)
            let call = Call(client: client, issuer: issuer, request: request, now: now)
            if let refresh = RefreshToken(Secret(token)) {
                try await revoke(refresh, call)
            } else if PresentedToken(token).isOfAnotherType {
                throw OAuthError(.unsupportedTokenType, "Only refresh tokens and access tokens are revoked here.")
            } else if let access = try await verifier.verify(token, expecting: .issued(by: issuer), at: now) {
                try await revoke(access, call)
            }
        } catch let error as OAuthError {
            try await refusals.record(error, of: credentials, at: issuer.id, request, now)
            throw error
        } catch  where error.isStoreFailure {
            throw OAuthError.unavailable(error)
        }
    }

    /// Any genuine token of the family will do: whoever holds an old one could as well use it, which ends the family too.
    private func revoke(_ token: RefreshToken, _ call: Call) async throws {
        guard let grant = try await grants.find(token.grant, in: token.organization),
            grant.issuer == call.issuer.id, grant.client == call.client.id,
            grant.family?.familyDigest == token.familyDigest
        else { return }
        let targets = [
            AuditEvent.Target(type: "grant", id: grant.id.description),
            AuditEvent.Target(type: "user", id: grant.user.description),
        ]
        let event = event(in: token.organization, targets, scopes: grant.scope, token: nil, call)
        _ = try await grants.revoke(
            grant.id, in: token.organization, because: AuditEventType.tokenRevoked.rawValue, recording: event)
    }

    private func revoke(_ token: VerifiedAccessToken, _ call: Call) async throws {
        guard token.clientID == call.client.wireID else { return }
        var targets = [AuditEvent.Target(type: "access_token", id: token.id.description)]
        if let grant = token.grant { targets.append(AuditEvent.Target(type: "grant", id: grant.description)) }
        let event = event(
            in: token.organization, targets, scopes: token.scopes, token: token.id.description, call)
        _ = try await tokens.revoke(token.id, in: token.organization, until: token.expiresAt, recording: event)
    }

    private func event(
        in organization: OrganizationID, _ targets: [AuditEvent.Target], scopes: [String], token: String?, _ call: Call
    ) -> OutboxEvent {
        AuditEvent(
            .tokenRevoked, organization: organization, id: EventID.make(at: call.now, random), time: call.now,
            // Without a secret nobody is proven; that the token is theirs to end, its possession shows.
            actor: .client(call.client.wireID), targets: targets, client: call.client.wireID, scopes: scopes.sorted(),
            token: token, request: call.request
        ).outboxEvent(random)
    }
}

/// A text that somebody calls a token.
private struct PresentedToken {
    let text: String

    init(_ text: String) {
        self.text = text
    }

    /// By its form alone it is something of ours that is not revoked here: an authorization code, a secret, an admin key, or
    /// a JWT of another type, such as an ID token.
    var isOfAnotherType: Bool {
        if ["gc_", "gs_", "gh_"].contains(where: text.hasPrefix) { return true }
        guard let jws = try? CompactJWS.parse(text, expecting: Set(SigningAlgorithm.allCases)) else { return false }
        return jws.type != AccessToken.type
    }
}
