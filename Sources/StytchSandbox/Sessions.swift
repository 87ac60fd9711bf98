import Foundation

/// A session of a user (consumer project) or of a member (B2B project).
struct Session: Sendable {
    let id: String
    let token: String
    /// `user_id` or `member_id`.
    let subject: String
    /// Nil in consumer projects.
    let organizationID: String?
    let startedAt: Date
    var lastAccessedAt: Date
    var expiresAt: Date
    let factor: JSON
    var customClaims: [String: JSON]
    var isRevoked = false

    func isLive(at now: Date) -> Bool { !isRevoked && now < expiresAt }
}

/// What a call asks of the session it creates or extends.
struct SessionRequest {
    let duration: Duration?
    let customClaims: [String: JSON]

    init(_ arguments: Arguments) throws {
        duration = try arguments.minutes(
            "session_duration_minutes", in: 5...527_040, else: .invalidSessionDuration)
        customClaims = try arguments.object("session_custom_claims") ?? [:]
    }
}

/// The sessions of one project.
struct Sessions: Sendable {
    private var sessions: [String: Session] = [:]
    private var idsByToken: [String: String] = [:]

    mutating func start(
        _ kind: String, for subject: String, in organizationID: String? = nil, by factor: JSON,
        lasting duration: Duration, customClaims: [String: JSON], environment: ProjectID.Environment, at now: Date
    ) -> Session {
        let session = Session(
            id: environment.newID(kind), token: randomToken(), subject: subject, organizationID: organizationID,
            startedAt: now, lastAccessedAt: now, expiresAt: now + duration.timeInterval, factor: factor,
            customClaims: customClaims.filter { $0.value != .null })
        sessions[session.id] = session
        idsByToken[session.token] = session.id
        return session
    }

    /// Marks the session named by `session_token` or `session_jwt` as used, extended and re-claimed as asked.
    ///
    /// An expired JWT is good enough as long as the session lives (`sessions/authenticate`).
    mutating func authenticate(_ arguments: Arguments, signer: SessionSigner, at now: Date) throws -> Session {
        let request = try SessionRequest(arguments)
        let token = try arguments.optionalString("session_token")
        let jwt = try arguments.optionalString("session_jwt")
        if token != nil && jwt != nil { throw StytchError.tooManySessionArguments }
        if token == nil && jwt == nil { throw StytchError.noSessionArguments }
        guard let id = try find(token: token, jwt: jwt, signer: signer), var session = sessions[id],
            session.isLive(at: now)
        else { throw StytchError.sessionNotFound }
        // The sandbox has no RBAC policy, so no role grants anything.
        if try arguments.object("authorization_check") != nil { throw StytchError.notAuthorized }
        session.lastAccessedAt = now
        if let duration = request.duration { session.expiresAt = now + duration.timeInterval }
        session.customClaims.merge(request.customClaims) { _, new in new }
        session.customClaims = session.customClaims.filter { $0.value != .null }
        sessions[id] = session
        return session
    }

    /// Revokes the one session named by id (in `idName`), token or JWT, or all sessions of the subject in
    /// `subjectName`. Revoking twice is no error.
    mutating func revoke(
        _ arguments: Arguments, idName: String, subjectName: String? = nil, signer: SessionSigner
    ) throws {
        let id = try arguments.optionalString(idName)
        let token = try arguments.optionalString("session_token")
        let jwt = try arguments.optionalString("session_jwt")
        let subject = try subjectName.flatMap(arguments.optionalString)
        switch [id, token, jwt, subject].compactMap(\.self).count {
        case 0: throw StytchError.noRevokeArguments
        case 1: break
        default: throw StytchError.tooManyRevokeArguments
        }
        if let subject { return revokeAll(of: subject) }
        guard let found = try id ?? find(token: token, jwt: jwt, signer: signer), sessions[found] != nil else {
            throw StytchError.sessionNotFound
        }
        sessions[found]?.isRevoked = true
    }

    mutating func revokeAll(of subject: String) {
        for (id, session) in sessions where session.subject == subject { sessions[id]?.isRevoked = true }
    }

    /// The live sessions of a subject, oldest first.
    func live(of subject: String, at now: Date) -> [Session] {
        sessions.values.filter { $0.subject == subject && $0.isLive(at: now) }
            .sorted { ($0.startedAt, $0.id) < ($1.startedAt, $1.id) }
    }

    private func find(token: String?, jwt: String?, signer: SessionSigner) throws -> String? {
        if let token { return idsByToken[token] }
        guard let jwt else { return nil }
        guard let id = signer.claims(of: jwt)?["https://stytch.com/session"]?["id"]?.string else {
            throw StytchError.unreadableSessionJWT
        }
        return id
    }
}
