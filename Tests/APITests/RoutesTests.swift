import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Keys
import Tenancy
import Testing

@testable import API

/// What every route promises whatever its endpoint does; the stores are away where nothing has to be written.
@Suite struct RoutesTests {
    private static let metadataPaths = [
        "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/.well-known/mcp-resources",
        "/.well-known/oauth-authorization-server/o/acme", "/.well-known/openid-configuration/o/acme",
        "/.well-known/mcp-resources/o/acme", "/o/acme/.well-known/oauth-authorization-server",
        "/o/acme/.well-known/openid-configuration", "/o/acme/.well-known/mcp-resources",
    ]
    private static let openPaths =
        metadataPaths + [
            "/oauth/jwks", "/o/acme/oauth/jwks", "/oauth/token", "/o/acme/oauth/token", "/oauth/register",
            "/o/acme/oauth/register", "/oauth/revoke", "/o/acme/oauth/revoke",
        ]

    @Test("RM-01 RM-02 RM-03 the admin API describes itself where its challenge points (RFC 9728 §3, §5.1)")
    func protectedResource() async throws {
        try await TestServices.away.get().test { client in
            let metadata = try await client.execute(uri: "/.well-known/oauth-protected-resource/v1", method: .get)
            #expect(metadata.status == .ok)
            let members = try #require(try JSONText.parse([UInt8](metadata.body.readableBytesView)).object)
            #expect(members["resource"]?.string == TestServices.publicURL + "/v1")
            #expect(members["bearer_methods_supported"]?.strings == ["header"])
            let refused = try await client.execute(uri: "/v1/organizations", method: .get)
            #expect(refused.status == .unauthorized)
            let place = TestServices.publicURL + "/.well-known/oauth-protected-resource/v1"
            #expect(refused.headers[.wwwAuthenticate]?.contains("resource_metadata=\"\(place)\"") == true)
            // An organization's own is named without a look whether there is one; what cannot be one is not repeated.
            for (name, end) in [("acme", "/organizations/acme"), ("nobody", "/organizations/nobody"), ("A.b", "")] {
                let refused = try await client.execute(uri: "/v1/organizations/\(name)/users", method: .get)
                #expect(refused.status == .unauthorized)
                let challenge = refused.headers[.wwwAuthenticate] ?? ""
                #expect(challenge.hasSuffix("resource_metadata=\"\(place)\(end)\""), "\(challenge)")
            }
        }
    }

    @Test(
        "TK-26 MCP-AS-36 browsers of any origin may call metadata, keys, registration, token and revocation, without credentials",
        arguments: openPaths)
    func preflight(path: String) async throws {
        try await TestServices.away.get().test { client in
            let reply = try await client.execute(
                uri: path, method: .options,
                headers: [.origin: "https://inspector.example", .accessControlRequestMethod: "POST"])
            #expect(reply.status == .noContent)
            #expect(reply.headers[.accessControlAllowOrigin] == "*")
            #expect(reply.headers[.accessControlAllowCredentials] == nil)
            #expect(reply.headers[.accessControlAllowHeaders]?.contains("Authorization") == true)
        }
    }

    @Test("AZ-14 TK-26 the authorization endpoint, introspection and the pages have no CORS headers (OAuth 2.1 §3.1)")
    func noCORSOnPages() async throws {
        try await TestServices.away.get().test { client in
            for path in [
                "/oauth/authorize", "/o/acme/oauth/authorize", "/", "/signin/x", "/oauth/introspect",
                "/o/acme/oauth/introspect",
            ] {
                let reply = try await client.execute(
                    uri: path, method: .get, headers: [.origin: "https://evil.example"])
                #expect(reply.headers[.accessControlAllowOrigin] == nil)
            }
        }
    }

