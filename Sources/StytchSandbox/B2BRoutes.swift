import Foundation
import Hummingbird

/// `/v1/b2b`: organizations, members, passcodes and sessions of a B2B project.
struct B2BRoutes {
    func addRoutes(to group: some RouterMethods<ProjectContext>) {
        group.on(.post, "otps/email/login_or_signup", answer: loginOrSignup)
        group.on(.post, "otps/email/authenticate", answer: authenticatePasscode)
        group.on(.post, "sessions/authenticate", answer: authenticateSession)
        group.on(.post, "sessions/revoke") { call, state in
            try state.sessions.revoke(
                call.arguments, idName: "member_session_id", subjectName: "member_id", signer: call.project.signer)
            return [:]
        }
        group.on(.get, "sessions", answer: sessions)
        group.on(.post, "organizations", answer: createOrganization)
        group.on(.post, "organizations/search", answer: searchOrganizations)
        group.on(.post, "organizations/members/search", answer: searchMembers)
        group.on(.get, "organizations/:organization") {
            ["organization": try $1.organizations.find($0.path("organization")).json]
        }
        group.on(.put, "organizations/:organization", answer: updateOrganization)
        group.on(.delete, "organizations/:organization", answer: deleteOrganization)
        group.on(.post, "organizations/:organization/members", answer: createMember)
        group.on(.get, "organizations/:organization/member", answer: member)
        group.on(.put, "organizations/:organization/members/:member", answer: updateMember)
        group.on(.put, "organizations/:organization/members/:member/reactivate", answer: reactivateMember)
        group.on(.delete, "organizations/:organization/members/:member", answer: deleteMember)
    }

    // MARK: Signing in

    /// Mails a code to a member, or to an address the organization admits; such a person is pending until the code is
    /// used. A deleted member is asked for admission again and keeps the old id, for addresses are unique.
    private func loginOrSignup(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let organization = try state.organizations.find(call.arguments.string("organization_id"))
        let email = try call.arguments.emailAddress("email_address")
        let lifetime =
            try call.arguments.minutes(
                "login_expiration_minutes", in: 2...15, else: .invalidPasscodeLifetime) ?? .seconds(600)
        let known = state.organizations.member(email: email, in: organization)
        if known?.isBreakglass != true { try organization.settings.allow("email_otp") }
        var member =
            known
            ?? Member(
                id: call.project.environment.newID("member"), organizationID: organization.id, createdAt: call.now,
                email: email, updatedAt: call.now, status: .pending)
        let needsAdmission = known == nil || member.status == .deleted
        if needsAdmission {
            try organization.settings.admit(email)
            member.status = .pending
        }
        if call.project.settings.limitsSends { try state.countSend(to: email, at: call.now) }
        try state.organizations.store(member)
        let code = state.passcodes.issue(for: member.id, lifetime: lifetime, at: call.now)
        if !isMagic(member, call) { call.project.mail(.passcode(code), to: email) }
        return answer(member, organization, call).merging(["member_created": .bool(known == nil)]) { $1 }
    }

    private func authenticatePasscode(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let organization = try state.organizations.find(call.arguments.string("organization_id"))
        let email = try call.arguments.emailAddress("email_address")
        let code = try call.arguments.string("code")
        let request = try SessionRequest(call.arguments)
        guard var member = state.organizations.member(email: email, in: organization), member.status != .deleted else {
            throw StytchError.passcodeNotFound
        }
        guard !member.lockout.isLocked(at: call.now) else { throw StytchError.locked }
        if !member.isBreakglass { try organization.settings.allow("email_otp") }
        let redemption =
            isMagic(member, call) && code == MagicValues.passcode
            ? .accepted : state.passcodes.redeem(code, for: member.id, at: call.now)
        if let refusal = redemption.refusal(of: call.project) {
            member.lockout.fail(under: call.project.settings.lockRule, at: call.now)
            try state.organizations.store(member)
            throw refusal
        }
        member.isEmailVerified = true
        member.lockout.succeed()
        let needsSecondFactor = organization.settings.requiresMFA || member.isMFAEnrolled
        if !needsSecondFactor { member.status = .active }
        try state.organizations.store(member)
        var answer = answer(member, organization, call)
        answer["organization_id"] = .string(organization.id)
        answer["method_id"] = .string(member.id)
        answer["member_authenticated"] = .bool(!needsSecondFactor)
        if needsSecondFactor {
            answer.merge(secondFactorPending(member, call)) { $1 }
        } else {
            let session = state.sessions.start(
                "member-session", for: member.id, in: organization.id, by: member.emailFactor(at: call.now),
                lasting: request.duration ?? .seconds(3600), customClaims: request.customClaims,
                environment: call.project.environment, at: call.now)
            answer.merge(try tokens(of: session, member, organization, call)) { $1 }
            answer["intermediate_session_token"] = ""
            answer["mfa_required"] = .null
        }
        answer["primary_required"] = .null
        answer["member_device"] = .null
        return answer
    }

    /// HTTP 200, and yet not a login: the member still owes a second factor.
    private func secondFactorPending(_ member: Member, _ call: Call) -> [String: JSON] {
        let options: JSON =
            member.mfaPhoneNumber.isEmpty
            ? .null : ["mfa_phone_number": .string(member.mfaPhoneNumber), "totp_registration_id": ""]
        return [
            "session_token": "", "session_jwt": "", "member_session": .null,
            "intermediate_session_token": .string(randomToken()),
            "intermediate_session_token_expires_at": .time(call.now + 600),
            "mfa_required": ["member_options": options, "secondary_auth_initiated": .null],
        ]
    }

