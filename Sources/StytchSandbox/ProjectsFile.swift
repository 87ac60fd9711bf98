import Foundation

/// The projects a sandbox starts with, and the same objects sent to `POST /__test/projects`.
///
///     {"projects": [
///       {"vertical": "b2b", "project_id": "project-test-…", "secret": "secret-test-…",
///        "public_token": "public-token-test-…",
///        "organizations": [
///          {"organization_id": "organization-test-…", "organization_name": "Acme", "organization_slug": "acme",
///           "email_jit_provisioning": "RESTRICTED", "email_allowed_domains": ["acme.example"],
///           "members": [{"member_id": "member-test-…", "email_address": "ada@acme.example", "name": "Ada",
///                        "status": "active", "roles": [], "trusted_metadata": {}}]}]},
///       {"vertical": "consumer", "project_id": "project-test-…", "secret": "secret-test-…",
///        "redirect_urls": ["http://localhost:8001/callback"],
///        "users": [{"user_id": "user-test-…", "email": "ada@acme.example", "name": {"first_name": "Ada"}}]}]}
///
/// Only `vertical`, `project_id` and `secret` are required. Organizations, members and users take every parameter that
/// the API's create calls take, and their ids besides. A project also takes `user_lock_threshold` (failed attempts,
/// default 10), `user_lock_minutes` (default 60), `wrong_passcode_error` (`unable_to_auth_otp_code`, the default, or
/// `otp_code_not_found`) and `limit_sends` (one mail per second and address; default: the command line's).
struct ProjectsFile {
    let projects: [Arguments]

    init(path: String) throws {
        let bytes = try Data(contentsOf: URL(filePath: path))
        projects = try Arguments(body: bytes).objects("projects")
    }
}

extension Project {
    /// A project as ``ProjectsFile`` describes it.
    ///
    /// - Throws: ``StytchError`` naming the first parameter that is wrong.
    convenience init(_ arguments: Arguments, limitsSends: Bool, outbox: Outbox) throws {
        guard let id = ProjectID(try arguments.string("project_id")) else {
            throw StytchError.badRequest("project_id must start with project-test- or project-live-.")
        }
        guard let vertical = ProjectSettings.Vertical(rawValue: try arguments.string("vertical").lowercased()) else {
            throw StytchError.badRequest("vertical must be consumer or b2b.")
        }
        var rule = Lockout.Rule()
        if let threshold = try arguments.integer("user_lock_threshold") { rule.threshold = threshold }
        if let minutes = try arguments.integer("user_lock_minutes") { rule.lifetime = .seconds(minutes * 60) }
        let wrongPasscodeError = try arguments.optionalString("wrong_passcode_error")
        guard [nil, "unable_to_auth_otp_code", "otp_code_not_found"].contains(wrongPasscodeError) else {
            throw StytchError.badRequest("wrong_passcode_error has an unknown value.")
        }
        try self.init(
            ProjectSettings(
                id: id, vertical: vertical, secret: try arguments.string("secret"),
                publicToken: try arguments.optionalString("public_token") ?? id.environment.newID("public-token"),
                redirectURLs: try arguments.strings("redirect_urls") ?? [], lockRule: rule,
                wrongPasscodeIsNotFound: wrongPasscodeError == "otp_code_not_found",
                limitsSends: try arguments.flag("limit_sends") ?? limitsSends),
            outbox: outbox)
        try seed(arguments)
    }

    private func seed(_ arguments: Arguments) throws {
        let now = Date()
        try update { state in
            for user in try arguments.objects("users") {
                _ = try state.users.create(user, environment: environment, at: now, maySetIDs: true)
            }
            for seed in try arguments.objects("organizations") {
                let organization = try state.organizations.create(
                    seed, environment: environment, at: now, maySetIDs: true)
                for member in try seed.objects("members") {
                    _ = try state.organizations.createMember(
                        member, in: organization, environment: environment, at: now, maySetIDs: true)
                }
            }
        }
    }
}
