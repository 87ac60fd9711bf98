import Foundation
package import Keys
package import Tenancy

/// The text of an initial access token (RFC 7591 §3): `gi_`, base64url of organization (16 bytes) ‖ id (16) ‖ secret (32),
/// and a checksum. Stored is SHA-256 of the whole text.
package struct InitialAccessCredential: Sendable {
    package let organization: OrganizationID
    package let id: InitialAccessTokenID
    /// The whole text, shown once.
    package let secret: Secret

    private static let prefix = "gi_"

    package init(organization: OrganizationID, id: InitialAccessTokenID, _ random: RandomBytes) {
        self.organization = organization
        self.id = id
        let bytes = organization.uuid.bytes + id.uuid.bytes + random.generate(32)
        secret = Secret(CredentialChecksum.append(to: Self.prefix + Base64URL.encode(bytes)))
    }

    /// Parses what somebody presents; nil for anything that cannot be one of ours.
    package init?(_ text: String) {
        guard text.hasPrefix(Self.prefix), text.utf8.count < 200, let body = CredentialChecksum.body(of: text),
            let bytes = Base64URL.decode(String(body.dropFirst(Self.prefix.count))), bytes.count == 64,
            let organization = UUID(bytes: bytes[0..<16]), let id = UUID(bytes: bytes[16..<32])
        else { return nil }
        self.organization = OrganizationID(organization)
        self.id = InitialAccessTokenID(id)
        secret = Secret(text)
    }

    package var digest: SecretDigest { SecretDigest(of: secret) }
}
