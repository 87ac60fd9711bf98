import Audit
import Foundation
package import Keys
import Postgres
package import Tenancy

/// A client as an administrator describes it; the registry decides the rest.
package struct NewClient: Sendable {
    package let kind: Client.Kind
    package var name: String
    package var redirectURIs: [String]
    package var grantTypes: [String]
    package var authenticationMethod = Client.AuthenticationMethod.clientSecretBasic
    package var keys = ClientKeys()
    package var applicationType: Client.ApplicationType?
    package var scopeCeiling: [String]?
    package var clientURI: String?
    package var logoURI: String?
    package var policyURI: String?
    package var tosURI: String?
    package var demands = Client.Demands()
    package var opensAdminAPI = false

    /// An application that people sign in to.
    package init(name: String, redirectURIs: [String]) {
        kind = .registered
        self.name = name
        self.redirectURIs = redirectURIs
        grantTypes = ["authorization_code", "refresh_token"]
    }

    /// A program that speaks for itself (RFC 6749 §4.4).
    package init(service name: String) {
        kind = .service
        self.name = name
        redirectURIs = []
        grantTypes = ["client_credentials"]
    }
}

/// Keys of a client as they are said: `jwks` or `jwks_uri`, not judged yet.
package struct ClientKeys: Sendable {
    package var jwks: JSONValue?
    package var jwksURI: String?

    package init() {}

    fileprivate var areGiven: Bool { jwks != nil || jwksURI != nil }

    /// The keys, and what is wrong with them.
    fileprivate func judged(_ checks: inout FieldChecks) -> Client.KeySource? {
        do {
            return try ClientMetadata.keys(jwks: jwks, uri: jwksURI)
        } catch {
            checks.add(FieldError(jwksURI == nil ? "/jwks" : "/jwks_uri", "invalid", error.description))
            return nil
        }
    }
}

/// What an administrator wants changed. What a client said of itself when it registered by itself is its own to change.
package struct ClientUpdate: Sendable {
    package var name: String?
    package var redirectURIs: [String]?
    package var keys = ClientKeys()
    package var scopeCeiling = Patch<[String]>.keep
    package var clientURI = Patch<String>.keep
    package var logoURI = Patch<String>.keep
    package var policyURI = Patch<String>.keep
    package var tosURI = Patch<String>.keep
    package var proofOfPossession: Bool?
    package var pushedRequests: Bool?
    package var opensAdminAPI: Bool?
    package var status: Client.Status?

    package init() {}

    /// Whether it touches what only an administrator's own registration may have changed.
    fileprivate var touchesMetadata: Bool {
        name != nil || redirectURIs != nil || keys.areGiven || proofOfPossession != nil || pushedRequests != nil
            || opensAdminAPI != nil || [clientURI, logoURI, policyURI, tosURI].contains { $0 != .keep }
    }
}

/// A client with the secret that is shown once.
package struct IssuedClient: Sendable {
    package let client: Client
    package let secret: Secret?
}

extension Administration {
    package func client(_ id: ClientID, in registry: OrganizationID) async throws -> Client {
        guard let found = try await clients.find(id, in: registry) else { throw AdminError.notFound }
        return found
    }

