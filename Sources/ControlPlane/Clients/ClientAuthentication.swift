package import Foundation
import Keys
package import Tenancy

/// Proves which client speaks (RFC 6749 §2.3), at every endpoint where one does.
package struct ClientAuthentication: Sendable {
    let clients: ClientDirectory

    package init(clients: ClientDirectory) {
        self.clients = clients
    }

    /// - Parameter isRepeat: the same request is decided again, since something moved under it; what may be used once was
    ///   taken the first time.
    /// - Throws: `invalid_client`; unknown client, wrong secret and wrong method look the same to the client, and the
    ///   reason in the error tells them apart for the log.
    package func authenticate(
        _ credentials: ClientCredentials, at issuer: Issuer, isRepeat: Bool = false, now: Date
    ) async throws -> Client {
        guard let client = try await clients.client(credentials.clientID, at: issuer, now: now) else {
            throw Self.refusal("client_unknown")
        }
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
