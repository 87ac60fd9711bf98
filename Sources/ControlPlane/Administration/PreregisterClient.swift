import Audit
import Foundation
import Keys
import Postgres
package import Tenancy

extension Administration {
    /// Makes a metadata document a client before anybody came with it, so that onboarding by strangers can be off (CIMD §7.2).
    /// The document is read now. One that is known already is the administrator's from now on.
    package func preregisterClient(
        document text: String, scopeCeiling: [String]?, in registry: OrganizationID,
        using documents: ClientDocuments, by administrator: Administrator
    ) async throws -> Administered<Client> {
        var checks = FieldChecks()
        checks.ceiling(scopeCeiling)
        try checks.finish()
        let document = try await document(
            at: text, "/document_url", in: registry, using: documents, by: administrator)
        return try await retryingLostUpdates(.any) {
            let known = try await clients.find(document: text, in: registry)
            var wanted =
                known.map { document.applied(to: $0, at: administrator.now) }
                ?? documents.client(of: document, in: registry, isPreregistered: true, at: administrator.now)
            wanted.scopeCeiling = scopeCeiling ?? wanted.scopeCeiling
            wanted.expiresAt = nil
            wanted.document?.isPreregistered = true
            let client = wanted
            return try await administer(registry, by: administrator) { transaction in
                let stored = try await store(client, insteadOf: known, at: administrator.now, transaction)
                return AdminChange(
                    value: stored, type: known == nil ? .clientCreated : .clientUpdated, target: stored.auditTarget,
                    changes: .between(known?.facts ?? [:], stored.facts), client: stored.wireID, isCached: true)
            }
        }
    }

    /// Lets people of an organization connect with a client that nobody of it came with yet: one of its own registry or of the
    /// platform's. A document that the platform never met is met now.
    ///
    /// - Parameter digest: of the only document that is meant; nil: whatever it says by now.
    package func approveClient(
        named clientID: String, shownAs digest: String?, using documents: ClientDocuments,
        in organization: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<Approval> {
        guard let client = try await client(named: clientID, in: organization, using: documents, by: administrator)
        else { throw AdminError.invalid([.unknown("/client_id")]) }
        if let digest, let document = client.document { try Self.check(digest, of: document) }
        let wanted = ClientAdmission(of: client, status: .active, at: administrator.now)
        // What somebody decided about does not go by itself any more. Its registry may be another's, so this is another
        // transaction, and comes first: better a registration too many than an approval of what is gone.
        if client.expiresAt != nil, !administrator.terms.isDryRun,
            try await clients.admission(of: client.id, by: organization) == nil
        {
            guard try await clients.keep(client.id, in: client.registry) else {
                throw AdminError.invalid([.unknown("/client_id")])
            }
        }
        return try await administer(organization, by: administrator) { transaction in
            let standing = try await clients.admit(wanted, by: organization, in: transaction)
            guard standing.isNew else {
                throw AdminError.conflict("The organization has met this client: decide about it by :approve or :deny.")
            }
            return AdminChange(
                value: Approval(admission: wanted, client: client), type: .clientApproved, target: client.auditTarget,
                changes: .between([:], ["status": .string(wanted.status.rawValue)]), client: client.wireID,
                isCached: false)
        }
    }

    private func client(
        named text: String, in organization: OrganizationID, using documents: ClientDocuments,
        by administrator: Administrator
    ) async throws -> Client? {
        if let id = ClientID(text) {
            if let own = try await clients.find(id, in: organization) { return own }
            return try await clients.find(id, in: .platform)
        }
        guard ClientDocumentURL(text) != nil else { return nil }
        if let known = try await clients.find(document: text, in: .platform) { return known }
        let document = try await document(at: text, "/client_id", in: .platform, using: documents, by: administrator)
        let client = documents.client(of: document, in: .platform, isPreregistered: false, at: administrator.now)
        if administrator.terms.isDryRun { return client }
        let event = AuditEvent(
            .clientRegistered, organization: .platform, id: EventID.make(at: administrator.now, random),
            time: administrator.now, actor: administrator.actor, targets: [client.auditTarget], client: client.wireID,
            metadata: ["kind": client.kind.rawValue, "document_digest": Base64URL.encode(document.digest)])
        let outcome = try await clients.register(client, recording: event.outboxEvent(random))
        return outcome.isDone ? client : try await clients.find(document: text, in: .platform)
    }

    /// - Parameter pointer: the member of the request that names the document.
    private func document(
        at text: String, _ pointer: String, in registry: OrganizationID, using documents: ClientDocuments,
        by administrator: Administrator
    ) async throws -> ClientMetadataDocument {
        guard let url = ClientDocumentURL(text) else {
            throw AdminError.invalid([
                FieldError(
                    pointer, "invalid",
                    "This must be an https URL with a path, without dot segments, fragment and user information.")
            ])
        }
        do {
            return try await documents.document(url, for: .known(in: registry), administrator.now)
        } catch {
            throw AdminError.invalid([FieldError(pointer, error.reason, error.explanation)])
        }
    }

    private func store(
        _ client: Client, insteadOf known: Client?, at now: Date, _ transaction: PostgresTransaction
    ) async throws -> Client {
        guard known != nil else {
            try await clients.insert(client, in: transaction)
            return client
        }
        guard let stored = try await clients.update(client, at: now, in: transaction) else { throw LostUpdate() }
        return stored
    }
}
