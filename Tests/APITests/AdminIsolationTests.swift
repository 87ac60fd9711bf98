import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import Keys
import Tenancy
import TestSupport
import Testing

@testable import API

@Suite struct AdminIsolationTests {
    /// A route with ids in the place of its parameters.
    private static func path(_ route: AdminServer.Route, _ ids: [String: String]) -> String {
        var path = route.template
        for (name, id) in ids { path = path.replacing("{\(name)}", with: id) }
        return path
    }

    private static let anyVersion: HTTPFields = [.ifMatch: "*"]

    /// A body that is right for this route, so that nothing but the id can be wrong.
    private static func body(_ route: AdminServer.Route, provider: String) -> String? {
        switch route.method {
        case .patch where route.template.hasSuffix("/tools"): #"{"tools":{}}"#
        case .patch: "{}"
        case .post where route.template.hasSuffix("/identities"):
            #"{"identity_provider_id":"\#(provider)","subject":"s"}"#
        case .post where route.template.hasSuffix("/credentials"): #"{"name":"C"}"#
        case .post where route.template.hasSuffix("/bindings"): #"{"user":"usr_00000000000000000000000001"}"#
        case .post: "{}"
        default: nil
        }
    }

    @Test(
        "T-01 T-02 T-03 T-04 T-05 T-06 T-07 T-08 T-10 on every route a foreign organization, a foreign id and a malformed one are the same 404 (design §4.2)",
        .tags(.isolation, .admin))
    func everyRoute() async throws {
        try await AdminServer.run { server in
            let (a, b) = (try await server.organization(), try await server.organization())
            let (idsOfA, idsOfB) = (try await server.furnish(a), try await server.furnish(b))
            let missing = try await server.call(.get, "/v1/nothing", key: b.key)
            #expect(missing.status == 404)
            var checked = 0
            // What needs no key tells everybody the same.
            let open = ["/v1/openapi.json", "/v1/reference"]
            for route in server.routes where route.template.hasPrefix("/v1/") && !open.contains(route.template) {
                let template = route.template
                let body = Self.body(route, provider: idsOfB["provider"] ?? "")
                func attempt(_ path: String) async throws {
                    let reply = try await server.call(
                        route.method, path, body, key: b.key, headers: Self.anyVersion)
                    #expect(reply.anonymous == missing.anonymous, "\(route.method) \(path)")
                    checked += 1
                }
                // B's key on everything of A, by id and by slug, and on everything of the platform.
                try await attempt(Self.path(route, idsOfA))
                guard template.contains("{org}") else { continue }
                try await attempt(Self.path(route, idsOfA.merging(["org": a.slug]) { _, slug in slug }))
                try await attempt(Self.path(route, idsOfA.merging(["org": "org_nonsense"]) { _, id in id }))
                // B's own path with A's ids, and with ids that nobody has.
                if template.replacing("{org}", with: "").contains("{") {
                    try await attempt(Self.path(route, idsOfA.merging(["org": b.id]) { _, own in own }))
                    let nonsense = idsOfA.mapValues { _ in "nonsense" }.merging(["org": b.id]) { _, own in own }
                    try await attempt(Self.path(route, nonsense))
                }
            }
            #expect(checked > 150)
            // Nothing of A changed.
            for (name, collection) in [("user", "users"), ("client", "clients"), ("policy", "scope-policies")] {
                let reply = try await server.call(.get, "\(a.path)/\(collection)/\(idsOfA[name] ?? "")", key: a.key)
                #expect(reply.status == 200 && reply.headers[.eTag] == "\"v1\"")
            }
        }
    }

