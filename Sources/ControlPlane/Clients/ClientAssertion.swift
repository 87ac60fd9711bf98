import Foundation
import Keys
import Tenancy

/// A signed statement by which a client proves who it is (`private_key_jwt`, RFC 7523 §2.2), read but not believed yet.
package struct ClientAssertion: Sendable {
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`
    package static let type = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

    /// Whom it claims to be from: `sub`.
    package let clientID: String
    let jws: CompactJWS
    private let claims: [String: JSONValue]

    /// What is left of "when" once clocks are not quite the same.
    private static let leeway: TimeInterval = 30
    /// An assertion that lives longer could be kept and used by others (RFC 7523 §3).
    private static let longestLife: TimeInterval = 300

    /// - Returns: nil for what is no signed JWT with a subject, or is one for another purpose.
    package init?(_ text: String) {
        guard let jws = try? CompactJWS.parse(text, expecting: Set(SigningAlgorithm.allCases)),
            // A JWT that says it is something else was not made for this (RFC 8725 §3.11).
            [nil, "jwt", "client-authentication+jwt"].contains(jws.mediaType),
            let claims = jws.claims, let subject = claims["sub"]?.string, !subject.isEmpty
        else { return nil }
        self.jws = jws
        self.claims = claims
        clientID = subject
    }

    /// What makes it unique, and until when it would be accepted.
    struct Use: Sendable {
        let jti: String
        let expiresAt: Date
    }

    /// Checks everything but the signature, in the order of RFC 7523 §3.
    ///
    /// - Parameter audiences: what may stand in `aud`: names of this issuer and of nobody else.
    /// - Throws: the reason, a word for the log.
    func checked(audiences: Set<String>, at now: Date) throws(Refused) -> Use {
        guard claims["iss"]?.string == clientID else { throw Refused(reason: "assertion_issuer") }
        let audience = claims["aud"]?.string.map { [$0] } ?? claims["aud"]?.strings ?? []
        // One foreign name among them, and another server could pass it on to us (RFC 7523bis §3).
        guard !audience.isEmpty, audience.allSatisfy(audiences.contains) else {
            throw Refused(reason: "assertion_audience")
        }
        guard let expiry = claims["exp"]?.integer else { throw Refused(reason: "assertion_expiry_missing") }
        let moment = now.timeIntervalSince1970
        guard Double(expiry) > moment else { throw Refused(reason: "assertion_expired") }
        guard Double(expiry) <= moment + Self.longestLife + Self.leeway else {
            throw Refused(reason: "assertion_lives_too_long")
        }
        for name in ["nbf", "iat"] {
            guard let value = claims[name] else { continue }
            guard let time = value.integer, Double(time) <= moment + Self.leeway else {
                throw Refused(reason: "assertion_not_yet")
            }
        }
        guard let jti = claims["jti"]?.string, (1...255).contains(jti.utf8.count) else {
            throw Refused(reason: "assertion_id_missing")
        }
        return Use(jti: jti, expiresAt: Date(timeIntervalSince1970: Double(expiry)))
    }

    /// Why an assertion proves nothing.
    struct Refused: Error {
        let reason: String
    }
}

extension Issuer {
    /// What a client may call this issuer in an assertion: the issuer identifier, as RFC 7523bis wants it, and the URLs of
    /// the endpoints that older clients and RFC 9126 §2 name. Each of them is this issuer's alone.
    var assertionAudiences: Set<String> { [url, endpoint("oauth/token"), endpoint("oauth/par")] }
}
