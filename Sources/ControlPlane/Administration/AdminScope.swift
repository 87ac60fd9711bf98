/// What an admin key, or the access token of a person with a role, may do. `read` and `write` are apart: who writes need not
/// read.
package enum AdminScope: String, Sendable, CaseIterable {
    case organizationsRead = "organizations:read"
    case organizationsWrite = "organizations:write"
    case usersRead = "users:read"
    case usersWrite = "users:write"
    case groupsRead = "groups:read"
    case groupsWrite = "groups:write"
    case scimTokensRead = "scim-tokens:read"
    /// Whoever holds such a token writes all users and groups of the organization.
    case scimTokensWrite = "scim-tokens:write"
    case rolesRead = "roles:read"
    case rolesWrite = "roles:write"
    case operationsRead = "operations:read"
    case invitationsRead = "invitations:read"
    case invitationsWrite = "invitations:write"
    /// Who writes identity providers decides who can become any user: for owners.
    case identityProvidersRead = "identity-providers:read"
    case identityProvidersWrite = "identity-providers:write"
    case resourcesRead = "resources:read"
    case resourcesWrite = "resources:write"
    case clientsRead = "clients:read"
    case clientsWrite = "clients:write"
    case policiesRead = "policies:read"
    case policiesWrite = "policies:write"
    case grantsRead = "grants:read"
    case grantsWrite = "grants:write"
    case accessTokensRead = "access-tokens:read"
    /// Who writes these can act as anybody of the organization, within policy.
    case accessTokensWrite = "access-tokens:write"
    case adminKeysRead = "admin-keys:read"
    case adminKeysWrite = "admin-keys:write"
    case signingKeysRead = "signing-keys:read"
    case signingKeysWrite = "signing-keys:write"
    /// Shows who could do what, with their names and addresses.
    case accessReviewsRead = "access-reviews:read"
    case accessReviewsWrite = "access-reviews:write"
    case auditRead = "audit:read"
    case auditExport = "audit:export"
    /// Says that a domain is an organization's own, without any proof; only platform keys can hold it.
    case domainsVerify = "domains:verify"
    /// Everything the key's organization allows. Only keys hold it, and the role owner stands for it.
    case all = "*"

    /// What the token of a directory (SCIM) stands for.
    static let ofDirectories: Set<AdminScope> = [.usersRead, .usersWrite, .groupsRead, .groupsWrite]

    var isPlatformOnly: Bool { self == .domainsVerify }
}
