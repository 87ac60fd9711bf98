import Audit
import Foundation
package import Keys
import Postgres
package import Tenancy

/// A key pair to import, or its public half alone while the private one is still on its way.
package enum ImportedKeyMaterial: Sendable {
    case privateKey(Secret)
    case publicKey(String)
}

extension Administration {
    /// Gives a resource the key pair whose public half its server already has; from then on the resource is signed for by
    /// that key and no other.
    ///
    /// The private half may follow the public one. A key for a resource that has a signing one is published, and signs once it
    /// is activated. A private half is imported once, by whomever; its owner may give it to
    /// another resource once the first is removed.
    /// - Throws: ``AdminError/conflict(_:)`` for a key that was imported before, it does not tell by whom, or that was made
    ///   here.
    ///   ``AdminError/unavailable(retryAfter:)`` while too many RSA keys wait to be checked.
    package func importSigningKey(
        _ material: ImportedKeyMaterial, for resource: ResourceID, in owner: Organization,
        by administrator: Administrator
    ) async throws -> Administered<SigningKeyRecord> {
        let key = try PresentedKey(material)
        // All that is cheap to refuse is refused before the key itself is checked.
        _ = try await place(of: key, for: resource, in: owner)
        let signing = try await check(key, of: owner)
        return try await retryingLostUpdates(.any) {
            let (target, known) = try await place(of: key, for: resource, in: owner)
            if let known, known.status != .retired, let signing {
                return try await complete(known, with: signing, of: owner, administrator)
            }
            return try await store(key.verification, signing, for: target, of: owner, replacing: known, administrator)
        }
    }

    /// The resource a key is imported for, and the same key as the owner knows it: its public half alone, or retired with
    /// the resource it had.
    private func place(
        of key: PresentedKey, for resource: ResourceID, in owner: Organization
    ) async throws -> (resource: Resource, known: SigningKeyRecord?) {
        guard let target = try await resources.all(of: owner.id).first(where: { $0.id == resource }) else {
            throw AdminError.invalid([.unknown("/resource")])
        }
        var checks = FieldChecks()
        checks.require(
            key.verification.algorithm == target.algorithm, key.pointer, "wrong_algorithm",
            "The resource is signed for with \(target.algorithm.rawValue); this is a key for another algorithm.")
        checks.require(
            !target.isShared || target.tenantUnaware, "/resource", "tenant_unaware_required",
            "A server with a key of its own cannot tell organizations apart: set tenant_unaware on the resource first.")
        try checks.finish()
        let known = try await signingKeys.all(of: owner.id).first {
            $0.kid == key.verification.thumbprint && $0.imported
        }
        if let known, known.status != .retired {
            guard known.resource == resource, known.sealedPrivateKey == nil, key.signing != nil else {
                throw AdminError.keyImported
            }
        }
        return (target, known)
    }

    private func check(_ key: PresentedKey, of owner: Organization) async throws -> SigningKey? {
        guard let signing = key.signing else { return nil }
        do {
            return signing.isExpensive
                ? try await RSAWork.run(.check(owner.id)) { try signing.checked() } : try signing.checked()
        } catch let error as KeyError {
            throw AdminError.invalid([FieldError(key.pointer, "\(error)", error.inPlainWords)])
        }
    }

