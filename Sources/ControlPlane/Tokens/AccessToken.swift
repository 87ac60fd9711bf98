import Audit
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

extension TokenIssuance {
    /// Whom a token speaks for, and how the log calls them.
    struct Subject: Sendable {
        /// `sub`.
        let id: String
        let actor: AuditEvent.Actor
        let grant: GrantID?
        let authTime: Date?
        let mfa: Bool
        /// What was exchanged for the token, if anything.
        var exchanged: VerifiedAccessToken?

        static func user(_ user: UserID, grant: GrantID, authTime: Date, mfa: Bool) -> Subject {
            Subject(
                id: user.description, actor: .user(user, session: grant.description), grant: grant, authTime: authTime,
                mfa: mfa)
        }

        /// A person whose client was given no grant.
        static func user(_ user: UserID, authTime: Date? = nil, mfa: Bool = false) -> Subject {
            Subject(id: user.description, actor: .user(user), grant: nil, authTime: authTime, mfa: mfa)
        }

        /// The client itself (RFC 9068 §2.2: `sub` is its `client_id`).
        static func service(_ client: Client) -> Subject {
            Subject(id: client.wireID, actor: .service(client.wireID), grant: nil, authTime: nil, mfa: false)
        }
    }

    /// A signed access token that says who may do what for whom.
    ///
    /// - Parameter scopes: of the resource, what they imply included.
    func accessToken(
        for subject: Subject, scopes: [String], openID: [String] = [], _ target: Target, _ attempt: Attempt
    ) throws -> (token: AccessToken, text: String) {
        guard
            let signer = attempt.issuer.signingKey(for: target.resource, owner: target.owner)?.accessTokenSigner
        else { throw OAuthError.noSigningKey }
        let organization = target.organization.organization
        let token = AccessToken(
            issuer: attempt.issuer.url, subject: subject.id, audience: target.resource.uri,
            clientID: attempt.client.wireID, id: TokenID.make(at: attempt.now, random), issuedAt: attempt.now,
            lifetimeSeconds: lifetime(of: subject, target, attempt),
            scopes: scopes + openID.filter { $0 != "offline_access" },
            organization: organization.id, organizationSlug: organization.slug, grant: subject.grant,
            authTime: subject.authTime, mfa: subject.mfa, boundKey: attempt.boundKey,
            actor: subject.exchanged == nil ? nil : attempt.client.wireID)
        do {
            return (token, try signer.sign(token.payload))
        } catch {
            throw OAuthError(.serverError, "The token could not be signed.", reason: "signing_failed", cause: error)
        }
    }

    /// A token never outlives what was exchanged for it, and one of the admin API no sign-in that is too old.
    private func lifetime(of subject: Subject, _ target: Target, _ attempt: Attempt) -> Int {
        var own = target.resource.accessTokenLifetimeSeconds
        if target.resource.isAdminAPI, let authTime = subject.authTime {
            own = min(own, AdminAPI.secondsLeft(of: authTime, at: attempt.now))
        }
        guard let exchanged = subject.exchanged else { return own }
        // As the claims count: both moments in whole seconds.
        return min(
            own, Int(exchanged.expiresAt.timeIntervalSince1970) - Int(attempt.now.timeIntervalSince1970))
    }

    /// The event of an issued token.
    func event(
        _ type: AuditEventType, _ token: AccessToken, for subject: Subject, grantType: String,
        _ decision: ScopeDecision, metadata: [String: String] = [:], _ target: Target, _ attempt: Attempt
    ) -> OutboxEvent {
        let resource = AuditEvent.Target(type: "resource", id: target.resource.id.description)
        // Recorded whole once per authorization; a refresh repeats it only where the outcome is another one.
        let isRepeat = type == .tokenRefreshed && decision.withheld.isEmpty
        return AuditEvent(
            type, organization: target.organization.organization.id, id: EventID.make(at: attempt.now, random),
            time: attempt.now, actor: subject.actor,
            targets: subject.grant.map { [AuditEvent.Target(type: "grant", id: $0.description), resource] }
                ?? [resource],
            client: attempt.client.wireID, scopes: token.scopes.sorted(), audience: [token.audience], grant: grantType,
            token: token.id.description, request: attempt.request, policy: isRepeat ? decision.info : decision.record,
            metadata: metadata
        ).outboxEvent(random)
    }
}
