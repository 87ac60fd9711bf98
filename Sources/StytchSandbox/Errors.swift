/// A refusal as Stytch words it: clients decide by `type`, and take only the class from `status`.
struct StytchError: Error {
    let status: Int
    let type: String
    let message: String

    init(_ status: Int, _ type: String, _ message: String) {
        (self.status, self.type, self.message) = (status, type, message)
    }
}

extension StytchError {
    static func badRequest(_ message: String) -> StytchError { .init(400, "bad_request", message) }

    // Who is calling
    static let unauthorizedCredentials = StytchError(
        401, "unauthorized_credentials", "The project id and secret do not match.")
    static let invalidProjectID = StytchError(
        401, "invalid_project_id_authentication", "The user name is not a project id.")
    static let consumerEndpoint = StytchError(
        400, "invalid_consumer_endpoint", "A B2B project cannot call this consumer endpoint.")
    static let b2bEndpoint = StytchError(
        400, "invalid_b2b_endpoint", "A consumer project cannot call this B2B endpoint.")
    static let unknownProject = StytchError(400, "invalid_project_id", "No such project.")
    static let routeNotFound = StytchError(404, "route_not_found", "There is no such endpoint.")

    // Passcodes and magic links
    static let wrongPasscode = StytchError(401, "unable_to_auth_otp_code", "The passcode is wrong.")
    static let spentPasscode = StytchError(
        401, "unable_to_auth_otp_code", "The passcode was used already, has expired, or a newer one was sent.")
    static let passcodeNotFound = StytchError(404, "otp_code_not_found", "No such passcode was sent by this method.")
    static let invalidPasscodeLifetime = StytchError(
        400, "invalid_expiration_otp", "The lifetime of the passcode is out of range.")
    static let spentMagicLink = StytchError(
        401, "unable_to_auth_magic_link", "The magic link was used already or has expired.")
    static let magicLinkNotFound = StytchError(404, "magic_link_not_found", "No such magic link.")
    static let invalidLinkLifetime = StytchError(
        400, "invalid_expiration", "The lifetime of the magic link is out of range.")
    static let noLoginRedirectURLs = StytchError(
        400, "no_login_redirect_urls_set", "The project has no redirect URL for logins.")
    static let unregisteredRedirectURL = StytchError(
        400, "no_match_for_provided_magic_link_url", "The redirect URL is not registered with the project.")
    static let challengeMismatch = StytchError(
        400, "pkce_mismatch", "The code verifier does not fit the code challenge.")
    static let verifierExpected = StytchError(
        400, "pkce_expected_code_verifier", "The login began with a code challenge and needs its verifier.")
    static let verifierNotExpected = StytchError(
        400, "pkce_did_not_expect_code_verifier", "The login began without a code challenge.")
    static let tooManyRequests = StytchError(429, "too_many_requests", "Too many requests.")
    static let locked = StytchError(
        429, "user_lock_limit_reached", "Too many failed attempts: the account is locked for a while.")

    // People and organizations
    static let invalidEmail = StytchError(400, "invalid_email", "The e-mail address is malformed.")
    static let emailNotFound = StytchError(404, "email_not_found", "Nobody in this project has that e-mail address.")
    static let duplicateEmail = StytchError(400, "duplicate_email", "A user with that e-mail address exists.")
    static let userNotFound = StytchError(404, "user_not_found", "No such user.")
    static let memberNotFound = StytchError(404, "member_not_found", "No such member.")
    static let memberSelectorMissing = StytchError(
        400, "invalid_member_get_fields", "Give member_id or email_address.")
    static let duplicateMemberEmail = StytchError(
        400, "duplicate_member_email", "The organization has a member with that e-mail address.")
    static let nothingToReactivate = StytchError(
        400, "no_deleted_member_found_for_reactivation", "The member is not deleted.")
    static let unverifiedForReactivation = StytchError(
        400, "email_unverified_for_reactivation", "The member's e-mail address was never verified.")
    static let organizationNotFound = StytchError(404, "organization_not_found", "No such organization.")
    static let invalidSlug = StytchError(
        400, "invalid_organization_slug", "A slug is 2 to 128 of A-Z a-z 0-9 - . _ ~.")
    static let slugTaken = StytchError(400, "organization_slug_already_used", "Another organization has that slug.")
    static let commonDomain = StytchError(
        400, "organization_settings_domain_too_common", "A public mail domain cannot stand for an organization.")
    static let provisioningNotAllowed = StytchError(
        400, "email_jit_provisioning_not_allowed", "The organization admits nobody by e-mail who is not a member.")
    static let domainNotAllowed = StytchError(
        400, "invalid_email_for_jit_provisioning", "The organization does not admit that e-mail domain.")
    static let methodRestricted = StytchError(
        400, "operation_restricted_by_organization_auth_methods", "The organization does not allow this method.")
    static func unknownFilter(_ kind: String) -> StytchError {
        .init(400, "\(kind)_search_filter_name_not_recognized", "The search filter is unknown.")
    }
    static let noOrganizations = StytchError(
        400, "member_search_organization_ids_empty", "Give at least one organization id.")

    // Sessions
    static let noSessionArguments = StytchError(400, "no_session_arguments", "Give session_token or session_jwt.")
    static let tooManySessionArguments = StytchError(
        400, "too_many_session_arguments", "Give only one of session_token and session_jwt.")
    static let noRevokeArguments = StytchError(400, "no_session_revoke_arguments", "Name the session to revoke.")
    static let tooManyRevokeArguments = StytchError(
        400, "too_many_session_revoke_arguments", "Name the session to revoke in one way only.")
    static let invalidSessionDuration = StytchError(
        400, "invalid_session_duration_minutes", "A session lasts 5 to 527040 minutes.")
    static let sessionNotFound = StytchError(404, "session_not_found", "No such session, or it is over.")
    static let unreadableSessionJWT = StytchError(
        401, "unable_to_parse_session_jwt", "The session JWT is malformed or was not signed for this project.")
    static let notAuthorized = StytchError(403, "session_authorization_error", "The session's roles do not allow it.")

    static let internalError = StytchError(500, "internal_server_error", "Something went wrong on our side.")
}
