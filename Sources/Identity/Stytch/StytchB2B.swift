import Foundation
import Keys
import Tenancy

/// Codes by e-mail through one organization of a Stytch B2B project, whose members only it admits.
struct StytchB2B: IdentityProvider {
    let api: StytchAPI
    /// Stytch's id of the organization. Credentials, signatures and issuer are the same for all organizations of a
    /// project, so that this id in the answer is the only thing that keeps them apart.
    let organization: String

    func start(email: String) async throws(SignInError) -> SignInChallenge {
        let email = try api.address(email)
        do {
            _ = try await api.post("/v1/b2b/otps/email/login_or_signup") { body in
                body.string("organization_id", organization)
                body.string("email_address", email.description)
                body.int("login_expiration_minutes", SignInChallenge.lifetimeMinutes)
            }
        } catch {
            if let error = SignInError.ofStart(error) { throw error }
        }
        return api.challenge(email, upstream: nil)
    }

    func finish(
        _ challenge: SignInChallenge, code: String, at now: Date
    ) async throws(SignInError) -> VerifiedIdentity {
        let (email, code) = try api.check(challenge, code, at: now)
        let answer: StytchObject
        do {
            answer = try await api.post("/v1/b2b/otps/email/authenticate") { body in
                body.string("organization_id", organization)
                body.string("email_address", email.description)
                body.string("code", code)
                // Stytch always makes a session here; this is the shortest.
                body.int("session_duration_minutes", 5)
            }
        } catch {
            throw .ofFinish(error)
        }
        if let token = answer.members["session_token"]?.string, !token.isEmpty {
            api.revokeLater("/v1/b2b/sessions/revoke", sessionToken: token)
        }
        return try Self.identity(in: answer, organization: organization, email: email, of: api.record, at: now)
    }

    func test() async throws(SignInError) {
        let found: StytchObject
        do {
            found = try await api.get("/v1/b2b/organizations/\(organization)").object("organization")
        } catch let failure as StytchAPI.Failure {
            throw .ofTest(failure)
        } catch {
            throw StytchObject.unreadable
        }
        guard found.members["organization_id"]?.string == organization else {
            throw .misconfigured(.unknownOrganization)
        }
        if found.members["auth_methods"]?.string == "RESTRICTED",
            found.members["allowed_auth_methods"]?.strings?.contains("email_otp") != true
        {
            throw .misconfigured(.forbidsCodes)
        }
    }

    /// Who the answer to a right code speaks of, if it speaks of a member of `organization` with the address that was
    /// asked for.
    static func identity(
        in answer: StytchObject, organization: String, email: EmailAddress, of record: IdentityProviderRecord,
        at now: Date
    ) throws(SignInError) -> VerifiedIdentity {
        let member = try answer.object("member")
        guard try answer.text("organization_id") == organization, try member.text("organization_id") == organization
        else { throw .refused("Stytch's answer is about another organization.") }
        // HTTP 200 with `false` is not a login: Stytch waits for another factor.
        guard try answer.flag("member_authenticated") else { throw .additionalFactorRequired }
        let subject = try answer.id("member_id")
        let object = try answer.object("member_session")
        guard try member.text("member_id") == subject, try object.text("member_id") == subject,
            try object.text("organization_id") == organization
        else { throw StytchObject.unreadable }
        let session = try StytchSession(object)
        guard try member.text("status") == "active" else { throw .notAdmitted }
        guard let address = EmailAddress(try member.text("email_address")), address == email else {
            throw .refused("Stytch's answer is about another address.")
        }
        return VerifiedIdentity(
            key: IdentityKey(identityProvider: record.id, provider: record.population, subject: subject),
            email: address.description, emailVerified: try member.flag("email_address_verified"),
            name: member.name("name"), authTime: now, mfa: session.mfa, scopeCeiling: session.scopeCeiling)
    }
}
