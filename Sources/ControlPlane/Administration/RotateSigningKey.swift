import Audit
import Foundation
import Keys
import Postgres
package import Tenancy

// A signing key is replaced in two steps, with time between them.

extension Administration {
    /// Publishes the key that will take a key's place: same purpose, same resource, same algorithm. It signs nothing until
    /// ``activateSigningKey(_:of:by:)``, so that servers which cache the JWK Set know it before they meet it. A resource's
    /// own key is in no JWK Set: its server is given the public half in the meantime.
    ///
    /// - Throws: ``AdminError/conflict(_:)`` for a key that is not active, or one whose successor is published already.
    package func rotateSigningKey(
        _ id: SigningKeyID, of owner: Organization, by administrator: Administrator
    ) async throws -> Administered<SigningKeyRecord> {
        let old = try await signingKeys.all(of: owner.id).rotatable(id)
        let new = try await newSigningKey(
            old.algorithm, for: old.purpose, of: owner, resource: old.resource, as: .published, at: administrator.now)
        return try await administer(owner.id, by: administrator) { transaction in
            // As it is now: another rotation may have come between.
            _ = try await signingKeys.hold(of: owner.id, in: transaction).rotatable(id)
            try await signingKeys.insert(new, in: transaction)
            return AdminChange(
                value: new, type: .signingKeyGenerated, target: new.auditTarget, changes: .between([:], new.facts),
                metadata: ["replaces": id.description], isCached: true)
        }
    }

    /// Lets a published key sign and retires the one it replaces, which stays published until its last token ended.
    ///
    /// - Throws: ``AdminError/conflict(_:)`` for a key that is not published, or was not for long enough.
    package func activateSigningKey(
        _ id: SigningKeyID, of owner: Organization, by administrator: Administrator
    ) async throws -> Administered<SigningKeyRecord> {
        let now = administrator.now
        return try await administer(owner.id, by: administrator) { transaction in
            let keys = try await signingKeys.hold(of: owner.id, in: transaction)
            guard let key = keys.first(where: { $0.id == id }) else { throw AdminError.notFound }
            guard key.status == .published, key.sealedPrivateKey != nil else {
                throw AdminError.conflict("Only a published key whose private half is known is activated.")
            }
            let lead = settings.keyPublicationLead
            guard now.timeIntervalSince(key.createdAt) >= lead.seconds else {
                throw AdminError.conflict(
                    "This key signs no earlier than \(lead.components.seconds) s after it was published: servers that "
                        + "keep the JWK Set for a while do not know it yet.")
            }
            let replaced = keys.filter { $0.serves(as: key) && $0.status == .active }
            for old in replaced {
                guard
                    try await signingKeys.move(
                        old.id, from: [.active], to: .retired, in: owner.id, at: now, transaction)
                else { throw AdminError.conflict("Somebody else changes this key.") }
            }
            guard try await signingKeys.move(id, from: [.published], to: .active, in: owner.id, at: now, transaction),
                let activated = try await signingKeys.hold(of: owner.id, in: transaction).first(where: { $0.id == id })
            else { throw AdminError.conflict("Somebody else changes this key.") }
            return AdminChange(
                value: activated, type: .signingKeyActivated, target: activated.auditTarget,
                changes: .between(key.facts, activated.facts),
                metadata: ["retired": replaced.map(\.id.description).joined(separator: " ")], isCached: true)
        }
    }
}

extension [SigningKeyRecord] {
    /// The key of this id, if a successor may be published for it.
    ///
    /// - Throws: ``AdminError/notFound``, ``AdminError/conflict(_:)``.
    fileprivate func rotatable(_ id: SigningKeyID) throws(AdminError) -> SigningKeyRecord {
        guard let key = first(where: { $0.id == id }) else { throw .notFound }
        guard key.status == .active else { throw .conflict("Only an active key can be rotated.") }
        guard !contains(where: { $0.serves(as: key) && $0.status == .published }) else {
            throw .conflict("The key that will replace this one is published already; activate it.")
        }
        return key
    }
}

extension SigningKeyRecord {
    /// Whether one of the two can take the other's place.
    fileprivate func serves(as other: SigningKeyRecord) -> Bool {
        purpose == other.purpose && resource == other.resource && algorithm == other.algorithm
    }
}
