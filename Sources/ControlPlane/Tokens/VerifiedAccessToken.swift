package import Foundation
import Keys
package import Tenancy

/// An access token of ours whose form, claims and signature are right. Whether it was ended since, the database knows
/// (``AccessTokenVerifier/isLive(_:at:)``).
package struct VerifiedAccessToken: Sendable {
    /// The claims as they were signed: one JSON object with unique members.
    package let payload: [UInt8]
    /// Who issued it.
    package let issuer: OrganizationID
    /// Whose it is: `org_id`.
    package let organization: OrganizationID
    package let resource: ResourceID
    package let subject: String
    package let clientID: String
    package let id: TokenID
    package let grant: GrantID?
    package let scopes: [String]
    /// RFC 7638 thumbprint of the key its holder has to prove (`cnf.jkt`, RFC 9449 §6.1).
    package let boundKey: String?
    package let expiresAt: Date
    /// The key that signed it.
    let key: SigningKeyID
    let isKeyImported: Bool

    /// Issued by an administrator under its own name: it is its own client.
    package var isProgrammatic: Bool { clientID == id.description }
}

/// What a token says of itself, in the one form in which we write it; who wrote it, its signature tells.
struct AccessTokenClaims: Sendable {
    let issuer: String
    let subject: String
    let audience: String
    let expiresAt: Int
    let clientID: String
    let id: TokenID
    let organization: OrganizationID
    let grant: GrantID?
    let scope: String
    let boundKey: String?

    /// How far ahead the clock of the node may be that issued a token, in seconds. Ends are never stretched.
    private static let leeway = 5

    /// Reads the claims strictly (RFC 9068 §2.2, §4): another type, a missing member or a time out of order is no token.
    ///
    /// - Returns: nil also for a token that is over or not valid yet.
    init?(_ payload: [UInt8], at now: Date) {
        // Our own payloads begin with their brace: the answer of introspection is spliced from them.
        guard payload.first == UInt8(ascii: "{"), let members = (try? JSONText.parse(payload))?.object,
            members["active"] == nil, members["token_type"] == nil,
            let issuer = members["iss"]?.string, let subject = members["sub"]?.string, !subject.isEmpty,
            let audience = members["aud"]?.string, let expiresAt = members["exp"]?.integer,
            let issuedAt = members["iat"]?.integer, let notBefore = members["nbf"]?.integer,
            let clientID = members["client_id"]?.string, !clientID.isEmpty,
            let id = members["jti"]?.string.flatMap({ TokenID($0) }),
            let organization = members["org_id"]?.string.flatMap({ OrganizationID($0) }),
            let scope = members["scope"]?.string
        else { return nil }
        let seconds = now.timeIntervalSince1970
        let latest = Int(seconds) + Self.leeway
        guard Double(expiresAt) > seconds, issuedAt <= latest, notBefore <= latest, issuedAt < expiresAt else {
            return nil
        }
        if let member = members["grant_id"] {
            guard let text = member.string, let grant = GrantID(text) else { return nil }
            self.grant = grant
        } else {
            grant = nil
        }
        if let member = members["cnf"] {
            guard let thumbprint = member.object?["jkt"]?.string else { return nil }
            boundKey = thumbprint
        } else {
            boundKey = nil
        }
        self.issuer = issuer
        self.subject = subject
        self.audience = audience
        self.expiresAt = expiresAt
        self.clientID = clientID
        self.id = id
        self.organization = organization
        self.scope = scope
    }
}
