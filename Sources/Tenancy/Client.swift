package import Foundation
package import Keys

/// An OAuth client (RFC 6749 §2), in the registry of one issuer.
package struct Client: Sendable, Equatable {
    /// How it came to be known.
    package enum Kind: String, Sendable, Codable, CaseIterable {
        case registered, dynamic, service
        case metadataDocument = "metadata_document"
    }
    package enum Status: String, Sendable, Codable { case active, disabled }
    /// `token_endpoint_auth_method` (RFC 7591 §2).
    package enum AuthenticationMethod: String, Sendable, Codable, CaseIterable {
        case none
        case clientSecretBasic = "client_secret_basic"
        case clientSecretPost = "client_secret_post"
        case privateKeyJWT = "private_key_jwt"
    }
    package enum ApplicationType: String, Sendable, Codable { case web, native }

    package let id: ClientID
    /// Whose registry holds it: an organization's, or the platform's.
    package let registry: OrganizationID
    package let kind: Kind
    package var name: String
    package var redirectURIs: [String]
    package var grantTypes: [String]
    package var responseTypes: [String]
    package var authenticationMethod: AuthenticationMethod
    package var applicationType: ApplicationType?
    /// The most it may ever be given; nil: whatever policy allows.
    package var scopeCeiling: [String]?
    package var clientURI: String?
    package var logoURI: String?
    package var policyURI: String?
    package var tosURI: String?
    /// For metadata-document clients, the URL that is their `client_id`.
    package let documentURL: String?
    package var secretDigest: SecretDigest?
    package var registrationTokenDigest: SecretDigest?
    package var status: Status
    /// The end of an unused dynamic registration; nil once somebody connected with it.
    package var expiresAt: Date?
    package let version: Int64
    package let createdAt: Date
    package let updatedAt: Date

    package init(
        id: ClientID, registry: OrganizationID, kind: Kind, name: String, redirectURIs: [String],
        grantTypes: [String], responseTypes: [String], authenticationMethod: AuthenticationMethod,
        applicationType: ApplicationType?, scopeCeiling: [String]?, clientURI: String?, logoURI: String?,
        policyURI: String?, tosURI: String?, documentURL: String?, secretDigest: SecretDigest?,
        registrationTokenDigest: SecretDigest?, status: Status, expiresAt: Date?, version: Int64, createdAt: Date,
        updatedAt: Date
    ) {
        self.id = id
        self.registry = registry
        self.kind = kind
        self.name = name
        self.redirectURIs = redirectURIs
        self.grantTypes = grantTypes
        self.responseTypes = responseTypes
        self.authenticationMethod = authenticationMethod
        self.applicationType = applicationType
        self.scopeCeiling = scopeCeiling
        self.clientURI = clientURI
        self.logoURI = logoURI
        self.policyURI = policyURI
        self.tosURI = tosURI
        self.documentURL = documentURL
        self.secretDigest = secretDigest
        self.registrationTokenDigest = registrationTokenDigest
        self.status = status
        self.expiresAt = expiresAt
        self.version = version
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }

    /// `client_id` on the wire.
    package var wireID: String { documentURL ?? id.description }

    /// Confidential clients prove who they are at the token endpoint (RFC 6749 §2.1).
    package var isConfidential: Bool { authenticationMethod != .none }

    package func isLive(at now: Date) -> Bool {
        status == .active && expiresAt.map { $0 > now } ?? true
    }
}

/// How an organization stands to a client.
package struct ClientAdmission: Sendable, Equatable {
    package enum Status: String, Sendable, Codable { case active, pending, denied }

    package let client: ClientID
    package let registry: OrganizationID
    package let status: Status
    package let createdAt: Date

    package init(client: ClientID, registry: OrganizationID, status: Status, createdAt: Date) {
        self.client = client
        self.registry = registry
        self.status = status
        self.createdAt = createdAt
    }
}