    @Test("T-12 a foreign id inside an own object reads as one that does not exist", .tags(.isolation, .admin))
    func foreignIDsInside() async throws {
        try await AdminServer.run { server in
            let (a, b) = (try await server.organization(), try await server.organization())
            let ids = try await server.furnish(a)
            let own = try await server.furnish(b)
            func pairs(_ foreign: String, _ unknown: String, _ path: String, _ body: (String) -> String) async throws {
                let first = try await server.call(.post, "\(b.path)/\(path)", body(foreign), key: b.key)
                let second = try await server.call(.post, "\(b.path)/\(path)", body(unknown), key: b.key)
                #expect(first.status == 422)
                #expect(first.anonymous == second.anonymous)
            }
            let now = Date()
            try await pairs(ids["user"] ?? "", UserID.make(at: now, .system).description, "scope-policies") {
                #"{"name":"x","effect":"allow","principals":{"users":["\#($0)"]},"scopes":["read"]}"#
            }
            try await pairs(ids["resource"] ?? "", ResourceID.make(at: now, .system).description, "scope-policies") {
                #"{"name":"x","effect":"allow","principals":{"everyone":true},"resources":["\#($0)"],"scopes":["read"]}"#
            }
            try await pairs(ids["resource"] ?? "", "res_broken", "scope-policies") {
                #"{"name":"x","effect":"allow","principals":{"everyone":true},"resources":["\#($0)"],"scopes":["read"]}"#
            }
            try await pairs(
                ids["provider"] ?? "", IdentityProviderID.make(at: now, .system).description,
                "users/\(own["user"] ?? "")/identities"
            ) { #"{"identity_provider_id":"\#($0)","subject":"s"}"# }
            let pem = try AdminSetupTests.rsaPEM()
            try await pairs(ids["resource"] ?? "", ResourceID.make(at: now, .system).description, "signing-keys") {
                #"{"purpose":"access","resource":"\#($0)","private_key":"\#(pem)"}"#
            }
            try await pairs(ids["client"] ?? "", ClientID.make(at: now, .system).description, "scope-policies:evaluate")
            {
                #"{"user":"\#(own["user"] ?? "")","client":"\#($0)","resource":"\#(own["resource"] ?? "")"}"#
            }
        }
    }

    @Test("T-11 a body that names another organization is refused", .tags(.isolation, .admin))
    func organizationInBody() async throws {
        try await AdminServer.run { server in
            let (a, b) = (try await server.organization(), try await server.organization())
            let reply = try await server.call(
                .post, "\(b.path)/users", #"{"email":"x@y.example","organization_id":"\#(a.id)"}"#, key: b.key)
            #expect(reply.status == 422 && reply.pointers == ["/organization_id"])
            #expect(try await server.call(.get, "\(b.path)/users?tenant_id=\(a.id)", key: b.key).status == 400)
        }
    }

    @Test(
        "a list of one organization shows nothing of another, and its cursor opens no other list (design §4.4)",
        .tags(.isolation, .admin))
    func cursors() async throws {
        try await AdminServer.run { server in
            let (a, b) = (try await server.organization(), try await server.organization())
            for tenant in [a, b] {
                for index in 0..<5 {
                    try await server.done(
                        .post, "\(tenant.path)/users", #"{"email":"u\#(index)@\#(tenant.slug).example"}"#)
                }
            }
            var seen: [String] = []
            var next: String? = "\(a.path)/users?limit=2"
            while let path = next {
                let page = try await server.done(.get, path, key: a.key)
                seen += page.rows.compactMap { $0["email"]?.string }
                let link = page.headers[.link].map {
                    String($0.dropFirst("<https://as.example".count).prefix { $0 != ">" })
                }
                #expect((link == nil) == (page.json["has_more"] == .bool(false)))
                next = link
            }
            #expect(seen == (0..<5).map { "u\($0)@\(a.slug).example" })

            let cursor = try await server.done(.get, "\(a.path)/users?limit=2", key: a.key)["next_cursor"]
            let other = try await server.done(.post, "\(a.path)/admin-keys", #"{"name":"k","scopes":["*"]}"#)["secret"]
            let flipped = String(cursor.dropLast()) + (cursor.hasSuffix("A") ? "B" : "A")
            for (path, key) in [
                ("\(b.path)/users?cursor=\(cursor)", b.key), ("\(a.path)/clients?cursor=\(cursor)", a.key),
                ("\(a.path)/users?cursor=\(cursor)", other), ("\(a.path)/users?cursor=\(flipped)", a.key),
                ("\(a.path)/users?cursor=AAAA", a.key), ("\(a.path)/users?cursor=\(cursor)&email=x@y.example", a.key),
            ] {
                #expect(try await server.call(.get, path, key: key).status == 400, "\(path)")
            }
            for limit in ["0", "201", "-1", "x", "1e2", "01", "99999999999999999999"] {
                #expect(try await server.call(.get, "\(a.path)/users?limit=\(limit)", key: a.key).status == 400)
            }
            #expect(try await server.call(.get, "\(a.path)/users?limit=1&limit=2", key: a.key).status == 400)
        }
    }
}