    private func complete(
        _ key: SigningKeyRecord, with signing: SigningKey, of owner: Organization, _ administrator: Administrator
    ) async throws -> Administered<SigningKeyRecord> {
        let sealed = try secrets.seal(signing.privateKeyBytes, for: owner, .privateKey(key.id))
        return try await administer(owner.id, by: administrator) { transaction in
            let isFirst = try await !signingKeys.hold(of: owner.id, in: transaction).contains {
                $0.signs(for: key.resource)
            }
            let completed = SigningKeyRecord(
                id: key.id, owner: key.owner, purpose: key.purpose, resource: key.resource, algorithm: key.algorithm,
                kid: key.kid, publicKeyPEM: key.publicKeyPEM, sealedPrivateKey: sealed, imported: true,
                status: isFirst ? .active : .published, createdAt: key.createdAt,
                activatedAt: isFirst ? administrator.now : nil, retiredAt: nil)
            guard
                try await signingKeys.complete(completed, in: transaction),
                try await signingKeys.claim(thumbprint: key.kid, in: transaction)
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
        let sealed = try signing.map { try secrets.seal($0.privateKeyBytes, for: owner, .privateKey(id)) }
        var dedicated = resource
        dedicated.dedicatedKey = true
        let wanted = dedicated
        return try await administer(owner.id, by: administrator) { transaction in
            guard try await resources.update(wanted, at: administrator.now, in: transaction) != nil else {
                throw LostUpdate()
            }
            // One that signs already goes on until the new one is activated; only the first begins at once.
            let isFirst = try await !signingKeys.hold(of: owner.id, in: transaction).contains {
                $0.signs(for: resource.id)
            }
            let status: SigningKeyRecord.Status = sealed != nil && isFirst ? .active : .published
            let key = SigningKeyRecord(
                id: id, owner: owner.id, purpose: .access, resource: resource.id, algorithm: verification.algorithm,
                kid: verification.thumbprint, publicKeyPEM: verification.pem, sealedPrivateKey: sealed, imported: true,
                status: status, createdAt: administrator.now,
                activatedAt: status == .active ? administrator.now : nil, retiredAt: nil)
            // Who shows a public half has proven nothing, and cannot keep the key from whoever has the private one.
            if signing != nil {
                guard try await signingKeys.claim(thumbprint: key.kid, in: transaction) else {
                    throw AdminError.keyImported
                }
            }
            if retired != nil {
                guard try await signingKeys.adopt(key, in: transaction) else { throw AdminError.keyImported }
            } else {
                do {
                    try await signingKeys.insert(key, in: transaction)
                } catch let error as PostgresError where error.isUniqueViolation {
                    throw AdminError.keyImported  // for another resource meanwhile, or made here
                }
            }
            return AdminChange(
                value: key, type: .signingKeyImported, target: key.auditTarget,
                changes: .between(retired?.facts ?? [:], key.facts), isCached: true)
        }
    }
}

extension SigningKeyRecord {
    /// Whether it is the key that signs for a resource now.
    fileprivate func signs(for resource: ResourceID?) -> Bool { self.resource == resource && status == .active }
}

/// A key as it came: read, and not checked yet.
private struct PresentedKey: Sendable {
    /// Where in the request it stood.
    let pointer: String
    let verification: VerificationKey
    /// nil where only the public half came.
    let signing: PresentedSigningKey?

    /// Longer ones take seconds to check, and tens of milliseconds for every signature.
    private static let longestRSA = 4096
    /// In bytes; a PKCS#8 document of the longest key has a quarter of it.
    private static let longestPEM = 16 * 1024

    /// - Throws: ``AdminError/invalid(_:)``.
    init(_ material: ImportedKeyMaterial) throws(AdminError) {
        let pem: String
        switch material {
        case .privateKey(let secret): (pointer, pem) = ("/private_key", secret.revealed)
        case .publicKey(let text): (pointer, pem) = ("/public_key", text)
        }
        var checks = FieldChecks()
        checks.require(pem.utf8.count <= Self.longestPEM, pointer, "too_large", "A key has at most 16 KiB of PEM.")
        try checks.finish()
        do {
            if case .privateKey = material {
                let key = try PresentedSigningKey(pem: pem)
                (verification, signing) = (key.publicKey, key)
            } else {
                (verification, signing) = (try VerificationKey(pem: pem), nil)
            }
        } catch {
            throw .invalid([FieldError(pointer, "\(error)", error.inPlainWords)])
        }
        checks.require(
            verification.rsaBits ?? 0 <= Self.longestRSA, pointer, "too_large", "An RSA key has at most 4096 bits.")
        try checks.finish()
    }
}

extension AdminError {
    fileprivate static let keyImported = AdminError.conflict("This key was imported before, or made here.")
}

extension KeyError {
    fileprivate var inPlainWords: String {
        switch self {
        case .malformed: "This is not one key in PEM, with its BEGIN and END lines and its line ends (\\n in JSON)."
        case .encrypted: "The key is encrypted; decrypt it first."
        case .unsupported: "Only RSA, EC P-256 and Ed25519 keys are supported."
        case .weak: "The key is too weak: RSA needs 2048 to 4096 bits and an exponent of at least 65537."
        case .inconsistent: "The parts of this key do not belong together."
        case .generationFailed, .signingFailed: "The key cannot be used."
        }
    }
}
