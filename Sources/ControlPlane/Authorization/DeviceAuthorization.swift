package import Foundation
package import Keys
package import Tenancy

/// What a device asked for, waiting for a person who has a browser (RFC 8628 §3.1).
package struct DeviceAuthorization: Codable, Sendable {
    package let issuer: OrganizationID
    package let client: ClientID
    /// Resource scopes asked for and known, in order; none means all.
    package let resourceScopes: [String]
    package let openIDScopes: [String]
    package let resource: ResourceID
    package let resourceOwner: OrganizationID
    package let expiresAt: Date
}

/// The code that a device polls with: `gd_` and 256 random bits as base64url. It is good at one issuer, whose
/// organization's database decides "once"; Redis holds a digest only.
package struct DeviceCode: Sendable {
    private let bytes: [UInt8]

    private static let prefix = "gd_"

    package init(_ random: RandomBytes) {
        bytes = random.generate(32)
    }

    /// Parses what a device presents; nil for anything that cannot be a code of ours.
    package init?(_ text: String) {
        guard text.hasPrefix(Self.prefix), let bytes = Base64URL.decode(String(text.dropFirst(Self.prefix.count))),
            bytes.count == 32
        else { return nil }
        self.bytes = bytes
    }

    package var secret: Secret { Secret(Self.prefix + Base64URL.encode(bytes)) }
    package var digest: SecretDigest { SecretDigest(of: bytes) }
    /// Names the Redis key of its authorization.
    var tag: String { Base64URL.encode(Array(digest.bytes.prefix(16))) }
}

/// The code that a person carries from the device to a browser: eight letters, 34 bits (RFC 8628 §6.1).
///
/// Consonants only, so that no words appear, and none that is easily taken for another.
package struct UserCode: Sendable, Equatable {
    private static let alphabet = Array("BCDFGHJKLMNPQRSTVWXZ".utf8)
    private static let length = 8

    private let letters: String

    package init(_ random: RandomBytes) {
        var drawn: [UInt8] = []
        // Bytes beyond the last whole multiple of the alphabet would make its first letters likelier.
        let fair = 256 - 256 % Self.alphabet.count
        while drawn.count < Self.length {
            drawn += random.generate(Self.length).filter { Int($0) < fair }
                .map { Self.alphabet[Int($0) % Self.alphabet.count] }
        }
        letters = String(decoding: drawn.prefix(Self.length), as: UTF8.self)
    }

    /// Reads what a person typed: case, spaces and hyphens do not matter.
    package init?(typed: String) {
        let letters = typed.uppercased().filter { !$0.isWhitespace && $0 != "-" }
        guard letters.utf8.count == Self.length, letters.utf8.allSatisfy(Self.alphabet.contains) else { return nil }
        self.letters = letters
    }

    /// As devices and pages show it, `WDJB-MJHT`.
    package var shown: String { "\(letters.prefix(4))-\(letters.suffix(4))" }

    /// Names the Redis key that leads to its authorization.
    var tag: String { Base64URL.encode(Array(sha256("user_code|\(letters)").prefix(16))) }
}
