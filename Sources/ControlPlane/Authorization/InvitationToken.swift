import Foundation
package import Keys
package import Tenancy

/// The secret in an invitation's link: `gi_` and base64url of organization (16 bytes) ‖ secret (32). It carries its
/// organization, so that no global look-up is needed.
package struct InvitationToken: Sendable {
    package let organization: OrganizationID
    private let bytes: [UInt8]

    private static let prefix = "gi_"

    package init(organization: OrganizationID, _ random: RandomBytes) {
        self.organization = organization
        bytes = organization.uuid.bytes + random.generate(32)
    }

    /// - Returns: nil for anything that cannot be an invitation of ours.
    package init?(_ text: String) {
        guard text.hasPrefix(Self.prefix), let bytes = Base64URL.decode(String(text.dropFirst(Self.prefix.count))),
            bytes.count == 48, let organization = UUID(bytes: bytes[0..<16])
        else { return nil }
        self.organization = OrganizationID(organization)
        self.bytes = bytes
    }

    package var secret: Secret { Secret(Self.prefix + Base64URL.encode(bytes)) }
    package var digest: SecretDigest { SecretDigest(of: bytes) }
}
