extension SignInError {
    /// What a failed call to send a code means.
    ///
    /// - Returns: nil where the failure could depend on who was asked for: then the page goes on as if a code had been
    ///   sent. Everything unknown counts as such.
    static func ofStart(_ failure: StytchAPI.Failure) -> SignInError? {
        switch failure {
        case .error("invalid_email", _, _): .refused("This is not an e-mail address.")
        // A limit that names an address names a known one, and its earlier code still counts.
        case .error("too_many_requests", _, _): nil
        case .error("operation_restricted_by_organization_auth_methods", _, _):
            .misconfigured(.forbidsCodes)
        default: common(failure)
        }
    }

    /// What a failed trial means: nobody in particular was asked for.
    static func ofTest(_ failure: StytchAPI.Failure) -> SignInError {
        switch failure {
        case .error("too_many_requests", _, let retryAfter): .unavailable(retryAfter: retryAfter)
        default: common(failure) ?? .misconfigured(.forbidsCall)
        }
    }

    /// What a failed call to check a code means.
    static func ofFinish(_ failure: StytchAPI.Failure) -> SignInError {
        guard case .error(let type, _, let retryAfter) = failure else { return common(failure) ?? .codeExpired }
        switch type {
        // Stytch does not reliably tell wrong from spent or replaced codes, nor unknown people from known ones here.
        case "unable_to_auth_otp_code", "otp_code_not_found", "member_not_found", "email_not_found", "user_not_found":
            return .wrongCode
        case "user_lock_limit_reached": return .tooManyAttempts
        case "too_many_requests": return .unavailable(retryAfter: retryAfter)
        case "email_jit_provisioning_not_allowed", "invalid_email_for_jit_provisioning",
            "operation_restricted_by_organization_auth_methods":
            return .notAdmitted
        default: return common(failure) ?? .refused("Stytch refused the sign-in.")
        }
    }

    /// What says nothing about the person; nil for the rest.
    private static func common(_ failure: StytchAPI.Failure) -> SignInError? {
        switch failure {
        case .unavailable(let retryAfter): return .unavailable(retryAfter: retryAfter)
        case .unusableURL: return .misconfigured(.baseURL)
        case .error(let type, let status, _):
            switch type {
            case "unauthorized_credentials", "unauthorized_credentials_homepage", "invalid_project_id_authentication",
                "unauthorized_project_id_test", "unauthorized_project_id_live":
                return .misconfigured(.rejectedCredentials)
            case "invalid_b2b_endpoint", "invalid_consumer_endpoint":
                return .misconfigured(.otherKindOfProject)
            case "organization_not_found", "organization_suspended":
                return .misconfigured(.unknownOrganization)
            case "captcha_required", "captcha_failed":
                return .misconfigured(.wantsCaptcha)
            default:
                // Who asks is decided before for whom: an unknown refusal of that class is about the project.
                return status == 403 ? .misconfigured(.forbidsCall) : nil
            }
        }
    }
}
