import Audit
import Foundation
package import Keys
package import Tenancy

/// Clients that are known by a document at a URL (CIMD): met at their first authorization, read again when what is known
/// of them is old.
///
/// What a document says is kept with the client in the issuer's registry, which is the cache of all nodes: the platform's
/// holds it for every organization. Nothing is kept of an error (CIMD §5.2). A change is an event and an entry in the
/// client's history.
package final class ClientDocuments: Sendable {
    /// "Authorization servers SHOULD limit the response size" (CIMD §8.7).
    private static let largest = 5 * 1024
    /// How long a client goes on whose document cannot be read any more.
    private static let staleness: TimeInterval = 86_400

    private let catalog: TenantCatalog
    private let clients: ClientStore
    private let fetcher: DocumentFetcher
    private let registration: ClientRegistration
    private let random: RandomBytes

    package init(
        catalog: TenantCatalog, database: TenantDatabase, fetcher: DocumentFetcher, registration: ClientRegistration,
        random: RandomBytes
    ) {
        self.catalog = catalog
        clients = ClientStore(database: database)
        self.fetcher = fetcher
        self.registration = registration
        self.random = random
    }

    /// A client that was met before.
    ///
    /// - Returns: nil for one that was not, is over or is switched off: nobody can have got anything here by its name.
    /// - Throws: ``ClientDocumentError``.
    func client(_ url: ClientDocumentURL, at issuer: Issuer, now: Date) async throws -> Client? {
        guard let known = try await catalog.client(document: url.text, in: issuer.home, at: now), known.isLive(at: now)
        else { return nil }
        return try await current(known, url, at: issuer, now)
    }

    /// A client at its authorization, which may be the first that is seen of it.
    ///
    /// - Returns: nil for one that is switched off.
    /// - Throws: ``ClientDocumentError``; ``OAuthError`` when too many strangers came.
    func meet(
        _ url: ClientDocumentURL, at issuer: Issuer, request: AuditEvent.RequestInfo, now: Date
    ) async throws -> Client? {
        guard let known = try await catalog.client(document: url.text, in: issuer.home, at: now) else {
            try Self.checkAdmission(of: url, at: issuer)
            let document = try await document(url, for: .stranger(in: issuer.id, from: request.ip), now)
            return try await register(document, at: issuer, request, now)
        }
        guard known.status == .active else { return nil }
        // One that somebody connected with, or that an administrator named, is no stranger any more.
        if known.expiresAt != nil { try Self.checkAdmission(of: url, at: issuer) }
        guard known.isLive(at: now) else {
            // Met long ago and never used: it begins anew.
            let document = try await document(url, for: .stranger(in: issuer.id, from: request.ip), now)
            var renewed = document.applied(to: known, at: now)
            renewed.expiresAt = now + registration.unusedLifetime
            return try await replace(known, by: renewed, document, at: issuer, now)
        }
        return try await current(known, url, at: issuer, now)
    }

    /// Whether strangers' documents from there may come, before anything is asked for.
    private static func checkAdmission(of url: ClientDocumentURL, at issuer: Issuer) throws(ClientDocumentError) {
        let policy = OnboardingPolicy(issuer.home.organization)
        guard policy.settings.metadataDocuments == .open else {
            throw ClientDocumentError(
                "documents_closed", "This server takes only those that an administrator named before.")
        }
        guard policy.admits(documentAt: url.host) else {
            throw ClientDocumentError("document_host_denied", "This server takes none from that host.")
        }
    }

    // MARK: Reading

    /// The client as its document says now, or said lately.
    private func current(
        _ known: Client, _ url: ClientDocumentURL, at issuer: Issuer, _ now: Date
    ) async throws -> Client? {
        guard let state = known.document, state.freshUntil <= now else { return known }
        let document: ClientMetadataDocument
        do {
            document = try await self.document(url, for: .known(in: issuer.id), now)
        } catch {
            guard error.isTemporary, now.timeIntervalSince(state.freshUntil) < Self.staleness else { throw error }
            return known
        }
        guard document.digest != state.digest else {
            var touched = known
            touched.document = document.state(isPreregistered: state.isPreregistered, at: now)
            if let state = touched.document { try await clients.touch(known.id, in: issuer.id, state) }
            catalog.remember(touched, in: issuer.home, at: now)
            return touched
        }
        return try await replace(known, by: document.applied(to: known, at: now), document, at: issuer, now)
    }

    /// The document as it is now.
    func document(
        _ url: ClientDocumentURL, for caller: DocumentFetcher.Caller, _ now: Date
    ) async throws(ClientDocumentError) -> ClientMetadataDocument {
        let fetched: DocumentFetcher.Fetched
        do {
            fetched = try await fetcher.fetch(url.text, atMost: Self.largest, for: caller, at: now)
        } catch {
            throw ClientDocumentError(error)
        }
        return try ClientMetadataDocument(fetched, at: url, now: now)
    }

    // MARK: Writing

    private func register(
        _ document: ClientMetadataDocument, at issuer: Issuer, _ request: AuditEvent.RequestInfo, _ now: Date
    ) async throws -> Client? {
        try await registration.admitUnused(at: issuer, request: request, at: now)
        let client = client(of: document, in: issuer.id, isPreregistered: false, at: now)
        let event = AuditEvent(
            .clientRegistered, organization: issuer.id, id: EventID.make(at: now, random), time: now, actor: .anonymous,
            targets: [client.auditTarget], client: client.wireID, request: request,
            metadata: ["kind": client.kind.rawValue, "document_digest": Base64URL.encode(document.digest)])
        let outcome = try await clients.register(client, recording: event.outboxEvent(random))
        guard outcome.isDone else {
            // Somebody else met it in the same moment.
            return try await catalog.client(document: document.url.text, in: issuer.home, at: now)
        }
        return client
    }

    /// The client that a document makes where nobody knew it.
    func client(
        of document: ClientMetadataDocument, in registry: OrganizationID, isPreregistered: Bool, at now: Date
    ) -> Client {
        let blank = Client(
            id: ClientID.make(at: now, random), registry: registry, kind: .metadataDocument, name: "", redirectURIs: [],
            grantTypes: [], responseTypes: [], authenticationMethod: .none, applicationType: nil, scopeCeiling: nil,
            clientURI: nil, logoURI: nil, policyURI: nil, tosURI: nil, documentURL: document.url.text,
            secretDigest: nil, registrationTokenDigest: nil, status: .active,
            expiresAt: isPreregistered ? nil : now + registration.unusedLifetime, version: 1, createdAt: now,
            updatedAt: now)
        var client = document.applied(to: blank, at: now)
        client.document?.isPreregistered = isPreregistered
        return client
    }

    private func replace(
        _ old: Client, by new: Client, _ document: ClientMetadataDocument, at issuer: Issuer, _ now: Date
    ) async throws -> Client? {
        let event = AuditEvent(
            .change(of: old, to: new), organization: issuer.id, id: EventID.make(at: now, random), time: now,
            actor: .system("client_documents"), targets: [new.auditTarget], client: new.wireID,
            changes: .between(old.facts, new.facts), metadata: ["document_digest": Base64URL.encode(document.digest)])
        let state = document.state(isPreregistered: old.document?.isPreregistered ?? false, at: now)
        let stored = try await clients.replaceDocument(
            of: new, state, recording: event.outboxEvent(random), at: now)
        if let stored {
            catalog.remember(stored, in: issuer.home, at: now)
            return stored
        }
        // Another node was faster; what it wrote is read within a second.
        return try await clients.find(old.id, in: issuer.id)
    }
}
