import Foundation
import Keys
import Tenancy

/// What a client is told about a sign-in (OpenID Connect Core §2): that it happened, when, and who it was. What the
/// person is called and where they get mail is at UserInfo (§5.4), so an ID token that leaks names nobody.
struct IDToken: Sendable {
    /// `typ` of the header; an access token's is another, and neither passes for the other (RFC 8725 §3.11).
    static let type = "JWT"
    private static let lifetimeSeconds = 3_600

    let issuer: String
    let subject: UserID
    /// The client alone.
    let audience: String
    let issuedAt: Date
    let authTime: Date
    let mfa: Bool
    let nonce: String?
    let organization: OrganizationID
    /// The access token that comes with it, which it vouches for (`at_hash`, §3.1.3.6).
    let accessToken: String

    private var payload: [UInt8] {
        let now = Int(issuedAt.timeIntervalSince1970)
        return JSONWriter.object(capacity: 512) { json in
            json.string("iss", issuer)
            json.string("sub", subject.description)
            json.string("aud", audience)
            json.int("exp", now + Self.lifetimeSeconds)
            json.int("iat", now)
            json.int("auth_time", Int(authTime.timeIntervalSince1970))
            if mfa { json.strings("amr", AccessToken.severalFactors) }
            if let nonce { json.string("nonce", nonce) }
            // The left half of the hash that RS256 uses.
            json.string("at_hash", Base64URL.encode(Array(sha256(accessToken).prefix(16))))
            json.string("org_id", organization.description)
        }
    }

    func signed(by key: SigningKey, kid: String) throws(KeyError) -> String {
        try JWSSigner(key: key, keyID: kid, type: Self.type).sign(payload)
    }
}

extension TokenIssuance {
    /// The ID token that goes with an access token; nil unless `openid` was asked for.
    ///
    /// - Throws: `temporarily_unavailable` while the issuer's key is being made; nothing was spent then.
    func idToken(
        for authorization: Authorization, beside accessToken: String, _ target: Target, _ attempt: Attempt
    ) async throws -> String? {
        guard authorization.openIDScopes.contains("openid") else { return nil }
        let (key, kid) = try await idTokenKeys.key(of: attempt.issuer, at: attempt.now)
        let token = IDToken(
            issuer: attempt.issuer.url, subject: authorization.user, audience: attempt.client.wireID,
            issuedAt: attempt.now,
            authTime: authorization.authTime, mfa: authorization.mfa, nonce: authorization.nonce,
            organization: target.organization.organization.id, accessToken: accessToken)
        do {
            return try token.signed(by: key, kid: kid)
        } catch {
            throw OAuthError(.serverError, "The token could not be signed.", reason: "signing_failed", cause: error)
        }
    }
}
