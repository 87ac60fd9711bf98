package import Foundation
import Keys
package import Tenancy

/// Which key signs, which keys are published, and whose signatures count.
extension Issuer {
    private static let published: Set<SigningKeyRecord.Purpose> = [.access, .programmatic, .idToken]

    /// The JWK Set of this issuer (RFC 7517 §5), as ready bytes: public members, one entry per `kid`, no key that belongs to
    /// one resource.
    package func jwks(at now: Date) -> [UInt8] {
        let published = home.signingKeys.filter { key in
            Self.published.contains(key.record.purpose) && key.record.resource == nil
                && key.record.isPublished(at: now)
        }
        return JSONWriter.object(capacity: 1024) { json in
            json.raws("keys", published.map { $0.verification.jwk(keyID: $0.record.kid) })
        }
    }

    /// The key that signs access tokens of this issuer for a resource.
    ///
    /// A resource with a key of its own is signed for by that key and no other; until its private half is known there is
    /// none.
    package func signingKey(for resource: Resource, owner: TenantSnapshot) -> UnsealedSigningKey? {
        newestKey(for: .access, resource, owner)
    }

    /// The key that signs the tokens which administrators issue by name for a resource: the issuer's own for these, or the
    /// resource's if it has one.
    func programmaticKey(for resource: Resource, owner: TenantSnapshot) -> UnsealedSigningKey? {
        newestKey(for: resource.dedicatedKey ? .access : .programmatic, resource, owner)
    }

    private func newestKey(
        for purpose: SigningKeyRecord.Purpose, _ resource: Resource, _ owner: TenantSnapshot
    ) -> UnsealedSigningKey? {
        let keys = resource.dedicatedKey ? owner.signingKeys : home.signingKeys
        var newest: UnsealedSigningKey?
        for key in keys
        where key.record.purpose == purpose && key.record.status == .active && key.signing != nil
            && key.record.algorithm == resource.algorithm
            && key.record.resource == (resource.dedicatedKey ? resource.id : nil)
        {
            if let known = newest?.record.activatedAt, known >= key.record.activatedAt ?? .distantPast { continue }
            newest = key
        }
        return newest
    }

    /// The key that signs answers of introspection (RFC 9701 §5): every issuer has one of ES256.
    var introspectionKey: (key: SigningKey, kid: String)? {
        home.signingKeys.lazy.filter { key in
            key.record.purpose == .access && key.record.status == .active && key.record.resource == nil
                && key.record.algorithm == .es256
        }.compactMap { key in key.signing.map { ($0, key.record.kid) } }.first
    }

    /// The keys whose signature under a token of this issuer for a resource counts. Those that are published and sign
    /// nothing yet are among them: another node may know already that they do.
    func verificationKeys(
        for resource: Resource, owner: TenantSnapshot, at now: Date
    ) -> some Sequence<UnsealedSigningKey> {
        let keys = resource.dedicatedKey ? owner.signingKeys : home.signingKeys
        let place = resource.dedicatedKey ? resource.id : nil
        return keys.lazy.filter { $0.record.resource == place && $0.record.isPublished(at: now) }
    }
}

extension SigningKeyRecord {
    /// How long a retired key stays published: longer than any access token or ID token lives.
    private static let retirement: TimeInterval = 3_600 + margin
    /// For clocks that differ, and key sets that were fetched a while ago.
    private static let margin: TimeInterval = 300

    /// Whether its tokens may still be about: those that live briefly, and those that are known by name.
    func isPublished(at now: Date) -> Bool {
        guard let retiredAt else { return true }
        return now < max(retiredAt + Self.retirement, (neededUntil ?? .distantPast) + Self.margin)
    }

    /// Whether access tokens are signed with it: a resource's own key signs all of that resource's, an issuer's those of
    /// its purpose.
    func signsAccessTokens(programmatic: Bool) -> Bool {
        switch purpose {
        case .access: !programmatic || resource != nil
        case .programmatic: programmatic
        case .idToken, .audit, .export, .webhook: false
        }
    }
}
