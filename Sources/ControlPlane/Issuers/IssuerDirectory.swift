import Foundation
import Postgres
package import Tenancy

/// Finds issuers by where a request came in.
package struct IssuerDirectory: Sendable {
    /// The public URL `P`, without a trailing slash.
    package let publicURL: String
    package let catalog: TenantCatalog

    package init(catalog: TenantCatalog, publicURL: String) {
        self.catalog = catalog
        self.publicURL = publicURL
    }

    /// The platform issuer, as last seen if the database is away.
    package func platform() async throws -> Issuer {
        guard let platform = try await snapshot(.platform) else {
            throw OAuthError(.serverError, "The service is not set up yet.", reason: "platform_missing")
        }
        return Issuer(kind: .platform, url: publicURL, home: platform, platform: platform)
    }

    /// The issuer of an organization, whatever its status; as last seen if the database is away.
    ///
    /// - Returns: nil for a slug that nobody has, and for one that cannot be a slug at all.
    package func organization(slug: String) async throws -> Issuer? {
        guard Organization.isValid(slug: slug), let id = try await catalog.organization(slug: slug),
            let home = try await snapshot(id), let platform = try await snapshot(.platform)
        else { return nil }
        return Issuer(kind: .organization, url: "\(publicURL)/o/\(slug)", home: home, platform: platform)
    }

    /// The issuer with this id: what codes and grants are bound to.
    package func issuer(_ id: OrganizationID) async throws -> Issuer? {
        if id == .platform { return try await platform() }
        guard let home = try await snapshot(id), let platform = try await snapshot(.platform) else { return nil }
        return Issuer(
            kind: .organization, url: "\(publicURL)/o/\(home.organization.slug)", home: home, platform: platform)
    }

    /// Issuing statements assert the epochs, so an old snapshot can render and refuse but never issue.
    private func snapshot(_ organization: OrganizationID) async throws -> TenantSnapshot? {
        do {
            return try await catalog.snapshot(of: organization)
        } catch let error as PostgresError {
            guard let remembered = catalog.remembered(organization) else { throw error }
            return remembered
        }
    }
}
