import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Keys
import Tenancy
import TestSupport
import Testing

@testable import API

/// The endpoints of an issuer over real stores.
@Suite struct IssuerEndpointsTests {
    private static let form: HTTPFields = [.contentType: "application/x-www-form-urlencoded"]
    private static let json: HTTPFields = [.contentType: "application/json"]

    /// A fresh organization with a signing key and one resource, its default.
    private static func organization() async throws -> (organization: Organization, resource: Resource) {
        let now = Date()
        let database = try TestDatabase.open()
        try await platform()
        let organization = try await TestDatabase.freshOrganization(at: now)
        let key = try SigningKey.generate(.es256)
        let id = SigningKeyID.make(at: now, .system)
        let record = SigningKeyRecord(
            id: id, owner: organization.id, purpose: .access, resource: nil, algorithm: .es256,
            kid: key.publicKey.thumbprint, publicKeyPEM: key.publicKey.pem,
            sealedPrivateKey: try TestDatabase.secrets.seal(key.privateKeyBytes, for: organization, .privateKey(id)),
            imported: false, status: .active, createdAt: now, activatedAt: now, retiredAt: nil)
        let resource = MetadataEndpointTests.resource(
            owner: organization.id, uri: "https://\(organization.slug).example/mcp", accepted: [organization.id])
        _ = try await database.transaction(organization.id) { transaction in
            try await SigningKeyStore(database: database).insert(record, in: transaction)
            return try await ResourceStore(database: database).insert(resource, in: transaction)
        }
        return (organization, resource)
    }

    /// The platform's reserved organization, made by whichever test comes first.
    private static func platform() async throws {
        let database = try TestDatabase.open()
        let store = OrganizationStore(database: database)
        let organization = MetadataEndpointTests.organization(.platform, slug: "platform")
        let wrapped = Organization(
            id: .platform, slug: "platform", name: "Platform", status: .active,
            wrappedDataKey: try TestDatabase.secrets.makeDataKey(for: .platform), settings: organization.settings,
            version: 1, createdAt: organization.createdAt, updatedAt: organization.updatedAt)
        _ = try await database.transaction(.platform) { try await store.insert(wrapped, in: $0) }
    }

    private static func setStatus(_ status: Organization.Status, of organization: Organization) async throws {
        let database = try TestDatabase.open()
        let store = OrganizationStore(database: database)
        var changed = organization
        changed.status = status
        let wanted = changed
        _ = try await database.transaction(organization.id) { transaction in
            let updated = try await store.update(wanted, at: Date(), in: transaction)
            try await store.bumpEpoch(of: organization.id, in: transaction)
            return updated
        }
    }

    private static func members(_ reply: TestResponse) throws -> [String: JSONValue] {
        try #require(try JSONBody(bytes: Array(reply.body.readableBytesView)).value.object)
    }

    @Test(
        "MD-01 MD-02 MD-08 MD-13 the same document answers at every URL clients try, whatever Host says (RFC 8414 §3.3)"
    )
    func discovery() async throws {
        let (organization, _) = try await Self.organization()
        try await TestServices.live.get().test { client in
            let names = ["oauth-authorization-server", "openid-configuration"]
            let places = names.flatMap { name in
                ["/.well-known/\(name)/o/\(organization.slug)", "/o/\(organization.slug)/.well-known/\(name)"]
            }
            var bodies: Set<String> = []
            for place in places {
                let spoofed: HTTPFields = [
                    .xForwardedFor: "1.2.3.4", HTTPField.Name("X-Forwarded-Host") ?? .from: "evil",
                ]
                let reply = try await client.execute(uri: place, method: .get, headers: spoofed)
                #expect(reply.status == .ok)
                #expect(reply.headers[.contentType] == "application/json")
                #expect(try Self.members(reply)["issuer"]?.string == "https://as.example/o/\(organization.slug)")
                bodies.insert(String(buffer: reply.body))
                let head = try await client.execute(uri: place, method: .head)
                #expect(head.status == .ok)
                #expect(head.body.readableBytes == 0)
                let etag = try #require(reply.headers[.eTag])
                let known = try await client.execute(uri: place, method: .get, headers: [.ifNoneMatch: etag])
                #expect(known.status == .notModified)
            }
            #expect(bodies.count == 1)
            let platform = try await client.execute(uri: "/.well-known/openid-configuration", method: .get)
            #expect(try Self.members(platform)["issuer"]?.string == "https://as.example")
        }
    }

