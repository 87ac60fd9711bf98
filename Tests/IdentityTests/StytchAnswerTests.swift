import Foundation
import Keys
import Outbound
import Tenancy
import Testing

@testable import Identity

/// Answers of Stytch's documented shape, and what becomes of them when one thing is different.
@Suite struct StytchAnswerTests {
    private static let organization = "organization-test-aaaa"
    private static let memberAnswer = """
        {"status_code": 200, "request_id": "request-id-test-1",
         "member_id": "member-test-1", "method_id": "member-test-1",
         "organization_id": "organization-test-aaaa",
         "member": {"organization_id": "organization-test-aaaa", "member_id": "member-test-1",
          "email_address": "ada@acme.example", "email_address_verified": true, "status": "active",
          "name": "Ada Lovelace",
          "roles": [{"role_id": "stytch_member", "sources": [{"type": "direct_assignment", "details": {}}]}],
          "trusted_metadata": {"a": {"b": {"c": {"d": {"e": {"f": [1]}}}}}}, "untrusted_metadata": null},
         "organization": {"organization_id": "organization-test-aaaa"},
         "session_token": "token", "session_jwt": "jwt", "intermediate_session_token": "",
         "member_authenticated": true,
         "member_session": {"member_session_id": "member-session-test-1", "member_id": "member-test-1",
          "organization_id": "organization-test-aaaa",
          "authentication_factors": [{"type": "email_otp", "delivery_method": "email"}],
          "custom_claims": {"scopes": ["read"]}},
         "mfa_required": null, "primary_required": null}
        """
    private static let userAnswer = """
        {"status_code": 200, "request_id": "request-id-test-1", "user_id": "user-test-1", "method_id": "email-test-1",
         "session_token": "", "session_jwt": "", "session": null, "reset_sessions": false,
         "user": {"user_id": "user-test-1", "status": "active", "is_locked": false,
          "name": {"first_name": "Ada", "middle_name": "", "last_name": "Lovelace"},
          "emails": [{"email_id": "email-test-0", "email": "old@acme.example", "verified": true},
                     {"email_id": "email-test-1", "email": "Ada@acme.example", "verified": true}]}}
        """

    private func member(
        _ json: String, asked: String = "ada@acme.example"
    ) throws -> Result<VerifiedIdentity, SignInError> {
        let record = sampleRecord(.stytchB2B, upstream: Self.organization)
        let email = try #require(EmailAddress(asked))
        let answer = try object(json)
        return Result { () throws(SignInError) in
            try StytchB2B.identity(
                in: answer, organization: Self.organization, email: email, of: record, at: noon)
        }
    }

    private func user(
        _ json: String, asked: String = "ada@acme.example"
    ) throws -> Result<VerifiedIdentity, SignInError> {
        let email = try #require(EmailAddress(asked))
        let answer = try object(json)
        return Result { () throws(SignInError) in
            try StytchConsumer.identity(
                in: answer, method: "email-test-1", email: email, of: sampleRecord(.stytchConsumer), at: noon)
        }
    }

    @Test("a member's answer gives subject, verified address, name and scope ceiling (Stytch B2B otps/email)")
    func memberIsRead() throws {
        let identity = try member(Self.memberAnswer, asked: "ADA@acme.example").get()
        #expect(identity.key.subject == "member-test-1")
        #expect(identity.key.provider == "project-test-11111111/organization-test-aaaa")
        #expect(identity.email == "ada@acme.example")
        #expect(identity.emailVerified)
        #expect(identity.name == "Ada Lovelace")
        #expect(identity.authTime == noon)
        #expect(!identity.mfa)
        #expect(identity.scopeCeiling == ["read"])
    }

