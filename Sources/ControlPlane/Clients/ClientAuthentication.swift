import Foundation
import Keys
import Tenancy

/// Proves which client speaks (RFC 6749 §2.3).
struct ClientAuthentication: Sendable {
    let catalog: TenantCatalog

    /// - Throws: `invalid_client`; unknown client, wrong secret and wrong method look the same to the client, and the
    ///   reason in the error tells them apart for the log.
    func authenticate(_ credentials: ClientCredentials, at issuer: Issuer, now: Date) async throws -> Client {
        guard let id = ClientID(credentials.clientID),
            let client = try await catalog.client(id, in: issuer.home, at: now),
            client.isLive(at: now)
        else { throw Self.refusal("client_unknown") }
        // Only the registered method works (RFC 7591 §2): a confidential client cannot become a public one by silence.
        guard client.authenticationMethod == credentials.method else { throw Self.refusal("wrong_auth_method") }
        if let secret = credentials.secret {
            guard let digest = client.secretDigest, digest == SecretDigest(of: secret) else {
                throw Self.refusal("wrong_secret")
            }
        }
        return client
    }

    private static func refusal(_ reason: String) -> OAuthError {
        OAuthError(.invalidClient, "Client authentication failed.", reason: reason)
    }
}