    @Test("MD-10 the key set holds public members only, with kid, use and alg (RFC 7517 §4)")
    func keys() async throws {
        let (organization, _) = try await Self.organization()
        try await TestServices.live.get().test { client in
            let reply = try await client.execute(uri: "/o/\(organization.slug)/oauth/jwks", method: .get)
            #expect(reply.status == .ok)
            #expect(reply.headers[.eTag] != nil)
            guard case .array(let keys) = try Self.members(reply)["keys"], let key = keys.first?.object else {
                Issue.record("no key")
                return
            }
            #expect(keys.count == 1)
            #expect(Set(key.keys) == ["kty", "crv", "x", "y", "kid", "use", "alg"])
        }
    }

    @Test("MD-07 T-20 unknown, suspended and deleted organizations answer alike; keys of suspended ones stay published")
    func hiddenOrganizations() async throws {
        let (suspended, _) = try await Self.organization()
        let (deleted, _) = try await Self.organization()
        try await Self.setStatus(.suspended, of: suspended)
        try await Self.setStatus(.deleted, of: deleted)
        try await TestServices.live.get().test { client in
            for path in [
                "/o/%/.well-known/oauth-authorization-server", "/o/%/.well-known/mcp-resources", "/o/%/oauth/authorize",
            ] {
                var answers: Set<String> = []
                for slug in ["nobody-has-this-slug", suspended.slug, deleted.slug, "Not-A-Slug", "x", "platform"] {
                    let reply = try await client.execute(uri: path.replacing("%", with: slug), method: .get)
                    #expect(reply.status == .notFound)
                    // A page names its own request.
                    answers.insert(String(buffer: reply.body).replacing(/req_[0-9a-z]+/, with: ""))
                }
                #expect(answers.count == 1)
            }
            for (path, headers) in [("/o/%/oauth/token", Self.form), ("/o/%/oauth/register", Self.json)] {
                var answers: Set<String> = []
                for slug in ["nobody-has-this-slug", suspended.slug, deleted.slug] {
                    let reply = try await client.execute(
                        uri: path.replacing("%", with: slug), method: .post, headers: headers,
                        body: ByteBuffer(string: "{}"))
                    #expect(reply.status == .notFound)
                    answers.insert(String(buffer: reply.body))
                }
                #expect(answers.count == 1)
            }
            let kept = try await client.execute(uri: "/o/\(suspended.slug)/oauth/jwks", method: .get)
            #expect(kept.status == .ok)
            let gone = try await client.execute(uri: "/o/\(deleted.slug)/oauth/jwks", method: .get)
            #expect(gone.status == .notFound)
        }
    }

