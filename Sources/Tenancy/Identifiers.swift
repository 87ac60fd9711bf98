package import Foundation
package import Keys
package import Postgres

/// What an identifier names; supplies the prefix it carries on the wire.
package protocol IdentifierKind: Sendable {
    /// The TypeID prefix without its underscore, such as `org`.
    static var prefix: String { get }
}

/// The name of one thing, of one kind: UUIDv7 in the database, TypeID (`prefix_` and 26 base32 characters) on the wire.
///
/// Two kinds never mix: a function that wants an ``OrganizationID`` cannot be handed a ``UserID``.
package struct Identifier<Kind: IdentifierKind>: Hashable, Sendable, Comparable {
    package let uuid: UUID

    package init(_ uuid: UUID) {
        self.uuid = uuid
    }

    /// Parses the wire form.
    ///
    /// - Returns: nil for another kind's prefix, for upper case, and for anything that is not the one spelling of an id.
    package init?(_ text: some StringProtocol) {
        guard let uuid = TypeID.uuid(in: text, prefix: Kind.prefix) else { return nil }
        self.uuid = uuid
    }

    /// A new identifier: 48 bits of `now` in milliseconds and 74 random bits (RFC 9562 §5.7).
    package static func make(at now: Date, _ random: RandomBytes) -> Self {
        Self(UUID.version7(at: now, random))
    }

    package static func < (left: Self, right: Self) -> Bool {
        withUnsafeBytes(of: left.uuid.uuid) { a in
            withUnsafeBytes(of: right.uuid.uuid) { b in a.lexicographicallyPrecedes(b) }
        }
    }
}

extension Identifier: CustomStringConvertible {
    /// The wire form, such as `org_01h455vb4pex5vsknk084sn02q`.
    package var description: String { TypeID.text(uuid, prefix: Kind.prefix) }
}

extension Identifier: Codable {
    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard let value = Self(text) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a \(Kind.prefix)_ id")
        }
        self = value
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

extension Identifier: PostgresEncodable, PostgresDecodable {
    package static var postgresType: PostgresType { .uuid }
    package var postgresBind: PostgresBind { .uuid(uuid) }
    package init(postgres field: PostgresField) throws(PostgresError) {
        self.init(try UUID(postgres: field))
    }
}

extension UUID {
    /// A UUIDv7 (RFC 9562 §5.7): sorts by the millisecond it was made in.
    package static func version7(at now: Date, _ random: RandomBytes) -> UUID {
        let milliseconds = UInt64(max(0, now.timeIntervalSince1970 * 1000))
        let noise = random.generate(10)
        func time(_ shift: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: milliseconds >> shift) }
        return UUID(
            uuid: (
                time(40), time(32), time(24), time(16), time(8), time(0),
                0x70 | (noise[0] & 0x0F), noise[1],
                0x80 | (noise[2] & 0x3F), noise[3], noise[4], noise[5], noise[6], noise[7], noise[8], noise[9]
            ))
    }

    /// The sixteen bytes, most significant first.
    package var bytes: [UInt8] { withUnsafeBytes(of: uuid) { Array($0) } }

    /// - Returns: nil unless there are exactly sixteen bytes.
    package init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 16 else { return nil }
        var value: uuid_t = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        withUnsafeMutableBytes(of: &value) { $0.copyBytes(from: bytes) }
        self.init(uuid: value)
    }
}

/// The text form of identifiers: prefix, underscore, and 128 bits in 26 characters of Crockford's lower-case base32.
enum TypeID {
    private static let alphabet = Array("0123456789abcdefghjkmnpqrstvwxyz".utf8)
    private static let values: [UInt8] = {
        var table = [UInt8](repeating: 0xFF, count: 256)
        for (value, character) in alphabet.enumerated() { table[Int(character)] = UInt8(value) }
        return table
    }()

    static func text(_ uuid: UUID, prefix: String) -> String {
        var high: UInt64 = 0
        var low: UInt64 = 0
        withUnsafeBytes(of: uuid.uuid) { bytes in
            for index in 0..<8 { high = high << 8 | UInt64(bytes[index]) }
            for index in 8..<16 { low = low << 8 | UInt64(bytes[index]) }
        }
        return String(unsafeUninitializedCapacity: prefix.utf8.count + 27) { characters in
            var next = 0
            for byte in prefix.utf8 {
                characters[next] = byte
                next += 1
            }
            characters[next] = UInt8(ascii: "_")
            for index in stride(from: next + 26, to: next, by: -1) {
                characters[index] = alphabet[Int(low & 31)]
                low = low >> 5 | (high & 31) << 59
                high >>= 5
            }
            return next + 27
        }
    }