    @Test(
        "AZ-01 TK-01 P-16 a method that a path does not know is 405 with Allow, and nothing happens",
        arguments: [
            ("/oauth/authorize", HTTPRequest.Method.put, "GET, POST"), ("/oauth/authorize", .delete, "GET, POST"),
            ("/oauth/authorize", .head, "GET, POST"), ("/oauth/token", .get, "OPTIONS, POST"),
            ("/o/acme/oauth/token", .patch, "OPTIONS, POST"), ("/oauth/register", .get, "OPTIONS, POST"),
            ("/oauth/introspect", .get, "POST"), ("/oauth/revoke", .get, "OPTIONS, POST"),
            ("/oauth/jwks", .post, "GET, HEAD, OPTIONS"), ("/oauth/token", .trace, "OPTIONS, POST"),
            ("/.well-known/openid-configuration", .trace, "GET, HEAD, OPTIONS"), ("/signin/abc/consent", .get, "POST"),
        ] as [(String, HTTPRequest.Method, String)])
    func methods(path: String, method: HTTPRequest.Method, allow: String) async throws {
        try await TestServices.away.get().test { client in
            let reply = try await client.execute(uri: path, method: method)
            #expect(reply.status == .methodNotAllowed)
            #expect(reply.headers[.allow] == allow)
            let isOAuth = path.contains("/oauth/")
            #expect(reply.headers[.contentType] == (isOAuth ? "application/json" : "application/problem+json"))
        }
    }

    @Test(
        "T-19 P-15 P-19 nothing but the one spelling of a path leads anywhere",
        arguments: [
            "/nowhere", "/oauth/token/", "//oauth/token", "/oauth/token;.js", "/oauth/token/x.css",
            "/o/acme%2f/oauth/token",
            "/o/../oauth/token", "/O/acme/oauth/token", "/oauth", "/o/acme", "/.well-known", "/oauth/authorize/",
            "/.well-known/oauth-authorization-server/t/acme", "/assets/other.css",
        ])
    func noSuchPath(path: String) async throws {
        try await TestServices.away.get().test { client in
            for method in [HTTPRequest.Method.get, .post] {
                let reply = try await client.execute(uri: path, method: method)
                #expect(reply.status == .notFound || (path.hasPrefix("/assets") && reply.status == .methodNotAllowed))
            }
        }
    }

    @Test("PD-01 PD-03 an unmatched route is a problem that names its request and nothing else (RFC 9457 §3)")
    func problem() async throws {
        try await TestServices.away.get().test { client in
            let reply = try await client.execute(uri: "/nowhere", method: .get)
            #expect(reply.headers[.contentType] == "application/problem+json")
            let problem = try JSONBody(bytes: Array(reply.body.readableBytesView)).value.object ?? [:]
            let id = try #require(reply.headers[.requestID])
            #expect(problem["request_id"]?.string == id)
            #expect(problem["instance"]?.string == "urn:gatehouse:request:\(id)")
            #expect(problem["status"]?.integer == 404)
            #expect(problem["type"]?.string == "urn:gatehouse:problem:not_found")
            #expect(problem["code"]?.string == "not_found")
        }
    }

