import Foundation
import Keys
import Tenancy

/// The keys that sign ID tokens, one for each issuer: RS256, which every OpenID provider has to offer (OpenID Connect
/// Discovery §3) and relying parties expect when nobody told them otherwise.
///
/// An RSA key takes long to make and room to keep, and most organizations never need one. So an issuer gets its own when
/// somebody first signs in there with `openid`: it is begun as soon as the person is known, behind the back of the
/// request, and redeeming their code waits for it.
package struct IDTokenKeys: Sendable {
    private let administration: Administration
    private let issuers: IssuerDirectory

    /// After so long every node shows a new key in its JWK Set: it is published before it signs.
    private static let settling: TimeInterval = 2
    /// Longer than one key takes on a busy machine. A client then tries again with the code it still has.
    private static let patience: Duration = .seconds(8)

    package init(administration: Administration, issuers: IssuerDirectory) {
        self.administration = administration
        self.issuers = issuers
    }

    /// Begins to make the issuer's key if it has none.
    func prepare(for issuer: Issuer, at now: Date) {
        guard issuer.idTokenKey == nil else { return }
        administration.makeKeyLater(
            .rs256, for: .idToken, of: issuer.id, by: Administrator(system: "id_token_keys", now: now))
    }

    /// The key that signs now, as soon as there is one.
    ///
    /// - Throws: `temporarily_unavailable` when it is not made in time.
    func key(of issuer: Issuer, at now: Date) async throws -> (key: SigningKey, kid: String) {
        var issuer = issuer
        let asked = ContinuousClock.now
        while true {
            let waited = ContinuousClock.now - asked
            let now = now + waited.seconds
            if let found = issuer.idTokenKey, let signing = found.signing,
                now.timeIntervalSince(found.record.createdAt) >= Self.settling
            {
                return (signing, found.record.kid)
            }
            prepare(for: issuer, at: now)
            guard waited < Self.patience else {
                throw OAuthError(
                    .temporarilyUnavailable, "The key for ID tokens is being made; try again shortly.",
                    reason: "id_token_key_missing", retryAfter: .seconds(2))
            }
            try await Task.sleep(for: .milliseconds(100))
            issuer = try await issuers.issuer(issuer.id) ?? issuer
        }
    }
}

extension Issuer {
    /// The key that signs its ID tokens, if it was made.
    fileprivate var idTokenKey: UnsealedSigningKey? {
        home.signingKeys.filter { $0.record.purpose == .idToken && $0.record.status == .active && $0.signing != nil }
            .max { ($0.record.activatedAt ?? .distantPast) < ($1.record.activatedAt ?? .distantPast) }
    }
}
