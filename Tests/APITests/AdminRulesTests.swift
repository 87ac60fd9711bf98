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

@Suite struct AdminRulesTests {
    @Test("BR-01 BR-02 BR-04 BR-05 BR-06 the key comes once, in the header, whole (RFC 6750 §2.1, §3)", .tags(.admin))
    func credentials() async throws {
        try await AdminServer.run { server in
            let path = "/v1/organizations"
            let none = try await server.raw(.get, path, headers: [:])
            #expect(none.status == 401)
            let challenge = try #require(none.headers[.wwwAuthenticate])
            #expect(challenge.hasPrefix(#"Bearer realm="gatehouse", resource_metadata="#))
            #expect(!challenge.contains("error="))
            #expect(none.headers[.contentType] == "application/problem+json" && none.headers[.requestID] != nil)
            let key = server.platformKey
            #expect(try await server.raw(.get, path, headers: [.authorization: "bEaReR \(key)"]).status == 200)
            let tampered = String(key.dropLast(10)) + "0000000000"
            for wrong in [tampered, "gh_", "nonsense", key.uppercased(), String(repeating: "a", count: 5_000)] {
                let reply = try await server.raw(.get, path, headers: [.authorization: "Bearer \(wrong)"])
                #expect(reply.status == 401)
                #expect(reply.headers[.wwwAuthenticate]?.contains(#"error="invalid_token""#) == true)
            }
            for malformed in ["Bearer", "Bearer a b", "Bearer  "] {
                #expect(try await server.raw(.get, path, headers: [.authorization: malformed]).status == 400)
            }
            var twice: HTTPFields = [.authorization: "Bearer \(key)"]
            twice.append(HTTPField(name: .authorization, value: "Bearer \(key)"))
            #expect(try await server.raw(.get, path, headers: twice).status == 400)
            #expect(try await server.raw(.get, "\(path)?access_token=\(key)", headers: [:]).status == 400)
            #expect(try await server.raw(.get, path, headers: [.authorization: "Basic YTpi"]).status == 401)
        }
    }

    @Test(
        "BR-03 every route refuses a key without its scope, naming the scope, and takes one with it (design §4.7)",
        .tags(.admin))
    func scopes() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let weak = try await server.done(
                .post, "\(tenant.path)/admin-keys", #"{"name":"k","scopes":["audit:export"]}"#)
            var keys: [String: String] = [:]
            var checked = 0
            for route in server.routes
            where route.template.hasPrefix("/v1/") && route.template.contains("{org}")
                && !route.template.hasSuffix(":restore")
            {
                // Nothing but the scope is looked at before the id, so any id will do.
                let path = route.template.replacing("{org}", with: tenant.id).replacing(/\{\w+\}/, with: "x")
                let refused = try await server.call(route.method, path, key: weak["secret"])
                #expect(refused.status == 403 && refused.code == "insufficient_scope", "\(route.method) \(path)")
                let challenge = refused.headers[.wwwAuthenticate] ?? ""
                guard
                    let scope = challenge.split(separator: "scope=\"").last?.split(separator: "\"").first.map(
                        String.init)
                else { throw AdminServer.Unexpected("no scope in \(challenge)") }
                #expect(refused["detail"].contains(scope))
                let isRead = route.method == .get || path.hasSuffix(":evaluate") || path.hasSuffix(":simulate")
                #expect(scope.hasSuffix(isRead ? ":read" : ":write"))
                if keys[scope] == nil {
                    keys[scope] = try await server.done(
                        .post, "\(tenant.path)/admin-keys", #"{"name":"k","scopes":["\#(scope)"]}"#)["secret"]
                }
                let reply = try await server.call(route.method, path, key: keys[scope])
                #expect(reply.code != "insufficient_scope", "\(route.method) \(path)")
                checked += 1
            }
            #expect(checked > 40)
        }
    }

