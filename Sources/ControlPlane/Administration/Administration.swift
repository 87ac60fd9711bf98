package import Audit
import Foundation
package import Keys
package import Logging
package import Outbound
import Postgres
package import Tenancy

// This folder owns what administrators do: a file for each kind of thing, or for a use case that fills one. Each use case
// checks everything first and then runs one transaction on a pinned connection: change, epoch where cached data depends on
// it, event. What it returns was committed.

/// Numbers and permissions an operator chooses.
package struct AdministrationSettings: Sendable {
    /// The public URL `P`, without a trailing slash.
    package var publicURL: String
    /// Development only: identity providers may be reached at loopback URLs.
    package var allowLoopbackUpstreams = false
    /// Key `GATEHOUSE_STYTCH_HOSTS`. Hosts beside `stytch.com` and its subdomains that project secrets may be sent to, in
    /// lower case; for custom domains of Stytch projects. Default none.
    package var allowedUpstreamHosts: Set<String> = []
    /// How long a new signing key is published before it may sign, so that every cached JWK Set has it by then. Default
    /// 300 s.
    package var keyPublicationLead: Duration = .seconds(300)
    /// How long after its moment an access review is answered at the earliest: the longest that a commit takes.
    package var accessReviewSettling: Duration = .seconds(2)
    /// Key `GATEHOUSE_DNS_SERVERS`. Where organizations' proofs that a domain is theirs are looked up.
    package var resolveText: TextRecordResolver = textRecordResolver()

    package init(publicURL: String, allowLoopbackUpstreams: Bool = false) {
        self.publicURL = publicURL
        self.allowLoopbackUpstreams = allowLoopbackUpstreams
    }
}

/// The use cases of administration.
///
/// Callers have proven that the administrator reaches the organization and holds the scope; what lies inside the
/// organization is checked here.
package struct Administration: Sendable {
    package let database: TenantDatabase
    package let catalog: TenantCatalog
    package let secrets: TenantSecrets
    package let settings: AdministrationSettings
    let random: RandomBytes
    let logger: Logger
    let errands = Errands()

    package init(
        database: TenantDatabase, catalog: TenantCatalog, secrets: TenantSecrets, settings: AdministrationSettings,
        random: RandomBytes = .system, logger: Logger
    ) {
        self.database = database
        self.catalog = catalog
        self.secrets = secrets
        self.settings = settings
        self.random = random
        self.logger = logger
    }

    package var organizations: OrganizationStore { OrganizationStore(database: database) }
    package var users: UserStore { UserStore(database: database) }
    package var groups: GroupStore { GroupStore(database: database) }
    package var scimTokens: SCIMTokenStore { SCIMTokenStore(database: database) }
    package var clients: ClientStore { ClientStore(database: database) }
    package var resources: ResourceStore { ResourceStore(database: database) }
    package var resourceCredentials: ResourceCredentialStore { ResourceCredentialStore(database: database) }
    package var policies: ScopePolicyStore { ScopePolicyStore(database: database) }
    package var providers: IdentityProviderStore { IdentityProviderStore(database: database) }
    package var trustedIssuers: TrustedIssuerStore { TrustedIssuerStore(database: database) }
    package var grants: GrantStore { GrantStore(database: database) }
    package var programmaticTokens: ProgrammaticTokenStore { ProgrammaticTokenStore(database: database) }
    package var adminKeys: AdminKeyStore { AdminKeyStore(database: database) }
    package var signingKeys: SigningKeyStore { SigningKeyStore(database: database) }
    var idempotency: IdempotencyStore { IdempotencyStore(database: database) }
    package var auditLog: AuditLog { AuditLog(database: database) }
}

/// A committed change: the new state, and the event that records it.
package struct Administered<Value: Sendable>: Sendable {
    package let value: Value
    /// Nil after a dry run: the state is what it would have become.
    package let event: EventID?

    /// What may be shown only where it works: a secret of a dry run opens nothing, or would open what nobody stored.
    package func shown<Shown>(_ secret: Shown?) -> Shown? { event == nil ? nil : secret }
}

