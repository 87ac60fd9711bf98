import Foundation
import Keys
import Synchronization
import Tenancy

/// Grants as this node last wrote them, so that the next refresh here needs no read.
///
/// What is remembered can only help to issue: the statement asserts the version it rests on, and everything else that may
/// have moved. Where it is of no help (a token that is not the current one, a life that seems over, a statement that
/// changed nothing) the grant is read; no refusal and no revocation ever rests on memory.
package final class RememberedGrants: Sendable {
    /// A grant, and what its user belonged to when that was last known.
    struct Entry: Sendable {
        let grant: Grant
        let membership: DatedMembership?
    }

    private let grants: Mutex<RecentlyUsed<GrantID, Entry>>
    private let isEmpty: Bool

    /// - Parameter capacity: about 700 bytes each; 0 remembers nothing.
    package init(capacity: Int) {
        grants = Mutex(RecentlyUsed(capacity: capacity))
        isEmpty = capacity == 0
    }

    /// The grant of a token that may be its current one.
    func entry(of presented: RefreshToken, at now: Date) -> Entry? {
        guard !isEmpty, let entry = grants.withLock({ $0.value(of: presented.grant) }), entry.grant.isLive(at: now),
            let family = entry.grant.family, family.currentDigest == presented.digest,
            family.familyDigest == presented.familyDigest
        else { return nil }
        return entry
    }

    func remember(_ grant: Grant, _ membership: DatedMembership) {
        guard !isEmpty, grant.family != nil else { return }
        let entry = Entry(grant: grant, membership: membership.isSmall ? membership : nil)
        grants.withLock { $0.insert(entry, for: grant.id) }
    }

    func forget(_ grant: GrantID) {
        guard !isEmpty else { return }
        grants.withLock { $0.remove(grant) }
    }
}

extension DatedMembership {
    /// Whether it is carried along; somebody of very many groups has them read for each decision.
    var isSmall: Bool { membership.groups.count + membership.roles.count <= 64 }
}

extension Grant {
    /// The grant after a rotation that took place.
    func rotated(_ rotation: GrantStore.Rotation, at now: Date) -> Grant {
        Grant(
            id: id, issuer: issuer, user: user, client: client, resource: resource, scope: scope, status: status,
            authTime: authTime,
            family: family.map {
                Family(
                    familyDigest: $0.familyDigest, currentDigest: rotation.successor,
                    previousDigest: $0.currentDigest, previousAt: now, generation: $0.generation + 1,
                    sealedSuccessor: rotation.sealedSuccessor)
            },
            mfa: mfa, upstreamCeiling: upstreamCeiling, boundKey: boundKey, version: version + 1, createdAt: createdAt,
            lastUsedAt: now,
            idleExpiresAt: min(rotation.idleExpiresAt, expiresAt), expiresAt: expiresAt)
    }
}
