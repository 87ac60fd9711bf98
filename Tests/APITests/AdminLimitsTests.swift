import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import Keys
import Logging
import NIOCore
import Postgres
import Synchronization
import Tenancy
import TestSupport
import Testing

@testable import API

/// Gathers what is logged at the level of errors.
private final class ErrorLog: LogHandler {
    private let messages = Mutex<[String]>([])
    var errors: [String] { messages.withLock { $0 } }
    var logger: Logger { Logger(label: "test") { _ in self } }

    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }
    var logLevel: Logger.Level {
        get { .error }
        set {}
    }
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }
    func log(event: LogEvent) {
        messages.withLock { $0.append("\(event.message)") }
    }
}

@Suite struct AdminLimitsTests {
    // MARK: Times

    @Test(
        "P-08 times are of the years 0001 to 9999, wherever they come in (RFC 3339 §1)", .tags(.admin),
        arguments: [
            ("9999-12-31T23:59:59Z", true), ("0001-02-01T00:00:00Z", true), ("2030-01-01T00:00:00.123+02:00", true),
            ("9999-12-31T23:59:59-01:00", false), ("0001-01-01T00:00:00+01:00", false),
            ("0000-06-01T00:00:00Z", false), ("10000-01-01T00:00:00Z", false), ("999999-01-01T00:00:00Z", false),
            ("292277026596-12-04T15:30:08Z", false), ("-0044-03-15T00:00:00Z", false),
        ])
    func times(text: String, isTaken: Bool) async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let statement = try await server.call(
                .post, "\(tenant.path)/scope-policies",
                """
                {"name":"t","effect":"deny","principals":{"everyone":true},"scopes":["x*"],
                 "conditions":{"valid_from":"\(text)"}}
                """)
            #expect(statement.status == (isTaken ? 201 : 422))
            #expect(statement.pointers == (isTaken ? [] : ["/conditions/valid_from"]))
            #expect(try await server.done(.get, "\(tenant.path)/scope-policies").rows.count == (isTaken ? 2 : 1))
            let key = try await server.call(
                .post, "\(tenant.path)/admin-keys", #"{"name":"k","scopes":["users:read"],"expires_at":"\#(text)"}"#)
            #expect((400..<500).contains(key.status) || (isTaken && key.status == 201))
            for bound in ["from", "until"] {
                let query = "\(bound)=\(text.replacing("+", with: "%2B"))"
                let events = try await server.call(.get, "\(tenant.path)/audit/events?\(query)")
                #expect(events.status == (isTaken ? 200 : 400), "\(query)")
            }
        }
    }

    @Test(
        "P-08 a time is read as RFC 3339 §5.6 writes it, and as no clock shows it is none",
        arguments: [
            ("2024-01-01T12:39:00Z", 1_704_112_740.0), ("2024-01-01t12:39:00z", 1_704_112_740),
            ("2024-02-29T00:00:00.5+01:30", 1_709_159_400.5), ("1969-12-31T23:59:59.25-00:01", 59.25),
            ("0280-01-18T20:38:11Z", -53_329_720_909), ("2024-01-01T12:39:00.125000000000Z", 1_704_112_740.125),
            ("2024-01-01T12:99:00Z", nil), ("2024-01-01T24:00:00Z", nil), ("2024-01-01T12:39:60Z", nil),
            ("2023-02-29T00:00:00Z", nil), ("2024-13-01T00:00:00Z", nil), ("2024-00-10T00:00:00Z", nil),
            ("2024-01-00T00:00:00Z", nil), ("2024-01-01T12:39:00", nil), ("2024-01-01T12:39:00.Z", nil),
            ("2024-01-01T12:39:00+24:00", nil), ("2024-01-01T12:39:00+0100", nil), ("2024-01-01T12:39:00+1:00", nil),
            ("2024-01-01 12:39:00Z", nil), ("2024-01-01T12:39Z", nil), ("20240101T123900Z", nil),
            ("2024-01-01T12:39:00Zé", nil), ("２024-01-01T12:39:00Z", nil), ("", nil),
        ] as [(String, Double?)])
    func reading(text: String, seconds: Double?) {
        #expect(WireTime.parse(text)?.timeIntervalSince1970 == seconds)
    }

    // MARK: Policies

    @Test("a policy statement that cannot be read denies what it speaks of, and nothing else ends", .tags(.admin))
    func unreadablePolicy() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let ids = try await server.furnish(tenant)
            guard let organization = OrganizationID(tenant.id), let policy = ScopePolicyID(ids["policy"] ?? "") else {
                throw AdminServer.Unexpected("no ids")
            }
            func granted() async throws -> [String]? {
                try await server.done(
                    .post, "\(tenant.path)/scope-policies:evaluate",
                    """
                    {"user":"\(ids["user"] ?? "")","client":"\(ids["client"] ?? "")",
                     "resource":"\(ids["resource"] ?? "")"}
                    """
                ).json["granted"]?.strings
            }
            #expect(try await granted() == ["read", "write"])
            let log = ErrorLog()
            let catalog = TenantCatalog(
                database: server.administration.database, secrets: TestDatabase.secrets, logger: log.logger)
            for (column, value, left) in [
                // What can be read still narrows the denial: to the scope `write`.
                ("conditions", #"'{"valid_from": "+292278994-08-17T07:12:55Z"}'"#, ["read"]),
                ("principals", #"'{"users": ["nobody"]}'"#, ["read"]),
                ("clients", #"'{"kinds": ["robot"]}'"#, ["read"]),
                ("resources", "ARRAY['everything']", ["read"]),
            ] {
                try await Self.spoil(organization, policy, column, value)
                #expect(try await granted() == left, "\(column)")
                catalog.forget(organization)
                let statements = try await catalog.snapshot(of: organization)?.policy
                #expect(statements?.count == 2 && statements?.first { $0.id == policy }?.effect == .deny)
            }
            #expect(log.errors.count == 1)
            let path = "\(tenant.path)/scope-policies/\(policy)"
            #expect(try await server.done(.get, path)["effect"] == "deny")
            #expect(try await server.call(.delete, path, headers: [.ifMatch: "*"]).status == 204)
            #expect(try await granted() == ["read"])
        }
    }

    /// Puts a value into a statement that nothing of ours would write.
    private static func spoil(
        _ organization: OrganizationID, _ policy: ScopePolicyID, _ column: String, _ value: String
    ) async throws {
        // The text is the test's own; parameters cannot name columns.
        let statement = "UPDATE scope_policy SET \(column) = \(value) WHERE id = '\(policy.uuid)'"
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["psql", "-Xqc", statement, try TestEnvironment.require("DATABASE_ADMIN_URL")]
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
    }

    // MARK: Requests

    @Test("a write with any parameter but dry_run is refused, not done (design §4.5, §4.6)", .tags(.admin))
    func unsupported() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let users = "\(tenant.path)/users"
            let body = #"{"email":"x@\#(tenant.slug).example"}"#
            for query in ["dry_run", "dry_run=1", "dry_run=true&x", "dry_run=true&dry_run=false", "x", "=", "limit=1"] {
                let reply = try await server.call(.post, "\(users)?\(query)", body)
                #expect(reply.status == 400 && reply["detail"].contains("dry_run"), "\(query)")
            }
            for key in ["", "a b", "\u{e9}", String(repeating: "x", count: 256)] {
                let reply = try await server.call(.post, users, body, headers: [.idempotencyKey: key])
                #expect(reply.status == 400 && reply["detail"].contains("Idempotency-Key"), "\(key)")
            }
            #expect(try await server.done(.get, users).rows.isEmpty)
            // Whoever may not do it learns nothing about parameters.
            let foreign = try await server.organization()
            #expect(try await server.call(.post, "\(users)?x", body, key: foreign.key).status == 404)
        }
    }

    @Test("a dry run tells the outcome and keeps nothing: no row, no event, no secret (design §4.6)", .tags(.admin))
    func dryRun() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let users = "\(tenant.path)/users"
            let body = #"{"email":"x@\#(tenant.slug).example"}"#
            for headers: HTTPFields in [[:], [.idempotencyKey: "4c8a"]] {
                let reply = try await server.call(.post, "\(users)?dry_run=true", body, headers: headers)
                #expect(reply.status == 201 && reply["email"] == "x@\(tenant.slug).example")
                #expect(reply.headers[.dryRun] == "true" && reply.headers[.auditEvent] == nil)
                #expect(reply.headers[.location] == nil && reply.headers[.eTag] == nil)
            }
            #expect(try await server.done(.get, users).rows.isEmpty)
            // The key was not spent by that.
            let user = try await server.call(.post, users, body, headers: [.idempotencyKey: "4c8a"])
            #expect(user.status == 201 && user.headers[.idempotencyReplayed] == nil)
            let path = "\(users)/\(user["id"])"
            #expect(try await server.call(.post, "\(users)?dry_run=true", body).status == 409)
            #expect(try await server.call(.patch, "\(path)?dry_run=true", #"{"name":"N"}"#)["name"] == "N")
            #expect(try await server.call(.post, "\(path):disable?dry_run=true")["status"] == "disabled")
            let unchanged = try await server.done(.get, path)
            #expect(unchanged.headers[.eTag] == "\"v1\"" && unchanged["status"] == "active")
            let policy = try await server.done(.get, "\(tenant.path)/scope-policies").rows.first?["id"]?.string ?? ""
            let statement = "\(tenant.path)/scope-policies/\(policy)"
            let removal = try await server.call(.delete, "\(statement)?dry_run=true", headers: [.ifMatch: "*"])
            #expect(removal.status == 204)
            #expect(try await server.call(.get, statement).status == 200)
            let key = try await server.call(
                .post, "\(tenant.path)/admin-keys?dry_run=true", #"{"name":"k","scopes":["users:read"]}"#)
            #expect(key.status == 201 && key["id"].hasPrefix("key_") && !key.text.contains("secret"))
        }
    }

    @Test("a body that ends early is 400, changes nothing and is no error of ours", .tags(.admin))
    func truncated() async throws {
        struct Gone: Error {}
        let broken = AsyncThrowingStream<ByteBuffer, any Error> { stream in
            stream.yield(ByteBuffer(string: #"{"a":"#))
            stream.finish(throwing: Gone())
        }
        let head = HTTPRequest(
            method: .post, scheme: nil, authority: nil, path: "/", headerFields: [.contentType: "application/json"])
        let refusal = await #expect(throws: HTTPError.self) {
            _ = try await JSONBody(Request(head: head, body: RequestBody(asyncSequence: broken)))
        }
        #expect(refusal?.status == .badRequest)
        var short = head
        short.headerFields[.contentLength] = "3"
        await #expect(throws: JSONBody.Refusal.malformed) {
            _ = try await JSONBody(Request(head: short, body: RequestBody(buffer: ByteBuffer(string: "{}"))))
        }

        let tenant = Mutex<String>("")
        try await AdminServer.run { server in
            let path = try await server.organization().path
            tenant.withLock { $0 = path }
        }
        let path = tenant.withLock { $0 }
        let log = ErrorLog()
        try await AdminServer.listen(logger: log.logger) { port, key in
            for (target, type) in [("\(path):suspend", "text/plain"), ("\(path)/users", "application/json")] {
                let process = Process()
                process.executableURL = URL(filePath: "/bin/bash")
                process.environment = ["KEY": key]
                // A client that stalls before its body, then is gone.
                process.arguments = [
                    "-c",
                    #"""
                    exec 3<>/dev/tcp/127.0.0.1/\#(port)
                    printf 'POST \#(target) HTTP/1.1\r\nHost: as.example\r\nAuthorization: Bearer %s\r\n' "$KEY" >&3
                    printf 'Content-Type: \#(type)\r\nContent-Length: 30\r\n\r\n' >&3
                    sleep 0.2
                    """#,
                ]
                try process.run()
                process.waitUntilExit()
            }
            try await Task.sleep(for: .milliseconds(300))
        }
        #expect(log.errors == [])
        try await AdminServer.run { server in
            let (organization, users) = (
                try await server.done(.get, path), try await server.done(.get, "\(path)/users")
            )
            #expect(organization["status"] == "active" && users.rows.isEmpty)
        }
    }

    // MARK: Identity providers

    @Test(
        "a project secret goes to Stytch or a host the operator named, and never where it was not sent", .tags(.admin))
    func upstreamHosts() async throws {
        var settings = AdministrationSettings(publicURL: AdminServer.publicURL)
        settings.allowedUpstreamHosts = ["login.globex.example"]
        try await AdminServer.run(settings: settings) { server in
            let tenant = try await server.organization()
            let path = "\(tenant.path)/identity-providers"
            func create(_ url: String) async throws -> AdminServer.Reply {
                let project = AdminServer.freshSlug()
                return try await server.call(
                    .post, path,
                    """
                    {"kind":"stytch_consumer","name":"S","project_id":"project-test-\(project)","secret":"s1",
                     "base_url":"\(url)"}
                    """, key: tenant.key)
            }
            for url in [
                "https://stytch.com.evil.example", "https://evilstytch.com", "https://evil.example/stytch.com",
                "http://api.stytch.com", "http://127.0.0.1:8020", "https://127.0.0.1", "https://x.login.globex.example",
                "https://login.globex.example@evil.example", "ftp://stytch.com", "stytch.com",
            ] {
                let reply = try await create(url)
                #expect(reply.status == 422 && reply.pointers == ["/base_url"], "\(url)")
            }
            for url in ["https://stytch.com", "https://TEST.stytch.com/", "https://login.globex.example"] {
                #expect(try await create(url).status == 201, "\(url)")
            }
            let one = "\(path)/\(try await create("https://test.stytch.com")["id"])"
            func patch(_ body: String) async throws -> AdminServer.Reply {
                try await server.call(.patch, one, body, key: tenant.key, headers: [.ifMatch: "*"])
            }
            for body in [#"{"base_url":"https://login.globex.example"}"#, #"{"base_url":null}"#] {
                let reply = try await patch(body)
                #expect(reply.status == 422 && reply.pointers == ["/secret"], "\(body)")
            }
            #expect(try await patch(#"{"base_url":"https://evil.example","secret":"s2"}"#).pointers == ["/base_url"])
            #expect(try await patch(#"{"base_url":"https://test.stytch.com","name":"T"}"#).status == 200)
            #expect(try await patch(#"{"secret":"s3"}"#).status == 200)
            #expect(try await patch(#"{"base_url":"https://login.globex.example","secret":"s4"}"#).status == 200)
            #expect(try await server.done(.get, one)["base_url"] == "https://login.globex.example")
        }
    }

    @Test("an upstream is free again once the platform deletes the provider that holds it", .tags(.admin))
    func upstreamReleased() async throws {
        try await AdminServer.run { server in
            let (a, b) = (try await server.organization(), try await server.organization())
            let body = #"{"kind":"stytch_consumer","name":"S","project_id":"project-test-\#(a.slug)","secret":"s"}"#
            let first = try await server.done(.post, "\(a.path)/identity-providers", body, key: a.key)
            #expect(try await server.call(.post, "\(b.path)/identity-providers", body, key: b.key).status == 409)
            let path = "\(a.path)/identity-providers/\(first["id"])"
            #expect(try await server.call(.delete, path, headers: [.ifMatch: "*"]).status == 204)
            #expect(try await server.call(.post, "\(b.path)/identity-providers", body, key: b.key).status == 201)
        }
    }

    // MARK: Resources

    @Test("only the platform opens its issuer for a resource (design §3.1)", .tags(.admin))
    func widening() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            func body(_ name: String, _ issuers: String) -> String {
                """
                {"uri":"https://\(tenant.slug).example/\(name)","name":"R","scopes":["read"],
                 "accepted_issuers":\(issuers)}
                """
            }
            let path = "\(tenant.path)/resources"
            for issuers in [#"["platform"]"#, #"["platform","\#(tenant.id)"]"#] {
                let reply = try await server.call(.post, path, body("a", issuers), key: tenant.key)
                #expect(reply.status == 403 && reply.code == "platform_key_required")
            }
            let made = try await server.done(.post, path, body("b", #"["\#(tenant.id)"]"#), key: tenant.key)
            let one = "\(path)/\(made["id"])"
            let both = #"{"accepted_issuers":["platform","\#(tenant.id)"]}"#
            #expect(try await server.call(.patch, one, both, key: tenant.key).status == 403)
            #expect(try await server.call(.patch, one, both).status == 200)
            // What the platform opened may be kept, and closed, by the organization.
            #expect(try await server.call(.patch, one, both, key: tenant.key).status == 200)
            let closed = #"{"accepted_issuers":["\#(tenant.id)"]}"#
            #expect(try await server.call(.patch, one, closed, key: tenant.key).status == 200)
            #expect(try await server.call(.patch, one, both, key: tenant.key).status == 403)
        }
    }
    // MARK: As many as there may be

    /// Rows like an organization's only one, so many more.
    private static func copy(
        _ count: Int, in table: String, changing changes: SQL = "'{}'", of organization: OrganizationID,
        _ server: AdminServer
    ) async throws {
        let table = SQL.identifier(table)
        try await server.administration.database.transaction(organization) { transaction in
            _ = try await transaction.query(
                """
                INSERT INTO \(table) SELECT (jsonb_populate_record(
                           r, jsonb_build_object('id', gen_random_uuid()) || \(changes)::jsonb)).*
                  FROM \(table) r, generate_series(1, \(count)) n WHERE r.organization_id = \(organization)
                """)
        }
    }

    private static func count(_ table: String, of organization: OrganizationID, _ server: AdminServer) async throws
        -> Int
    {
        try await server.administration.database.read(
            organization,
            "SELECT count(*) AS count FROM \(.identifier(table)) WHERE organization_id = \(organization)"
        ) { try $0.decode("count", as: Int.self) }.first ?? 0
    }

    @Test("an organization has 1,000 resources and no more (§4)", .tags(.admin))
    func mostResources() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let id = try #require(OrganizationID(tenant.id))
            func add(_ name: String) async throws -> AdminServer.Reply {
                try await server.call(
                    .post, "\(tenant.path)/resources",
                    #"{"uri":"https://\#(tenant.slug).example/\#(name)","name":"R","scopes":["read"]}"#,
                    key: tenant.key)
            }
            #expect(try await add("first").status == 201)
            try await Self.copy(
                998, in: "resource", changing: "jsonb_build_object('uri', r.uri || n)", of: id, server)
            #expect(try await add("thousandth").status == 201)
            let refused = try await add("one-more")
            #expect(refused.status == 409 && refused.text.contains("There are 1000 resources already"))
            #expect(try await Self.count("resource", of: id, server) == 1_000)
        }
    }

    @Test("an organization has 100 identity providers and trusted issuers together, and no more (§4)", .tags(.admin))
    func mostProviders() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let id = try #require(OrganizationID(tenant.id))
            func add(_ name: String) async throws -> AdminServer.Reply {
                try await server.call(
                    .post, "\(tenant.path)/identity-providers",
                    #"{"kind":"stytch_consumer","name":"\#(name)","project_id":"project-test-\#(name)-\#(tenant.slug)","secret":"s-\#(tenant.slug)"}"#,
                    key: tenant.key)
            }
            #expect(try await add("a").status == 201)
            try await Self.copy(98, in: "identity_provider", of: id, server)
            #expect(try await add("b").status == 201)
            let refused = try await add("c")
            #expect(refused.status == 409)
            #expect(refused.text.contains("There are 100 identity providers and trusted issuers already"))
            let client = try await server.done(
                .post, "\(tenant.path)/clients",
                #"{"name":"C","redirect_uris":["https://c.example/cb"],"grant_types":["authorization_code","urn:ietf:params:oauth:grant-type:jwt-bearer"]}"#,
                key: tenant.key)["client_id"]
            let issuer = try await server.call(
                .post, "\(tenant.path)/trusted-issuers",
                #"{"name":"I","issuer":"https://i.example","jwks_uri":"https://i.example/jwks","client_ids":["\#(client)"],"authoritative_domains":[]}"#,
                key: tenant.key)
            #expect(issuer.status == 409 && issuer.text.contains("There are 100 identity providers"))
            #expect(try await Self.count("identity_provider", of: id, server) == 100)
        }
    }
}
