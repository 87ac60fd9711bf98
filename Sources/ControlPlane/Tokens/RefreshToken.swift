import Foundation
package import Keys
package import Tenancy

/// A refresh token: `gr_` and base64url of organization (16 bytes) ‖ grant (16) ‖ generation (4, big-endian) ‖ family
/// secret (32) ‖ generation secret (32).
///
/// The ids route it. The family secret, which every token of the family carries, proves an old token genuine, so that any
/// earlier generation is recognised as reuse without a row for each. The generation secret makes each token unguessable
/// from the others.
package struct RefreshToken: Sendable {
    package let organization: OrganizationID
    package let grant: GrantID
    package let generation: Int
    private let familySecret: [UInt8]
    private let generationSecret: [UInt8]

    private static let prefix = "gr_"

    /// The first token of a new family.
    package init(organization: OrganizationID, grant: GrantID, _ random: RandomBytes) {
        self.init(
            organization: organization, grant: grant, generation: 1, familySecret: random.generate(32),
            generationSecret: random.generate(32))
    }

    private init(
        organization: OrganizationID, grant: GrantID, generation: Int, familySecret: [UInt8], generationSecret: [UInt8]
    ) {
        self.organization = organization
        self.grant = grant
        self.generation = generation
        self.familySecret = familySecret
        self.generationSecret = generationSecret
    }

    /// Parses what a client presents; nil for anything that cannot be a refresh token of ours.
    package init?(_ secret: Secret) {
        let text = secret.revealed
        guard text.utf8.count == Self.prefix.utf8.count + 134, text.hasPrefix(Self.prefix),
            let bytes = Base64URL.decode(String(text.dropFirst(Self.prefix.count))), bytes.count == 100,
            let organization = UUID(bytes: bytes[0..<16]), let grant = UUID(bytes: bytes[16..<32])
        else { return nil }
        let generation = bytes[32..<36].reduce(0) { $0 << 8 | Int($1) }
        self.init(
            organization: OrganizationID(organization), grant: GrantID(grant), generation: generation,
            familySecret: Array(bytes[36..<68]), generationSecret: Array(bytes[68..<100]))
    }

    /// What a refresh token says it belongs to, for what is cheap and proves nothing.
    static func ids(in secret: Secret) -> (organization: OrganizationID, grant: GrantID)? {
        let text = secret.revealed
        // 44 characters are 33 bytes: both ids and the first byte of the generation.
        guard text.hasPrefix(prefix), let bytes = Base64URL.decode(String(text.dropFirst(prefix.count).prefix(44))),
            bytes.count == 33, let organization = UUID(bytes: bytes[0..<16]), let grant = UUID(bytes: bytes[16..<32])
        else { return nil }
        return (OrganizationID(organization), GrantID(grant))
    }

    private var bytes: [UInt8] {
        let number = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: generation >> $0) }
        return organization.uuid.bytes + grant.uuid.bytes + number + familySecret + generationSecret
    }

    /// The text handed to the client, once.
    package var secret: Secret { Secret(Self.prefix + Base64URL.encode(bytes)) }

    /// What is stored of this token.
    package var digest: SecretDigest { SecretDigest(of: bytes) }

    /// What is stored of the family.
    package var familyDigest: SecretDigest { SecretDigest(of: familySecret) }

    /// The token of the next generation, fresh.
    package func successor(_ random: RandomBytes) -> RefreshToken {
        RefreshToken(
            organization: organization, grant: grant, generation: generation + 1, familySecret: familySecret,
            generationSecret: random.generate(32))
    }

    /// Seals the successor so that only this token opens it.
    package func seal(_ successor: RefreshToken, _ random: RandomBytes) throws(SealError) -> [UInt8] {
        try successorSeal.seal(successor.generationSecret, random: random)
    }

    /// The successor that was sealed under this token.
    package func successor(sealed: [UInt8]) throws(SealError) -> RefreshToken {
        RefreshToken(
            organization: organization, grant: grant, generation: generation + 1, familySecret: familySecret,
            generationSecret: try successorSeal.open(sealed))
    }

    private var successorSeal: SuccessorSeal {
        SuccessorSeal(presented: bytes, grant: "\(organization)|\(grant)|\(generation)")
    }
}
