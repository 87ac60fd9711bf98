import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Keys
import Postgres
import Tenancy
import TestSupport
import Testing

@testable import API
@testable import ControlPlane

/// A resource that asks about tokens by credentials of its own.
@Suite(.tags(.token)) struct ResourceCredentialTests {
    private typealias Caller = (id: String, secret: String)

    private static func credential(
        _ world: TokenFixture, for resource: ResourceID? = nil, _ http: any TestClientProtocol
    ) async throws -> Caller {
        let made = try await world.admin(
            .post, "/resources/\(resource ?? world.resource.id)/credentials", #"{"name":"server"}"#, http)
        #expect(made.status == 201 && made["client_id"] == made["id"] && made["id"].hasPrefix("crd_"))
        return (made["client_id"], made["client_secret"])
    }

    @Test(
        "IN-01 IN-04 a resource asks by its own credential, in the header or the form, about whatever client's tokens")
    func asks() async throws {
        let world = try await TokenFixture.make()
        let other = try await world.addClient(secret: nil)
        let database = try TestDatabase.open()
        let admission = ClientAdmission(
            client: other.id, registry: world.organization.id, status: .active, createdAt: Date())
        _ = try await database.transaction(world.organization.id) {
            try await ClientStore(database: database).admit(admission, by: world.organization.id, in: $0)
        }
        let tokens = [
            try world.sign(world.claims()), try world.sign(world.claims(["client_id": "\"\(other.wireID)\""])),
        ]
        try await TestServices.live.get().test { http in
            let caller = try await Self.credential(world, http)
            let basic: HTTPFields = [
                .authorization: "Basic \(Data("\(caller.id):\(caller.secret)".utf8).base64EncodedString())"
            ]
            for token in tokens {
                #expect(try await world.introspect(token, as: caller, http).members["active"] == .bool(true))
                let reply = try await TokenFixture.post(
                    "\(world.path)/introspect", [("token", token)], headers: basic, http)
                #expect(reply.members["active"] == .bool(true))
            }
            // A refresh token is no resource's business, nor is ending a token.
            let refresh = world.refreshToken.secret.revealed
            #expect(try await world.introspect(refresh, as: caller, http).text == TokenFixture.inactive)
            #expect(try await world.revoke(tokens[0], as: (caller.id, caller.secret), http).status == 401)
            let token = try await TokenFixture.post(
                "\(world.path)/token",
                [("grant_type", "client_credentials"), ("client_id", caller.id), ("client_secret", caller.secret)], http
            )
            #expect(token.status == 401)
        }
    }

    @Test(
        "IN-02 IN-04 T-13 K-27 it is told of tokens for itself alone, and is nobody at another's issuer (RFC 7662 §4)")
    func others() async throws {
        let world = try await TokenFixture.make()
        let foreign = try await TokenFixture.make()
        let database = try TestDatabase.open()
        let second = MetadataEndpointTests.resource(
            owner: world.organization.id, uri: "https://\(world.organization.slug).example/other",
            accepted: [world.organization.id])
        _ = try await database.transaction(world.organization.id) { transaction in
            try await OrganizationStore(database: database).bumpEpoch(of: world.organization.id, in: transaction)
            return try await ResourceStore(database: database).insert(second, in: transaction)
        }
        let token = try world.sign(world.claims())
        let elsewhere = try world.sign(world.claims(["aud": "\"\(second.uri)\""]))
        try await TestServices.live.get().test { http in
            let (first, other) = (
                try await Self.credential(world, http), try await Self.credential(world, for: second.id, http)
            )
            let stranger = try await Self.credential(foreign, http)
            #expect(try await world.introspect(token, as: first, http).members["active"] == .bool(true))
            #expect(try await world.introspect(elsewhere, as: other, http).members["active"] == .bool(true))
            for (asked, caller, place) in [
                (elsewhere, first, world.path), (token, other, world.path), (token, stranger, foreign.path),
                (token, stranger, "/oauth"), (elsewhere, first, "/oauth"),
            ] {
                let reply = try await world.introspect(asked, as: caller, at: place, http)
                #expect(reply.status == 200 && reply.text == TokenFixture.inactive)
            }
            for (caller, place) in [
                (stranger, world.path), (first, foreign.path), ((first.id, stranger.secret), world.path),
                ((first.id, first.secret + "x"), world.path), ((stranger.id, first.secret), "/oauth"),
                ((ResourceCredentialID.make(at: Date(), .system).description, first.secret), "/oauth"),
                ((ResourceCredentialID.make(at: Date(), .system).description, first.secret), world.path),
            ] as [(Caller, String)] {
                let reply = try await world.introspect(token, as: caller, at: place, http)
                #expect(reply.status == 401 && reply.error == "invalid_client")
            }
            let silent = try await TokenFixture.post(
                "\(world.path)/introspect", [("token", token), ("client_id", first.id)], http)
            #expect(silent.status == 401)
        }
    }

    @Test("IN-04 it asks at the platform's issuer too, about tokens of every issuer that it accepts (design §3.6)")
    func atThePlatform() async throws {
        let world = try await TokenFixture.make()
        let token = try world.sign(world.claims())
        try await TestServices.live.get().test { http in
            let caller = try await Self.credential(world, http)
            #expect(try await world.introspect(token, as: caller, at: "/oauth", http).members["active"] == .bool(true))
            try await world.setStatus(.suspended)
            for place in ["/oauth", world.path] {
                let closed = try await world.introspect(token, as: caller, at: place, http)
                #expect(closed.status == 200 && closed.text == TokenFixture.inactive)
            }
            try await world.setStatus(.deleted)
            #expect(try await world.introspect(token, as: caller, at: "/oauth", http).status == 401)
        }
    }

    @Test("IN-04 a shared resource asks at the platform's issuer, about the tokens of each organization (design §3.6)")
    func shared() async throws {
        let (one, two) = (try await TokenFixture.make(), try await TokenFixture.make())
        try await TestServices.live.get().test { http in
            let uri = "https://\(one.organization.slug).shared.example/mcp"
            let made = try await one.admin(
                .post, "/resources",
                #"{"uri":"\#(uri)","name":"Shared","scopes":["read"],"accepted_issuers":["\#(one.organization.id)","\#(two.organization.id)"]}"#,
                ofPlatform: true, http)
            #expect(made.status == 201)
            for world in [one, two] {
                #expect(try await world.admin(.post, "/resources/\(made["id"]):enable", http).status == 200)
            }
            let credential = try await one.admin(
                .post, "/resources/\(made["id"])/credentials", #"{"name":"server"}"#, ofPlatform: true, http)
            let caller = (credential["client_id"], credential["client_secret"])
            for world in [one, two] {
                let token = try world.sign(world.claims(["aud": "\"\(uri)\""]))
                let reply = try await world.introspect(token, as: caller, at: "/oauth", http)
                #expect(reply.members["org_id"]?.string == world.organization.id.description)
                #expect(try await world.introspect(token, as: caller, http).status == 401)
            }
            // An organization sees the resource and has no business with its credentials.
            #expect(try await one.admin(.get, "/resources/\(made["id"])/credentials", http).status == 404)
            let refused = try await one.admin(
                .post, "/resources/\(made["id"])/credentials", #"{"name":"x"}"#, http)
            #expect(refused.status == 404)
            // One that the organization disabled is closed to its tokens.
            #expect(try await two.admin(.post, "/resources/\(made["id"]):disable", http).status == 200)
            let token = try two.sign(two.claims(["aud": "\"\(uri)\""]))
            #expect(try await two.introspect(token, as: caller, at: "/oauth", http).text == TokenFixture.inactive)
        }
    }

    @Test(
        "the secret is shown once, each change is on record, and a credential that was taken away is nobody's",
        .tags(.admin))
    func lifecycle() async throws {
        let world = try await TokenFixture.make()
        let token = try world.sign(world.claims())
        let path = "/resources/\(world.resource.id)/credentials"
        try await TestServices.live.get().test { http in
            let made = try await world.admin(.post, path, #"{"name":"server"}"#, http)
            #expect(made.headers[.location]?.hasSuffix("\(path)/\(made["id"])") == true)
            let caller = (made["client_id"], made["client_secret"])
            let list = try await world.admin(.get, path, http)
            #expect(list.rows.count == 1 && !list.text.contains(made["client_secret"]))
            #expect(try await world.admin(.get, "\(path)/\(made["id"])", http)["name"] == "server")
            #expect(try await world.introspect(token, as: caller, http).members["active"] == .bool(true))
            #expect(try await world.admin(.delete, "\(path)/\(made["id"])", http).status == 204)
            #expect(try await world.introspect(token, as: caller, http).status == 401)
            #expect(try await world.admin(.delete, "\(path)/\(made["id"])", http).status == 404)
            let bad = try await world.admin(.post, path, #"{"name":"","secret":"x"}"#, http)
            #expect(bad.status == 422 && bad.pointers == ["/secret"])
            let database = try TestDatabase.open()
            let id = world.organization.id
            let types = try await database.read(
                id,
                """
                SELECT type, time FROM audit_outbox WHERE organization_id = \(id) AND type LIKE 'resource.credential_%'
                UNION ALL
                SELECT type, time FROM audit_event WHERE organization_id = \(id) AND type LIKE 'resource.credential_%'
                 ORDER BY time
                """
            ) { try $0.decode("type", as: String.self) }
            #expect(types == ["resource.credential_created", "resource.credential_deleted"])
        }
    }

    @Test(
        "IN-01 JA-01 K-15 a resource may prove a key instead of a secret, with a new assertion each time (RFC 7523 §2.2)"
    )
    func assertions() async throws {
        let world = try await TokenFixture.make()
        let token = try world.sign(world.claims())
        let key = try SigningKey.generate(.es256)
        let jwk = String(decoding: key.publicKey.jwk(keyID: "k1"), as: UTF8.self)
        try await TestServices.live.get().test { http in
            let path = "/resources/\(world.resource.id)/credentials"
            let made = try await world.admin(.post, path, #"{"name":"server","jwks":{"keys":[\#(jwk)]}}"#, http)
            #expect(made.status == 201 && made["client_secret"].isEmpty && made.json["jwks"] != nil)
            let id = made["client_id"]
            func assertion(_ changes: [String: String] = [:], by signer: SigningKey? = nil) throws -> String {
                let now = Int(Date().timeIntervalSince1970)
                var members = [
                    "iss": "\"\(id)\"", "sub": "\"\(id)\"", "aud": "\"\(world.issuer)\"", "exp": "\(now + 60)",
                    "jti": "\"\(TokenID.make(at: Date(), .system))\"",
                ]
                members.merge(changes) { $1 }
                let payload = "{\(members.map { "\"\($0)\":\($1)" }.joined(separator: ","))}"
                return try world.sign(payload, header: #"{"alg":"ES256","kid":"k1"}"#, by: signer ?? key)
            }
            func ask(_ assertion: String, at place: String? = nil) async throws -> TokenFixture.Reply {
                try await TokenFixture.post(
                    "\(place ?? world.path)/introspect",
                    [
                        ("token", token), ("client_assertion", assertion),
                        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                    ], http)
            }
            let first = try assertion()
            #expect(try await ask(first).members["active"] == .bool(true))
            #expect(try await ask(first).status == 401, "used before")
            let elsewhere = try assertion(["aud": "\"\(TestServices.publicURL)\""])
            #expect(try await ask(elsewhere).status == 401, "made for another issuer")
            #expect(try await ask(elsewhere, at: "/oauth").members["active"] == .bool(true))
            for wrong in [
                try assertion(by: SigningKey.generate(.es256)), try assertion(["iss": "\"x\""]),
                try assertion(["exp": "1"]), try assertion(["exp": "99999999999"]),
            ] {
                let reply = try await ask(wrong)
                #expect(reply.status == 401 && reply.error == "invalid_client")
            }
            #expect(try await world.introspect(token, as: (id, "gs_secret"), http).status == 401)
            for bad in [#"{"keys":[]}"#, #"{"keys":[{"kty":"EC","d":"x"}]}"#, "[]", #""x""#] {
                let reply = try await world.admin(.post, path, #"{"name":"server","jwks":\#(bad)}"#, http)
                #expect(reply.status == 422 && reply.pointers == ["/jwks"])
            }
        }
    }

    @Test("a resource has at most sixteen credentials, however many ask for one at once", .tags(.admin, .race))
    func bound() async throws {
        let world = try await TokenFixture.make()
        try await TestServices.live.get().test { http in
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<20 {
                    group.addTask {
                        try await world.admin(
                            .post, "/resources/\(world.resource.id)/credentials", #"{"name":"n"}"#, http
                        ).status
                    }
                }
                return try await group.reduce(into: [:]) { $0[$1, default: 0] += 1 }
            }
            #expect(statuses == [201: 16, 409: 4])
        }
    }

    @Test(
        "IN-06 who asks for a JWT gets the answer signed by the issuer, of its own type and for the caller (RFC 9701 §5)"
    )
    func signedAnswer() async throws {
        let world = try await TokenFixture.make()
        let token = try world.sign(world.claims())
        try await TestServices.live.get().test { http in
            let caller = try await Self.credential(world, http)
            for (asked, isActive) in [(token, true), ("nothing", false)] {
                for accept in [
                    "application/token-introspection+jwt", "text/html, application/token-introspection+jwt;q=1",
                ] {
                    let reply = try await world.introspect(asked, as: caller, headers: [.accept: accept], http)
                    #expect(reply.status == 200 && reply.headers[.cacheControl] == "no-store")
                    #expect(reply.headers[.contentType] == "application/token-introspection+jwt")
                    let jws = try CompactJWS.parse(reply.text, expecting: [.es256])
                    #expect(jws.type == "token-introspection+jwt" && jws.keyID == world.kid)
                    #expect(jws.isSigned(by: world.key.publicKey, form: .unique))
                    let claims = try #require(jws.claims)
                    #expect(claims["iss"]?.string == world.issuer && claims["aud"]?.string == caller.id)
                    #expect(claims["iat"]?.integer != nil && claims["exp"] == nil && claims["sub"] == nil)
                    let told = try #require(claims["token_introspection"]?.object)
                    #expect(told["active"] == .bool(isActive) && (told["sub"] != nil) == isActive)
                    // The answer itself opens nothing.
                    let again = try await world.introspect(reply.text, as: caller, http)
                    #expect(again.text == TokenFixture.inactive)
                }
            }
            let plain = try await world.introspect(token, as: caller, headers: [.accept: "*/*"], http)
            #expect(plain.headers[.contentType] == "application/json")
            let refused = try await world.introspect(
                token, as: (caller.id, "wrong"), headers: [.accept: "application/token-introspection+jwt"], http)
            #expect(refused.status == 401 && refused.headers[.contentType] == "application/json")
        }
    }

    @Test(
        "IN-02 K-22 what an imported key signed counts only as far as we gave it: by its grant, or by its name (design §3.6)"
    )
    func importedKey() async throws {
        let world = try await TokenFixture.make()
        let key = try SigningKey.generate(.es256)
        let pem = AdminSetupTests.pem(key).replacing("\n", with: "\\n")
        try await TestServices.live.get().test { http in
            let caller = try await Self.credential(world, http)
            let byIssuer = try world.sign(world.claims())
            #expect(try await world.introspect(byIssuer, as: caller, http).members["active"] == .bool(true))
            let imported = try await world.admin(
                .post, "/signing-keys",
                #"{"purpose":"access","resource":"\#(world.resource.id)","private_key":"\#(pem)"}"#, http)
            #expect(imported.status == 201 && imported["status"] == "active")
            let header = #"{"alg":"ES256","kid":"\#(key.publicKey.thumbprint)","typ":"at+jwt"}"#
            func asked(_ changes: [String: String?]) async throws -> String {
                let token = try world.sign(world.claims(changes), header: header, by: key)
                return try await world.introspect(token, as: caller, http).text
            }
            #expect(try await asked([:]) != TokenFixture.inactive, "of a grant that stands")
            let other = try await world.addClient(secret: nil)
            for changes in [
                ["scope": "\"read write\""], ["scope": "\"read openid\""], ["client_id": "\"\(other.wireID)\""],
                ["sub": "\"\(UserID.make(at: Date(), .system))\""],
                ["org_id": "\"\(OrganizationID.make(at: Date(), .system))\""],
                ["grant_id": nil], ["grant_id": "\"\(GrantID.make(at: Date(), .system))\""],
                ["grant_id": nil, "sub": "\"\(world.client.wireID)\""],
                [
                    "grant_id": nil, "jti": "\"tok_01h455vb4pex5vsknk084sn02q\"",
                    "client_id": "\"tok_01h455vb4pex5vsknk084sn02q\"",
                ],
            ] as [[String: String?]] {
                #expect(try await asked(changes) == TokenFixture.inactive, "\(changes)")
            }
            // The resource is signed for by its own key and no other; that key is in no key set.
            #expect(try await world.introspect(byIssuer, as: caller, http).text == TokenFixture.inactive)
            let jwks = try await http.execute(uri: "\(world.path)/jwks", method: .get)
            #expect(!String(buffer: jwks.body).contains(key.publicKey.thumbprint))
        }
    }
}
