package import Audit
package import Foundation
package import Keys
import Postgres
package import Tenancy

/// What became of somebody who proved who they are.
package enum SignInResult: Sendable {
    /// The session, and the secret that the browser keeps; only its digest is stored.
    case signedIn(User, Session, Secret)
    /// Nobody's yet: an administrator may accept the identity.
    case pendingLink
    case disabled
}

/// Whom a proven identity stands for.
package enum ResolvedIdentity: Sendable {
    case user(User)
    /// Nobody yet: an administrator may accept the identity.
    case pendingLink
    case disabled
}

/// Turns a proven identity into a signed-in user.
///
/// Whoever is linked already is signed in as the linked user, whatever the e-mail address says by now. A first link
/// needs one of two things besides an address that the provider verified: an invitation to that address, opened in the
/// same browser transaction; or an address in a domain that the organization verified, from a provider marked
/// authoritative for it, of a user who has no identity yet, as far as the organization's rule of admission goes. Anything
/// else becomes a pending link for an administrator.
package struct SignIn: Sendable {
    private let database: TenantDatabase
    private let users: UserStore
    private let sessions: SessionStore
    private let store = SignInStore()
    private let random: RandomBytes

    package init(database: TenantDatabase, random: RandomBytes = .system) {
        self.database = database
        users = UserStore(database: database)
        sessions = SessionStore(database: database)
        self.random = random
    }

    /// Links, signs in or refuses, with the events that say so, in one transaction.
    ///
    /// Not for retrying: each call that succeeds opens a session.
    /// - Parameters:
    ///   - identity: what `record`'s provider just proved.
    ///   - invitation: one whose token was presented in this browser transaction.
    ///   - client: the OAuth client the person is on the way to.
    /// - Throws: ``SignInError`` when the identity is another provider's or the provider was disabled meanwhile, and
    ///   then nothing is recorded; `PostgresError`.
    package func complete(
        _ identity: VerifiedIdentity, by record: IdentityProviderRecord, organization: Organization,
        invitation: InvitationID?, request: AuditEvent.RequestInfo?, client: String?, at now: Date
    ) async throws -> SignInResult {
        let attempt = Attempt(
            identity: identity, record: record, organization: organization, invitation: invitation, request: request,
            client: client, now: now, random: random)
        return try await deciding(attempt) { resolved, transaction in
            switch resolved {
            case .pendingLink: return .pendingLink
            case .disabled: return .disabled
            case .user(let user):
                let session = attempt.session(of: user)
                try await sessions.insert(
                    session, secret: SecretDigest(of: attempt.secret), of: attempt.organization.id, in: transaction)
                try await append(attempt.succeeded(user), transaction)
                return .signedIn(user, session, attempt.secret)
            }
        }
    }

    /// Finds or links whom an identity stands for by the same rules, and signs nobody in: an issuer that the organization
    /// trusts vouches for them to a client (RFC 7523 §2.1).
    ///
    /// - Throws: as ``complete(_:by:organization:invitation:request:client:at:)``.
    package func resolve(
        _ identity: VerifiedIdentity, by record: IdentityProviderRecord, organization: Organization,
        request: AuditEvent.RequestInfo?, client: String?, at now: Date
    ) async throws -> ResolvedIdentity {
        let attempt = Attempt(
            identity: identity, record: record, organization: organization, invitation: nil, request: request,
            client: client, now: now, random: random)
        return try await deciding(attempt) { resolved, _ in resolved }
    }

    /// Runs the decision and what follows from it in one transaction, anew when a race was lost.
    private func deciding<Result: Sendable>(
        _ attempt: Attempt, _ conclude: @Sendable (ResolvedIdentity, PostgresTransaction) async throws -> Result
    ) async throws -> Result {
        let key = attempt.identity.key
        guard key.identityProvider == attempt.record.id, key.provider == attempt.record.population else {
            throw SignInError.refused("The identity was proven by another provider.")
        }
        var lostRaces = 0
        while true {
            do {
                return try await database.transaction(attempt.organization.id, events: attempt.proofs) { transaction in
                    try await conclude(try await decide(attempt, transaction), transaction)
                }
            } catch is LostRace where lostRaces < 3 {
                lostRaces += 1
            }
        }
    }

    private func decide(_ attempt: Attempt, _ transaction: PostgresTransaction) async throws -> ResolvedIdentity {
        let standing = try await store.standing(of: attempt, transaction)
        guard standing.isActive else { throw SignInError.misconfigured(.disabled) }
        let linked = try await store.user(of: attempt.identity.key, in: attempt.organization.id, transaction)
        var user = try await find(linked, attempt, transaction)
        if let known = user {
            user = try await learn(known, attempt, transaction)
        } else {
            user = try await firstLink(attempt, standing, transaction)
        }
        guard let user else {
            // Another sign-in of this person may have linked this very identity since it was looked up.
            guard try await store.user(of: attempt.identity.key, in: attempt.organization.id, transaction) == nil else {
                throw LostRace()
            }
            try await users.rememberPending(
                attempt.identity.key, email: attempt.identity.email, in: attempt.organization.id, at: attempt.now,
                transaction)
            try await append(attempt.notLinked(), transaction)
            return .pendingLink
        }
        guard user.status == .active else {
            try await append(attempt.disabled(user), transaction)
            return .disabled
        }
        return .user(user)
    }

    /// A linked user whose address the provider has just verified: an administrator had typed it.
    private func learn(
        _ user: User, _ attempt: Attempt, _ transaction: PostgresTransaction
    ) async throws -> User {
        guard user.status == .active, !user.emailVerified, let verified = attempt.verifiedEmail,
            user.email.flatMap(EmailAddress.init) == verified
        else { return user }
        var user = user
        user.emailVerified = true
        guard
            let updated = try await users.update(user, of: attempt.organization.id, at: attempt.now, in: transaction)
        else { throw LostRace() }
        return updated
    }

    // MARK: First link

    /// Links the identity to a user, existing or new, if it may be.
    ///
    /// - Returns: the user; a disabled one is not linked, and no invitation is spent on it. nil when no rule allows a link.
    private func firstLink(
        _ attempt: Attempt, _ standing: SignInStore.Standing, _ transaction: PostgresTransaction
    ) async throws -> User? {
        guard let email = attempt.verifiedEmail else { return nil }
        let organization = attempt.organization.id
        var invited: SignInStore.OpenInvitation?
        if let id = attempt.invitation {
            invited = try await store.invitation(id, in: organization, at: attempt.now, transaction)
            // An invitation that leaked lets nobody in but the person it names.
            if let address = invited?.email, EmailAddress(address) != email { invited = nil }
        }
        let known = try await find(store.user(email: email, in: organization, transaction), attempt, transaction)
        // The database takes more letters for alike than an address may have, and the row was not locked at first.
        if let known, known.email.flatMap(EmailAddress.init) != email { return nil }
        if invited == nil {
            let admission = attempt.organization.settings.admission
            guard standing.isAuthoritative, admission != .invitedOnly, known != nil || admission == .justInTime else {
                return nil
            }
            if let known, try await users.hasIdentity(known.id, in: organization, transaction) { return nil }
        }
        if let known, known.status != .active { return known }
        let user = try await welcome(known, email, invited, attempt, transaction)
        // Somebody else linked this very identity since it was looked up.
        guard try await users.link(attempt.identity.key, to: user.id, in: organization, at: attempt.now, transaction)
        else { throw LostRace() }
        if let invited {
            guard try await users.accept(invited.id, by: user.id, in: organization, at: attempt.now, transaction)
            else { throw LostRace() }
            try await give(invited, to: user, attempt, transaction)
            try await append(attempt.accepted(invited, user), transaction)
        }
        try await append(attempt.linked(user, byInvitation: invited != nil), transaction)
        return user
    }

    /// What an invitation gives besides the way in.
    private func give(
        _ invited: SignInStore.OpenInvitation, to user: User, _ attempt: Attempt, _ transaction: PostgresTransaction
    ) async throws {
        guard !invited.groups.isEmpty || !invited.roles.isEmpty else { return }
        let organization = attempt.organization.id
        try await RoleStore(database: database).give(
            invited.roles, and: invited.groups, to: user.id, by: invited.createdBy, in: organization, at: attempt.now,
            transaction)
        // What was decided for them before rests on what they were.
        try await OrganizationStore(database: database).bumpEpoch(of: organization, in: transaction)
    }

    /// The user with that verified address: the known one with what was just learnt, or a new one.
    private func welcome(
        _ known: User?, _ email: EmailAddress, _ invited: SignInStore.OpenInvitation?, _ attempt: Attempt,
        _ transaction: PostgresTransaction
    ) async throws -> User {
        let organization = attempt.organization.id
        let name = invited?.name ?? attempt.identity.name
        if var user = known {
            guard !user.emailVerified || user.name == nil && name != nil else { return user }
            user.emailVerified = true
            user.name = user.name ?? name
            guard let updated = try await users.update(user, of: organization, at: attempt.now, in: transaction) else {
                throw LostRace()
            }
            return updated
        }
        let user = User(
            id: attempt.newUser, email: email.description, emailVerified: true, name: name, status: .active, version: 1,
            createdAt: attempt.now, updatedAt: attempt.now)
        guard try await users.insert(user, of: organization, in: transaction) else { throw LostRace() }
        try await append(attempt.created(user, byInvitation: invited != nil), transaction)
        return user
    }

    private func find(
        _ user: UserID?, _ attempt: Attempt, _ transaction: PostgresTransaction
    ) async throws -> User? {
        guard let user else { return nil }
        return try await users.find(user, in: attempt.organization.id, locking: transaction)
    }

    private func append(_ event: AuditEvent, _ transaction: PostgresTransaction) async throws {
        try await transaction.execute(event.outboxEvent(random).insertion)
    }
}