    static func uuid(in text: some StringProtocol, prefix: String) -> UUID? {
        let bytes = Array(text.utf8)
        let lead = Array((prefix + "_").utf8)
        guard bytes.count == lead.count + 26, bytes.starts(with: lead) else { return nil }
        // 26 × 5 = 130 bits: the first character may hold three only.
        guard values[Int(bytes[lead.count])] < 8 else { return nil }
        var high: UInt64 = 0
        var low: UInt64 = 0
        for character in bytes[lead.count...] {
            let value = values[Int(character)]
            guard value != 0xFF else { return nil }
            high = high << 5 | low >> 59
            low = low << 5 | UInt64(value)
        }
        var result = [UInt8]()
        result.reserveCapacity(16)
        for shift in stride(from: 56, through: 0, by: -8) {
            result.append(UInt8(truncatingIfNeeded: high >> UInt64(shift)))
        }
        for shift in stride(from: 56, through: 0, by: -8) {
            result.append(UInt8(truncatingIfNeeded: low >> UInt64(shift)))
        }
        return UUID(bytes: result)
    }
}

package enum OrganizationKind: IdentifierKind { package static let prefix = "org" }
package enum UserKind: IdentifierKind { package static let prefix = "usr" }
package enum GroupKind: IdentifierKind { package static let prefix = "grp" }
package enum RoleKind: IdentifierKind { package static let prefix = "rol" }
package enum ClientKind: IdentifierKind { package static let prefix = "cli" }
package enum ResourceKind: IdentifierKind { package static let prefix = "res" }
package enum ResourceCredentialKind: IdentifierKind { package static let prefix = "crd" }
package enum ScopePolicyKind: IdentifierKind { package static let prefix = "pol" }
package enum IdentityProviderKind: IdentifierKind { package static let prefix = "idp" }
package enum GrantKind: IdentifierKind { package static let prefix = "gra" }
package enum TokenKind: IdentifierKind { package static let prefix = "tok" }
package enum SessionKind: IdentifierKind { package static let prefix = "ses" }
package enum AdminKeyKind: IdentifierKind { package static let prefix = "key" }
package enum SigningKeyKind: IdentifierKind { package static let prefix = "sig" }
package enum EventKind: IdentifierKind { package static let prefix = "evt" }
package enum InvitationKind: IdentifierKind { package static let prefix = "inv" }
package enum InitialAccessTokenKind: IdentifierKind { package static let prefix = "iat" }
package enum SCIMTokenKind: IdentifierKind { package static let prefix = "sct" }
package enum AccessReviewKind: IdentifierKind { package static let prefix = "rev" }
package enum OperationKind: IdentifierKind { package static let prefix = "op" }
package enum RequestKind: IdentifierKind { package static let prefix = "req" }

package typealias OrganizationID = Identifier<OrganizationKind>
package typealias UserID = Identifier<UserKind>
package typealias GroupID = Identifier<GroupKind>
package typealias RoleID = Identifier<RoleKind>
package typealias ClientID = Identifier<ClientKind>
package typealias ResourceID = Identifier<ResourceKind>
package typealias ResourceCredentialID = Identifier<ResourceCredentialKind>
package typealias ScopePolicyID = Identifier<ScopePolicyKind>
package typealias IdentityProviderID = Identifier<IdentityProviderKind>
package typealias GrantID = Identifier<GrantKind>
package typealias TokenID = Identifier<TokenKind>
package typealias SessionID = Identifier<SessionKind>
package typealias AdminKeyID = Identifier<AdminKeyKind>
package typealias SigningKeyID = Identifier<SigningKeyKind>
package typealias EventID = Identifier<EventKind>
package typealias InvitationID = Identifier<InvitationKind>
package typealias InitialAccessTokenID = Identifier<InitialAccessTokenKind>
package typealias SCIMTokenID = Identifier<SCIMTokenKind>
package typealias AccessReviewID = Identifier<AccessReviewKind>
package typealias OperationID = Identifier<OperationKind>
package typealias RequestID = Identifier<RequestKind>

extension OrganizationID {
    /// The reserved organization of what the platform owns (`platform_organization()` in the schema).
    package static let platform = OrganizationID(
        UUID(uuid: (0, 0, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0)))
}

extension ResourceID {
    /// The admin API, which is a resource of every organization and stands in no table.
    package static let adminAPI = ResourceID(
        UUID(uuid: (0, 0, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 1)))
}
