package import Audit
package import Foundation
package import Keys
import Postgres
import Synchronization
package import Tenancy

/// What a client does with its own registration (RFC 7592): read it, replace it, end it.
///
/// The registration access token proves the client at this one place and nowhere else. Whoever has none, a wrong one or
/// another client's hears the same.
package final class ClientManagement: Sendable {
    private let database: TenantDatabase
    private let catalog: TenantCatalog
    private let refusals: RefusalLog
    private let random: RandomBytes
    private var clients: ClientStore { ClientStore(database: database) }
    private var grants: GrantStore { GrantStore(database: database) }
    private var organizations: OrganizationStore { OrganizationStore(database: database) }

    /// Changes by each client in this hour, on this node: each makes every node read its registry's clients anew.
    private struct Hour {
        var started = Date.distantPast
        var changes: [ClientID: Int] = [:]
    }
    private static let mostChanges = 20
    private let hour = Mutex(Hour())

    package init(database: TenantDatabase, catalog: TenantCatalog, refusals: RefusalLog, random: RandomBytes) {
        self.database = database
        self.catalog = catalog
        self.refusals = refusals
        self.random = random
    }

    /// Who asks, at which issuer, for which client.
    package struct Call: Sendable {
        let clientID: String
        let token: Secret?
        let issuer: Issuer
        let request: AuditEvent.RequestInfo
        let now: Date

        package init(
            clientID: String, token: Secret?, issuer: Issuer, request: AuditEvent.RequestInfo, now: Date
        ) {
            self.clientID = clientID
            self.token = token
            self.issuer = issuer
            self.request = request
            self.now = now
        }
    }

    /// `GET` (RFC 7592 §2.1).
    package func read(_ call: Call) async throws -> ClientRegistration.Registered {
        let client = try await answering { try await self.authenticated(call) }
        return ClientRegistration.Registered(client: client, secret: nil, registrationToken: nil)
    }

    /// `PUT` (RFC 7592 §2.2): everything that is said replaces what was said, everything that is not is gone.
    ///
    /// - Returns: the client, and its secret if it got one now.
    package func replace(
        _ metadata: ClientMetadata, _ repeated: RepeatedMembers, _ call: Call
    ) async throws -> ClientRegistration.Registered {
        try await answering {
            let old = try await self.authenticated(call)
            do {
                try repeated.check(against: old)
                let checked = try metadata.checked(.registration)
                try ClientRegistration.checkHosts(checked.redirectURIs, at: call.issuer)
                try self.takeChange(of: old.id, at: call.now)
                return try await self.write(checked, metadata, insteadOf: old, call)
            } catch let error as OAuthError where error.code != .temporarilyUnavailable {
                try await self.refuse(error, client: old, call)
                throw error
            }
        }
    }

    /// `DELETE` (RFC 7592 §2.3): client, secrets, token and connections end at once.
    package func delete(_ call: Call) async throws {
        try await answering {
            let client = try await self.authenticated(call)
            let event = self.event(.clientDeleted, client, changes: .between(client.facts, [:]), call)
            let isDone = try await self.database.transaction(client.registry, events: [event.id]) { transaction in
                guard try await self.clients.delete(client, in: transaction) else { return false }
                _ = try await self.grants.revokeAll(
                    of: client.id, in: client.registry, because: AuditEventType.clientDeleted.rawValue, transaction)
                try await self.organizations.bumpEpoch(of: client.registry, in: transaction)
                try await transaction.query(event.insertion)
                return true
            }
            guard isDone else { throw Self.unproven }
            self.catalog.forget(client.registry)
        }
    }

    // MARK: Proving

    private static let unproven = OAuthError(
        .invalidToken, "The registration access token is not valid for this client.", reason: "registration_token")

    private func authenticated(_ call: Call) async throws -> Client {
        guard let token = call.token else { throw OAuthError.tokenMissing }
        var client: Client?
        if let id = ClientID(call.clientID) { client = try await clients.find(id, in: call.issuer.id) }
        guard let client, client.kind == .dynamic, client.isLive(at: call.now),
            let digest = client.registrationTokenDigest, digest == SecretDigest(of: token)
        else {
            try await refuse(Self.unproven, client: nil, call)
            throw Self.unproven
        }
        return client
    }

    private func refuse(_ error: OAuthError, client: Client?, _ call: Call) async throws {
        let event = AuditEvent(
            client == nil ? .clientAuthFailed : .clientUpdated, organization: call.issuer.id,
            id: EventID.make(at: call.now, random), time: call.now, outcome: .denied, reason: error.reason,
            actor: .anonymous,
            targets: [
                client?.auditTarget ?? AuditEvent.Target(type: "organization", id: call.issuer.id.description)
            ], client: ClientID(call.clientID)?.description, request: call.request)
        try await refusals.refuse(event, source: call.request.ip)
    }

    private func answering<Value>(_ work: () async throws -> Value) async throws -> Value {
        do {
            return try await work()
        } catch  where error.isStoreFailure {
            throw OAuthError.unavailable(error)
        }
    }

    private func takeChange(of client: ClientID, at now: Date) throws(OAuthError) {
        let changes = hour.withLock { hour in
            if abs(now.timeIntervalSince(hour.started)) >= 3_600 { hour = Hour(started: now) }
            hour.changes[client, default: 0] += 1
            return hour.changes[client] ?? 1
        }
        guard changes <= Self.mostChanges else {
            throw OAuthError(
                .temporarilyUnavailable, "This registration was changed too often; try again later.",
                reason: "registration_changes", retryAfter: .seconds(600))
        }
    }

    // MARK: Writing

    private func write(
        _ checked: ClientMetadata.Checked, _ metadata: ClientMetadata, insteadOf old: Client, _ call: Call
    ) async throws -> ClientRegistration.Registered {
        let secret = checked.hasSecret && old.secretDigest == nil ? Secret.random(prefix: "gs_", from: random) : nil
        var client = old
        client.describe(checked, metadata)
        if !checked.hasSecret { client.previousSecret = nil }
        client.secretDigest = checked.hasSecret ? secret.map(SecretDigest.init(of:)) ?? old.secretDigest : nil
        let wanted = client
        let event = event(.change(of: old, to: client), client, changes: .between(old.facts, client.facts), call)
        let stored =
            try await database.transaction(client.registry, events: [event.id]) { transaction in
                guard let stored = try await self.clients.update(wanted, at: call.now, in: transaction) else {
                    return nil
                }
                // Unused registrations are read anew each second anyway.
                if old.expiresAt == nil { try await self.organizations.bumpEpoch(of: wanted.registry, in: transaction) }
                try await transaction.query(event.insertion)
                return stored
            } as Client?
        guard let stored else {
            throw OAuthError(
                .temporarilyUnavailable, "The registration is being changed by somebody else; try again.",
                reason: "registration_race", retryAfter: .seconds(1))
        }
        catalog.forget(client.registry)
        return ClientRegistration.Registered(client: stored, secret: secret, registrationToken: nil)
    }

    private func event(
        _ type: AuditEventType, _ client: Client, changes: [AuditEvent.Change], _ call: Call
    ) -> OutboxEvent {
        AuditEvent(
            type, organization: client.registry, id: EventID.make(at: call.now, random), time: call.now,
            actor: .client(client.wireID), targets: [client.auditTarget], client: client.wireID, changes: changes,
            request: call.request
        ).outboxEvent(random)
    }
}

