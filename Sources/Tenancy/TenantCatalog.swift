package import Foundation
import Keys
package import Logging
import ServiceLifecycle
import Synchronization

/// What this node remembers of organizations and clients, and for how long it may believe it.
///
/// Every entry carries the epoch at which it was read. A watcher asks the database every 250 ms which epochs moved; when
/// its last good answer is older than 750 ms, every look-up asks for the epoch itself. So a change is seen everywhere
/// within a second, and since issuing statements assert the epochs (``EpochGuard``), never acted on too late.
package final class TenantCatalog: Sendable {
    /// Times and sizes an operator may know about; the defaults are the contract's.
    package struct Settings: Sendable {
        package var pollInterval: Duration = .milliseconds(250)
        package var trustInterval: Duration = .milliseconds(750)
        package var organizations = 20_000
        package var clients = 200_000

        package init() {}
    }

    private struct State {
        var snapshots: RecentlyUsed<OrganizationID, TenantSnapshot>
        var clients: RecentlyUsed<ClientKey, CachedClient>
        /// Which client a metadata document is; a hint, since a client may be removed and met again.
        var documents: RecentlyUsed<DocumentKey, ClientID>
        var slugs: [String: OrganizationID] = [:]
        var credentials: [ResourceCredentialID: OrganizationID] = [:]
        /// Epochs as last reported by the watcher; only of organizations that are cached.
        var movedEpochs: [OrganizationID: Int64] = [:]
        var lastGoodPoll: ContinuousClock.Instant?
        var polledThrough: Date?
        /// Policy rows that cannot be read and were complained about.
        var unreadablePolicies: Set<ScopePolicyID> = []

        /// Keeps reports only about what is cached; a fresh read carries its own epoch.
        mutating func compactMovedEpochs() {
            movedEpochs = movedEpochs.filter { snapshots.contains($0.key) }
        }
    }
    private struct ClientKey: Hashable {
        let registry: OrganizationID
        let client: ClientID
    }
    private struct DocumentKey: Hashable {
        let registry: OrganizationID
        let url: String
    }
    /// An object, so that places that are free hold no room for one.
    private final class CachedClient: Sendable {
        let client: Client
        let epoch: Int64
        let readAt: Date

        init(_ client: Client, epoch: Int64, readAt: Date) {
            self.client = client
            self.epoch = epoch
            self.readAt = readAt
        }

        /// Administrators' changes move the epoch. An unused registration and a metadata document also change without one,
        /// since strangers could otherwise make everybody read everything anew: they are believed for a second.
        func isCurrent(at now: Date) -> Bool {
            guard client.kind == .metadataDocument || client.expiresAt != nil else { return true }
            return abs(now.timeIntervalSince(readAt)) < 1
        }
    }

    private let organizations: OrganizationStore
    private let resources: ResourceStore
    private let policies: ScopePolicyStore
    private let providers: IdentityProviderStore
    private let trustedIssuers: TrustedIssuerStore
    private let keys: SigningKeyStore
    private let credentials: ResourceCredentialStore
    private let brandings: BrandingStore
    private let clients: ClientStore
    private let secrets: TenantSecrets
    private let settings: Settings
    private let logger: Logger
    private let state: Mutex<State>

    package init(database: TenantDatabase, secrets: TenantSecrets, settings: Settings = Settings(), logger: Logger) {
        organizations = OrganizationStore(database: database)
        resources = ResourceStore(database: database)
        policies = ScopePolicyStore(database: database)
        providers = IdentityProviderStore(database: database)
        trustedIssuers = TrustedIssuerStore(database: database)
        keys = SigningKeyStore(database: database)
        credentials = ResourceCredentialStore(database: database)
        brandings = BrandingStore(database: database)
        clients = ClientStore(database: database)
        self.secrets = secrets
        self.settings = settings
        self.logger = logger
        state = Mutex(
            State(
                snapshots: RecentlyUsed(capacity: settings.organizations),
                clients: RecentlyUsed(capacity: settings.clients),
                documents: RecentlyUsed(capacity: settings.clients)))
    }

    // MARK: Looking up

    /// The organization with this slug, whatever its status.
    package func organization(slug: String) async throws -> OrganizationID? {
        if let known = state.withLock({ $0.slugs[slug] }) { return known }
        guard let id = try await organizations.organization(ofSlug: slug) else { return nil }
        state.withLock { state in
            // Slugs never change hands, so an entry can only be forgotten for room.
            if state.slugs.count >= settings.organizations { state.slugs.removeAll() }
            state.slugs[slug] = id
        }
        return id
    }

    /// The organization whose resource has this credential, or had it; whether it has, its snapshot says.
    package func organization(credential: ResourceCredentialID) async throws -> OrganizationID? {
        if let known = state.withLock({ $0.credentials[credential] }) { return known }
        guard let id = try await credentials.organization(of: credential) else { return nil }
        state.withLock { state in
            // Ids never change hands, so an entry can only be forgotten for room.
            if state.credentials.count >= settings.clients { state.credentials.removeAll() }
            state.credentials[credential] = id
        }
        return id
    }

    /// An organization as it is now, or as it was within the last second.
    ///
    /// - Returns: nil when there is no such organization.
    package func snapshot(of organization: OrganizationID) async throws -> TenantSnapshot? {
        if let known = trusted(organization) { return known }
        if let known = state.withLock({ $0.snapshots.value(of: organization) }),
            try await organizations.epoch(of: organization) == known.epoch
        {
            return known
        }
        return try await read(organization)
    }

    /// An organization as last seen, however long ago: for metadata and JWKS while the database is away.
    package func remembered(_ organization: OrganizationID) -> TenantSnapshot? {
        state.withLock { $0.snapshots.value(of: organization) }
    }

    /// Forgets what is known of an organization; the next look-up reads it. For a guard that moved under a decision.
    package func forget(_ organization: OrganizationID) {
        state.withLock { $0.snapshots.remove(organization) }
    }

    /// Looks whether an organization moved since it was read, and forgets it if so. For a guard that moved under a
    /// decision, and for a race that was merely lost.
    package func recheck(_ organization: OrganizationID) async throws {
        guard let known = remembered(organization) else { return }
        if try await organizations.epoch(of: organization) != known.epoch { forget(organization) }
    }

    /// A client of a registry, together with the registry's snapshot it is consistent with.
    package func client(_ client: ClientID, in registry: TenantSnapshot, at now: Date) async throws -> Client? {
        let key = ClientKey(registry: registry.organization.id, client: client)
        if let cached = state.withLock({ $0.clients.value(of: key) }), cached.epoch == registry.epoch,
            cached.isCurrent(at: now)
        {
            return cached.client
        }
        guard let found = try await clients.find(client, in: registry.organization.id) else { return nil }
        remember(found, in: registry, at: now)
        return found
    }

    /// The client of a registry whose `client_id` is this URL.
    package func client(document url: String, in registry: TenantSnapshot, at now: Date) async throws -> Client? {
        let key = DocumentKey(registry: registry.organization.id, url: url)
        if let id = state.withLock({ $0.documents.value(of: key) }),
            let found = try await client(id, in: registry, at: now)
        {
            return found
        }
        guard let found = try await clients.find(document: url, in: registry.organization.id) else { return nil }
        remember(found, in: registry, at: now)
        state.withLock { $0.documents.insert(found.id, for: key) }
        return found
    }

    /// A client as this node last saw it, however long ago.
    package func remembered(_ client: ClientID, in registry: OrganizationID) -> Client? {
        state.withLock { $0.clients.value(of: ClientKey(registry: registry, client: client))?.client }
    }

    /// The same, by the URL of its document.
    package func remembered(document url: String, in registry: OrganizationID) -> Client? {
        state.withLock { state in
            state.documents.value(of: DocumentKey(registry: registry, url: url)).flatMap {
                state.clients.value(of: ClientKey(registry: registry, client: $0))?.client
            }
        }
    }

    /// Whether this node knows whose credential it is.
    package func remembers(_ credential: ResourceCredentialID) -> Bool {
        state.withLock { $0.credentials[credential] != nil }
    }

    /// Puts a client as it was just written in the place of what was known of it on this node.
    package func remember(_ client: Client, in registry: TenantSnapshot, at now: Date) {
        let key = ClientKey(registry: registry.organization.id, client: client.id)
        state.withLock {
            $0.clients.insert(CachedClient(client, epoch: registry.epoch, readAt: now), for: key)
        }
    }

    /// The guard for a decision made from these snapshots.
    package func guardian(_ organization: TenantSnapshot, _ platform: TenantSnapshot) -> EpochGuard {
        EpochGuard(
            organization: organization.organization.id, organizationEpoch: organization.epoch,
            platformEpoch: platform.epoch)
    }

    private func trusted(_ organization: OrganizationID) -> TenantSnapshot? {
        state.withLock { state in
            guard let polled = state.lastGoodPoll, ContinuousClock.now - polled < settings.trustInterval,
                let known = state.snapshots.value(of: organization),
                state.movedEpochs[organization].map({ $0 == known.epoch }) ?? true
            else { return nil }
            return known
        }
    }

    /// Reads an organization. The epoch is read first: data newer than its epoch fails a guard, data older cannot be.
    private func read(_ organization: OrganizationID) async throws -> TenantSnapshot? {
        guard let epoch = try await organizations.epoch(of: organization),
            let found = try await organizations.find(organization)
        else { return nil }
        async let own = resources.all(of: organization)
        async let admitted = resources.admitted(by: organization)
        async let policy = self.policy(of: organization)
        async let providers = providers.all(of: organization)
        async let trusted = trustedIssuers.all(of: organization)
        async let keys = keys.all(of: organization)
        async let credentials = credentials.all(of: organization)
        async let branding = brandings.find(organization)
        let snapshot = TenantSnapshot(
            organization: found, epoch: epoch, resources: try await own, admittedResources: Set(try await admitted),
            policy: try await policy, identityProviders: try await providers,
            trustedIssuers: try await trusted, signingKeys: try await keys.map { try unseal($0, of: found) },
            resourceCredentials: try await credentials, branding: try await branding)
        state.withLock { state in
            // A slower reader must not put an older state over a newer one.
            if let known = state.snapshots.value(of: organization), known.epoch > epoch { return }
            state.snapshots.insert(snapshot, for: organization)
        }
        return snapshot
    }

    /// The organization's policy. Rows that cannot be read deny; each is complained about once.
    private func policy(of organization: OrganizationID) async throws -> [ScopePolicyStatement] {
        let (statements, unreadable) = try await policies.read(organization)
        for statement in unreadable
        where state.withLock({ $0.unreadablePolicies.insert(statement).inserted }) {
            logger.error(
                "a scope policy cannot be read and denies what it speaks of",
                metadata: [
                    "organization": .string(organization.description), "scope_policy": .string(statement.description),
                ])
        }
        return statements
    }

    private func unseal(_ record: SigningKeyRecord, of organization: Organization) throws -> UnsealedSigningKey {
        let signing = try record.sealedPrivateKey.map { sealed in
            try SigningKey(pkcs8: secrets.open(sealed, of: organization, .privateKey(record.id)))
        }
        return UnsealedSigningKey(
            record: record, verification: try VerificationKey(pem: record.publicKeyPEM),
            signing: signing)
    }

    // MARK: Watching

    /// Asks once which epochs moved.
    package func poll() async throws {
        let since = state.withLock { $0.polledThrough }
        let started = ContinuousClock.now
        // Commits may become visible a little after the moment they carry: look back a few seconds each time.
        let result = try await organizations.epochs(
            changedSince: since.map { $0 - 5 } ?? Date(timeIntervalSince1970: 0))
        state.withLock { state in
            for (organization, epoch) in result.changed { state.movedEpochs[organization] = epoch }
            if state.movedEpochs.count > settings.organizations { state.compactMovedEpochs() }
            state.lastGoodPoll = started
            state.polledThrough = result.now
        }
    }
}

extension TenantCatalog: Service {
    /// Polls until graceful shutdown.
    package func run() async throws {
        await cancelWhenGracefulShutdown {
            var failing = false
            while !Task.isCancelled {
                do {
                    try await self.poll()
                    if failing { self.logger.notice("epochs are readable again") }
                    failing = false
                } catch {
                    if !failing {
                        self.logger.warning(
                            "epochs cannot be read; look-ups ask the database",
                            metadata: [
                                "error": "\(String(reflecting: error))"
                            ])
                    }
                    failing = true
                }
                try? await Task.sleep(for: self.settings.pollInterval)
            }
        }
    }
}
