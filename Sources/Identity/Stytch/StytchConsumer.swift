import Foundation
import Keys
import Tenancy

/// Codes by e-mail through a Stytch consumer project, one population of users.
///
/// Stytch makes a user of anybody who asks, so a proven identity is no membership: ``SignIn`` decides that.
struct StytchConsumer: IdentityProvider {
    let api: StytchAPI

    func start(email: String) async throws(SignInError) -> SignInChallenge {
        let email = try api.address(email)
        let sent: StytchObject
        do {
            sent = try await api.post("/v1/otps/email/login_or_create") { body in
                body.string("email", email.description)
                body.int("expiration_minutes", SignInChallenge.lifetimeMinutes)
            }
        } catch {
            // Here a limit tells nothing, since every address that asks is known from then on; and without its name
            // no code can be checked.
            if case .error("too_many_requests", _, let retryAfter) = error {
                throw .unavailable(retryAfter: retryAfter)
            }
            if let error = SignInError.ofStart(error) { throw error }
            return api.challenge(email, upstream: nil)
        }
        return api.challenge(email, upstream: try sent.id("email_id"))
    }

    func finish(
        _ challenge: SignInChallenge, code: String, at now: Date
    ) async throws(SignInError) -> VerifiedIdentity {
        let (email, code) = try api.check(challenge, code, at: now)
        guard let method = challenge.upstream else { throw .wrongCode }
        let answer: StytchObject
        do {
            // Without session_duration_minutes Stytch makes no session.
            answer = try await api.post("/v1/otps/authenticate") { body in
                body.string("method_id", method)
                body.string("code", code)
            }
        } catch {
            throw .ofFinish(error)
        }
        return try Self.identity(in: answer, method: method, email: email, of: api.record, at: now)
    }

    func test() async throws(SignInError) {
        do {
            // Finds nobody: what it tells is that the project answers these credentials.
            _ = try await api.post("/v1/users/search") { body in
                body.int("limit", 1)
                body.object("query") { query in
                    query.string("operator", "AND")
                    query.raws(
                        "operands",
                        [
                            JSONWriter.object { operand in
                                operand.string("filter_name", "email_address")
                                operand.strings("filter_value", ["nobody@gatehouse.invalid"])
                            }
                        ])
                }
            }
        } catch {
            throw .ofTest(error)
        }
    }

    /// Who the answer to a right code speaks of, if it speaks of the address that was asked for.
    static func identity(
        in answer: StytchObject, method: String, email: EmailAddress, of record: IdentityProviderRecord, at now: Date
    ) throws(SignInError) -> VerifiedIdentity {
        let subject = try answer.id("user_id")
        let user = try answer.object("user")
        guard try user.text("user_id") == subject, try answer.text("method_id") == method else {
            throw StytchObject.unreadable
        }
        guard subject != StytchAPI.publicUser else { throw .refused("This address cannot sign in anywhere.") }
        guard try user.text("status") == "active" else { throw .notAdmitted }
        guard try !user.flag("is_locked") else { throw .tooManyAttempts }
        let proven = try user.objects("emails").first { $0.members["email_id"]?.string == method }
        guard let proven, let address = EmailAddress(try proven.text("email")), address == email else {
            throw .refused("Stytch's answer is about another address.")
        }
        let session = try answer.optionalObject("session").map { object throws(SignInError) in
            try StytchSession(object)
        }
        return VerifiedIdentity(
            key: IdentityKey(identityProvider: record.id, provider: record.population, subject: subject),
            email: address.description, emailVerified: try proven.flag("verified"),
            name: user.optionalObject("name")?.name("first_name", "middle_name", "last_name"), authTime: now,
            mfa: session?.mfa ?? false, scopeCeiling: session?.scopeCeiling)
    }
}
