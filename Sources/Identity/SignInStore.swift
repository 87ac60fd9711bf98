import Foundation
import Postgres
import Tenancy

/// What a sign-in looks up inside its transaction, so that it decides by the rows as they stand and not by a cache.
struct SignInStore: Sendable {
    /// An identity provider as it stands now.
    struct Standing: Sendable {
        let isActive: Bool
        /// Its word about the address is enough for a first link: the organization verified the address's domain, and
        /// marked the provider authoritative for it.
        let isAuthoritative: Bool
    }

    /// An invitation that nobody accepted or revoked and that has not expired.
    struct OpenInvitation: Sendable {
        let id: InvitationID
        let email: String
        let name: String?
        /// What whoever accepts it gets, and who said so.
        let groups: [GroupID]
        let roles: [RoleID]
        let createdBy: String
    }

    func standing(of attempt: Attempt, _ transaction: PostgresTransaction) async throws -> Standing {
        let organization = attempt.organization.id
        let domain = attempt.verifiedEmail?.domain
        let row = try await transaction.query(
            """
            SELECT p.status = 'active' AS is_active,
                   EXISTS (SELECT FROM domain d WHERE d.organization_id = \(organization) AND d.domain = \(domain)
                              AND d.status = 'verified')
                   AND EXISTS (SELECT FROM unnest(p.authoritative_domains) a (name) WHERE lower(a.name) = \(domain))
                       AS is_authoritative
              FROM identity_provider p WHERE p.organization_id = \(organization) AND p.id = \(attempt.record.id)
            """
        ).first
        guard let row else { return Standing(isActive: false, isAuthoritative: false) }
        return Standing(
            isActive: try row.decode("is_active"), isAuthoritative: try row.decode("is_authoritative"))
    }

    /// The user an identity is linked to.
    func user(
        of key: IdentityKey, in organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws -> UserID? {
        try await transaction.query(
            """
            SELECT user_id FROM identity
             WHERE organization_id = \(organization) AND identity_provider_id = \(key.identityProvider)
               AND provider = \(key.provider) AND subject = \(key.subject)
               FOR SHARE
            """
        ).first.map { try $0.id("user_id") }
    }

    func user(
        email: EmailAddress, in organization: OrganizationID, _ transaction: PostgresTransaction
    ) async throws -> UserID? {
        try await transaction.query(
            """
            SELECT id FROM "user"
             WHERE organization_id = \(organization) AND lower(email) = lower(\(email.description))
            """
        ).first.map { try $0.id("id") }
    }

    func invitation(
        _ invitation: InvitationID, in organization: OrganizationID, at now: Date, _ transaction: PostgresTransaction
    ) async throws -> OpenInvitation? {
        try await transaction.query(
            """
            SELECT email, name, group_ids, role_ids, created_by FROM invitation
             WHERE organization_id = \(organization) AND id = \(invitation) AND accepted_at IS NULL
               AND revoked_at IS NULL AND expires_at > \(now)
               FOR UPDATE
            """
        ).map { row in
            OpenInvitation(
                id: invitation, email: try row.decode("email"), name: try row.decode("name"),
                groups: try row.ids("group_ids"), roles: try row.ids("role_ids"),
                createdBy: try row.decode("created_by"))
        }.first
    }
}
