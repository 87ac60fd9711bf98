package import Foundation
package import Tenancy

/// Finds the client that a `client_id` names at an issuer, however it came to be known.
package struct ClientDirectory: Sendable {
    let catalog: TenantCatalog

    package init(catalog: TenantCatalog) {
        self.catalog = catalog
    }

    /// - Parameter clientID: as it came over the wire.
    /// - Returns: nil for one that nobody has here, and for one that is over or switched off.
    package func client(_ clientID: String, at issuer: Issuer, now: Date) async throws -> Client? {
        guard let id = ClientID(clientID), let client = try await catalog.client(id, in: issuer.home, at: now),
            client.isLive(at: now)
        else { return nil }
        return client
    }
}
