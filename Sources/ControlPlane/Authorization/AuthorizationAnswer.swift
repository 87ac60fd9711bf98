import Audit
import Foundation
import Keys
import Tenancy

/// What a person decided, and what the log says of it.
struct Answer: Sendable {
    let issuer: OrganizationID
    let client: ClientID
    let nonce: String?
    let person: AuthorizationTransaction.SignedIn
    /// What the decision rested on.
    let membership: DatedMembership
    let resource: Resource
    /// What policy allowed of what the person saw; never empty, and redemption may only narrow it.
    let grantedScopes: [String]
    let openIDScopes: [String]

    var authorization: Authorization {
        Authorization(
            issuer: issuer, client: client, nonce: nonce, organization: person.organization, user: person.user,
            resource: resource.id, resourceOwner: resource.owner, grantedScopes: grantedScopes,
            openIDScopes: openIDScopes, upstreamCeiling: person.upstreamCeiling, authTime: person.authTime,
            mfa: person.mfa, membership: membership.isSmall ? membership : nil)
    }

    func record(
        for code: AuthorizationCode, redirectURI: String, codeChallenge: String, boundKey: String?, at now: Date
    ) -> CodeRecord {
        CodeRecord(
            digest: Base64URL.encode(code.digest.bytes), redirectURI: redirectURI, codeChallenge: codeChallenge,
            boundKey: boundKey, authorization: authorization,
            expiresAt: now + AuthorizationTransactionStore.codeLifetime.seconds)
    }

    /// - Parameter grantType: how the client gets what was allowed.
    func event(
        _ type: AuditEventType, _ decision: ScopeDecision, client: Client, grantType: String = "authorization_code",
        _ visit: AuthorizationFlow.Visit, _ random: RandomBytes
    ) -> AuditEvent {
        AuditEvent(
            type, organization: person.organization, id: EventID.make(at: visit.now, random), time: visit.now,
            actor: .user(person.user, session: person.session.description),
            targets: [
                AuditEvent.Target(type: "client", id: client.id.description, name: client.name),
                AuditEvent.Target(type: "resource", id: resource.id.description),
            ],
            client: client.wireID, scopes: (decision.granted + openIDScopes).sorted(), audience: [resource.uri],
            grant: grantType, request: visit.request,
            // The consent beside it says the same; what it takes to decide again stands once.
            policy: type == .consentGranted ? decision.info : decision.record)
    }
}

extension ClientRedirect {
    /// Success (RFC 6749 §4.1.2) with `iss` (RFC 9207 §2).
    init(code: AuthorizationCode, to redirect: RedirectURI, state: String?, issuer: String) {
        self.init(redirect, [("code", code.secret.revealed), ("state", state), ("iss", issuer)])
    }

    /// An error (RFC 6749 §4.1.2.1) with `iss`, which errors carry too.
    init(error: OAuthError, to redirect: RedirectURI, state: String?, issuer: String) {
        self.init(
            redirect,
            [
                ("error", error.code.rawValue), ("error_description", error.description), ("state", state),
                ("iss", issuer),
            ])
    }

    private init(_ redirect: RedirectURI, _ parameters: [(String, String?)]) {
        let query = parameters.compactMap { name, value in
            value.map { "\(name)=\(Self.encode($0))" }
        }.joined(separator: "&")
        self.init(location: redirect.text + (redirect.text.contains("?") ? "&" : "?") + query)
    }

    /// Percent-encodes everything but RFC 3986's unreserved characters, so that every value comes back byte for byte.
    private static func encode(_ value: String) -> String {
        var encoded = ""
        for byte in value.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E:
                encoded.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                encoded += "%" + (digits.count == 1 ? "0" : "") + digits
            }
        }
        return encoded
    }
}

extension ScopeRequest {
    /// What a signed-in person asks for through a client.
    init(
        _ person: AuthorizationTransaction.SignedIn, _ membership: DatedMembership, _ client: Client,
        _ resource: Resource, _ scopes: RequestedScopes, _ visit: AuthorizationFlow.Visit
    ) {
        self.init(
            principal: .user(person.user, membership.membership), client: client, resource: resource, scopes: scopes,
            address: visit.request.ip, authTime: person.authTime, mfa: person.mfa,
            upstreamCeiling: person.upstreamCeiling, offered: person.offered)
    }
}
