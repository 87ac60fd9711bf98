import Foundation
import Hummingbird

/// `/v1`: passcodes, magic links, users and sessions of a consumer project.
struct ConsumerRoutes {
    func addRoutes(to group: some RouterMethods<ProjectContext>) {
        group.on(.post, "otps/email/login_or_create") { try loginOrCreate(.passcode, $0, &$1) }
        group.on(.post, "otps/email/send") { try send(.passcode, $0, &$1) }
        group.on(.post, "otps/authenticate", answer: authenticatePasscode)
        group.on(.post, "magic_links/email/login_or_create") { try loginOrCreate(.magicLink, $0, &$1) }
        group.on(.post, "magic_links/email/send") { try send(.magicLink, $0, &$1) }
        group.on(.post, "magic_links/authenticate", answer: authenticateMagicLink)
        group.on(.post, "sessions/authenticate", answer: authenticateSession)
        group.on(.post, "sessions/revoke") { call, state in
            try state.sessions.revoke(call.arguments, idName: "session_id", signer: call.project.signer)
            return [:]
        }
        group.on(.get, "sessions", answer: sessions)
        group.on(.post, "users", answer: createUser)
        group.on(.post, "users/search", answer: searchUsers)
        group.on(.get, "users/:user") { try $1.users.find($0.path("user")).json(at: $0.now) }
        group.on(.put, "users/:user", answer: updateUser)
        group.on(.delete, "users/:user", answer: deleteUser)
    }

    // MARK: Sending

    private enum Channel { case passcode, magicLink }

    /// Signs anybody up: that is what the endpoint is for, and why membership is the caller's to decide.
    private func loginOrCreate(
        _ channel: Channel, _ call: Call, _ state: inout ProjectState
    ) throws -> [String: JSON] {
        let email = try call.arguments.emailAddress("email")
        let known = state.users.subject(email: email)
        var user =
            known
            ?? User(
                id: call.project.environment.newID("user"), emailID: call.project.environment.newID("email"),
                email: email,
                createdAt: call.now)
        if known == nil {
            user.isPending = try call.arguments.flag("create_user_as_pending") ?? false
        }
        try mail(channel, to: user, call, &state)
        if known == nil { state.users.store(user) }
        return [
            "user_id": .string(user.id), "email_id": .string(user.emailID), "user_created": .bool(known == nil),
        ]
    }

    private func send(_ channel: Channel, _ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let email = try call.arguments.emailAddress("email")
        guard let user = state.users.subject(email: email) else { throw StytchError.emailNotFound }
        try mail(channel, to: user, call, &state)
        return ["user_id": .string(user.id), "email_id": .string(user.emailID)]
    }

    /// Issues the code or link and mails it. When it throws, nothing has changed.
    private func mail(_ channel: Channel, to user: User, _ call: Call, _ state: inout ProjectState) throws {
        let mail: Outbox.Kind
        switch channel {
        case .passcode:
            let lifetime =
                try call.arguments.minutes(
                    "expiration_minutes", in: 1...10, else: .invalidPasscodeLifetime) ?? .seconds(120)
            try countSend(to: user, call, &state)
            mail = .passcode(state.passcodes.issue(for: user.emailID, lifetime: lifetime, at: call.now))
        case .magicLink:
            let link = try magicLink(for: user, call)
            try countSend(to: user, call, &state)
            let query = "public_token=\(call.project.settings.publicToken)&stytch_token_type=magic_links"
            let token = state.magicLinks.issue(link)
            mail = .magicLink(url: "\(call.baseURL)/v1/magic_links/redirect?\(query)&token=\(token)")
        }
        if !user.isMagic { call.project.mail(mail, to: user.email) }
    }

    private func countSend(to user: User, _ call: Call, _ state: inout ProjectState) throws {
        if call.project.settings.limitsSends { try state.countSend(to: user.email, at: call.now) }
    }

    private func magicLink(for user: User, _ call: Call) throws -> MagicLinks.Link {
        let registered = call.project.settings.redirectURLs
        guard let first = registered.first else { throw StytchError.noLoginRedirectURLs }
        let wanted = try call.arguments.optionalString("login_magic_link_url") ?? first
        guard registered.contains(wanted) else { throw StytchError.unregisteredRedirectURL }
        let lifetime =
            try call.arguments.minutes(
                "login_expiration_minutes", in: 5...10_080, else: .invalidLinkLifetime) ?? .seconds(3600)
        return MagicLinks.Link(
            userID: user.id, redirectURL: wanted, codeChallenge: try call.arguments.optionalString("code_challenge"),
            expiresAt: call.now + lifetime.timeInterval)
    }

    // MARK: Authenticating

