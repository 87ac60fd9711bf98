package import Foundation
package import Keys
package import Tenancy

// This room owns the proof: what an event says, the exact bytes that are kept of it, how events become a dense log of
// one organization, and the trees over that log. It decides nothing; whoever changes state hands it the event.

/// One thing that happened in one organization's log, as the code that did it describes it.
///
/// ``outboxEvent(_:)`` turns it into the bytes that are stored: a leaf that holds no personal data, and salted
/// disclosures of the personal fields, whose digests stand in the leaf. Deleting a disclosure erases the datum and
/// leaves every proof valid.
package struct AuditEvent: Sendable {
    package enum Outcome: String, Sendable, CaseIterable { case success, failure, denied, unknown }

    /// Who did it.
    package struct Actor: Sendable, Hashable {
        package enum Kind: String, Sendable, CaseIterable {
            case user, client, service, system, anonymous
            case adminKey = "admin_key"
            case scimToken = "scim_token"
        }

        package var kind: Kind
        /// The id on the wire; `-` for somebody unknown.
        package var id: String
        /// The session or grant acted through.
        package var session: String?
        /// The credential used: an admin key's id or a key thumbprint, never a secret.
        package var credential: String?
        /// The person at the keyboard when acting for somebody else.
        package var impersonator: String?
        /// Sealed.
        package var email: String?
        /// Sealed.
        package var name: String?

        package init(
            kind: Kind, id: String, session: String? = nil, credential: String? = nil, impersonator: String? = nil,
            email: String? = nil, name: String? = nil
        ) {
            self.kind = kind
            self.id = id
            self.session = session
            self.credential = credential
            self.impersonator = impersonator
            self.email = email
            self.name = name
        }

        package static func user(
            _ id: UserID, email: String? = nil, name: String? = nil, session: String? = nil
        ) -> Actor {
            Actor(kind: .user, id: id.description, session: session, email: email, name: name)
        }
        package static func client(_ id: String) -> Actor { Actor(kind: .client, id: id) }
        package static func service(_ id: String) -> Actor { Actor(kind: .service, id: id) }
        package static func adminKey(_ id: AdminKeyID) -> Actor {
            Actor(kind: .adminKey, id: id.description, credential: id.description)
        }
        package static func scimToken(_ id: SCIMTokenID) -> Actor {
            Actor(kind: .scimToken, id: id.description, credential: id.description)
        }
        /// A part of Gatehouse that acts by itself, such as `sequencer`; its id is `sys:` and that name.
        package static func system(_ name: String) -> Actor { Actor(kind: .system, id: "sys:" + name) }
        package static let anonymous = Actor(kind: .anonymous, id: "-")
    }

    /// What it was done to.
    package struct Target: Sendable, Hashable {
        /// The kind of thing, such as `client`.
        package var type: String
        package var id: String
        /// Sealed.
        package var name: String?

        package init(type: String, id: String, name: String? = nil) {
            self.type = type
            self.id = id
            self.name = name
        }
    }

    package typealias Value = CanonicalJSON

    /// One member that changed.
    package struct Change: Sendable, Hashable {
        /// Where, as dotted member names.
        package var path: String
        /// nil: there was none.
        package var old: Value?
        /// nil: there is none any more.
        package var new: Value?
        /// The values are personal data and are sealed; the leaf shows the path alone.
        package var isPersonal: Bool

        package init(path: String, old: Value? = nil, new: Value? = nil, isPersonal: Bool = false) {
            self.path = path
            self.old = old
            self.new = new
            self.isPersonal = isPersonal
        }

        /// What stands where a secret changed.
        package static let redacted: Value = ["redacted": true]
    }

    /// The request that caused it.
    package final class RequestInfo: Sendable {
        package let id: RequestID
        package let method: String
        /// The route's template, never the URL, which may hold anything.
        package let route: String
        /// W3C trace id, 32 hexadecimal digits.
        package let traceID: String?
        /// Sealed.
        package let ip: String?
        /// Sealed.
        package let userAgent: String?

        package init(
            id: RequestID, method: String, route: String, traceID: String? = nil, ip: String? = nil,
            userAgent: String? = nil
        ) {
            self.id = id
            self.method = method
            self.route = route
            self.traceID = traceID
            self.ip = ip
            self.userAgent = userAgent
        }
    }

    /// The decision that policy took, and why.
    package struct PolicyInfo: Sendable, Hashable {
        /// What became of one scope, and by which statement or rule.
        package struct Finding: Sendable, Hashable {
            package let scope: String
            package let result: String
            package let rule: String

            package init(scope: String, result: String, rule: String) {
                self.scope = scope
                self.result = result
                self.rule = rule
            }
        }

        /// The statement that decided, if one did.
        package var id: String?
        package var version: Int?
        /// Such as `allow`, `narrowed` or `deny`.
        package var decision: String
        /// The name of the statement, or of the rule when none matched.
        package var rule: String?
        /// Scope by scope, what was asked and what came of it.
        package var trace: [Finding]
        /// What it takes to decide again; recorded once per authorization.
        package var input: Input?
        /// What a token could carry, where that is not what was granted: implied scopes are in it, barred ones not.
        package var effective: [String]?

        package init(
            id: String? = nil, version: Int? = nil, decision: String, rule: String? = nil, trace: [Finding] = []
        ) {
            self.id = id
            self.version = version
            self.decision = decision
            self.rule = rule
            self.trace = trace
        }
    }

    package var type: AuditEventType
    /// Whose log it belongs to.
    package var organization: OrganizationID
    package var id: EventID
    package var time: Date
    package var outcome: Outcome
    /// A machine's word for what went wrong, such as `invalid_client_secret`.
    package var reason: String?
    package var actor: Actor
    /// The primary one first; none means the organization itself.
    package var targets: [Target]
    /// The OAuth client_id concerned.
    package var client: String?
    package var scopes: [String]?
    /// Resource indicators.
    package var audience: [String]?
    /// The grant type, such as `authorization_code`.
    package var grant: String?
    /// The token's `jti` or a keyed hash of it, never the token.
    package var token: String?
    package var changes: [Change]
    package var request: RequestInfo?
    package var policy: PolicyInfo?
    /// At most 50 members with names of at most 40 and values of at most 500 bytes.
    package var metadata: [String: String]
    /// Further members of `metadata` that are personal data and are sealed.
    package var personalMetadata: [String: String]

    package init(
        _ type: AuditEventType, organization: OrganizationID, id: EventID, time: Date, outcome: Outcome = .success,
        reason: String? = nil, actor: Actor, targets: [Target], client: String? = nil, scopes: [String]? = nil,
        audience: [String]? = nil, grant: String? = nil, token: String? = nil, changes: [Change] = [],
        request: RequestInfo? = nil, policy: PolicyInfo? = nil, metadata: [String: String] = [:],
        personalMetadata: [String: String] = [:]
    ) {
        self.type = type
        self.organization = organization
        self.id = id
        self.time = time
        self.outcome = outcome
        self.reason = reason
        self.actor = actor
        self.targets = targets
        self.client = client
        self.scopes = scopes
        self.audience = audience
        self.grant = grant
        self.token = token
        self.changes = changes
        self.request = request
        self.policy = policy
        self.metadata = metadata
        self.personalMetadata = personalMetadata
    }

    /// The form that is stored, in the same transaction as the change.
    ///
    /// Never fails: what is too long is cut and the leaf then says `"truncated":true`, so that no event is lost and
    /// none exceeds 65,535 bytes of leaf (the entry limit of tlog-tiles).
    package func outboxEvent(_ random: RandomBytes) -> OutboxEvent {
        var leaf = LeafEncoding(self, detail: .full, random)
        for detail in LeafEncoding.Detail.lesser where leaf.count > LeafEncoding.largest {
            leaf = LeafEncoding(self, detail: detail, random)
        }
        return OutboxEvent(
            organization: organization, id: id, type: type.rawValue, time: Timestamp.rounded(time),
            outcome: outcome.rawValue, severity: type.severity(of: outcome), actorID: leaf.actorID,
            clientID: leaf.clientID, targetID: leaf.targetID, leafPrefix: leaf.prefix, leafSuffix: leaf.suffix,
            disclosures: leaf.disclosures)
    }
}
