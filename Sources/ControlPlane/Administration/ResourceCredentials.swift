import Audit
import Foundation
package import Keys
import Postgres
package import Tenancy

/// A resource's credential with the secret that is shown once, if it has one.
package struct IssuedResourceCredential: Sendable {
    package let credential: ResourceCredential
    package let secret: Secret?
}

extension Administration {
    /// More of them are of no use to a resource; every node keeps all in memory.
    private static let mostCredentials = 16

    /// The credentials of a resource of this owner, in the order they were made.
    package func resourceCredentials(
        of resource: ResourceID, ownedBy owner: OrganizationID
    ) async throws -> [ResourceCredential] {
        _ = try await ownResource(resource, of: owner)
        return try await resourceCredentials.all(of: owner).filter { $0.resource == resource }
    }

    package func resourceCredential(
        _ id: ResourceCredentialID, of resource: ResourceID, ownedBy owner: OrganizationID
    ) async throws -> ResourceCredential {
        guard let found = try await resourceCredentials(of: resource, ownedBy: owner).first(where: { $0.id == id })
        else { throw AdminError.notFound }
        return found
    }

    /// Gives a resource one more credential to ask about tokens with; the ones it has go on working.
    ///
    /// - Parameter keys: public keys as a JWK Set, with which it proves itself; without them it gets a secret.
    /// - Throws: ``AdminError/conflict(_:)`` for a resource that has enough of them.
    package func createResourceCredential(
        name: String, keys: JSONValue?, for resource: ResourceID, ownedBy owner: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<IssuedResourceCredential> {
        _ = try await ownResource(resource, of: owner)
        var checks = FieldChecks()
        checks.name(name, "/name")
        let set = keys.flatMap { checks.keys($0, "/jwks") }
        try checks.finish()
        let secret = set == nil ? Secret.random(prefix: "gs_", from: random) : nil
        guard
            let proof = set.map({ .keys($0) }) ?? secret.map({ ResourceCredential.Proof.secret(SecretDigest(of: $0)) })
        else { throw AdminError.notFound }
        let credential = ResourceCredential(
            id: .make(at: administrator.now, random), resource: resource, name: name,
            proof: proof, createdBy: administrator.actor.id,
            createdAt: administrator.now)
        return try await administer(owner, by: administrator) { transaction in
            guard let others = try await resourceCredentials.hold(of: resource, in: owner, transaction) else {
                throw AdminError.notFound
            }
            guard others.count < Self.mostCredentials else {
                throw AdminError.conflict(
                    "A resource has at most \(Self.mostCredentials) credentials; delete one that is not used any more.")
            }
            try await resourceCredentials.insert(credential, of: owner, in: transaction)
            return AdminChange(
                value: IssuedResourceCredential(credential: credential, secret: secret),
                type: .resourceCredentialCreated, target: credential.auditTarget,
                changes: .between([:], credential.facts), metadata: ["resource": resource.description], isCached: true)
        }
    }

    /// Takes a credential away; every node refuses it within a second.
    package func deleteResourceCredential(
        _ id: ResourceCredentialID, of resource: ResourceID, ownedBy owner: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<ResourceCredential> {
        let old = try await resourceCredential(id, of: resource, ownedBy: owner)
        return try await administer(owner, by: administrator) { transaction in
            guard try await resourceCredentials.delete(id, of: owner, in: transaction) else {
                throw AdminError.notFound
            }
            return AdminChange(
                value: old, type: .resourceCredentialDeleted, target: old.auditTarget,
                changes: .between(old.facts, [:]), metadata: ["resource": resource.description], isCached: true)
        }
    }
}

extension FieldChecks {
    fileprivate mutating func keys(_ value: JSONValue, _ pointer: String) -> JWKSet? {
        do {
            let set = try JWKSet(value)
            require(
                !set.keys.isEmpty, pointer, "invalid", "It holds no key for ES256, RS256 (2048 bits or more) or EdDSA.")
            return set
        } catch JWKSet.Problem.privateKey {
            add(FieldError(pointer, "private_key", "It holds a private key, which is none any more; make a new pair."))
        } catch {
            add(FieldError(pointer, "invalid", "This must be a JWK Set."))
        }
        return nil
    }
}

extension ResourceCredential {
    fileprivate var auditTarget: AuditEvent.Target {
        AuditEvent.Target(type: "resource_credential", id: id.description, name: name)
    }

    fileprivate var facts: Facts {
        var facts: Facts = ["name": .string(name), "resource": .string(resource.description)]
        switch proof {
        case .secret: facts["secret"] = AuditEvent.Change.redacted
        case .keys(let set): facts["jwks"] = .texts(set.thumbprints)
        }
        return facts
    }
}
