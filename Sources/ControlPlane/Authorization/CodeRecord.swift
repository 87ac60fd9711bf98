package import Foundation
import Keys
import Tenancy

/// What a code was given for (RFC 6749 §4.1.2), and what its redemption checks besides.
///
/// Every redemption reads one, so it is written and read by hand: as one JSON object, times in milliseconds since 1970.
package struct CodeRecord: Sendable {
    /// SHA-256 of the code, base64url.
    package let digest: String
    package let redirectURI: String
    package let codeChallenge: String
    /// Redeemed only by whoever proves this key (RFC 9449 §10).
    package let boundKey: String?
    package let authorization: Authorization
    package let expiresAt: Date
}

extension CodeRecord {
    var stored: [UInt8] {
        JSONWriter.object(capacity: 1024) { json in
            json.string("digest", digest)
            json.string("redirect_uri", redirectURI)
            json.string("code_challenge", codeChallenge)
            if let boundKey { json.string("bound_key", boundKey) }
            json.int("expires_at", expiresAt.milliseconds)
            json.string("issuer", authorization.issuer.description)
            json.string("client", authorization.client.description)
            if let nonce = authorization.nonce { json.string("nonce", nonce) }
            json.string("organization", authorization.organization.description)
            json.string("user", authorization.user.description)
            json.string("resource", authorization.resource.description)
            json.string("resource_owner", authorization.resourceOwner.description)
            json.strings("granted_scopes", authorization.grantedScopes)
            json.strings("openid_scopes", authorization.openIDScopes)
            if let ceiling = authorization.upstreamCeiling { json.strings("upstream_ceiling", ceiling) }
            json.int("auth_time", authorization.authTime.milliseconds)
            json.bool("mfa", authorization.mfa)
            if let known = authorization.membership {
                json.strings("groups", known.membership.groups.map(\.description))
                json.strings("roles", known.membership.roles.map(\.description))
                json.int("membership_epoch", Int(known.epoch))
            }
        }
    }

    /// - Returns: nil for what this version did not write.
    init?(stored bytes: [UInt8]) {
        guard let members = try? JSONText.parse(bytes).object,
            let digest = members["digest"]?.string, let redirectURI = members["redirect_uri"]?.string,
            let codeChallenge = members["code_challenge"]?.string, let expiresAt = members["expires_at"]?.integer,
            let issuer = members["issuer"]?.string.flatMap({ OrganizationID($0) }),
            let client = members["client"]?.string.flatMap({ ClientID($0) }),
            let organization = members["organization"]?.string.flatMap({ OrganizationID($0) }),
            let user = members["user"]?.string.flatMap({ UserID($0) }),
            let resource = members["resource"]?.string.flatMap({ ResourceID($0) }),
            let resourceOwner = members["resource_owner"]?.string.flatMap({ OrganizationID($0) }),
            let grantedScopes = members["granted_scopes"]?.strings,
            let openIDScopes = members["openid_scopes"]?.strings, let authTime = members["auth_time"]?.integer,
            case .bool(let mfa) = members["mfa"]
        else { return nil }
        // What cannot be read must not be taken for none.
        if members["upstream_ceiling"] != nil, members["upstream_ceiling"]?.strings == nil { return nil }
        if members["bound_key"] != nil, members["bound_key"]?.string == nil { return nil }
        self.init(
            digest: digest, redirectURI: redirectURI, codeChallenge: codeChallenge,
            boundKey: members["bound_key"]?.string,
            authorization: Authorization(
                issuer: issuer, client: client, nonce: members["nonce"]?.string, organization: organization,
                user: user, resource: resource, resourceOwner: resourceOwner, grantedScopes: grantedScopes,
                openIDScopes: openIDScopes, upstreamCeiling: members["upstream_ceiling"]?.strings,
                authTime: Date(milliseconds: authTime), mfa: mfa, membership: DatedMembership(stored: members)),
            expiresAt: Date(milliseconds: expiresAt))
    }
}

extension DatedMembership {
    /// - Returns: nil unless all of it can be read; it is then read from the database.
    fileprivate init?(stored members: [String: JSONValue]) {
        guard let epoch = members["membership_epoch"]?.integer, let groups = members["groups"]?.strings,
            let roles = members["roles"]?.strings
        else { return nil }
        let membership = Membership(groups: groups.compactMap { GroupID($0) }, roles: roles.compactMap { RoleID($0) })
        guard membership.groups.count == groups.count, membership.roles.count == roles.count else { return nil }
        self.init(membership, epoch: Int64(epoch))
    }
}

extension Date {
    fileprivate var milliseconds: Int { Int((timeIntervalSince1970 * 1000).rounded()) }
    fileprivate init(milliseconds: Int) { self.init(timeIntervalSince1970: Double(milliseconds) / 1000) }
}
