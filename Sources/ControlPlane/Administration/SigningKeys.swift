import Audit
import Foundation
package import Keys
import Logging
import Postgres
package import Tenancy

/// A key pair to import, or its public half alone while the private one is still on its way.
package enum ImportedKeyMaterial: Sendable {
    case privateKey(Secret)
    case publicKey(String)
}

extension Administration {
    package func signingKey(_ id: SigningKeyID, of owner: OrganizationID) async throws -> SigningKeyRecord {
        guard let found = try await signingKeys.all(of: owner).first(where: { $0.id == id }) else {
            throw AdminError.notFound
        }
        return found
    }

    /// Gives a resource the key pair whose public half its server already has; from then on the resource is signed for by
    /// that key and no other.
    ///
    /// The private half may follow the public one. A key is imported once, by whomever; its owner may give it to another
    /// resource once the first is removed.
    /// - Throws: ``AdminError/conflict(_:)`` for a key that was imported before; it does not tell by whom.
    package func importSigningKey(
        _ material: ImportedKeyMaterial, for resource: ResourceID, in owner: Organization,
        by administrator: Administrator
    ) async throws -> Administered<SigningKeyRecord> {
        let (pointer, verification, signing) = try parse(material)
        return try await retryingLostUpdates(.any) {
            guard let target = try await resources.all(of: owner.id).first(where: { $0.id == resource }) else {
                throw AdminError.invalid([.unknown("/resource")])
            }
            var checks = FieldChecks()
            checks.require(
                verification.algorithm == target.algorithm, pointer, "wrong_algorithm",
                "The resource is signed for with \(target.algorithm.rawValue); this is a key for another algorithm.")
            checks.require(
                !target.isShared || target.tenantUnaware, "/resource", "tenant_unaware_required",
                "A server with a key of its own cannot tell organizations apart: set tenant_unaware on the resource first."
            )
            try checks.finish()
            let known = try await signingKeys.all(of: owner.id).first {
                $0.kid == verification.thumbprint && $0.imported
            }
            if let known, known.status != .retired {
                guard known.resource == resource, known.sealedPrivateKey == nil, let signing else {
                    throw AdminError.keyImported
                }
                return try await complete(known, with: signing, of: owner, administrator)
            }
            return try await store(verification, signing, for: target, of: owner, replacing: known, administrator)
        }
    }

    /// Replaces a key by a new one of the same purpose and algorithm. The old one stays published until its last token ended.
    package func rotateSigningKey(
        _ id: SigningKeyID, of owner: Organization, by administrator: Administrator
    ) async throws -> Administered<SigningKeyRecord> {
        let old = try await signingKey(id, of: owner.id)
        guard !old.imported else {
            throw AdminError.conflict("An imported key is not rotated here: its server knows no other.")
        }
        guard old.status == .active else { throw AdminError.conflict("Only an active key can be rotated.") }
        let new = try newSigningKey(old.algorithm, for: owner, at: administrator.now)
        return try await administer(owner.id, by: administrator) { transaction in
            guard
                try await signingKeys.setStatus(
                    .retired, of: id, in: owner.id, at: administrator.now, transaction)
            else { throw AdminError.notFound }
            try await signingKeys.insert(new, in: transaction)
            return AdminChange(
                value: new, type: .signingKeyRotated, target: new.auditTarget, changes: .between([:], new.facts),
                metadata: ["replaces": id.description], isCached: true)
        }
    }

    /// Makes sure that every issuer accepted for the resource can sign for it.
    ///
    /// RSA keys are made behind the request's back, since one takes up to a second; until then the resource issues nothing.
    func ensureSigningKeys(for resource: Resource, by administrator: Administrator) async throws {
        guard !resource.dedicatedKey else { return }
        if resource.algorithm == .rs256 {
            Task.detached {
                do {
                    try await makeMissingKeys(.rs256, of: resource.acceptedIssuers, by: administrator)
                } catch {
                    logger.error("signing key not made", metadata: ["error": .string(String(reflecting: error))])
                }
            }
        } else {
            try await makeMissingKeys(resource.algorithm, of: resource.acceptedIssuers, by: administrator)
        }
    }

    private func makeMissingKeys(
        _ algorithm: SigningAlgorithm, of issuers: [OrganizationID], by administrator: Administrator
    ) async throws {
        for issuer in issuers {
            let signs = try await signingKeys.all(of: issuer).contains { key in
                key.purpose == .access && key.resource == nil && key.algorithm == algorithm && key.status == .active
            }
            guard !signs, let owner = try await organizations.find(issuer) else { continue }
            // Two nodes may both find none; two active keys do no harm.
            let key = try newSigningKey(algorithm, for: owner, at: administrator.now)
            _ = try await administer(issuer, by: administrator) { transaction in
                try await signingKeys.insert(key, in: transaction)
                return AdminChange(
                    value: key.id, type: .signingKeyGenerated, target: key.auditTarget,
                    changes: .between([:], key.facts), isCached: true)
            }
        }
    }