    @Test(
        "T-07 T-23 no key makes a stronger key: scopes, organization, addresses and end are a subset (design §4.7)",
        .tags(.admin))
    func subset() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let end = WireTime.text(Date() + 3_600)
            let late = WireTime.text(Date() + 7_200)
            let maker = try await server.done(
                .post, "\(tenant.path)/admin-keys",
                #"{"name":"m","scopes":["admin-keys:write","users:read"],"expires_at":"\#(end)"}"#)["secret"]
            func attempt(_ body: String) async throws -> AdminServer.Reply {
                try await server.call(.post, "\(tenant.path)/admin-keys", body, key: maker)
            }
            #expect(try await attempt(#"{"name":"n","scopes":["users:read"],"expires_at":"\#(end)"}"#).status == 201)
            for (body, pointer) in [
                (#"{"name":"n","scopes":["users:write"],"expires_at":"\#(end)"}"#, "/scopes/0"),
                (#"{"name":"n","scopes":["users:read","*"],"expires_at":"\#(end)"}"#, "/scopes/1"),
                (#"{"name":"n","scopes":["users:read"],"expires_at":"\#(late)"}"#, "/expires_at"),
                (#"{"name":"n","scopes":["users:read"]}"#, "/expires_at"),
                (#"{"name":"","scopes":["users:read"],"expires_at":"\#(late)"}"#, "/expires_at"),
            ] {
                let reply = try await attempt(body)
                #expect(reply.status == 403 && reply.code == "exceeds_maker", "\(body)")
                #expect(reply.pointers == [pointer], "\(body)")
            }
            let unknown = try await attempt(#"{"name":"n","scopes":["users:fly"],"expires_at":"\#(end)"}"#)
            #expect(unknown.status == 422 && unknown.pointers == ["/scopes/0"])
            let owner = try await server.call(
                .post, "\(tenant.path)/admin-keys", #"{"name":"n","scopes":["domains:verify"]}"#, key: tenant.key)
            #expect(owner.status == 403 && owner.code == "exceeds_maker")
            #expect(
                try await server.call(.post, "/v1/admin-keys", #"{"name":"n","scopes":["*"]}"#, key: tenant.key).status
                    == 404)
        }
    }

    @Test(
        "T-07 a key for certain addresses makes only keys for these",
        arguments: [
            (["10.1.0.0/16"], true), (["10.0.0.0/8", "10.1.2.3"], true), ([], false), (["0.0.0.0/0"], false),
            (["10.0.0.0/7"], false), (["11.0.0.0/16"], false), (["::/0"], false), (["2001:db8::/32"], false),
        ] as [([String], Bool)])
    func addresses(cidrs: [String], allowed: Bool) async throws {
        try await AdminServer.run { server in
            let organization = try await TestDatabase.freshOrganization()
            let now = Date()
            let first = try await server.administration.createAdminKey(
                NewAdminKey(name: "m", scopes: ["*"], cidrs: ["10.0.0.0/8"]), in: organization.id,
                by: Administrator(system: "test", now: now)
            ).value.key
            let request = AuditEvent.RequestInfo(id: .make(at: now, .system), method: "POST", route: "/v1")
            let maker = Administrator(key: first, provenBy: Secret("gh_x"), request: request, now: now)
            let outcome: Bool
            do {
                _ = try await server.administration.createAdminKey(
                    NewAdminKey(name: "n", scopes: ["users:read"], cidrs: cidrs), in: organization.id, by: maker)
                outcome = true
            } catch AdminError.exceedsMaker {
                outcome = false
            }
            #expect(outcome == allowed)
        }
    }

    @Test("a key with addresses works from nowhere else, an ended or revoked one nowhere (design §4.7)", .tags(.admin))
    func endedKeys() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            func make(_ more: String) async throws -> AdminServer.Reply {
                try await server.done(
                    .post, "\(tenant.path)/admin-keys", #"{"name":"k","scopes":["users:read"]\#(more)}"#)
            }
            // In memory there is no peer, so no range can hold it.
            let bound = try await make(#","cidrs":["10.0.0.0/8"]"#)
            #expect(try await server.call(.get, "\(tenant.path)/users", key: bound["secret"]).status == 401)
            let key = try await make("")
            #expect(try await server.call(.get, "\(tenant.path)/users", key: key["secret"]).status == 200)
            let one = "\(tenant.path)/admin-keys/\(key["id"])"
            #expect(try await server.done(.get, one).json["last_used_at"]?.string != nil)
            #expect(try await server.call(.delete, one).status == 428)
            #expect(try await server.call(.delete, one, headers: [.ifMatch: "\"v9\""]).status == 412)
            #expect(try await server.call(.delete, one, headers: [.ifMatch: "\"v1\""]).status == 204)
            #expect(try await server.call(.get, "\(tenant.path)/users", key: key["secret"]).status == 401)
            let past = try await server.call(
                .post, "\(tenant.path)/admin-keys",
                #"{"name":"k","scopes":["users:read"],"expires_at":"2020-01-01T00:00:00Z"}"#)
            #expect(past.status == 422)
        }
    }

    @Test("a call without arguments takes no body or an empty object, and nothing else", .tags(.admin))
    func noArguments() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let path = "\(tenant.path):suspend"
            for (body, type, status) in [
                ("", "application/json", 200), ("", nil, 200), ("{}", "application/json", 200), ("{}", nil, 415),
                ("{", "application/json", 400), ("[]", "application/json", 422), (#"{"a":1}"#, "application/json", 422),
            ] as [(String, String?, Int)] {
                var headers: HTTPFields = [.authorization: "Bearer \(server.platformKey)"]
                headers[.contentType] = type
                let reply = try await server.raw(.post, path, headers: headers, body: Array(body.utf8))
                #expect(reply.status == status, "\(body)")
            }
        }
    }

    @Test(
        "changing policies, clients and identity providers needs If-Match, and a lost update is refused (design §4.5)",
        .tags(.admin))
    func preconditions() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let ids = try await server.furnish(tenant)
            for (name, collection) in [
                ("policy", "scope-policies"), ("client", "clients"), ("provider", "identity-providers"),
            ] {
                let path = "\(tenant.path)/\(collection)/\(ids[name] ?? "")"
                #expect(try await server.call(.patch, path, #"{"name":"n"}"#).status == 428)
                #expect(try await server.call(.delete, path).status == 428)
                for tag in ["\"v2\"", "W/\"v1\"", "v1", "\"v01\""] where tag != "\"v01\"" {
                    #expect(
                        try await server.call(.patch, path, #"{"name":"n"}"#, headers: [.ifMatch: tag]).status == 412)
                }
                let changed = try await server.done(.patch, path, #"{"name":"n"}"#, headers: [.ifMatch: "\"v1\""])
                #expect(changed["name"] == "n" && changed.headers[.eTag] == "\"v2\"")
                #expect(try await server.call(.delete, path, headers: [.ifMatch: "\"v1\""]).status == 412)
                #expect(try await server.call(.delete, path, headers: [.ifMatch: "\"v1\", \"v2\""]).status == 204)
                #expect(try await server.call(.get, path).status == 404)
            }
            let user = "\(tenant.path)/users/\(ids["user"] ?? "")"
            let results = try await withThrowingTaskGroup(of: Int.self) { group in
                for index in 0..<20 {
                    group.addTask {
                        try await server.call(
                            .patch, user, #"{"name":"n\#(index)"}"#, headers: [.ifMatch: "\"v1\""]
                        ).status
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(results.filter { $0 == 200 }.count == 1 && results.filter { $0 == 412 }.count == 19)
        }
    }

    @Test("PATCH is a merge patch: null removes, objects merge, the rest stays (RFC 7396)", .tags(.admin))
    func mergePatch() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let ids = try await server.furnish(tenant)
            let policy = "\(tenant.path)/scope-policies/\(ids["policy"] ?? "")"
            let any: HTTPFields = [.ifMatch: "*", .contentType: "application/merge-patch+json"]
            try await server.done(
                .patch, policy,
                #"{"conditions":{"mfa":true,"ip_ranges":["10.0.0.0/8"]},"clients":{"kinds":["dynamic"]}}"#,
                headers: any)
            let patched = try await server.done(
                .patch, policy, #"{"conditions":{"mfa":null},"clients":null}"#, headers: any)
            #expect(patched.json["conditions"] == .object(["ip_ranges": .array([.string("10.0.0.0/8")])]))
            #expect(patched.json["clients"] == .object([:]))
            #expect(patched.json["scopes"]?.strings == ["write"])
            let broken = try await server.call(.patch, policy, #"{"scopes":null}"#, headers: any)
            #expect(broken.status == 422 && broken.pointers == ["/scopes"])
            let nested = try await server.call(.patch, policy, #"{"principals":{"robots":true}}"#, headers: any)
            #expect(nested.status == 422 && nested.pointers == ["/principals/robots"])

            let resource = "\(tenant.path)/resources/\(ids["resource"] ?? "")"
            let implied = try await server.done(.patch, resource, #"{"scope_implications":{"write":null}}"#)
            #expect(implied.json["scope_implications"] == .object([:]))
            let settings = try await server.done(.patch, tenant.path, #"{"settings":{"refresh_grace_seconds":5}}"#)
            #expect(settings.json["settings"]?.object?["refresh_grace_seconds"] == .integer(5))
            #expect(settings.json["settings"]?.object?["session_lifetime_seconds"] == .integer(43_200))
            let user = "\(tenant.path)/users/\(ids["user"] ?? "")"
            #expect(try await server.done(.patch, user, #"{"name":null}"#).json["name"] == .null)
            #expect(try await server.call(.patch, user, #"{"email":null}"#).status == 422)
        }
    }

    @Test("a statement's mistakes are told all at once, each by its pointer (design §5)", .tags(.admin))
    func pointers() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let reply = try await server.call(
                .post, "\(tenant.path)/scope-policies",
                """
                {"name":"","effect":"allow","principals":{"everyone":true,"services":["x"]},"clients":{"hosts":["A.example"],"ids":[]},
                 "scopes":["a b","*x","ok*"],"conditions":{"ip_ranges":["10.0.0.1/8"],"max_auth_age_seconds":0,
                 "valid_from":"2030-01-01T00:00:00Z","valid_until":"2029-01-01T00:00:00.500Z"}}
                """)
            #expect(reply.status == 422)
            #expect(
                Set(reply.pointers) == [
                    "/name", "/principals/services/0", "/clients/hosts/0", "/clients/ids", "/scopes/0", "/scopes/1",
                    "/conditions/ip_ranges/0", "/conditions/max_auth_age_seconds", "/conditions/valid_until",
                ])
            let shape = try await server.call(
                .post, "\(tenant.path)/scope-policies",
                #"{"name":1,"effect":"maybe","principals":[],"scopes":"x","a/b~c":1,"conditions":{"when":1}}"#)
            #expect(
                Set(shape.pointers) == [
                    "/name", "/effect", "/principals", "/scopes", "/conditions/when", "/a~1b~0c",
                ])
            for body in [
                #"{"uri":"http://mcp.example/x","name":"R","scopes":["read"]}"#,
                #"{"uri":"https://mcp.example/x#y","name":"R","scopes":["read"]}"#,
                #"{"uri":"/x","name":"R","scopes":["read"]}"#,
            ] {
                #expect(try await server.call(.post, "\(tenant.path)/resources", body).pointers == ["/uri"])
            }
            let resource = try await server.call(
                .post, "\(tenant.path)/resources",
                """
                {"uri":"https://\(tenant.slug).example/","name":"R","scopes":["read","read","openid","a b"],
                 "scope_implications":{"read":["gone"]},"access_token_lifetime_seconds":59,"tenant_unaware":true,
                 "accepted_issuers":["platform","org_nonsense"]}
                """)
            #expect(resource.pointers == ["/accepted_issuers/1"])
            let public_ = try await server.call(.post, "\(tenant.path)/domains", #"{"domain":"gmail.com"}"#)
            #expect(public_.status == 422)
        }
    }

    @Test("P-05 P-06 P-07 P-08 hostile input is refused and never a 500", .tags(.admin))
    func hostileInput() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let bodies: [[UInt8]] = [
                Array("".utf8), Array("{".utf8), Array("[]".utf8), Array("null".utf8), Array("1".utf8),
                Array("\"x\"".utf8),
                Array(#"{"email":"a\u0000b@x.example"}"#.utf8), [0x7B, 0x22, 0xFF, 0x22, 0x3A, 0x31, 0x7D], [0, 1, 2],
                Array(#"{"email":"\ud800"}"#.utf8), Array((String(repeating: "[", count: 200_000)).utf8),
                Array((#"{"email":"# + String(repeating: "{\"a\":", count: 100)).utf8),
                Array(#"{"email":"a","email":"b"}"#.utf8),
                Array(#"{"email":1e999}"#.utf8), Array(#"{"email":{"a":[true,null]}}"#.utf8),
                Array("{\"email\":\"\(String(repeating: "a", count: 900_000))@x.example\"}".utf8),
                Array("{\"name\":\"\(String(repeating: "\u{202E}", count: 50))\",\"email\":\"a@b.example\"}".utf8),
                Array(#"{"scopes":[9223372036854775808],"limit":-9223372036854775808}"#.utf8),
            ]
            var routes: [(HTTPRequest.Method, String)] = []
            for collection in [
                "users", "domains", "invitations", "identity-providers", "resources", "signing-keys", "clients",
                "scope-policies", "scope-policies:evaluate", "admin-keys",
            ] { routes.append((.post, "\(tenant.path)/\(collection)")) }
            routes.append((.patch, tenant.path))
            let headers: HTTPFields = [
                .authorization: "Bearer \(tenant.key)", .contentType: "application/json", .ifMatch: "*",
            ]
            for (method, path) in routes {
                for body in bodies {
                    let reply = try await server.raw(method, path, headers: headers, body: body)
                    #expect((400..<500).contains(reply.status), "\(method) \(path) \(reply.status)")
                    #expect(reply.headers[.contentType] == "application/problem+json")
                }
                let large = try await server.raw(
                    method, path, headers: headers, body: [UInt8](repeating: 0x20, count: 2 * 1024 * 1024))
                #expect(large.status == 413)
                var text = headers
                text[.contentType] = "text/plain"
                #expect(try await server.raw(method, path, headers: text, body: Array("{}".utf8)).status == 415)
            }
            for query in [
                "limit=%00", "cursor=%ff", "cursor=%00", "%", "email=%C3%28", "a=b&a=b",
                "cursor=" + String(repeating: "A", count: 5_000),
            ] {
                let reply = try await server.call(.get, "\(tenant.path)/users?\(query)")
                #expect(reply.status == 400, "\(query)")
            }
            let users = try await server.done(.get, "\(tenant.path)/users").rows
            #expect(users.isEmpty)
        }
    }

    @Test("without PostgreSQL every call is 503 with Retry-After, never a 500 (design §8)", .tags(.admin))
    func storeAway() async throws {
        let settings = PostgresSettings(conninfo: "host=127.0.0.1 port=1 connect_timeout=1")
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let lanes = (
            read: PostgresReadLane(settings: settings, logger: logger),
            write: PostgresWriteLane(settings: settings, eventsExist: existingEvents, logger: logger),
            pool: PostgresPool(settings: settings, eventsExist: existingEvents, logger: logger)
        )
        lanes.read.start()
        lanes.write.start()
        lanes.pool.start()
        let database = TenantDatabase(readLane: lanes.read, writeLane: lanes.write, pool: lanes.pool)
        let key = AdminCredential(
            organization: .platform, key: AdminKeyID.make(at: Date(), .system), .system
        ).secret.revealed
        try await AdminServer.run(database: database, key: key) { server in
            let started = ContinuousClock.now
            for reply in [
                try await server.call(.get, "/v1/organizations"),
                try await server.call(.get, "/v1/organizations", key: "gh_nonsense"),
            ] {
                #expect(reply.status == 503 && reply.headers[.retryAfter] != nil)
            }
            #expect(ContinuousClock.now - started < .seconds(6))
        }
        await lanes.read.shutdown()
        await lanes.write.shutdown()
        await lanes.pool.shutdown()
    }
}