/// Another transaction changed what this one had looked up; everything is undone and looked up again.
private struct LostRace: Error {}

/// One call to ``SignIn/complete(_:by:organization:invitation:request:client:at:)``: what it knows, and the ids it
/// gives, chosen before its transaction so that running that again changes nothing.
struct Attempt: Sendable {
    let identity: VerifiedIdentity
    let record: IdentityProviderRecord
    let organization: Organization
    let invitation: InvitationID?
    let request: AuditEvent.RequestInfo?
    let client: String?
    let now: Date

    let newUser: UserID
    let sessionID: SessionID
    let secret: Secret
    let outcomeEvent: EventID
    private let createdEvent: EventID
    private let linkedEvent: EventID
    private let acceptedEvent: EventID

    init(
        identity: VerifiedIdentity, record: IdentityProviderRecord, organization: Organization,
        invitation: InvitationID?, request: AuditEvent.RequestInfo?, client: String?, now: Date, random: RandomBytes
    ) {
        self.identity = identity
        self.record = record
        self.organization = organization
        self.invitation = invitation
        self.request = request
        self.client = client
        self.now = now
        newUser = .make(at: now, random)
        sessionID = .make(at: now, random)
        secret = .random(from: random)
        outcomeEvent = .make(at: now, random)
        createdEvent = .make(at: now, random)
        linkedEvent = .make(at: now, random)
        acceptedEvent = .make(at: now, random)
    }