    private func authenticatePasscode(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let methodID = try call.arguments.string("method_id")
        let code = try call.arguments.string("code")
        let request = try SessionRequest(call.arguments)
        guard var user = state.users.subject(emailID: methodID) else { throw StytchError.passcodeNotFound }
        guard !user.lockout.isLocked(at: call.now) else { throw StytchError.locked }
        let redemption =
            user.isMagic && code == MagicValues.passcode
            ? .accepted : state.passcodes.redeem(code, for: methodID, at: call.now)
        if let refusal = redemption.refusal(of: call.project) {
            user.lockout.fail(under: call.project.settings.lockRule, at: call.now)
            state.users.store(user)
            throw refusal
        }
        return try login(user, by: "otp", request, call, &state)
    }

    private func authenticateMagicLink(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let token = try call.arguments.string("token")
        let request = try SessionRequest(call.arguments)
        if call.project.hasMagicValues {
            if token == MagicValues.goodMagicLink {
                return try login(state.users.subject(MagicValues.userID), by: "magic_link", request, call, &state)
            }
            if token == MagicValues.spentMagicLink { throw StytchError.spentMagicLink }
        }
        let verifier = try call.arguments.optionalString("code_verifier")
        let userID = try state.magicLinks.redeem(token, verifier: verifier, at: call.now)
        return try login(state.users.subject(userID), by: "magic_link", request, call, &state)
    }

    /// A proven login. Without `session_duration_minutes` there is no session, and its tokens are empty strings.
    private func login(
        _ user: User, by type: String, _ request: SessionRequest, _ call: Call, _ state: inout ProjectState
    ) throws -> [String: JSON] {
        var user = user
        user.isEmailVerified = true
        user.isPending = false
        user.lockout.succeed()
        state.users.store(user)
        var answer: [String: JSON] = [
            "user_id": .string(user.id), "method_id": .string(user.emailID), "user": .object(user.json(at: call.now)),
            "reset_sessions": false, "session_token": "", "session_jwt": "", "session": .null, "user_device": .null,
        ]
        if let duration = request.duration {
            let session = state.sessions.start(
                "session", for: user.id, by: user.emailFactor(type, at: call.now), lasting: duration,
                customClaims: request.customClaims, environment: call.project.environment, at: call.now)
            answer.merge(try tokens(of: session, user, call)) { $1 }
        }
        return answer
    }

    // MARK: Sessions

    private func tokens(of session: Session, _ user: User, _ call: Call) throws -> [String: JSON] {
        [
            "session": session.json(roles: user.roles), "session_token": .string(session.token),
            "session_jwt": .string(try session.jwt(roles: user.roles, of: call.project, at: call.now)),
        ]
    }

    private func authenticateSession(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        if call.project.hasMagicValues, call.arguments.members["session_token"]?.string == MagicValues.sessionToken {
            let user = try state.users.subject(MagicValues.userID)
            let session = state.sessions.start(
                "session", for: user.id, by: user.emailFactor("magic_link", at: call.now), lasting: .seconds(3600),
                customClaims: [:], environment: call.project.environment, at: call.now)
            return try tokens(of: session, user, call).merging(["user": .object(user.json(at: call.now))]) { $1 }
        }
        let session = try state.sessions.authenticate(call.arguments, signer: call.project.signer, at: call.now)
        let user = try state.users.subject(session.subject)
        return try tokens(of: session, user, call)
            .merging(["user": .object(user.json(at: call.now)), "verdict": .null]) { $1 }
    }

    private func sessions(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let user = try state.users.find(call.arguments.string("user_id"))
        return ["sessions": .array(state.sessions.live(of: user.id, at: call.now).map { $0.json(roles: user.roles) })]
    }

    // MARK: Users

    private func createUser(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let user = try state.users.create(call.arguments, environment: call.project.environment, at: call.now)
        return [
            "user_id": .string(user.id), "email_id": .string(user.emailID), "phone_id": "",
            "status": user.isPending ? "pending" : "active", "user": .object(user.json(at: call.now)),
        ]
    }

    private func updateUser(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        var user = try state.users.find(call.path("user"))
        try user.update(call.arguments)
        state.users.store(user)
        let json = user.json(at: call.now)
        return [
            "user_id": .string(user.id), "emails": json["emails"] ?? [], "phone_numbers": [], "crypto_wallets": [],
            "user": .object(json),
        ]
    }

    private func deleteUser(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let user = try state.users.find(call.path("user"))
        state.users.remove(user)
        state.sessions.revokeAll(of: user.id)
        return ["user_id": .string(user.id)]
    }

    private func searchUsers(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let page = try Page(of: state.users.search(call.arguments), call.arguments)
        return [
            "results": .array(page.items.map { .object($0.json(at: call.now)) }), "results_metadata": page.metadata,
        ]
    }
}

extension Passcodes.Redemption {
    /// The error a redemption that was not accepted answers with.
    func refusal(of project: Project) -> StytchError? {
        switch self {
        case .accepted: nil
        case .spent: .spentPasscode
        case .neverSent: .passcodeNotFound
        case .wrong: project.settings.wrongPasscodeIsNotFound ? .passcodeNotFound : .wrongPasscode
        }
    }
}
