import Audit
import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import Keys
import Logging
import Postgres
import Tenancy
import TestSupport
import Testing

@testable import API

@Suite struct AdminRecordsTests {
    /// The clients that people of the organization gave their consent.
    private static func consents(_ server: AdminServer, _ tenant: AdminServer.Tenant) async throws -> [ClientID] {
        guard let organization = OrganizationID(tenant.id) else { throw AdminServer.Unexpected("no id") }
        return try await server.administration.database.read(
            organization, "SELECT client_id FROM consent WHERE organization_id = \(organization)"
        ) { try $0.id("client_id") }
    }

    private static func revive(_ grant: GrantID, _ server: AdminServer, _ tenant: AdminServer.Tenant) async throws {
        guard let organization = OrganizationID(tenant.id) else { throw AdminServer.Unexpected("no id") }
        try await server.administration.database.transaction(organization) { transaction in
            _ = try await transaction.query(
                """
                UPDATE "grant" SET status = 'active' WHERE organization_id = \(organization) AND id = \(grant)
                """)
        }
    }

    /// A client that registered itself.
    private static func register(
        _ server: AdminServer, in registry: OrganizationID = .platform, expiresAt: Date? = nil
    ) async throws -> Client {
        let now = Date()
        let client = Client(
            id: ClientID.make(at: now, .system), registry: registry, kind: .dynamic, name: "ChatGPT",
            redirectURIs: ["https://chatgpt.example/cb"], grantTypes: ["authorization_code"], responseTypes: ["code"],
            authenticationMethod: .none, applicationType: nil, scopeCeiling: nil, clientURI: nil, logoURI: nil,
            policyURI: nil, tosURI: nil, documentURL: nil, secretDigest: nil, registrationTokenDigest: nil,
            status: .active, expiresAt: expiresAt, version: 1, createdAt: now, updatedAt: now)
        try await server.administration.database.transaction(registry) { transaction in
            try await server.administration.clients.insert(client, in: transaction)
        }
        return client
    }

    /// A connection, with consent, of the furnished user with a client of a registry.
    private static func connect(
        _ server: AdminServer, _ tenant: AdminServer.Tenant, _ ids: [String: String],
        registry: OrganizationID = .platform
    ) async throws -> (client: ClientID, grant: GrantID) {
        guard let organization = OrganizationID(tenant.id), let user = UserID(ids["user"] ?? ""),
            let resource = ResourceID(ids["resource"] ?? "")
        else { throw AdminServer.Unexpected("no ids") }
        let now = Date()
        let administration = server.administration
        let client = try await register(server, in: registry)
        let grant = GrantID.make(at: now, .system)
        try await administration.database.transaction(organization) { transaction in
            _ = try await administration.clients.admit(
                ClientAdmission(client: client.id, registry: registry, status: .active, createdAt: now),
                by: organization, in: transaction)
            _ = try await transaction.query(
                """
                INSERT INTO "grant" (organization_id, id, issuer_organization_id, user_id, client_id, resource_id, scope,
                    status, auth_time, mfa, created_at, last_used_at, idle_expires_at, expires_at)
                VALUES (\(organization), \(grant), \(organization), \(user), \(client.id), \(resource), \(["read"]),
                    'active', \(now), false, \(now), \(now), \(now + 3_600), \(now + 3_600))
                """)
            _ = try await transaction.query(
                """
                INSERT INTO consent (organization_id, user_id, client_id, resource_id, scope, granted_at)
                VALUES (\(organization), \(user), \(client.id), \(resource), \(["read"]), \(now))
                """)
        }
        return (client.id, grant)
    }