/// What a use case did inside its transaction, and what the log says of it.
struct AdminChange<Value: Sendable>: Sendable {
    let value: Value
    let type: AuditEventType
    let target: AuditEvent.Target
    /// Whom it touches besides.
    var otherTargets: [AuditEvent.Target] = []
    var changes: [AuditEvent.Change] = []
    /// The OAuth client concerned, by its wire id.
    var client: String?
    var metadata: [String: String] = [:]
    /// The access token concerned, what it may do and where, and what policy said of it.
    var token: TokenID?
    var scopes: [String]?
    var audience: String?
    var policy: AuditEvent.PolicyInfo?
    /// Caches hold what was changed, so that every node has to read it again.
    let isCached: Bool
}

/// Somebody else changed the row between reading and writing it.
struct LostUpdate: Error {}

extension Administration {
    /// The one transaction of a use case: change, epoch, event, the reply where it has to be kept, COMMIT. A dry run does
    /// the same and rolls back.
    ///
    /// - Throws: ``AdminError/idempotencyKeyInFlight``, ``AdminError/idempotencyKeyReused``, ``RepeatedRequest``.
    func administer<Value: Sendable>(
        _ organization: OrganizationID, by administrator: Administrator,
        _ change: @Sendable (PostgresTransaction) async throws -> AdminChange<Value>
    ) async throws -> Administered<Value> {
        let id = EventID.make(at: administrator.now, random)
        let terms = administrator.terms
        let done: AdminChange<Value>
        do {
            done = try await database.transaction(organization, events: [id]) { transaction in
                if let once = terms.once, !terms.isDryRun {
                    try await begin(once, for: organization, at: administrator.now, transaction)
                }
                let done = try await change(transaction)
                if done.isCached { try await organizations.bumpEpoch(of: organization, in: transaction) }
                let event = AuditEvent(
                    done.type, organization: organization, id: id, time: administrator.now, actor: administrator.actor,
                    targets: [done.target] + done.otherTargets, client: done.client ?? administrator.clientID,
                    scopes: done.scopes?.sorted(),
                    audience: done.audience.map { [$0] }, token: done.token?.description, changes: done.changes,
                    request: administrator.request, policy: done.policy,
                    metadata: administrator.noted(in: done.metadata))
                try await transaction.query(event.outboxEvent(random).insertion)
                if let once = terms.once {
                    let reply = try once.reply(done.value, id)
                    if !terms.isDryRun {
                        try await keep(reply, of: once, for: organization, at: administrator.now, transaction)
                    }
                }
                if terms.isDryRun { throw DryRun(outcome: done.value) }
                return done
            }
        } catch let dryRun as DryRun<Value> {
            return Administered(value: dryRun.outcome, event: nil)
        } catch let error as PostgresError where error.isForeignKeyViolation {
            throw AdminError.conflict("Something this refers to was removed meanwhile.")
        }
        // The watcher tells the other nodes; this one knows already.
        if done.isCached { catalog.forget(organization) }
        return Administered(value: done.value, event: id)
    }

    /// Reads, decides and writes again when somebody else came between, unless the caller named the version it meant.
    func retryingLostUpdates<Value>(
        _ condition: VersionCondition, _ attempt: () async throws -> Value
    ) async throws -> Value {
        for _ in 0..<4 {
            do {
                return try await attempt()
            } catch is LostUpdate {
                guard condition == .any else { throw AdminError.preconditionFailed }
            }
        }
        throw AdminError.conflict("Others are changing this at the same moment; try again.")
    }

    /// An organization that exists and was not deleted, unless that is no matter.
    package func organization(_ id: OrganizationID, evenDeleted: Bool = false) async throws -> Organization {
        guard let found = try await organizations.find(id), evenDeleted || found.status != .deleted else {
            throw AdminError.notFound
        }
        return found
    }
}