    @Test("BC-06 every reply over https has HSTS, nosniff and a request id of its own")
    func everyReply() async throws {
        try await TestServices.away.get().test { client in
            var ids: Set<String> = []
            for path in ["/", "/nowhere", "/oauth/token", "/oauth/jwks", "/assets/x.css"] {
                let reply = try await client.execute(uri: path, method: .get)
                #expect(reply.headers[.strictTransportSecurity]?.hasPrefix("max-age=31536000") == true)
                #expect(reply.headers[.xContentTypeOptions] == "nosniff")
                ids.insert(try #require(reply.headers[.requestID]))
            }
            #expect(ids.count == 5)
        }
    }

    @Test(
        "F-03 RL-01 with PostgreSQL away and nothing remembered, every OAuth endpoint says 503 with Retry-After in time"
    )
    func databaseAway() async throws {
        try await TestServices.away.get().test { client in
            let started = ContinuousClock.now
            let metadata = try await client.execute(uri: "/.well-known/oauth-authorization-server", method: .get)
            #expect(metadata.status == .serviceUnavailable)
            #expect(metadata.headers[.retryAfter] != nil)
            #expect(metadata.headers[.contentType] == "application/json")
            #expect(metadata.headers[.cacheControl] == "no-store")
            #expect(metadata.headers[.accessControlAllowOrigin] == "*")
            let page = try await client.execute(uri: "/oauth/authorize?client_id=x", method: .get)
            #expect(page.status == .serviceUnavailable)
            #expect(page.headers[.contentType] == "text/html; charset=utf-8")
            #expect(page.headers[.location] == nil)
            #expect(ContinuousClock.now - started < .seconds(6))
        }
    }

    @Test("P-01 a body over its limit is 413 without being read to its end")
    func tooLarge() async throws {
        try await TestServices.away.get().test { client in
            let reply = try await client.execute(
                uri: "/signin/abc", method: .post,
                headers: [.contentType: "application/x-www-form-urlencoded", .origin: TestServices.publicURL],
                body: ByteBuffer(repeating: 0x61, count: OAuthForm.largestBody + 1))
            #expect(reply.status == .contentTooLarge)
        }
    }

    @Test("BC-04 R-17 a form that another site sent is refused before anything is looked at")
    func foreignForms() async throws {
        let form = HTTPField(name: .contentType, value: "application/x-www-form-urlencoded")
        let cases: [(origin: String?, site: String?, isRefused: Bool)] = [
            ("https://evil.example", nil, true), ("null", nil, true), (TestServices.publicURL, "cross-site", true),
            ("null", "same-site", true), (nil, "cross-site", true), ("https://as.example.evil.example", nil, true),
            (TestServices.publicURL, "same-origin", false), ("null", "same-origin", false), (nil, nil, false),
            (TestServices.publicURL, nil, false),
        ]
        try await TestServices.live.get().test { client in
            for (origin, site, isRefused) in cases {
                var headers = HTTPFields([form])
                headers[.origin] = origin
                headers[.secFetchSite] = site
                let reply = try await client.execute(
                    uri: "/signin/abc/consent", method: .post, headers: headers,
                    body: ByteBuffer(string: "decision=allow"))
                // Past the gate there is no such transaction.
                #expect(reply.status == (isRefused ? .forbidden : .badRequest), "\(origin ?? "-") \(site ?? "-")")
            }
        }
    }

    @Test("the stylesheet is the one the pages name, and may be kept for good")
    func stylesheet() async throws {
        try await TestServices.away.get().test { client in
            let home = try await client.execute(uri: "/", method: .get)
            #expect(home.status == .ok)
            let html = String(buffer: home.body)
            let path = try #require(html.firstMatch(of: /href="(\/assets\/[^"]+\.css)"/)).1
            let sheet = try await client.execute(uri: String(path), method: .get)
            #expect(sheet.status == .ok)
            #expect(sheet.headers[.contentType] == "text/css; charset=utf-8")
            #expect(sheet.headers[.cacheControl] == "public, max-age=31536000, immutable")
        }
    }

    @Test("browsers find an icon where they look for one by themselves")
    func icon() async throws {
        try await TestServices.away.get().test { client in
            let icon = try await client.execute(uri: "/favicon.ico", method: .get)
            #expect(icon.status == .ok && icon.headers[.contentType] == "image/svg+xml")
            #expect(icon.headers[.contentSecurityPolicy] == "default-src 'none'; sandbox")
            #expect(icon.headers[.cacheControl] == "public, max-age=86400")
            #expect(String(buffer: icon.body).hasPrefix("<svg xmlns="))
        }
    }

    @Test("BC-05 an invitation is remembered in a cookie that only this host and no script can read")
    func invitation() async throws {
        try await TestServices.away.get().test { client in
            let bad = try await client.execute(uri: "/signin/invitation/gi_x", method: .get)
            #expect(bad.status == .badRequest)
            #expect(bad.headers[.setCookie] == nil)
            let token = InvitationToken(organization: .make(at: Date(), .system), .system).secret.revealed
            let good = try await client.execute(uri: "/signin/invitation/\(token)", method: .get)
            #expect(good.status == .ok)
            #expect(
                good.headers[.setCookie]
                    == "__Host-gatehouse_invitation=\(token); Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=86400")
            #expect(!String(buffer: good.body).contains(token))
        }
    }
}