    @Test(
        "an approved client does not end by itself, and one that cannot be kept is not approved (§3.5)", .tags(.admin))
    func approvedClientsStay() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let client = try await Self.register(server, expiresAt: Date() + 3_600)
            let clients = server.administration.clients
            let path = "\(tenant.path)/client-approvals"
            @Sendable func approve(_ query: String = "") async throws -> Int {
                try await server.call(.post, path + query, #"{"client_id":"\#(client.id)"}"#, key: tenant.key).status
            }
            // Somebody holds the registration for longer than anybody waits for it.
            try await server.administration.database.transaction(.platform) { transaction in
                _ = try await transaction.query(
                    """
                    SELECT id FROM client WHERE organization_id = \(OrganizationID.platform) AND id = \(client.id)
                    FOR UPDATE
                    """)
                #expect(try await approve() == 503)
            }
            #expect(try await server.done(.get, path, key: tenant.key).rows.isEmpty)
            #expect(try await approve("?dry_run=true") == 201)
            #expect(try await clients.find(client.id, in: .platform)?.expiresAt != nil)
            #expect(try await approve() == 201)
            let kept = try await clients.find(client.id, in: .platform)
            #expect(kept != nil && kept?.expiresAt == nil)
        }
    }

    @Test(
        "T-06 connections are listed, filtered and ended, one by one, by user and by client (design §3.5, §6.1)",
        .tags(.admin))
    func grants() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let ids = try await server.furnish(tenant)
            let first = try await Self.connect(server, tenant, ids)
            let second = try await Self.connect(server, tenant, ids)
            let third = try await Self.connect(server, tenant, ids)
            func status(_ grant: GrantID) async throws -> String {
                try await server.done(.get, "\(tenant.path)/grants/\(grant)", key: tenant.key)["status"]
            }
            let all = try await server.done(.get, "\(tenant.path)/grants?user=\(ids["user"] ?? "")", key: tenant.key)
            #expect(all.rows.count == 3)
            let one = try await server.done(.get, "\(tenant.path)/grants?client=\(first.client)", key: tenant.key)
            #expect(one.rows.compactMap { $0["id"]?.string } == [first.grant.description])

            #expect(
                try await server.done(.post, "\(tenant.path)/grants/\(first.grant):revoke", key: tenant.key)["status"]
                    == "revoked")
            #expect(
                try await server.call(.post, "\(tenant.path)/grants/\(first.grant):revoke", key: tenant.key).status
                    == 409)

            let approvals = try await server.done(.get, "\(tenant.path)/client-approvals", key: tenant.key).rows
            #expect(approvals.count == 3 && approvals.allSatisfy { $0["name"]?.string == "ChatGPT" })
            let denied = try await server.done(
                .post, "\(tenant.path)/client-approvals/\(second.client):deny", key: tenant.key)
            #expect(denied["status"] == "denied" && denied["registry"] == "platform")
            #expect(try await status(second.grant) == "revoked")
            #expect(try await status(third.grant) == "active")
            #expect(try await Self.consents(server, tenant) == [third.client])
            // Born while it was denied: it must not live once the client is approved.
            try await Self.revive(second.grant, server, tenant)
            #expect(
                try await server.done(
                    .post, "\(tenant.path)/client-approvals/\(second.client):approve", key: tenant.key)["status"]
                    == "active")

            #expect(try await status(second.grant) == "revoked")

            let user = "\(tenant.path)/users/\(ids["user"] ?? "")"
            try await server.done(.post, "\(user):disable", key: tenant.key)
            #expect(try await status(third.grant) == "revoked")
            #expect(try await Self.consents(server, tenant).isEmpty)
            // Born at the moment of the disabling: it must not live again when the user does.
            try await Self.revive(third.grant, server, tenant)
            try await server.done(.post, "\(user):enable", key: tenant.key)
            #expect(try await status(third.grant) == "revoked")
            // Enabling somebody who is enabled ends nothing.
            try await Self.revive(third.grant, server, tenant)
            try await server.done(.post, "\(user):enable", key: tenant.key)
            #expect(try await status(third.grant) == "active")

            let own = try await Self.connect(server, tenant, ids, registry: OrganizationID(tenant.id) ?? .platform)
            let path = "\(tenant.path)/clients/\(own.client)"
            try await server.done(.delete, path, key: tenant.key, headers: [.ifMatch: "*"])
            #expect(try await status(own.grant) == "revoked")
            #expect(try await Self.consents(server, tenant).isEmpty)

            let decision = try await server.done(
                .post, "\(tenant.path)/scope-policies:evaluate",
                #"{"user":"\#(ids["user"] ?? "")","client":"\#(first.client)","resource":"\#(ids["resource"] ?? "")"}"#,
                key: tenant.key)
            #expect(decision["decision"] == "allow" && decision.json["granted"]?.strings == ["read", "write"])
        }
    }

    @Test("every write and every refusal stands in the log, without a secret (design §7)", .tags(.admin, .audit))
    func log() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let ids = try await server.furnish(tenant)
            let weak = try await server.done(
                .post, "\(tenant.path)/admin-keys", #"{"name":"w","scopes":["users:read"]}"#)
            #expect(try await server.call(.get, "\(tenant.path)/clients", key: weak["secret"]).status == 403)
            let other = try await server.organization()
            #expect(try await server.call(.get, "\(other.path)/users", key: weak["secret"]).status == 404)
            let tampered = weak["secret"].dropFirst(3).dropLast(6).dropLast()
            let body = "gh_\(tampered)\(weak["secret"].dropLast(6).hasSuffix("A") ? "Q" : "A")"
            #expect(
                try await server.call(
                    .get, "\(tenant.path)/users", key: CredentialChecksum.append(to: body)
                ).status == 401)
            let suspension = try await server.call(.post, "\(tenant.path):suspend", key: tenant.key)
            #expect(suspension.status == 403 && suspension.code == "platform_key_required")
            let stronger = try await server.call(
                .post, "\(tenant.path)/admin-keys", #"{"name":"s","scopes":["domains:verify"]}"#, key: tenant.key)
            #expect(stronger.status == 403 && stronger.code == "exceeds_maker")
            let any: HTTPFields = [.ifMatch: "*"]
            try await server.done(
                .patch, "\(tenant.path)/identity-providers/\(ids["provider"] ?? "")", #"{"secret":"second-secret"}"#,
                headers: any)

            let sequencer = Sequencer(
                settings: PostgresSettings(conninfo: try TestEnvironment.require("DATABASE_SEQUENCER_URL")),
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            let events = try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await sequencer.run() }
                var events: [[String: JSONValue]] = []
                for _ in 0..<200 where events.count < 18 {
                    try await Task.sleep(for: .milliseconds(50))
                    events = try await server.done(.get, "\(tenant.path)/audit/events?limit=200", key: tenant.key).rows
                }
                group.cancelAll()
                try await group.waitForAll()
                return events
            }
            let types = events.compactMap { $0["event"]?.object?["type"]?.string }
            for type in [
                "org.created", "admin_key.created", "org.domain_added", "user.created", "invitation.created",
                "identity_provider.created", "identity_provider.updated", "resource.created", "client.created",
                "policy.created", "admin.access_denied", "admin_key.auth_failed",
            ] { #expect(types.contains(type), "\(type)") }
            #expect(
                events.compactMap { $0["event"]?.object }.filter { $0["type"]?.string == "admin.access_denied" }
                    .compactMap { $0["reason"]?.string }
                    == ["missing_scope", "foreign_organization", "platform_key_required", "exceeds_maker"])
            #expect(events.compactMap { $0["seq"]?.integer } == Array(0..<events.count))
            let text = try await server.done(.get, "\(tenant.path)/audit/events?limit=200", key: tenant.key).text
            for secret in [weak["secret"], tenant.key, "very-secret", "second-secret", "gs_", "a@\(tenant.slug)"] {
                #expect(!text.contains(secret))
            }
            let newest = try await server.done(
                .get, "\(tenant.path)/audit/events?order=newest_first&limit=1&type=user.created", key: tenant.key)
            #expect(newest.rows.count == 1)
            let id = newest.rows.first?["id"]?.string ?? ""
            #expect(try await server.done(.get, "\(tenant.path)/audit/events/\(id)", key: tenant.key)["id"] == id)
            #expect(try await server.call(.get, "\(other.path)/audit/events/\(id)", key: other.key).status == 404)
            #expect(
                try await server.call(.get, "\(tenant.path)/audit/events?type=no.such", key: tenant.key).status == 400)
        }
    }

    @Test("one slug and one domain have one winner, however many try at once (design §2)", .tags(.admin, .race))
    func races() async throws {
        try await AdminServer.run { server in
            let slug = AdminServer.freshSlug()
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<10 {
                    group.addTask {
                        try await server.call(.post, "/v1/organizations", #"{"slug":"\#(slug)","name":"X"}"#).status
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses.filter { $0 == 201 }.count == 1 && statuses.filter { $0 == 409 }.count == 9)

            let (a, b) = (try await server.organization(), try await server.organization())
            let domain = "\(slug).example"
            for tenant in [a, b] { try await server.done(.post, "\(tenant.path)/domains", #"{"domain":"\#(domain)"}"#) }
            async let first = server.call(.post, "\(a.path)/domains/\(domain):verify")
            async let second = server.call(.post, "\(b.path)/domains/\(domain):verify")
            #expect(Set([try await first.status, try await second.status]) == [200, 409])
            // Released, it can be another's.
            let loser = try await server.done(.get, "\(a.path)/domains/\(domain)")["status"] == "pending" ? a : b
            let winner = loser.id == a.id ? b : a
            #expect(try await server.call(.delete, "\(winner.path)/domains/\(domain)").status == 204)
            #expect(try await server.call(.post, "\(loser.path)/domains/\(domain):verify").status == 200)
        }
    }

    @Test("an identity waits for an administrator and is linked once (§3.4)", .tags(.admin))
    func identities() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let ids = try await server.furnish(tenant)
            guard let organization = OrganizationID(tenant.id), let provider = IdentityProviderID(ids["provider"] ?? "")
            else { throw AdminServer.Unexpected("no ids") }
            let key = IdentityKey(
                identityProvider: provider, provider: "project-test-\(tenant.slug)", subject: "user-test-1")
            let users = server.administration.users
            try await server.administration.database.transaction(organization) { transaction in
                try await users.rememberPending(key, email: "x@y.example", in: organization, at: Date(), transaction)
            }
            let pending = try await server.done(.get, "\(tenant.path)/pending-identities", key: tenant.key).rows
            #expect(pending.compactMap { $0["subject"]?.string } == ["user-test-1"])
            let path = "\(tenant.path)/users/\(ids["user"] ?? "")/identities"
            let body = #"{"identity_provider_id":"\#(provider)","subject":"user-test-1"}"#
            let linked = try await server.done(.post, path, body, key: tenant.key)
            #expect(linked.status == 201 && linked["provider"] == key.provider)
            #expect(try await server.call(.post, path, body, key: tenant.key).status == 409)
            #expect(try await server.done(.get, path, key: tenant.key).rows.count == 1)
            #expect(try await server.done(.get, "\(tenant.path)/pending-identities", key: tenant.key).rows.isEmpty)
            #expect(try await users.member(of: key, in: organization)?.user.id.description == ids["user"])
        }
    }
}