    /// Of these events each shows that the transaction was committed.
    var proofs: [EventID] { [outcomeEvent, linkedEvent] }

    /// The only address that may decide anything.
    var verifiedEmail: EmailAddress? {
        identity.emailVerified ? identity.email.flatMap(EmailAddress.init) : nil
    }

    func session(of user: User) -> Session {
        Session(
            id: sessionID, user: user.id, identityProvider: record.id, authTime: identity.authTime,
            expiresAt: now + TimeInterval(organization.settings.sessionLifetimeSeconds), mfa: identity.mfa,
            scopeCeiling: identity.scopeCeiling, createdAt: now)
    }

    // MARK: Events

    func created(_ user: User, byInvitation: Bool) -> AuditEvent {
        event(
            .userCreated, createdEvent, actor(user), [target(user), provider],
            metadata: ["rule": rule(byInvitation)])
    }

    func linked(_ user: User, byInvitation: Bool) -> AuditEvent {
        event(
            .userIdentityLinked, linkedEvent, actor(user), [target(user), provider],
            metadata: upstream.merging(["rule": rule(byInvitation)]) { $1 })
    }

    func accepted(_ invitation: SignInStore.OpenInvitation, _ user: User) -> AuditEvent {
        var accepted = event(
            .invitationAccepted, acceptedEvent, actor(user),
            [AuditEvent.Target(type: "invitation", id: invitation.id.description), target(user)])
        for (path, ids) in [
            ("groups", invitation.groups.map(\.description)), ("roles", invitation.roles.map(\.description)),
        ] where !ids.isEmpty {
            accepted.changes.append(AuditEvent.Change(path: path, new: .array(ids.map { .string($0) })))
        }
        return accepted
    }

    func succeeded(_ user: User) -> AuditEvent {
        event(
            .loginSucceeded, outcomeEvent, actor(user, session: sessionID.description), [provider],
            metadata: ["kind": record.kind.rawValue, "mfa": identity.mfa ? "true" : "false"])
    }

    func disabled(_ user: User) -> AuditEvent {
        event(.loginFailed, outcomeEvent, actor(user), [provider], refusedFor: "user_disabled")
    }

    /// Names the pending link as an administrator must to accept it: provider, population and subject.
    func notLinked() -> AuditEvent {
        var actor = AuditEvent.Actor.anonymous
        actor.email = identity.email
        return event(
            .loginFailed, outcomeEvent, actor,
            [provider, AuditEvent.Target(type: "pending_identity", id: identity.key.subject)],
            refusedFor: "identity_not_linked", metadata: upstream)
    }

    private func event(
        _ type: AuditEventType, _ id: EventID, _ actor: AuditEvent.Actor, _ targets: [AuditEvent.Target],
        refusedFor reason: String? = nil, metadata: [String: String] = [:]
    ) -> AuditEvent {
        AuditEvent(
            type, organization: organization.id, id: id, time: now, outcome: reason == nil ? .success : .denied,
            reason: reason, actor: actor, targets: targets, client: client, request: request, metadata: metadata)
    }

    private func actor(_ user: User, session: String? = nil) -> AuditEvent.Actor {
        .user(user.id, email: user.email, name: user.name, session: session)
    }

    private func target(_ user: User) -> AuditEvent.Target {
        AuditEvent.Target(type: "user", id: user.id.description)
    }

    private var provider: AuditEvent.Target {
        AuditEvent.Target(type: "identity_provider", id: record.id.description)
    }

    private var upstream: [String: String] {
        ["provider": identity.key.provider, "subject": identity.key.subject]
    }

    private func rule(_ byInvitation: Bool) -> String { byInvitation ? "invitation" : "verified_domain" }
}
