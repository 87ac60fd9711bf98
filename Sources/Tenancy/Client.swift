package import Foundation
package import Keys

/// An OAuth client (RFC 6749 §2), in the registry of one issuer.
package struct Client: Sendable, Equatable {
    /// How it came to be known.
    package enum Kind: String, Sendable, Codable, CaseIterable {
        case registered, dynamic, service
        case metadataDocument = "metadata_document"
    }
    package enum Status: String, Sendable, Codable, CaseIterable { case active, disabled }
    /// `token_endpoint_auth_method` (RFC 7591 §2).
    package enum AuthenticationMethod: String, Sendable, Codable, CaseIterable {
        case none
        case clientSecretBasic = "client_secret_basic"
        case clientSecretPost = "client_secret_post"
        case privateKeyJWT = "private_key_jwt"

        package var usesSecret: Bool { self == .clientSecretBasic || self == .clientSecretPost }
    }
    package enum ApplicationType: String, Sendable, Codable, CaseIterable { case web, native }
    /// Where the public keys are that a client proves itself with (RFC 7591 §2).
    package enum KeySource: Sendable, Equatable {
        /// `jwks`: said once, with the rest of the metadata.
        case given(JWKSet)
        /// `jwks_uri`: asked when needed.
        case published(at: String)
    }
    /// The secret before the current one, until it ends.
    package struct PreviousSecret: Sendable, Equatable {
        package let digest: SecretDigest
        package let expiresAt: Date

        package init(digest: SecretDigest, expiresAt: Date) {
            self.digest = digest
            self.expiresAt = expiresAt
        }
    }
    /// What has to be so in every request that comes in its name, whoever sends it.
    package struct Demands: Sendable, Equatable {
        /// `dpop_bound_access_tokens`: its tokens are bound to a key (RFC 9449 §5.2).
        package var proofOfPossession = false
        /// `require_pushed_authorization_requests`: it begins with a pushed request (RFC 9126 §6).
        package var pushedRequests = false

        package init() {}
    }
    /// A metadata document as it was last read.
    package struct Document: Sendable, Equatable {
        /// SHA-256 of its bytes.
        package var digest: [UInt8]
        package var fetchedAt: Date
        /// Until when it need not be asked for again.
        package var freshUntil: Date
        /// An administrator named it before anybody came with it.
        package var isPreregistered: Bool

        package init(digest: [UInt8], fetchedAt: Date, freshUntil: Date, isPreregistered: Bool) {
            self.digest = digest
            self.fetchedAt = fetchedAt
            self.freshUntil = freshUntil
            self.isPreregistered = isPreregistered
        }
    }

    package let id: ClientID
    /// Whose registry holds it: an organization's, or the platform's.
    package let registry: OrganizationID
    package let kind: Kind
    package var name: String
    package var redirectURIs: [String]
    package var grantTypes: [String]
    package var responseTypes: [String]
    /// What `token_endpoint_auth_method` says.
    package var authenticationMethod: AuthenticationMethod
    /// Further methods it may come with, each as good as the first (OpenID Connect RP Metadata Choices 1.0).
    package var otherMethods: [AuthenticationMethod]
    package var keys: KeySource?
    /// The one algorithm it signs assertions with (`token_endpoint_auth_signing_alg`); nil: any that its keys have.
    package var assertionAlgorithm: SigningAlgorithm?
    package var demands: Demands
    /// People may administer their organization with it: an administrator of that organization allowed it.
    package var opensAdminAPI: Bool
    package var applicationType: ApplicationType?
    /// The most it may ever be given; nil: whatever policy allows.
    package var scopeCeiling: [String]?
    package var clientURI: String?
    package var logoURI: String?
    package var policyURI: String?
    package var tosURI: String?
    /// For metadata-document clients, the URL that is their `client_id`.
    package let documentURL: String?
    package var document: Document?
    package var secretDigest: SecretDigest?
    package var previousSecret: PreviousSecret?
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
        updatedAt: Date, otherMethods: [AuthenticationMethod] = [], keys: KeySource? = nil,
        assertionAlgorithm: SigningAlgorithm? = nil, document: Document? = nil, previousSecret: PreviousSecret? = nil,
        demands: Demands = Demands(), opensAdminAPI: Bool = false
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
        self.otherMethods = otherMethods
        self.keys = keys
        self.assertionAlgorithm = assertionAlgorithm
        self.document = document
        self.previousSecret = previousSecret
        self.demands = demands
        self.opensAdminAPI = opensAdminAPI
    }

    /// `client_id` on the wire.
    package var wireID: String { documentURL ?? id.description }

    /// An administrator made it, and describes it.
    package var isAdministered: Bool { kind == .registered || kind == .service }

    package func accepts(_ method: AuthenticationMethod) -> Bool {
        method == authenticationMethod || otherMethods.contains(method)
    }

    /// Every method it may come with, the first one first.
    package var authenticationMethods: [AuthenticationMethod] { [authenticationMethod] + otherMethods }

    /// Confidential clients prove who they are at the token endpoint (RFC 6749 §2.1). One that may come without proof is
    /// none, whatever else it can do.
    package var isConfidential: Bool { !accepts(.none) }

    /// An administrator made it known; all others did so themselves.
    package var isVouchedFor: Bool {
        switch kind {
        case .registered, .service: true
        case .dynamic: false
        case .metadataDocument: document?.isPreregistered ?? false
        }
    }

    package func isLive(at now: Date) -> Bool {
        status == .active && expiresAt.map { $0 > now } ?? true
    }

    /// What stands for how it proves itself: another value means that others may now be able to.
    package var keysDigest: [UInt8] {
        let keys: [String] =
            switch self.keys {
            case nil: []
            case .given(let set): set.thumbprints
            case .published(let url): [url]
            }
        return sha256((authenticationMethods.map(\.rawValue).sorted() + keys).joined(separator: "\n"))
    }

    /// What an organization's admission of it says of its keys: nothing, unless the client can change them by itself.
    package var admittedKeys: [UInt8]? { kind == .metadataDocument ? keysDigest : nil }

    /// What stands for all that it says of itself: another value means that it is not what was looked at any more.
    package var selfDescription: String {
        if let document { return Base64URL.encode(document.digest) }
        let said = [name, clientURI, logoURI, policyURI, tosURI].map { $0 ?? "" }.joined(separator: "\n")
        return Base64URL.encode(sha256(Base64URL.encode(trustDigest) + "\n" + said))
    }

    /// What stands for everything a person or an administrator trusts of a metadata document: where answers go, and how the
    /// client proves itself.
    package var trustDigest: [UInt8] {
        sha256(redirectURIs.sorted().joined(separator: "\n") + "\n\n" + Base64URL.encode(keysDigest))
    }
}