    @Test("RG-01 RG-02 a registration answers 201 with everything that was registered (RFC 7591 §3.2.1)")
    func registration() async throws {
        let (organization, _) = try await Self.organization()
        try await TestServices.live.get().test { client in
            let path = "/o/\(organization.slug)/oauth/register"
            let open = try await client.execute(
                uri: path, method: .post, headers: Self.json,
                body: ByteBuffer(
                    string: """
                        {"client_name":"ChatGPT","redirect_uris":["https://chatgpt.com/connector_platform_oauth_redirect"],
                        "grant_types":["authorization_code","refresh_token"],"token_endpoint_auth_method":"none",
                        "skip_consent":true,"tenant_id":"x"}
                        """))
            #expect(open.status == .created)
            #expect(open.headers[.cacheControl] == "no-store")
            let client1 = try Self.members(open)
            #expect(client1["client_id"]?.string?.hasPrefix("cli_") == true)
            #expect(client1["client_secret"] == nil && client1["client_secret_expires_at"] == nil)
            #expect(client1["token_endpoint_auth_method"]?.string == "none")
            #expect(client1["response_types"]?.strings == ["code"])
            #expect(client1["skip_consent"] == nil && client1["tenant_id"] == nil)
            let confidential = try await client.execute(
                uri: path, method: .post, headers: Self.json,
                body: ByteBuffer(string: #"{"redirect_uris":["https://app.example/cb"]}"#))
            let client2 = try Self.members(confidential)
            #expect(client2["token_endpoint_auth_method"]?.string == "client_secret_basic")
            #expect(client2["client_secret"]?.string != nil)
            #expect(client2["client_secret_expires_at"]?.integer == 0)
        }
    }

    @Test(
        "RG-03 RG-04 P-06 P-08 a bad registration is 400 with an RFC 7591 code",
        arguments: [
            (#"{"redirect_uris":["javascript:alert(1)"]}"#, "application/json", "invalid_redirect_uri"),
            (#"{"redirect_uris":["https://a.example/cb#f"]}"#, "application/json", "invalid_redirect_uri"),
            (#"{}"#, "application/json", "invalid_redirect_uri"),
            (#"{"redirect_uris":"https://a.example"}"#, "application/json", "invalid_client_metadata"),
            (
                #"{"redirect_uris":["https://a.example"],"redirect_uris":[]}"#, "application/json",
                "invalid_client_metadata"
            ),
            (
                #"{"redirect_uris":["https://a.example/cb"],"client_name":"a\u0000b"}"#, "application/json",
                "invalid_client_metadata"
            ),
            (#"[]"#, "application/json", "invalid_client_metadata"),
            (#"{"#, "application/json", "invalid_client_metadata"),
            (#"{}"#, "text/plain", "invalid_client_metadata"),
            (#"{}"#, "application/json; charset=utf-16", "invalid_client_metadata"),
        ])
    func badRegistration(body: String, type: String, error: String) async throws {
        let (organization, _) = try await Self.organization()
        try await TestServices.live.get().test { client in
            let reply = try await client.execute(
                uri: "/o/\(organization.slug)/oauth/register", method: .post, headers: [.contentType: type],
                body: ByteBuffer(string: body))
            #expect(reply.status == .badRequest)
            #expect(reply.headers[.cacheControl] == "no-store")
            #expect(try Self.members(reply)["error"]?.string == error)
        }
    }

    @Test(
        "TK-01 TK-04 TK-05 TK-06 P-07 a bad token request is 400 with its code, and the query is never read",
        arguments: [
            ("", "grant_type=authorization_code", "invalid_request"),
            ("", "grant_type=authorization_code&code=a&code=b&client_id=c", "invalid_request"),
            ("", "grant_type=password&client_id=c", "unsupported_grant_type"),
            ("?grant_type=authorization_code&code=x&client_id=c", "", "invalid_request"),
            ("", "grant_type=authorization_code&code=%zz", "invalid_request"),
            ("", "grant_type=authorization_code&code=%00", "invalid_request"),
        ])
    func badTokenRequest(query: String, body: String, error: String) async throws {
        let (organization, _) = try await Self.organization()
        try await TestServices.live.get().test { client in
            let reply = try await client.execute(
                uri: "/o/\(organization.slug)/oauth/token\(query)", method: .post, headers: Self.form,
                body: ByteBuffer(string: body))
            #expect(reply.status == .badRequest)
            #expect(reply.headers[.contentType] == "application/json")
            #expect(reply.headers[.cacheControl] == "no-store")
            #expect(try Self.members(reply)["error"]?.string == error)
        }
    }

    @Test("MCP-AS-37 TK-07 an unknown client is 401 invalid_client, challenged when it used Basic (RFC 6749 §5.2)")
    func unknownClient() async throws {
        let (organization, _) = try await Self.organization()
        try await TestServices.live.get().test { client in
            let path = "/o/\(organization.slug)/oauth/token"
            let body = "grant_type=authorization_code&code=x"
            let post = try await client.execute(
                uri: path, method: .post, headers: Self.form, body: ByteBuffer(string: body + "&client_id=nobody"))
            #expect(post.status == .unauthorized)
            #expect(try Self.members(post)["error"]?.string == "invalid_client")
            #expect(post.headers[.wwwAuthenticate] == nil)
            var headers = Self.form
            headers[.authorization] = "Basic bm9ib2R5OnNlY3JldA=="
            let basic = try await client.execute(
                uri: path, method: .post, headers: headers, body: ByteBuffer(string: body))
            #expect(basic.status == .unauthorized)
            #expect(basic.headers[.wwwAuthenticate]?.hasPrefix("Basic ") == true)
        }
    }

    @Test("AZ-02 AZ-03 AZ-10 P-07 what cannot be answered to a proven client is a page, never a redirect")
    func authorizePages() async throws {
        let (organization, _) = try await Self.organization()
        try await TestServices.live.get().test { client in
            let path = "/o/\(organization.slug)/oauth/authorize"
            for query in [
                "", "?client_id=nobody&redirect_uri=https%3A%2F%2Fapp.example%2Fcb", "?client_id=a&client_id=b",
                "?a=%zz",
                "?client_id=%00", "?client_id=cli_00000000000000000000000000&redirect_uri=https://evil.example",
            ] {
                let reply = try await client.execute(uri: path + query, method: .get)
                #expect(reply.status == .badRequest)
                #expect(reply.headers[.location] == nil)
                #expect(reply.headers[.contentType] == "text/html; charset=utf-8")
                #expect(reply.headers[.xFrameOptions] == "DENY")
            }
        }
    }

    @Test("AZ-01 AZ-15 BC-04 a good request shows page one by GET and POST; its form needs the page's token")
    func pageOne() async throws {
        let (organization, resource) = try await Self.organization()
        try await TestServices.live.get().test { client in
            let base = "/o/\(organization.slug)/oauth"
            let registered = try await client.execute(
                uri: base + "/register", method: .post, headers: Self.json,
                body: ByteBuffer(
                    string:
                        #"{"client_name":"A & B","redirect_uris":["https://app.example/cb"],"token_endpoint_auth_method":"none"}"#
                ))
            let id = try #require(try Self.members(registered)["client_id"]?.string)
            let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
            let query =
                "response_type=code&client_id=\(id)&redirect_uri=https%3A%2F%2Fapp.example%2Fcb&state=s"
                + "&code_challenge=\(challenge)&code_challenge_method=S256&resource=\(resource.uri)"
            let page = try await client.execute(uri: "\(base)/authorize?\(query)", method: .get)
            let posted = try await client.execute(
                uri: base + "/authorize", method: .post, headers: Self.form, body: ByteBuffer(string: query))
            for reply in [page, posted] {
                #expect(reply.status == .ok)
                #expect(String(buffer: reply.body).contains("A &amp; B"))
                #expect(reply.headers[.setCookie] == nil)
                #expect(reply.headers[.contentSecurityPolicy]?.contains("https://app.example:*") == true)
            }
            let html = String(buffer: page.body)
            let action = String(try #require(html.firstMatch(of: /action="(\/signin\/[^"]+)"/)).1)
            let token = String(try #require(html.firstMatch(of: /name="csrf_token" value="([^"]+)"/)).1)
            var headers = Self.form
            headers[.origin] = TestServices.publicURL
            let forged = try await client.execute(
                uri: action, method: .post, headers: headers,
                body: ByteBuffer(string: "csrf_token=x&email=ada%40a.example"))
            #expect(forged.status == .badRequest)
            #expect(forged.headers[.setCookie] == nil)
            let wrong = try await client.execute(
                uri: action, method: .post, headers: headers, body: ByteBuffer(string: "csrf_token=\(token)&email=ada"))
            #expect(wrong.status == .unprocessableContent)
            #expect(String(buffer: wrong.body).contains("role=\"alert\""))
            #expect(wrong.headers[.setCookie]?.hasPrefix("__Host-gatehouse_browser=") == true)
        }
    }
}
