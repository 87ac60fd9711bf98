package import Foundation
import Keys
package import Tenancy

/// Which key signs and which keys are published.
extension Issuer {
    /// How long a retired key stays published: longer than any access token or ID token lives.
    private static let retirement: TimeInterval = 3_600 + 300

    /// The JWK Set of this issuer (RFC 7517 §5), as ready bytes: public members, one entry per `kid`, no imported key.
    package func jwks(at now: Date) -> [UInt8] {
        let published = home.signingKeys.filter { key in
            guard [.access, .idToken].contains(key.record.purpose), !key.record.imported else { return false }
            return key.record.retiredAt.map { now.timeIntervalSince($0) < Self.retirement } ?? true
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
        let keys = resource.dedicatedKey ? owner.signingKeys : home.signingKeys
        var newest: UnsealedSigningKey?
        for key in keys
        where key.record.purpose == .access && key.record.status == .active && key.signing != nil
            && key.record.algorithm == resource.algorithm
            && key.record.resource == (resource.dedicatedKey ? resource.id : nil)
        {
            if let known = newest?.record.activatedAt, known >= key.record.activatedAt ?? .distantPast { continue }
            newest = key
        }
        return newest
    }
}
