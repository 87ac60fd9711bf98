import Audit
import Foundation
import Keys
import Logging
import Postgres
package import Tenancy

extension Administration {
    package func signingKey(_ id: SigningKeyID, of owner: OrganizationID) async throws -> SigningKeyRecord {
        guard let found = try await signingKeys.all(of: owner).first(where: { $0.id == id }) else {
            throw AdminError.notFound
        }
        return found
    }

    /// Makes sure that every issuer accepted for the resource can sign for it.
    ///
    /// RSA keys are made behind the request's back, since one takes up to a second; until then the resource issues nothing.
    /// Those for programmatic tokens wait until somebody wants such a token: most organizations never do. The resource is
    /// committed by now, so a key that cannot be made just now fails nothing: it is tried again, and at last by
    /// ``makeMissingKeys(of:at:)``.
    func ensureSigningKeys(for resource: Resource, by administrator: Administrator) async {
        guard !resource.dedicatedKey, !administrator.terms.isDryRun else { return }
        for issuer in resource.acceptedIssuers {
            guard resource.algorithm != .rs256 else {
                makeKeyLater(.rs256, for: .access, of: issuer, by: administrator)
                continue
            }
            for purpose in [SigningKeyRecord.Purpose.access, .programmatic] {
                do {
                    try await makeMissingKey(resource.algorithm, for: purpose, of: issuer, by: administrator)
                } catch {
                    makeKeyLater(resource.algorithm, for: purpose, of: issuer, by: administrator)
                }
            }
        }
    }

    /// Makes the keys that an organization's resources still lack: whoever registered them was interrupted.
    func makeMissingKeys(of owner: OrganizationID, at now: Date) async throws {
        for resource in try await resources.all(of: owner) {
            await ensureSigningKeys(for: resource, by: Administrator(system: "housekeeping", now: now))
        }
    }

    /// Makes a key that an issuer lacks, behind the back of whoever needs it.
    func makeKeyLater(
        _ algorithm: SigningAlgorithm, for purpose: SigningKeyRecord.Purpose, of issuer: OrganizationID,
        by administrator: Administrator
    ) {
        let wanted = RSAWork.Wanted(algorithm: algorithm, purpose: purpose, issuer: issuer)
        guard RSAWork.begin(wanted) else { return }
        let asked = ContinuousClock.now
        Task.detached {
            defer { RSAWork.end(wanted) }
            // Patient, since nobody asks again: a minute is far longer than the line can be.
            for _ in 0..<30 {
                do {
                    return try await makeMissingKey(
                        algorithm, for: purpose, of: issuer, by: administrator, since: asked)
                } catch AdminError.unavailable(let delay) {
                    try? await Task.sleep(for: delay)
                } catch  where error.isStoreFailure {
                    try? await Task.sleep(for: .seconds(2))
                } catch {
                    return logger.error(
                        "signing key not made", metadata: ["error": .string(String(reflecting: error))])
                }
            }
            logger.error("signing key not made", metadata: ["error": "too many are being made, or the store is away"])
        }
    }

    /// The first key of an algorithm signs at once: nobody can hold a JWK Set in which something else would verify.
    func makeMissingKey(
        _ algorithm: SigningAlgorithm, for purpose: SigningKeyRecord.Purpose, of issuer: OrganizationID,
        by administrator: Administrator, since asked: ContinuousClock.Instant = .now
    ) async throws {
        guard try await !signingKeys.all(of: issuer).canSign(with: algorithm, for: purpose),
            let owner = try await organizations.find(issuer), owner.status != .deleted
        else { return }
        // The moment it is there, which with RSA may be long after it was asked for: its age tells who knows it by now.
        let key = try await newSigningKey(
            algorithm, for: purpose, of: owner, at: administrator.now + (ContinuousClock.now - asked).seconds)
        do {
            _ = try await administer(issuer, by: administrator.besides) { transaction in
                // Another node may have found none at the same moment.
                let keys = try await signingKeys.hold(of: issuer, in: transaction)
                guard !keys.canSign(with: algorithm, for: purpose) else { throw LostUpdate() }
                try await signingKeys.insert(key, in: transaction)
                return AdminChange(
                    value: key.id, type: .signingKeyGenerated, target: key.auditTarget,
                    changes: .between([:], key.facts), isCached: true)
            }
        } catch is LostUpdate {
            return
        }
    }

    /// A fresh key of an issuer, or of one resource, its private half sealed.
    ///
    /// - Parameter now: asked for once the key is made.
    /// - Throws: ``AdminError/unavailable(retryAfter:)`` while too many RSA keys are made.
    func newSigningKey(
        _ algorithm: SigningAlgorithm, for purpose: SigningKeyRecord.Purpose = .access, of owner: Organization,
        resource: ResourceID? = nil, as status: SigningKeyRecord.Status = .active, at now: @autoclosure () -> Date
    ) async throws -> SigningKeyRecord {
        let key =
            algorithm == .rs256
            ? try await RSAWork.run(.generate(owner.id)) { try SigningKey.generate(.rs256) }
            : try SigningKey.generate(algorithm)
        let now = now()
        let id = SigningKeyID.make(at: now, random)
        return SigningKeyRecord(
            id: id, owner: owner.id, purpose: purpose, resource: resource, algorithm: algorithm,
            kid: key.publicKey.thumbprint,
            publicKeyPEM: key.publicKey.pem,
            sealedPrivateKey: try secrets.seal(key.privateKeyBytes, for: owner, .privateKey(id)), imported: false,
            status: status, createdAt: now, activatedAt: status == .active ? now : nil, retiredAt: nil)
    }
}

extension [SigningKeyRecord] {
    /// Whether an issuer with these keys signs tokens of a kind with an algorithm.
    fileprivate func canSign(with algorithm: SigningAlgorithm, for purpose: SigningKeyRecord.Purpose) -> Bool {
        contains { $0.purpose == purpose && $0.resource == nil && $0.algorithm == algorithm && $0.status == .active }
    }
}

extension SigningKeyRecord {
    var auditTarget: AuditEvent.Target { AuditEvent.Target(type: "signing_key", id: id.description) }

    var facts: Facts {
        var facts: Facts = [
            "purpose": .string(purpose.rawValue), "algorithm": .string(algorithm.rawValue), "kid": .string(kid),
            "imported": .bool(imported), "status": .string(status.rawValue),
        ]
        facts["resource"] = .text(resource?.description)
        if sealedPrivateKey != nil { facts["private_key"] = AuditEvent.Change.redacted }
        return facts
    }
}
