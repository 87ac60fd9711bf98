package import Foundation
import Keys
package import Tenancy

/// The claims of one access token (RFC 9068 §2.2) as they are signed with header `alg kid typ=at+jwt` (§2.1).
package struct AccessToken: Sendable {
    /// `typ` of its header (RFC 9068 §2.1).
    static let type = "at+jwt"

    package let issuer: String
    package let subject: String
    package let audience: String
    package let clientID: String
    package let id: TokenID
    package let issuedAt: Date
    package let lifetimeSeconds: Int
    /// Expanded resource scopes and OpenID words, without `offline_access`.
    package let scopes: [String]
    package let organization: OrganizationID
    package let organizationSlug: String
    package let grant: GrantID?
    package let authTime: Date?
    /// The person had shown more than one kind of factor.
    package let mfa: Bool
    /// RFC 7638 thumbprint of the key that its holder has to prove (`cnf.jkt`, RFC 9449 §6.1).
    package let boundKey: String?
    /// The client that acts for the subject, where it got the token in exchange for another (`act`, RFC 8693 §4.1).
    package let actor: String?

    /// The payload as JSON bytes.
    ///
    /// `scope` and `scopes` say the same: servers read one or the other (RFC 9068 §2.2.3 names the first).
    package var payload: [UInt8] {
        let now = Int(issuedAt.timeIntervalSince1970)
        return JSONWriter.object(capacity: 768) { json in
            json.string("iss", issuer)
            json.string("sub", subject)
            json.string("aud", audience)
            json.int("exp", now + lifetimeSeconds)
            json.int("iat", now)
            json.int("nbf", now)
            json.string("jti", id.description)
            json.string("client_id", clientID)
            json.string("scope", scopes.joined(separator: " "))
            json.strings("scopes", scopes)
            json.string("org_id", organization.description)
            json.string("org_slug", organizationSlug)
            if let grant { json.string("grant_id", grant.description) }
            if let authTime { json.int("auth_time", Int(authTime.timeIntervalSince1970)) }
            if mfa { json.strings("amr", Self.severalFactors) }
            if let boundKey { json.object("cnf") { $0.string("jkt", boundKey) } }
            if let actor { json.object("act") { $0.string("sub", actor) } }
        }
    }

    /// `amr` of a sign-in with more than one kind of factor (RFC 8176 §2); of a single one the kind is not known.
    static let severalFactors = ["mfa"]
}
