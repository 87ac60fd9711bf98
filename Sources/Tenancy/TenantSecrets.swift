package import Keys

/// Seals and opens the secrets of organizations: each under that organization's data key, which is itself wrapped
/// under the master key.
package struct TenantSecrets: Sendable {
    private let keyring: MasterKeyring
    private let random: RandomBytes

    package init(keyring: MasterKeyring, random: RandomBytes) {
        self.keyring = keyring
        self.random = random
    }

    /// A new data key for an organization, wrapped as it is stored.
    package func makeDataKey(for organization: OrganizationID) throws(SealError) -> [UInt8] {
        try keyring.wrap(DataKey.generate(from: random), for: organization.uuid, random: random)
    }

    /// Seals `secret` so that it opens only as the same column of the same row of the same organization.
    package func seal(
        _ secret: [UInt8], for organization: Organization, _ place: SealedPlace
    ) throws(SealError) -> [UInt8] {
        try SealedBox.seal(
            secret, under: dataKey(of: organization), context: place.context(organization.id), random: random)
    }

    /// - Throws: `SealError` when the bytes were sealed for another place or under a key that is not in the keyring.
    package func open(_ sealed: [UInt8], of organization: Organization, _ place: SealedPlace) throws(SealError)
        -> [UInt8]
    {
        try SealedBox.open(sealed, under: dataKey(of: organization), context: place.context(organization.id))
    }

    private func dataKey(of organization: Organization) throws(SealError) -> DataKey {
        try keyring.unwrap(organization.wrappedDataKey, for: organization.id.uuid)
    }
}

/// Where a sealed value stands; part of what the seal authenticates.
package enum SealedPlace: Sendable {
    case privateKey(SigningKeyID)
    case providerSecret(IdentityProviderID)

    fileprivate func context(_ organization: OrganizationID) -> SealContext {
        switch self {
        case .privateKey(let key):
            SealContext(
                organization: organization.uuid, table: "signing_key", column: "private_key_sealed", id: key.description
            )
        case .providerSecret(let provider):
            SealContext(
                organization: organization.uuid, table: "identity_provider", column: "secret_sealed",
                id: provider.description)
        }
    }
}
