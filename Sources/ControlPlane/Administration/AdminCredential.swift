import Foundation
package import Keys
package import Tenancy

/// The text of an admin key: `gh_`, base64url of organization (16 bytes) ‖ key id (16) ‖ secret (32), and a checksum of six
/// characters.
///
/// It carries where it belongs, so that no global look-up is needed; stored is SHA-256 of the whole text.
package struct AdminCredential: Sendable {
    package let organization: OrganizationID
    package let key: AdminKeyID
    /// The whole text, shown once.
    package let secret: Secret

    private static let prefix = "gh_"
    private static let encodedLength = 86

    package init(organization: OrganizationID, key: AdminKeyID, _ random: RandomBytes) {
        self.organization = organization
        self.key = key
        let bytes = organization.uuid.bytes + key.uuid.bytes + random.generate(32)
        secret = Secret(CredentialChecksum.append(to: Self.prefix + Base64URL.encode(bytes)))
    }

    /// Parses what somebody presents; nil for anything that cannot be a key of ours.
    package init?(_ text: String) {
        guard text.utf8.count == Self.prefix.utf8.count + Self.encodedLength + CredentialChecksum.length,
            text.hasPrefix(Self.prefix), let body = CredentialChecksum.body(of: text),
            let bytes = Base64URL.decode(String(body.dropFirst(Self.prefix.count))), bytes.count == 64,
            let organization = UUID(bytes: bytes[0..<16]), let key = UUID(bytes: bytes[16..<32])
        else { return nil }
        self.organization = OrganizationID(organization)
        self.key = AdminKeyID(key)
        secret = Secret(text)
    }

    package var digest: SecretDigest { SecretDigest(of: secret) }
}
