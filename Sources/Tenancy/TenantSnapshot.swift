package import Keys

/// All that decisions need to know about one organization, read at one epoch: everything but people and clients.
package final class TenantSnapshot: Sendable {
    package let organization: Organization
    package let epoch: Int64
    /// Its own resources.
    package let resources: [Resource]
    /// Shared resources it enabled.
    package let admittedResources: Set<ResourceID>
    package let policy: [ScopePolicyStatement]
    /// What signs people in, and what else vouches for them.
    package let identityProviders: [IdentityProviderRecord]
    package let trustedIssuers: [TrustedIssuer]
    package let signingKeys: [UnsealedSigningKey]
    /// With which its own resources ask about tokens.
    package let resourceCredentials: [ResourceCredentialID: ResourceCredential]
    /// How its pages look.
    package let branding: Branding

    package init(
        organization: Organization, epoch: Int64, resources: [Resource], admittedResources: Set<ResourceID>,
        policy: [ScopePolicyStatement], identityProviders: [IdentityProviderRecord],
        trustedIssuers: [TrustedIssuer] = [], signingKeys: [UnsealedSigningKey],
        resourceCredentials: [ResourceCredential] = [], branding: Branding = .none
    ) {
        self.organization = organization
        self.epoch = epoch
        self.resources = resources
        self.admittedResources = admittedResources
        self.policy = policy
        self.identityProviders = identityProviders
        self.trustedIssuers = trustedIssuers
        self.signingKeys = signingKeys
        self.branding = branding
        self.resourceCredentials = Dictionary(uniqueKeysWithValues: resourceCredentials.map { ($0.id, $0) })
    }
}

/// A signing key ready for use. An object: the snapshot's one is used everywhere.
package final class UnsealedSigningKey: Sendable {
    package let record: SigningKeyRecord
    package let verification: VerificationKey
    /// nil while only the public half is known.
    package let signing: SigningKey?
    /// Signs access tokens, with their header ready (RFC 9068 §2.1).
    package let accessTokenSigner: JWSSigner?

    package init(record: SigningKeyRecord, verification: VerificationKey, signing: SigningKey?) {
        self.record = record
        self.verification = verification
        self.signing = signing
        accessTokenSigner = signing.map { JWSSigner(key: $0, keyID: record.kid, type: "at+jwt") }
    }
}
