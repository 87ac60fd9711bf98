package import Audit
package import Foundation
package import Keys
package import Tenancy

/// What the holder of an access token may know of its person (OpenID Connect Core §5.3).
///
/// Any live access token of this issuer with `openid` opens it, whatever resource it is for: clients ask for tokens of the
/// resource they want to use, and have no other.
package struct UserInfo: Sendable {
    private let verifier: AccessTokenVerifier
    private let users: UserStore
    private let refusals: RefusalLog
    private let random: RandomBytes

    package init(verifier: AccessTokenVerifier, database: TenantDatabase, refusals: RefusalLog, random: RandomBytes) {
        self.verifier = verifier
        users = UserStore(database: database)
        self.refusals = refusals
        self.random = random
    }

    /// Why a token opens nothing here (RFC 6750 §3.1).
    package enum Refusal: Error, Equatable {
        /// Not ours, not for this, over, ended, or bound to a key that was not proven.
        case invalidToken
        /// Without `openid` it speaks of no person.
        case insufficientScope
    }

    /// The claims that the token's scopes allow, as JSON (OpenID Connect Core §5.4).
    ///
    /// - Parameter key: the one that the request proved (RFC 9449 §7.1); a token that is bound to another, or to none, opens
    ///   nothing with it, and one that is bound to a key opens nothing without (§7.2).
    /// - Throws: ``Refusal``, which is in the log by then; `temporarily_unavailable`.
    package func claims(
        for token: String, provenBy key: String?, at issuer: Issuer, request: AuditEvent.RequestInfo, now: Date
    ) async throws -> [UInt8] {
        do {
            guard let verified = try await verifier.verify(token, expecting: .issued(by: issuer), at: now),
                verified.boundKey == key, try await verifier.isLive(verified, at: now)
            else { throw Refusal.invalidToken }
            guard verified.scopes.contains("openid"), let id = UserID(verified.subject),
                let user = try await users.find(id, in: verified.organization)
            else { throw Refusal.insufficientScope }
            return Self.claims(of: user, in: verified.organization, verified.scopes)
        } catch let refusal as Refusal {
            try await record(refusal, at: issuer, request, now)
            throw refusal
        } catch  where error.isStoreFailure {
            throw OAuthError.unavailable(error)
        }
    }

    private static func claims(of user: User, in organization: OrganizationID, _ scopes: [String]) -> [UInt8] {
        JSONWriter.object { json in
            json.string("sub", user.id.description)
            json.string("org_id", organization.description)
            if scopes.contains("profile") {
                if let name = user.name { json.string("name", name) }
                json.int("updated_at", Int(user.updatedAt.timeIntervalSince1970))
            }
            if scopes.contains("email"), let email = user.email {
                json.string("email", email)
                json.bool("email_verified", user.emailVerified)
            }
        }
    }

    private func record(
        _ refusal: Refusal, at issuer: Issuer, _ request: AuditEvent.RequestInfo, _ now: Date
    ) async throws {
        let event = AuditEvent(
            .tokenDenied, organization: issuer.id, id: EventID.make(at: now, random), time: now, outcome: .denied,
            reason: refusal == .invalidToken ? "userinfo_invalid_token" : "userinfo_insufficient_scope",
            actor: .anonymous, targets: [AuditEvent.Target(type: "organization", id: issuer.id.description)],
            request: request)
        do {
            try await refusals.refuse(event, source: request.ip)
        } catch  where error.isStoreFailure {
            throw OAuthError.unavailable(error)
        }
    }
}
