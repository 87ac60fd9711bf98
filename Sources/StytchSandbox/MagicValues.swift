import Foundation

/// Stytch's published test values: constants that anyone may use against a test project, and only there.
///
/// A service that trusts a test project in production trusts everybody who has read Stytch's documentation; the sandbox
/// keeps the values so that the guard against that can be tested.
enum MagicValues {
    static let email = "sandbox@stytch.com"
    static let passcode = "000000"
    static let userID = "user-test-e3795c81-f849-4167-bfda-e4a6e9c280fd"
    static let emailID = "email-test-81bf03a8-86e1-4d95-bd44-bb3495224953"
    static let organizationID = "organization-test-007d9d4a-deac-4a87-ba0a-e6e8afba4d4b"
    static let memberID = "member-test-32fc5024-9c09-4da3-bd2e-c9ce4da9375f"
    static let sessionToken = "WJtR5BCy38Szd5AfoDpf0iqFKEt4EE5JhjlWUY7l3FtY"
    static let goodMagicLink = "DOYoip3rvIMMW5lgItikFK-Ak1CfMsgjuiCyI7uuU94="
    static let spentMagicLink = "3pzjQpgksDlGKWEwUq2Up--hCHC_0oamfLHyfspKDFU="

    /// Gives a test project its fixed user, or its fixed organization and member.
    static func seed(_ state: inout ProjectState, _ vertical: ProjectSettings.Vertical, at now: Date) throws {
        switch vertical {
        case .consumer:
            var user = User(id: userID, emailID: emailID, email: email, createdAt: now)
            user.isMagic = true
            user.isEmailVerified = true
            state.users.store(user)
        case .b2b:
            var organization = Organization(
                id: organizationID, createdAt: now, name: "Sandbox", slug: "sandbox-\(organizationID.suffix(12))",
                updatedAt: now)
            organization.isMagic = true
            try state.organizations.store(organization)
            try state.organizations.store(
                Member(
                    id: memberID, organizationID: organizationID, createdAt: now, email: email, updatedAt: now,
                    isEmailVerified: true))
        }
    }
}