/// Members of a `PUT` that repeat what the server said, or must not (RFC 7592 §2.2).
package struct RepeatedMembers: Sendable {
    private let clientID: String?
    private let secret: Secret?
    private let foreign: Bool

    package init(_ value: JSONValue) {
        let members = value.object ?? [:]
        clientID = members["client_id"]?.string
        secret = members["client_secret"]?.string.map { Secret($0) }
        foreign = [
            "registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at",
        ]
        .contains { members[$0] != nil }
    }

    /// - Throws: `invalid_client_metadata`.
    func check(against client: Client) throws(OAuthError) {
        guard clientID == client.wireID else {
            throw OAuthError(.invalidClientMetadata, "client_id must be the client's own.", reason: "client_id_differs")
        }
        guard !foreign else {
            throw OAuthError(
                .invalidClientMetadata,
                "registration_access_token, registration_client_uri, client_secret_expires_at and client_id_issued_at are the server's to say.",
                reason: "server_members")
        }
        if let secret, client.secretDigest != SecretDigest(of: secret) {
            throw OAuthError(.invalidClientMetadata, "client_secret is not the current one.", reason: "wrong_secret")
        }
    }
}

extension Client {
    /// Takes over everything that a client says of itself.
    mutating func describe(_ checked: ClientMetadata.Checked, _ metadata: ClientMetadata) {
        name = checked.name
        redirectURIs = checked.redirectURIs
        grantTypes = checked.grantTypes
        responseTypes = checked.responseTypes
        authenticationMethod = checked.method
        otherMethods = checked.otherMethods
        demands = metadata.demands
        keys = checked.keys
        assertionAlgorithm = checked.assertionAlgorithm
        applicationType = checked.applicationType
        clientURI = metadata.clientURI
        logoURI = metadata.logoURI
        policyURI = metadata.policyURI
        tosURI = metadata.tosURI
    }
}
