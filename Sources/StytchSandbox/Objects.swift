import Foundation

// The API's objects as the wire has them. Every member that Stytch's SDKs require is present and not null; what the
// sandbox does not model is there as "nothing": an empty string, an empty array or false.

extension User {
    func json(at now: Date) -> [String: JSON] {
        [
            "user_id": .string(id), "status": isPending ? "pending" : "active",
            "emails": [["email_id": .string(emailID), "email": .string(email), "verified": .bool(isEmailVerified)]],
            "phone_numbers": [], "webauthn_registrations": [], "providers": [], "totps": [], "crypto_wallets": [],
            "biometric_registrations": [], "roles": .strings(roles),
            "name": [
                "first_name": name["first_name"] ?? "", "middle_name": name["middle_name"] ?? "",
                "last_name": name["last_name"] ?? "",
            ],
            "password": .null, "created_at": .time(createdAt), "external_id": .optional(externalID),
            "trusted_metadata": .object(trustedMetadata), "untrusted_metadata": .object(untrustedMetadata),
            "is_locked": .bool(lockout.isLocked(at: now)),
            "lock_created_at": .optionalTime(lockout.isLocked(at: now) ? lockout.lockedAt : nil),
            "lock_expires_at": .optionalTime(lockout.isLocked(at: now) ? lockout.expiresAt : nil),
        ]
    }

    /// The factor of a login by a code or link mailed to this user; `type` is `otp` or `magic_link`.
    func emailFactor(_ type: String, at now: Date) -> JSON {
        [
            "type": .string(type), "delivery_method": "email", "last_authenticated_at": .time(now),
            "created_at": .time(now), "updated_at": .time(now),
            "email_factor": ["email_id": .string(emailID), "email_address": .string(email)],
        ]
    }
}

extension Organization {
    var json: JSON {
        .object(
            settings.values.merging([
                "organization_id": .string(id), "organization_name": .string(name), "organization_slug": .string(slug),
                "organization_logo_url": .string(logoURL), "organization_external_id": .optional(externalID),
                "trusted_metadata": .object(trustedMetadata), "created_at": .time(createdAt),
                "updated_at": .time(updatedAt), "sso_default_connection_id": .null, "scim_active_connection": .null,
                "allowed_oauth_tenants": [:],
            ]) { $1 })
    }
}

extension Member {
    func json(at now: Date) -> JSON {
        let directly: JSON = [["type": "direct_assignment", "details": [:]]]
        return [
            "organization_id": .string(organizationID), "member_id": .string(id), "email_address": .string(email),
            "status": .string(status.rawValue), "name": .string(name), "sso_registrations": [],
            "is_breakglass": .bool(isBreakglass), "member_password_id": "", "oauth_registrations": [],
            "email_address_verified": .bool(isEmailVerified), "mfa_phone_number_verified": false,
            "is_admin": .bool(roles.contains("stytch_admin")), "totp_registration_id": "",
            "retired_email_addresses": [], "mfa_enrolled": .bool(isMFAEnrolled),
            "mfa_phone_number": .string(mfaPhoneNumber), "default_mfa_method": "",
            "roles": .array(sessionRoles.map { ["role_id": .string($0), "sources": directly] }),
            "trusted_metadata": .object(trustedMetadata), "untrusted_metadata": .object(untrustedMetadata),
            "created_at": .time(createdAt), "updated_at": .time(updatedAt), "scim_registration": .null,
            "external_id": .optional(externalID), "is_locked": .bool(lockout.isLocked(at: now)),
            "lock_created_at": .optionalTime(lockout.isLocked(at: now) ? lockout.lockedAt : nil),
            "lock_expires_at": .optionalTime(lockout.isLocked(at: now) ? lockout.expiresAt : nil),
        ]
    }

    /// The base role and those assigned.
    var sessionRoles: [String] { ["stytch_member"] + roles }

    /// The factor of a login by a code mailed to this member.
    func emailFactor(at now: Date) -> JSON {
        [
            "type": "email_otp", "delivery_method": "email", "last_authenticated_at": .time(now),
            "created_at": .time(now), "updated_at": .time(now),
            "email_factor": ["email_id": .string(id), "email_address": .string(email)],
        ]
    }
}

extension Session {
    /// `session` of a consumer project.
    func json(roles: [String]) -> JSON {
        [
            "session_id": .string(id), "user_id": .string(subject), "authentication_factors": [factor],
            "roles": .strings(roles), "started_at": .time(startedAt), "last_accessed_at": .time(lastAccessedAt),
            "expires_at": .time(expiresAt), "attributes": ["ip_address": "", "user_agent": ""],
            "custom_claims": .object(customClaims),
        ]
    }

    /// `member_session` of a B2B project.
    func json(member: Member, organization: Organization) -> JSON {
        [
            "member_session_id": .string(id), "member_id": .string(subject),
            "organization_id": .string(organization.id), "organization_slug": .string(organization.slug),
            "authentication_factors": [factor], "roles": .strings(member.sessionRoles),
            "started_at": .time(startedAt), "last_accessed_at": .time(lastAccessedAt),
            "expires_at": .time(expiresAt), "custom_claims": .object(customClaims),
        ]
    }

    /// The five-minute JWT of the session; `organization` is the claim of that name in B2B projects.
    ///
    /// No claim lies in the future, for SDKs verify without leeway.
    func jwt(roles: [String], organization: JSON? = nil, of project: Project, at now: Date) throws -> String {
        var claims = customClaims
        claims["https://stytch.com/session"] = [
            "id": .string(id), "started_at": .time(startedAt), "last_accessed_at": .time(lastAccessedAt),
            "expires_at": .time(expiresAt), "attributes": ["ip_address": "", "user_agent": ""],
            "authentication_factors": [factor], "roles": .strings(roles),
        ]
        claims["https://stytch.com/organization"] = organization
        let issuedAt = Int(now.timeIntervalSince1970)
        claims["iss"] = .string("stytch.com/\(project.id.text)")
        claims["aud"] = [.string(project.id.text)]
        claims["sub"] = .string(subject)
        claims["iat"] = .integer(issuedAt)
        claims["nbf"] = .integer(issuedAt)
        claims["exp"] = .integer(issuedAt + 300)
        return try project.signer.sign(.object(claims))
    }
}
