import Audit
package import Foundation
package import Keys
import Postgres
package import Tenancy

extension Administration {
    /// Makes what belongs to the platform: its organization row, data key, signing keys and epoch. Doing it again changes
    /// nothing.
    ///
    /// - Returns: whether it was made now.
    package func bootstrapPlatform(at now: Date) async throws -> Bool {
        guard try await organizations.find(.platform) == nil else { return false }
        let platform = try newOrganization(.platform, slug: "platform", name: "Platform", at: now)
        let keys = [
            try await newSigningKey(.es256, for: .access, of: platform, at: now),
            try await newSigningKey(.es256, for: .programmatic, of: platform, at: now),
        ]
        do {
            _ = try await administer(.platform, by: Administrator(system: "bootstrap", now: now)) { transaction in
                guard try await organizations.insert(platform, in: transaction) else {
                    // Somebody else does the same at this moment.
                    throw LostUpdate()
                }
                for key in keys { try await signingKeys.insert(key, in: transaction) }
                return AdminChange(
                    value: platform, type: .orgCreated, target: platform.auditTarget,
                    changes: .between([:], platform.facts),
                    metadata: ["signing_keys": keys.map(\.id.description).joined(separator: " ")],
                    isCached: false)
            }
            return true
        } catch is LostUpdate {
            return false
        }
    }

    /// A platform key that may do everything; what an operator begins with.
    package func createPlatformAdminKey(name: String, at now: Date) async throws -> IssuedAdminKey {
        try await createAdminKey(
            NewAdminKey(name: name, scopes: [AdminScope.all.rawValue]), in: .platform,
            by: Administrator(system: "bootstrap", now: now)
        ).value
    }
}

/// What an existing deployment of one MCP server has in its environment.
package struct DefaultOrganizationValues: Sendable {
    /// `STYTCH_PROJECT_ID` and `STYTCH_SECRET`; without both the organization has no sign-in yet.
    package var stytchProjectID: String?
    package var stytchSecret: Secret?
    /// `PUBLIC_KEY_PEM`, the key the server checks its tokens with.
    package var publicKeyPEM: String?
    package var resourceURI = "http://localhost:8000/mcp"

    package init(stytchProjectID: String? = nil, stytchSecret: Secret? = nil, publicKeyPEM: String? = nil) {
        self.stytchProjectID = stytchProjectID
        self.stytchSecret = stytchSecret
        self.publicKeyPEM = publicKeyPEM
    }
}

extension Administration {
    /// Makes the organization `default` with its provider and its resource, as far as they are missing. Doing it again
    /// changes nothing.
    ///
    /// The resource issues nothing until the private half of its key is imported.
    package func bootstrapDefaultOrganization(
        _ values: DefaultOrganizationValues, at now: Date
    ) async throws -> Organization {
        let administrator = Administrator(system: "bootstrap", now: now)
        let organization: Organization
        if let known = try await organizations.organization(ofSlug: "default") {
            organization = try await self.organization(known)
        } else {
            organization = try await createOrganization(slug: "default", name: "Default", by: administrator).value
        }
        try await bootstrapProvider(values, of: organization, by: administrator)
        try await bootstrapResource(values, of: organization, by: administrator)
        return organization
    }

    private func bootstrapProvider(
        _ values: DefaultOrganizationValues, of organization: Organization, by administrator: Administrator
    ) async throws {
        guard let project = values.stytchProjectID, let secret = values.stytchSecret,
            try await !providers.all(of: organization.id).contains(where: { $0.configuration.projectID == project })
        else { return }
        let wanted = NewIdentityProvider(
            kind: .stytchConsumer, name: "Stytch", projectID: project, secret: secret, upstreamOrganization: nil,
            baseURL: nil, authoritativeDomains: [])
        _ = try await createIdentityProvider(wanted, in: organization, by: administrator)
    }

    private func bootstrapResource(
        _ values: DefaultOrganizationValues, of organization: Organization, by administrator: Administrator
    ) async throws {
        guard let pem = values.publicKeyPEM else { return }
        let wanted = ResourceURI(values.resourceURI)?.canonical
        var resource = try await resources.all(of: organization.id).first { $0.canonicalURI == wanted }
        if resource == nil {
            var description = NewResource(
                uri: values.resourceURI, name: "MCP server",
                scopes: [
                    Resource.Scope(name: "read", description: "See what is there"),
                    Resource.Scope(name: "write", description: "Change what is there"),
                    Resource.Scope(name: "smart_tools", description: "Use the smart tools"),
                    Resource.Scope(name: "admin", description: "Everything, administration included"),
                ])
            description.scopeImplications = ["write": ["read"], "admin": ["read", "write", "smart_tools"]]
            description.algorithm = .rs256
            description.dedicatedKey = true
            resource = try await createResource(description, ownedBy: organization.id, by: administrator).value
        }
        guard let resource,
            try await !signingKeys.all(of: organization.id).contains(where: { $0.resource == resource.id })
        else { return }
        _ = try await importSigningKey(
            .publicKey(pem), for: resource.id, in: organization, by: administrator)
    }
}
