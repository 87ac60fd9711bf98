import Foundation
package import Keys
package import Tenancy

/// An authorization code: `gc_` and base64url of organization (16 bytes) ‖ transaction tag (16) ‖ secret (32).
///
/// It carries its own routes: the organization whose database decides "once", and the tag under which Redis holds what it
/// was given for. Redis holds a digest only.
package struct AuthorizationCode: Sendable {
    package let organization: OrganizationID
    /// Names the Redis keys of the transaction it came from.
    package let tag: String
    private let bytes: [UInt8]

    private static let prefix = "gc_"

    package init(organization: OrganizationID, tag: String, _ random: RandomBytes) {
        self.organization = organization
        self.tag = tag
        bytes = organization.uuid.bytes + (Base64URL.decode(tag) ?? []) + random.generate(32)
    }

    /// Parses what a client presents; nil for anything that cannot be a code of ours.
    package init?(_ text: String) {
        guard text.utf8.count == Self.prefix.utf8.count + 86, text.hasPrefix(Self.prefix),
            let bytes = Base64URL.decode(String(text.dropFirst(Self.prefix.count))), bytes.count == 64,
            let organization = UUID(bytes: bytes[0..<16])
        else { return nil }
        self.organization = OrganizationID(organization)
        tag = Base64URL.encode(Array(bytes[16..<32]))
        self.bytes = bytes
    }

    package var secret: Secret { Secret(Self.prefix + Base64URL.encode(bytes)) }
    package var digest: SecretDigest { SecretDigest(of: bytes) }
}