    private func isMagic(_ member: Member, _ call: Call) -> Bool {
        call.project.hasMagicValues && member.id == MagicValues.memberID
    }

    // MARK: Sessions

    private func tokens(
        of session: Session, _ member: Member, _ organization: Organization, _ call: Call
    ) throws -> [String: JSON] {
        let claim: JSON = ["organization_id": .string(organization.id), "slug": .string(organization.slug)]
        return [
            "member_session": session.json(member: member, organization: organization),
            "session_token": .string(session.token),
            "session_jwt": .string(
                try session.jwt(roles: member.sessionRoles, organization: claim, of: call.project, at: call.now)),
        ]
    }

    private func authenticateSession(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let session: Session
        if call.project.hasMagicValues, call.arguments.members["session_token"]?.string == MagicValues.sessionToken {
            let organization = try state.organizations.find(MagicValues.organizationID)
            let member = try state.organizations.member(MagicValues.memberID, in: organization)
            session = state.sessions.start(
                "member-session", for: member.id, in: organization.id, by: member.emailFactor(at: call.now),
                lasting: .seconds(3600), customClaims: [:], environment: call.project.environment, at: call.now)
        } else {
            session = try state.sessions.authenticate(call.arguments, signer: call.project.signer, at: call.now)
        }
        let (member, organization) = try state.organizations.subject(of: session)
        return try answer(member, organization, call)
            .merging(tokens(of: session, member, organization, call)) { $1 }
            .merging(["verdict": .null]) { $1 }
    }

    private func sessions(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let organization = try state.organizations.find(call.arguments.string("organization_id"))
        let member = try state.organizations.member(call.arguments.string("member_id"), in: organization)
        let live = state.sessions.live(of: member.id, at: call.now)
        return ["member_sessions": .array(live.map { $0.json(member: member, organization: organization) })]
    }

    // MARK: Organizations

    private func createOrganization(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let organization = try state.organizations.create(
            call.arguments, environment: call.project.environment, at: call.now)
        return ["organization": organization.json]
    }

    private func updateOrganization(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        var organization = try state.organizations.find(call.path("organization"))
        try organization.update(call.arguments, at: call.now)
        try state.organizations.store(organization)
        return ["organization": organization.json]
    }

    private func deleteOrganization(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let organization = try state.organizations.find(call.path("organization"))
        for member in state.organizations.remove(organization) { state.sessions.revokeAll(of: member) }
        return ["organization_id": .string(organization.id)]
    }

    private func searchOrganizations(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let page = try Page(of: state.organizations.search(call.arguments), call.arguments)
        return ["organizations": .array(page.items.map(\.json)), "results_metadata": page.metadata]
    }

    // MARK: Members

    private func answer(_ member: Member, _ organization: Organization, _ call: Call) -> [String: JSON] {
        [
            "member_id": .string(member.id), "member": member.json(at: call.now), "organization": organization.json,
        ]
    }

    private func createMember(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let organization = try state.organizations.find(call.path("organization"))
        let member = try state.organizations.createMember(
            call.arguments, in: organization, environment: call.project.environment, at: call.now)
        return answer(member, organization, call)
    }

    private func member(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let organization = try state.organizations.find(call.path("organization"))
        if let id = try call.arguments.optionalString("member_id") {
            return answer(try state.organizations.member(id, in: organization), organization, call)
        }
        guard let email = try call.arguments.optionalString("email_address") else {
            throw StytchError.memberSelectorMissing
        }
        guard let member = state.organizations.member(email: email.lowercased(), in: organization) else {
            throw StytchError.memberNotFound
        }
        return answer(member, organization, call)
    }

    private func updateMember(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let organization = try state.organizations.find(call.path("organization"))
        var member = try state.organizations.member(call.path("member"), in: organization)
        try member.update(call.arguments, at: call.now)
        if try call.arguments.optionalString("email_address") != nil {
            member.email = try call.arguments.emailAddress("email_address")
        }
        try state.organizations.store(member)
        return answer(member, organization, call)
    }

    private func reactivateMember(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let organization = try state.organizations.find(call.path("organization"))
        var member = try state.organizations.member(call.path("member"), in: organization)
        guard member.status == .deleted else { throw StytchError.nothingToReactivate }
        guard member.isEmailVerified else { throw StytchError.unverifiedForReactivation }
        member.status = .active
        try state.organizations.store(member)
        return answer(member, organization, call)
    }

    /// The member stays, with status `deleted`; sessions end.
    private func deleteMember(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let organization = try state.organizations.find(call.path("organization"))
        var member = try state.organizations.member(call.path("member"), in: organization)
        guard member.status != .deleted else { throw StytchError.memberNotFound }
        member.status = .deleted
        try state.organizations.store(member)
        state.sessions.revokeAll(of: member.id)
        return ["member_id": .string(member.id)]
    }

    private func searchMembers(_ call: Call, _ state: inout ProjectState) throws -> [String: JSON] {
        let found = try state.organizations.searchMembers(call.arguments)
        let page = try Page(of: found.members, call.arguments)
        let used = found.organizations.filter { organization in
            page.items.contains { $0.organizationID == organization.id }
        }
        return [
            "members": .array(page.items.map { $0.json(at: call.now) }), "results_metadata": page.metadata,
            "organizations": .object(Dictionary(used.map { ($0.id, $0.json) }, uniquingKeysWith: { $1 })),
        ]
    }
}
