import Foundation
import Keys
import Tenancy

/// What another issuer says to us about a person and a client (Identity Assertion JWT Authorization Grant, "ID-JAG"; a
/// profile of RFC 7523 §2.1), read but not believed yet.
struct IdentityAssertion: Sendable {
    /// `typ` of its header; no other JWT is taken for one (RFC 8725 §3.11).
    private static let mediaType = "oauth-id-jag+jwt"
    /// What is left of "when" once clocks are not quite the same.
    private static let leeway: TimeInterval = 30
    /// Issuers make it for one exchange and for minutes; one that lives longer could be kept and used by others.
    private static let longestLife: TimeInterval = 600

    let jws: CompactJWS
    let issuer: String
    let subject: String
    let clientID: String
    /// URI of the resource it is for.
    let resource: String
    let jti: String
    let expiresAt: Date
    /// The most it lets the client have; nil where it names no scope.
    let scopes: [String]?
    let email: String?
    let emailVerified: Bool
    let name: String?
    let authTime: Date?
    let mfa: Bool
    /// RFC 7638 thumbprint of the key that whoever presents it has to prove (`cnf`, RFC 7800 §3.1); nil where it names none.
    let boundKey: String?
    private let claims: [String: JSONValue]

    /// Why it is not taken: a word for the log.
    struct Refused: Error {
        let reason: String

        init(_ reason: String) { self.reason = reason }
    }

    /// Checks everything but who signed, and whether it was used before (RFC 7523 §3).
    ///
    /// - Parameter audience: our issuer identifier, which has to stand in `aud` alone.
    init(_ text: String, for audience: String, at now: Date) throws(Refused) {
        guard let jws = try? CompactJWS.parse(text, expecting: Set(SigningAlgorithm.allCases)), let claims = jws.claims
        else { throw Refused("assertion_malformed") }
        guard jws.mediaType == Self.mediaType else { throw Refused("assertion_type") }
        guard let issuer = claims["iss"]?.string, let subject = claims["sub"]?.string,
            (1...255).contains(subject.utf8.count), ClientName.isPlain(subject),
            let clientID = claims["client_id"]?.string, let jti = claims["jti"]?.string,
            (1...255).contains(jti.utf8.count), let expiry = claims["exp"]?.integer,
            let issuedAt = claims["iat"]?.integer, let resource = Self.only(claims["resource"])
        else { throw Refused("assertion_incomplete") }
        // One foreign name beside ours, and another server could pass it on to us.
        guard Self.only(claims["aud"]) == audience else { throw Refused("assertion_audience") }
        self.jws = jws
        self.claims = claims
        self.issuer = issuer
        self.subject = subject
        self.clientID = clientID
        self.resource = resource
        self.jti = jti
        expiresAt = Date(timeIntervalSince1970: Double(expiry))
        scopes = try Self.scopes(claims["scope"])
        email = claims["email"]?.string
        emailVerified = claims["email_verified"] == .bool(true)
        name = claims["name"]?.string.flatMap { $0.unicodeScalars.count <= 200 && ClientName.isPlain($0) ? $0 : nil }
        authTime = claims["auth_time"]?.integer.flatMap {
            $0 >= 0 && Double($0) <= now.timeIntervalSince1970 ? Date(timeIntervalSince1970: Double($0)) : nil
        }
        mfa = claims["amr"]?.strings?.contains("mfa") ?? false
        boundKey = try Self.boundKey(claims["cnf"])
        try Self.check(expiry: expiry, issuedAt: issuedAt, notBefore: claims["nbf"], now.timeIntervalSince1970)
    }

    /// A confirmation that we cannot check is none that we may pass over.
    private static func boundKey(_ value: JSONValue?) throws(Refused) -> String? {
        guard let value else { return nil }
        guard let members = value.object, members.count == 1, let thumbprint = members["jkt"]?.string else {
            throw Refused("assertion_confirmation")
        }
        return thumbprint
    }

    private static func check(
        expiry: Int, issuedAt: Int, notBefore: JSONValue?, _ moment: TimeInterval
    ) throws(Refused) {
        guard Double(expiry) > moment else { throw Refused("assertion_expired") }
        guard Double(issuedAt) <= moment + leeway, issuedAt < expiry else { throw Refused("assertion_not_yet") }
        // Anybody may have written these: their difference need not fit into an integer.
        guard Double(expiry) - Double(issuedAt) <= longestLife else { throw Refused("assertion_lives_too_long") }
        if let notBefore {
            guard let time = notBefore.integer, Double(time) <= moment + leeway else {
                throw Refused("assertion_not_yet")
            }
        }
    }

    /// A text, or the one in a list of one.
    private static func only(_ value: JSONValue?) -> String? {
        if let text = value?.string { return text }
        guard let texts = value?.strings, texts.count == 1 else { return nil }
        return texts[0]
    }

    private static func scopes(_ value: JSONValue?) throws(Refused) -> [String]? {
        guard let value else { return nil }
        guard let text = value.string, let names = try? ValidRequest.scopes(in: text) else {
            throw Refused("assertion_incomplete")
        }
        return names
    }

    /// Whether it carries the claims that the organization wants to see, with just these values.
    func carries(_ wanted: [String: String]) -> Bool {
        wanted.allSatisfy { claims[$0.key]?.string == $0.value }
    }
}
