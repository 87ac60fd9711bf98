package import Foundation

/// An organization's upstream sign-in, as configured.
package struct IdentityProviderRecord: Sendable, Equatable {
    package enum Kind: String, Sendable, Codable, CaseIterable {
        case stytchB2B = "stytch_b2b"
        case stytchConsumer = "stytch_consumer"
        case oidc
        /// Signs nobody in on our pages; its assertions are taken at the token endpoint (``TrustedIssuer``).
        case trustedIssuer = "trusted_issuer"
    }
    package enum Status: String, Sendable, Codable, CaseIterable { case active, disabled }

    /// What is not secret about it.
    package struct Configuration: Sendable, Equatable, Codable {
        /// Stytch's project id, `project-test-…` or `project-live-…`; the issuer identifier of a trusted issuer.
        package var projectID: String
        /// Stytch's organization id, B2B only.
        package var upstreamOrganization: String?
        /// Replaces Stytch's API host, for a custom domain.
        package var baseURL: String?

        package init(projectID: String, upstreamOrganization: String? = nil, baseURL: String? = nil) {
            self.projectID = projectID
            self.upstreamOrganization = upstreamOrganization
            self.baseURL = baseURL
        }

        private enum CodingKeys: String, CodingKey {
            case projectID = "project_id"
            case upstreamOrganization = "organization_id"
            case baseURL = "base_url"
        }
    }

    package let id: IdentityProviderID
    package var kind: Kind
    package var name: String
    package var status: Status
    package var configuration: Configuration
    /// The project secret, sealed under the organization's data key.
    package var sealedSecret: [UInt8]?
    /// Verified domains of the organization about which this provider's word is enough to link a first identity.
    package var authoritativeDomains: [String]
    package let version: Int64
    package let createdAt: Date
    package let updatedAt: Date

    package init(
        id: IdentityProviderID, kind: Kind, name: String, status: Status, configuration: Configuration,
        sealedSecret: [UInt8]?, authoritativeDomains: [String], version: Int64, createdAt: Date, updatedAt: Date
    ) {
        self.id = id
        self.kind = kind
        self.name = name
        self.status = status
        self.configuration = configuration
        self.sealedSecret = sealedSecret
        self.authoritativeDomains = authoritativeDomains
        self.version = version
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }

    /// The population its subjects belong to: part of every identity's key, so that two projects never share a person.
    package var population: String {
        [configuration.projectID, configuration.upstreamOrganization].compactMap { $0 }.joined(separator: "/")
    }
}
