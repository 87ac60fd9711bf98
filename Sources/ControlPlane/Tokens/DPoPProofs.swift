package import Audit
package import Foundation
package import Keys
package import Redis
package import Tenancy

/// Takes proofs that a caller holds a key (RFC 9449): each is good for one request, and for a minute.
///
/// Redis key `gatehouse:{digest}:proof`: that a proof was seen, for as long as its nonce is good. The digest is of key and
/// `jti`. While Redis is away nobody who proves a key is answered; everybody else is.
package struct DPoPProofs: Sendable {
    package let nonces: DPoPNonces
    private let redis: RedisClient
    private let refusals: RefusalLog
    private let random: RandomBytes

    /// `dpop_signing_alg_values_supported`.
    package static let algorithms = SigningAlgorithm.allCases.map(\.rawValue)

    package init(nonces: DPoPNonces, redis: RedisClient, refusals: RefusalLog, random: RandomBytes) {
        self.nonces = nonces
        self.redis = redis
        self.refusals = refusals
        self.random = random
    }

    /// A request with proofs, as it came.
    package struct Presented: Sendable {
        /// Values of the `DPoP` header; "there is not more than one" (RFC 9449 §4.3).
        package let headers: [String]
        package let url: String
        package let accessToken: String?

        package init(headers: [String], url: String, accessToken: String? = nil) {
            self.headers = headers
            self.url = url
            self.accessToken = accessToken
        }
    }

    /// The RFC 7638 thumbprint of the key that the request proves.
    ///
    /// - Throws: `invalid_dpop_proof`, which is in the log by then; `use_dpop_nonce` with a nonce, where nothing else is
    ///   wrong with it.
    package func key(
        provenBy presented: Presented, at issuer: OrganizationID, request: AuditEvent.RequestInfo, now: Date
    ) async throws -> String {
        do {
            guard presented.headers.count == 1, let text = presented.headers.first else {
                throw DPoPProof.invalid("several")
            }
            let subject = DPoPProof.Subject(
                method: request.method, url: presented.url, accessToken: presented.accessToken)
            let proof = try DPoPProof(text, of: subject)
            guard let nonce = proof.nonce, nonces.isFresh(nonce, at: now) else {
                throw OAuthError(
                    .useDPoPNonce, "Make the proof anew, with the nonce in DPoP-Nonce.",
                    dpopNonce: nonces.fresh(at: now))
            }
            guard try await claim(proof) else { throw DPoPProof.invalid("replay") }
            return proof.key
        } catch let error as OAuthError where error.code == .invalidDPoPProof {
            try await record(error, at: issuer, request, now)
            throw error
        } catch  where error.isStoreFailure {
            throw OAuthError.unavailable(error)
        }
    }

    /// - Returns: false when this proof was seen before.
    private func claim(_ proof: DPoPProof) async throws -> Bool {
        let digest = Base64URL.encode(sha256(proof.key + proof.id))
        // A little longer than any node takes its nonce.
        return try await redis.set(
            "gatehouse:{\(digest)}:proof", [1], expireIn: .seconds(DPoPNonces.lifetime + 10), onlyIfAbsent: true)
    }

    private func record(
        _ error: OAuthError, at issuer: OrganizationID, _ request: AuditEvent.RequestInfo, _ now: Date
    ) async throws {
        let event = AuditEvent(
            .tokenDpopFailed, organization: issuer, id: EventID.make(at: now, random), time: now, outcome: .denied,
            reason: error.reason, actor: .anonymous,
            targets: [AuditEvent.Target(type: "organization", id: issuer.description)], request: request)
        do {
            try await refusals.refuse(event, source: request.ip)
        } catch  where error.isStoreFailure {
            throw OAuthError.unavailable(error)
        }
    }
}
