package import Audit
package import Foundation
package import Tenancy

/// Finds the client that a `client_id` names at an issuer, however it came to be known.
package struct ClientDirectory: Sendable {
    let catalog: TenantCatalog
    let documents: ClientDocuments

    package init(catalog: TenantCatalog, documents: ClientDocuments) {
        self.catalog = catalog
        self.documents = documents
    }

    /// A client that is known here already.
    ///
    /// - Parameter clientID: as it came over the wire.
    /// - Returns: nil for one that nobody has here, and for one that is over or switched off.
    /// - Throws: ``ClientDocumentError`` when the client is a document that says nothing usable any more.
    package func client(_ clientID: String, at issuer: Issuer, now: Date) async throws -> Client? {
        if let id = ClientID(clientID) { return try await registered(id, at: issuer, now) }
        guard let url = ClientDocumentURL(clientID) else { return nil }
        return try await documents.client(url, at: issuer, now: now)
    }

    /// A client that asks for authorization: one that is a document is met here for the first time.
    ///
    /// - Throws: ``ClientDocumentError``; ``OAuthError`` when too many strangers came.
    package func meet(
        _ clientID: String, at issuer: Issuer, request: AuditEvent.RequestInfo, now: Date
    ) async throws -> Client? {
        if let id = ClientID(clientID) { return try await registered(id, at: issuer, now) }
        guard let url = ClientDocumentURL(clientID) else { return nil }
        return try await documents.meet(url, at: issuer, request: request, now: now)
    }

    private func registered(_ id: ClientID, at issuer: Issuer, _ now: Date) async throws -> Client? {
        guard let client = try await catalog.client(id, in: issuer.home, at: now), client.isLive(at: now),
            // One that is a document goes by its URL and by no other name.
            client.documentURL == nil
        else { return nil }
        return client
    }
}