    /// A fresh active key of an issuer, its private half sealed.
    func newSigningKey(
        _ algorithm: SigningAlgorithm, for owner: Organization, at now: Date
    ) throws -> SigningKeyRecord {
        let key = try SigningKey.generate(algorithm)
        let id = SigningKeyID.make(at: now, random)
        return SigningKeyRecord(
            id: id, owner: owner.id, purpose: .access, resource: nil, algorithm: algorithm,
            kid: key.publicKey.thumbprint,
            publicKeyPEM: key.publicKey.pem,
            sealedPrivateKey: try secrets.seal(key.privateKeyBytes, for: owner, .privateKey(id)), imported: false,
            status: .active, createdAt: now, activatedAt: now, retiredAt: nil)
    }

    private func parse(
        _ material: ImportedKeyMaterial
    ) throws(AdminError) -> (pointer: String, verification: VerificationKey, signing: SigningKey?) {
        switch material {
        case .privateKey(let pem):
            do {
                let key = try SigningKey(pem: pem.revealed)
                return ("/private_key", key.publicKey, key)
            } catch {
                throw .invalid([FieldError("/private_key", "\(error)", error.inPlainWords)])
            }
        case .publicKey(let pem):
            do {
                return ("/public_key", try VerificationKey(pem: pem), nil)
            } catch {
                throw .invalid([FieldError("/public_key", "\(error)", error.inPlainWords)])
            }
        }
    }

    private func complete(
        _ key: SigningKeyRecord, with signing: SigningKey, of owner: Organization, _ administrator: Administrator
    ) async throws -> Administered<SigningKeyRecord> {
        let sealed = try secrets.seal(signing.privateKeyBytes, for: owner, .privateKey(key.id))
        let completed = SigningKeyRecord(
            id: key.id, owner: key.owner, purpose: key.purpose, resource: key.resource, algorithm: key.algorithm,
            kid: key.kid, publicKeyPEM: key.publicKeyPEM, sealedPrivateKey: sealed, imported: true, status: .active,
            createdAt: key.createdAt, activatedAt: administrator.now, retiredAt: nil)
        return try await administer(owner.id, by: administrator) { transaction in
            guard
                try await signingKeys.complete(
                    key.id, of: owner.id, sealedPrivateKey: sealed, at: administrator.now, in: transaction)
            else { throw AdminError.keyImported }
            return AdminChange(
                value: completed, type: .signingKeyImported, target: completed.auditTarget,
                changes: .between(key.facts, completed.facts), isCached: true)
        }
    }

    /// - Parameter retired: the same key, whose resource the owner removed.
    private func store(
        _ verification: VerificationKey, _ signing: SigningKey?, for resource: Resource, of owner: Organization,
        replacing retired: SigningKeyRecord?, _ administrator: Administrator
    ) async throws -> Administered<SigningKeyRecord> {
        let id = retired?.id ?? SigningKeyID.make(at: administrator.now, random)
        let key = SigningKeyRecord(
            id: id, owner: owner.id, purpose: .access, resource: resource.id, algorithm: verification.algorithm,
            kid: verification.thumbprint, publicKeyPEM: verification.pem,
            sealedPrivateKey: try signing.map { try secrets.seal($0.privateKeyBytes, for: owner, .privateKey(id)) },
            imported: true, status: signing == nil ? .published : .active,
            createdAt: retired?.createdAt ?? administrator.now,
            activatedAt: signing == nil ? nil : administrator.now, retiredAt: nil)
        var dedicated = resource
        dedicated.dedicatedKey = true
        let wanted = dedicated
        return try await administer(owner.id, by: administrator) { transaction in
            guard try await resources.update(wanted, at: administrator.now, in: transaction) != nil else {
                throw LostUpdate()
            }
            if retired != nil {
                guard try await signingKeys.adopt(key, in: transaction) else { throw AdminError.keyImported }
            } else {
                guard try await signingKeys.claim(thumbprint: verification.thumbprint, in: transaction) else {
                    throw AdminError.keyImported
                }
                try await signingKeys.insert(key, in: transaction)
            }
            return AdminChange(
                value: key, type: .signingKeyImported, target: key.auditTarget,
                changes: .between(retired?.facts ?? [:], key.facts), isCached: true)
        }
    }
}

extension AdminError {
    fileprivate static let keyImported = AdminError.conflict("This key was imported before.")
}

extension KeyError {
    fileprivate var inPlainWords: String {
        switch self {
        case .malformed: "This is not one key in PEM."
        case .encrypted: "The key is encrypted; decrypt it first."
        case .unsupported: "Only RSA, EC P-256 and Ed25519 keys are supported."
        case .weak: "The key is too weak: RSA needs 2048 to 8192 bits and an exponent of at least 65537."
        case .inconsistent: "The parts of this key do not belong together."
        case .generationFailed, .signingFailed: "The key cannot be used."
        }
    }
}

extension SigningKeyRecord {
    var auditTarget: AuditEvent.Target { AuditEvent.Target(type: "signing_key", id: id.description) }

    fileprivate var facts: Facts {
        var facts: Facts = [
            "purpose": .string(purpose.rawValue), "algorithm": .string(algorithm.rawValue), "kid": .string(kid),
            "imported": .bool(imported), "status": .string(status.rawValue),
        ]
        facts["resource"] = .text(resource?.description)
        if sealedPrivateKey != nil { facts["private_key"] = AuditEvent.Change.redacted }
        return facts
    }
}