    package func createClient(
        _ wanted: NewClient, in registry: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<IssuedClient> {
        let secret = wanted.authenticationMethod.usesSecret ? Secret.random(prefix: "gs_", from: random) : nil
        var checks = FieldChecks()
        let keys = wanted.keys.judged(&checks)
        let client = Client(
            id: ClientID.make(at: administrator.now, random), registry: registry, kind: wanted.kind, name: wanted.name,
            redirectURIs: wanted.redirectURIs, grantTypes: wanted.grantTypes,
            responseTypes: wanted.grantTypes.contains("authorization_code") ? ["code"] : [],
            authenticationMethod: wanted.authenticationMethod, applicationType: wanted.applicationType,
            scopeCeiling: wanted.scopeCeiling, clientURI: wanted.clientURI, logoURI: wanted.logoURI,
            policyURI: wanted.policyURI, tosURI: wanted.tosURI, documentURL: nil,
            secretDigest: secret.map(SecretDigest.init(of:)), registrationTokenDigest: nil, status: .active,
            expiresAt: nil, version: 1, createdAt: administrator.now, updatedAt: administrator.now, keys: keys,
            demands: wanted.demands, opensAdminAPI: wanted.opensAdminAPI)
        checks.client(client)
        try checkAdminAccess(of: client, insteadOf: nil, by: administrator, &checks)
        try checks.finish()
        return try await administer(registry, by: administrator) { transaction in
            try await clients.insert(client, in: transaction)
            return AdminChange(
                value: IssuedClient(client: client, secret: secret), type: .clientCreated, target: client.auditTarget,
                changes: .between([:], client.facts), client: client.wireID, isCached: true)
        }
    }

    package func updateClient(
        _ id: ClientID, _ update: ClientUpdate, if condition: VersionCondition, in registry: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<Client> {
        try await retryingLostUpdates(condition) {
            let old = try await client(id, in: registry)
            try condition.check(old.version)
            guard old.isAdministered || !update.touchesMetadata else {
                throw AdminError.conflict(
                    "This client registered by itself: only its status and scope ceiling are yours.")
            }
            var new = old
            new.name = update.name ?? old.name
            new.redirectURIs = update.redirectURIs ?? old.redirectURIs
            new.scopeCeiling = update.scopeCeiling.applied(to: old.scopeCeiling)
            new.clientURI = update.clientURI.applied(to: old.clientURI)
            new.logoURI = update.logoURI.applied(to: old.logoURI)
            new.policyURI = update.policyURI.applied(to: old.policyURI)
            new.tosURI = update.tosURI.applied(to: old.tosURI)
            new.demands.proofOfPossession = update.proofOfPossession ?? old.demands.proofOfPossession
            new.demands.pushedRequests = update.pushedRequests ?? old.demands.pushedRequests
            new.opensAdminAPI = update.opensAdminAPI ?? old.opensAdminAPI
            new.status = update.status ?? old.status
            var checks = FieldChecks()
            if update.keys.areGiven { new.keys = update.keys.judged(&checks) }
            let wanted = new
            try checkAdminAccess(of: wanted, insteadOf: old, by: administrator, &checks)
            if old.isAdministered { checks.client(wanted) } else { checks.ceiling(wanted.scopeCeiling) }
            try checks.finish()
            return try await administer(registry, by: administrator) { transaction in
                guard let stored = try await clients.update(wanted, at: administrator.now, in: transaction) else {
                    throw LostUpdate()
                }
                return AdminChange(
                    value: stored, type: .change(of: old, to: stored), target: stored.auditTarget,
                    changes: .between(old.facts, stored.facts), client: stored.wireID, isCached: true)
            }
        }
    }

    /// The longest time that a secret works beside its successor.
    private static let longestOverlap = 7 * 86_400

    /// Puts a new secret in the place of the old one, which goes on working for so many seconds, so that it can be replaced
    /// where it is used; whatever was before it ends now.
    package func rotateClientSecret(
        _ id: ClientID, overlapSeconds: Int, in registry: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<IssuedClient> {
        var checks = FieldChecks()
        checks.range(overlapSeconds, 0...Self.longestOverlap, "/overlap_seconds")
        try checks.finish()
        return try await retryingLostUpdates(.any) {
            let old = try await client(id, in: registry)
            guard old.authenticationMethods.contains(where: \.usesSecret) else {
                throw AdminError.conflict("This client has no secret.")
            }
            let secret = Secret.random(prefix: "gs_", from: random)
            var new = old
            new.secretDigest = SecretDigest(of: secret)
            new.previousSecret =
                overlapSeconds == 0
                ? nil
                : old.secretDigest.map {
                    Client.PreviousSecret(digest: $0, expiresAt: administrator.now + Double(overlapSeconds))
                }
            let wanted = new
            var checks = FieldChecks()
            try checkAdminAccess(of: wanted, insteadOf: old, by: administrator, &checks)
            try checks.finish()
            return try await administer(registry, by: administrator) { transaction in
                guard let stored = try await clients.update(wanted, at: administrator.now, in: transaction) else {
                    throw LostUpdate()
                }
                return AdminChange(
                    value: IssuedClient(client: stored, secret: secret), type: .clientSecretRotated,
                    target: stored.auditTarget,
                    changes: [
                        AuditEvent.Change(
                            path: "secret", old: AuditEvent.Change.redacted, new: AuditEvent.Change.redacted)
                    ], client: stored.wireID, metadata: ["overlap_seconds": "\(overlapSeconds)"], isCached: true)
            }
        }
    }

    /// Removes a client; every connection of this organization made with it ends, and what people allowed it is forgotten.
    package func deleteClient(
        _ id: ClientID, if condition: VersionCondition, in registry: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<Client> {
        try await retryingLostUpdates(condition) {
            let old = try await client(id, in: registry)
            try condition.check(old.version)
            return try await administer(registry, by: administrator) { transaction in
                // Holds the row at the version that was read.
                guard let held = try await clients.update(old, at: administrator.now, in: transaction),
                    try await clients.delete(held, in: transaction)
                else { throw LostUpdate() }
                let ended = try await grants.revokeAll(
                    of: id, in: registry, because: AuditEventType.clientDeleted.rawValue, transaction)
                return AdminChange(
                    value: old, type: .clientDeleted, target: old.auditTarget, changes: .between(old.facts, [:]),
                    client: old.wireID, metadata: ["grants_ended": "\(ended.count)"], isCached: true)
            }
        }
    }
}

extension FieldChecks {
    fileprivate mutating func client(_ client: Client) {
        name(client.name, "/name")
        if client.kind == .service { service(client) } else { application(client) }
        require(
            client.keys != nil || client.authenticationMethod != .privateKeyJWT, "/jwks", "required",
            "private_key_jwt needs jwks or jwks_uri.")
        ceiling(client.scopeCeiling)
        let pages = [
            ("client_uri", client.clientURI), ("logo_uri", client.logoURI), ("policy_uri", client.policyURI),
            ("tos_uri", client.tosURI),
        ]
        for case (let name, let uri?) in pages {
            require(ResourceURI(uri)?.scheme == "https", "/\(name)", "invalid", "This has to be an https URL.")
        }
    }

    private mutating func service(_ client: Client) {
        require(client.redirectURIs.isEmpty, "/redirect_uris", "invalid", "A service client has no redirect URI.")
        require(
            client.grantTypes.first == "client_credentials"
                && [[], [TokenExchangeGrant.type]].contains(Array(client.grantTypes.dropFirst())), "/grant_types",
            "invalid",
            "A service client has the grant type client_credentials, and may have \(TokenExchangeGrant.type) behind it."
        )
        require(
            client.isConfidential, "/token_endpoint_auth_method", "invalid",
            "A service client proves who it is: use client_secret_basic, client_secret_post or private_key_jwt.")
    }

    private mutating func application(_ client: Client) {
        let grants = Set(client.grantTypes)
        let redirects = grants.contains("authorization_code") ? 1...16 : 0...0
        require(
            redirects.contains(client.redirectURIs.count), "/redirect_uris", "invalid",
            "A client has 1 to 16 redirect URIs with the grant type authorization_code, and none without.")
        for (index, uri) in client.redirectURIs.enumerated() {
            require(
                RedirectURI(uri) != nil, "/redirect_uris/\(index)", "invalid",
                "A redirect URI is https, http on this machine, or a known private-use scheme, without fragment, user information or wildcard."
            )
        }
        let beginnings: Set = ["authorization_code", DeviceCodeGrant.type, JWTBearerGrant.type]
        require(
            grants.isSubset(of: beginnings.union(["refresh_token", TokenExchangeGrant.type]))
                && !grants.isDisjoint(with: beginnings)
                && grants.count == client.grantTypes.count, "/grant_types", "invalid",
            "grant_types has one or more of \(beginnings.sorted().joined(separator: ", ")), and may have refresh_token and \(TokenExchangeGrant.type), each once."
        )
        require(
            client.isConfidential || !grants.contains(JWTBearerGrant.type), "/token_endpoint_auth_method", "invalid",
            "A client that presents another issuer's assertions proves who it is.")
    }

    mutating func ceiling(_ scopes: [String]?) {
        guard let scopes else { return }
        require(
            scopes.count <= 200 && scopes.allSatisfy(ScopeName.isValid), "/scope_ceiling", "invalid",
            "Up to 200 scopes in the characters of RFC 6749 section 3.3.")
    }
}