/// How an organization stands to a client.
package struct ClientAdmission: Sendable, Equatable {
    package enum Status: String, Sendable, Codable, CaseIterable { case active, pending, denied }

    package let client: ClientID
    package let registry: OrganizationID
    package let status: Status
    /// ``Client/trustDigest`` and ``Client/keysDigest`` of the metadata document that was trusted; nil for other clients.
    package let trustDigest: [UInt8]?
    package let keysDigest: [UInt8]?
    package let createdAt: Date

    package init(
        client: ClientID, registry: OrganizationID, status: Status, createdAt: Date, trustDigest: [UInt8]? = nil,
        keysDigest: [UInt8]? = nil
    ) {
        self.client = client
        self.registry = registry
        self.status = status
        self.trustDigest = trustDigest
        self.keysDigest = keysDigest
        self.createdAt = createdAt
    }

    /// A decision about a client as it is now.
    package init(of client: Client, status: Status, at now: Date) {
        let isDocument = client.kind == .metadataDocument
        self.init(
            client: client.id, registry: client.registry, status: status, createdAt: now,
            trustDigest: isDocument ? client.trustDigest : nil, keysDigest: client.admittedKeys)
    }

    /// Whether the client is still what was trusted.
    package func trusts(_ client: Client) -> Bool {
        client.kind != .metadataDocument || trustDigest == client.trustDigest
    }
}