    @Test(
        "a member's answer with one wrong detail signs nobody in (Stytch B2B)",
        arguments: [
            (#""member_authenticated": true"#, #""member_authenticated": false"#, "additional_factor_required"),
            (#""member_authenticated": true,"#, "", "refused"),
            (#""status": "active""#, #""status": "deleted""#, "not_admitted"),
            (#""email_address": "ada@acme.example""#, #""email_address": "eve@acme.example""#, "refused"),
            (#""email_address": "ada@acme.example""#, #""email_address": "ada@\#u{212A}cme.example""#, "refused"),
            (
                #""type": "email_otp", "delivery_method": "email""#,
                #""type": "impersonated", "delivery_method": "impersonation""#, "refused"
            ),
            (#""member_id": "member-test-1", "method_id""#, #""member_id": "member-test-2", "method_id""#, "refused"),
            (#""member_id": "member-test-1","#, #""member_id": "member test\u0000","#, "refused"),
            (#""member_session": {"#, #""member_sessions": {"#, "refused"),
        ])
    func wrongMember(find: String, replacement: String, reason: String) throws {
        let json = Self.memberAnswer.replacing(find, with: replacement)
        try #require(json != Self.memberAnswer)
        guard case .failure(let error) = try member(json) else {
            Issue.record("somebody was signed in")
            return
        }
        #expect(error.reason == reason)
    }

    @Test("each place that names the organization must name the configured one (Stytch B2B)")
    func everyOrganization() throws {
        let own = "\"organization_id\": \"\(Self.organization)\""
        let places = Self.memberAnswer.ranges(of: own)
        try #require(places.count == 4)
        for (index, place) in places.enumerated() {
            var json = Self.memberAnswer
            json.replaceSubrange(place, with: #""organization_id": "organization-test-bbbb""#)
            let result = try member(json)
            // The third is `organization`, which is not read: the others say whose member and session it is.
            if index == 2 { continue }
            guard case .failure(.refused) = result else {
                Issue.record("somebody of another organization was signed in (\(index))")
                continue
            }
        }
    }

    @Test(
        "scopes of an upstream session narrow and never widen (design §5)",
        arguments: [
            (#"{"scopes": ["read", "write"]}"#, ["read", "write"]), (#"{"scopes": "read write"}"#, ["read", "write"]),
            (#"{"scopes": []}"#, []), (#"{"scopes": {"read": true}}"#, []), (#"{"scopes": [1]}"#, []),
            (#"{"scopes": null}"#, nil), ("{}", nil), ("null", nil),
        ] as [(String, [String]?)])
    func ceilings(claims: String, ceiling: [String]?) throws {
        let json = Self.memberAnswer.replacing(#"{"scopes": ["read"]}"#, with: claims)
        #expect(try member(json).get().scopeCeiling == ceiling)
    }

    @Test("two kinds of factor are multi-factor, one is not (Stytch authentication_factors)")
    func factors() throws {
        let factor = #"{"type": "email_otp", "delivery_method": "email"}"#
        let second = #"{"type": "totp", "delivery_method": "authenticator_app"}"#
        #expect(try member(Self.memberAnswer.replacing(factor, with: "\(factor), \(factor)")).get().mfa == false)
        #expect(try member(Self.memberAnswer.replacing(factor, with: "\(factor), \(second)")).get().mfa)
    }

    @Test("an unverified address is told as such (design §3.4)")
    func unverified() throws {
        let json = Self.memberAnswer.replacing(
            "email_address_verified\": true", with: "email_address_verified\": false")
        #expect(try member(json).get().emailVerified == false)
    }

    @Test("a user's answer gives the address that the code proved and no other (Stytch otps/authenticate)")
    func userIsRead() throws {
        let identity = try user(Self.userAnswer).get()
        #expect(identity.key.subject == "user-test-1")
        #expect(identity.key.provider == "project-test-11111111")
        #expect(identity.email == "Ada@acme.example")
        #expect(identity.emailVerified)
        #expect(identity.name == "Ada Lovelace")
        #expect(!identity.mfa)
        #expect(identity.scopeCeiling == nil)
        guard case .failure(.refused) = try user(Self.userAnswer, asked: "old@acme.example") else {
            Issue.record("an address that was not proven counted")
            return
        }
    }

    @Test(
        "a user's answer with one wrong detail signs nobody in (Stytch consumer)",
        arguments: [
            (#""method_id": "email-test-1""#, #""method_id": "email-test-0""#, "refused"),
            (#""status": "active""#, #""status": "pending""#, "not_admitted"),
            (#""is_locked": false"#, #""is_locked": true"#, "too_many_attempts"),
            (#""user_id": "user-test-1", "method_id""#, #""user_id": "user-test-2", "method_id""#, "refused"),
            ("user-test-1", "user-test-e3795c81-f849-4167-bfda-e4a6e9c280fd", "refused"),
            ("Ada@acme.example", "eve@acme.example", "refused"),
            (
                #""session": null"#,
                #""session": {"authentication_factors": [{"type": "impersonated", "delivery_method": "impersonation"}]}"#,
                "refused"
            ),
        ])
    func wrongUser(find: String, replacement: String, reason: String) throws {
        let json = Self.userAnswer.replacing(find, with: replacement)
        try #require(json != Self.userAnswer)
        guard case .failure(let error) = try user(json) else {
            Issue.record("somebody was signed in")
            return
        }
        #expect(error.reason == reason)
    }

    @Test("a name is cut, and loses what cannot be stored")
    func names() throws {
        #expect(try object(#"{"name": "  Ada\u0000 \n Lovelace "}"#).name("name") == "Ada Lovelace")
        #expect(try object(#"{"name": "\u0007"}"#).name("name") == nil)
        #expect(try object(#"{}"#).name("name") == nil)
        #expect(try object(#"{"name": "\#(String(repeating: "a", count: 500))"}"#).name("name")?.count == 200)
    }
}

/// Refusals, by the names Stytch gives them.
@Suite struct StytchErrorTests {
    private func failure(_ status: Int, _ body: String, headers: [(String, String)] = []) -> StytchAPI.Failure? {
        let response = OutboundResponse(status: status, headers: headers, body: Array(body.utf8))
        guard case .failure(let failure) = StytchAPI.read(response).0 else { return nil }
        return failure
    }

    @Test(
        "each error type means one thing when a code is checked (facts/stytch.md §1)",
        arguments: [
            (401, "unable_to_auth_otp_code", "wrong_code"), (404, "otp_code_not_found", "wrong_code"),
            (400, "otp_code_not_found", "wrong_code"), (404, "member_not_found", "wrong_code"),
            (429, "user_lock_limit_reached", "too_many_attempts"), (429, "too_many_requests", "provider_unavailable"),
            (400, "email_jit_provisioning_not_allowed", "not_admitted"),
            (400, "invalid_email_for_jit_provisioning", "not_admitted"),
            (401, "unauthorized_credentials", "provider_rejects_credentials"),
            (404, "organization_not_found", "provider_organization_unknown"),
            (403, "organization_suspended", "provider_organization_unknown"),
            (403, "never_seen", "provider_forbids_call"),
            (500, "internal_server_error", "provider_unavailable"), (400, "never_seen", "refused"),
        ])
    func finishing(status: Int, type: String, reason: String) throws {
        let failure = try #require(self.failure(status, #"{"status_code": \#(status), "error_type": "\#(type)"}"#))
        #expect(SignInError.ofFinish(failure).reason == reason)
    }

    @Test(
        "whatever may depend on the address says nothing when a code is asked for (design §3.4)",
        arguments: [
            (400, "email_jit_provisioning_not_allowed", nil), (400, "invalid_email_for_jit_provisioning", nil),
            (404, "member_not_found", nil), (404, "email_not_found", nil), (429, "user_lock_limit_reached", nil),
            (429, "too_many_requests", nil), (400, "never_seen", nil), (404, "never_seen", nil),
            (400, "invalid_email", "refused"), (401, "unauthorized_credentials", "provider_rejects_credentials"),
            (404, "organization_not_found", "provider_organization_unknown"),
            (400, "operation_restricted_by_organization_auth_methods", "provider_forbids_codes"),
            (503, "internal_server_error", "provider_unavailable"),
        ] as [(Int, String, String?)])
    func starting(status: Int, type: String, reason: String?) throws {
        let failure = try #require(self.failure(status, #"{"status_code": \#(status), "error_type": "\#(type)"}"#))
        #expect(SignInError.ofStart(failure)?.reason == reason)
    }

    @Test("an answer that is no JSON object is an outage, and Retry-After is honoured within bounds (RFC 9110 §10.2.3)")
    func unreadable() {
        #expect(failure(200, "<html>") == .unavailable(retryAfter: nil))
        #expect(failure(404, "[]") == .unavailable(retryAfter: nil))
        #expect(failure(503, "{}", headers: [("Retry-After", "7")]) == .unavailable(retryAfter: .seconds(7)))
        #expect(failure(503, "{}", headers: [("retry-after", "86400")]) == .unavailable(retryAfter: .seconds(300)))
        #expect(failure(503, "{}", headers: [("retry-after", "soon")]) == .unavailable(retryAfter: nil))
        #expect(failure(200, "{}") == nil)
    }
}
