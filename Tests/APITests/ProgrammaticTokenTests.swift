import Audit
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

/// Tokens that administrators issue by name (design §3.6).
@Suite(.tags(.token, .admin)) struct ProgrammaticTokenTests {
    /// An organization made over HTTP, with all that is made along with one: keys, a policy that lets everyone read.
    private struct World {
        let fixture: TokenFixture
        let server: (id: String, secret: String)

        static func make(_ http: any TestClientProtocol) async throws -> World {
            let fixture = try await TokenFixture.make()
            for (name, scopes, principals) in [("everyone-read", "read", #""everyone":true"#)] {
                let made = try await fixture.admin(
                    .post, "/scope-policies",
                    #"{"name":"\#(name)","effect":"allow","principals":{\#(principals)},"scopes":["\#(scopes)"]}"#, http
                )
                #expect(made.status == 201)
            }
            let credential = try await fixture.admin(
                .post, "/resources/\(fixture.resource.id)/credentials", #"{"name":"server"}"#, http)
            return World(fixture: fixture, server: (credential["client_id"], credential["client_secret"]))
        }

        func issue(
            _ changes: [String: String?], _ http: any TestClientProtocol
        ) async throws -> AdminServer.Reply {
            var members: [String: String?] = [
                "name": "\"script\"", "user": "\"\(fixture.user)\"", "resource": "\"\(fixture.resource.id)\"",
                "scopes": "[\"read\"]",
            ]
            for (name, value) in changes { members[name] = .some(value) }
            let body = members.compactMap { name, value in value.map { "\"\(name)\":\($0)" } }.joined(separator: ",")
            return try await fixture.admin(.post, "/access-tokens", "{\(body)}", http)
        }

        func issue(_ http: any TestClientProtocol) async throws -> AdminServer.Reply { try await issue([:], http) }

        func isActive(_ token: String, at place: String? = nil, _ http: any TestClientProtocol) async throws -> Bool {
            let reply = try await fixture.introspect(token, as: server, at: place, http)
            #expect(reply.status == 200)
            return reply.text != TokenFixture.inactive
        }

        func keys(_ http: any TestClientProtocol) async throws -> [String] {
            let reply = try await http.execute(uri: "\(fixture.path)/jwks", method: .get)
            let set = try JSONText.parse(Array(reply.body.readableBytesView)).object
            guard case .array(let keys)? = set?["keys"] else { return [] }
            return keys.compactMap { $0.object?["kid"]?.string }
        }

        func events(_ prefix: String) async throws -> [(type: String, severity: Int)] {
            let id = fixture.organization.id
            return try await TestDatabase.open().read(
                id,
                """
                SELECT type, severity, time FROM audit_outbox WHERE organization_id = \(id) AND type LIKE \(prefix + "%")
                UNION ALL
                SELECT type, severity, time FROM audit_event WHERE organization_id = \(id) AND type LIKE \(prefix + "%")
                 ORDER BY time
                """
            ) { (try $0.decode("type", as: String.self), try $0.decode("severity", as: Int.self)) }
        }
    }

    @Test(
        "AT-01 AT-04 a named token is an access token like others: its own client, by a key of its purpose (RFC 9068 §2)"
    )
    func forAPerson() async throws {
        try await TestServices.live.get().test { http in
            let world = try await World.make(http)
            let made = try await world.issue(http)
            #expect(made.status == 201, "\(made.text)")
            #expect(made.headers[.location]?.hasSuffix("/access-tokens/\(made["id"])") == true)
            #expect(made["honoured_offline_until"] == made["expires_at"])
            let jws = try CompactJWS.parse(made["token"], expecting: [.es256])
            let claims = try #require(jws.claims)
            #expect(jws.type == "at+jwt" && jws.keyID != world.fixture.kid)
            #expect(try await world.keys(http).contains(try #require(jws.keyID)))
            #expect(claims["jti"]?.string == made["id"] && claims["client_id"]?.string == made["id"])
            #expect(claims["sub"]?.string == world.fixture.user.description && claims["grant_id"] == nil)
            #expect(claims["iss"]?.string == world.fixture.issuer && claims["scope"]?.string == "read")
            #expect(claims["aud"]?.string == world.fixture.resource.uri)
            let life = (claims["exp"]?.integer ?? 0) - (claims["iat"]?.integer ?? 0)
            #expect(life == 90 * 86_400)
            #expect(try await world.isActive(made["token"], http))
            #expect(try await world.isActive(made["token"], at: "/oauth", http))
            let events = try await world.events("access_token")
            #expect(events.map(\.type) == ["access_token.created_for_other"] && events.first?.severity == 4)
            let rows = try await world.fixture.admin(.get, "/access-tokens?user=\(world.fixture.user)", http).rows
            #expect(rows.count == 1 && rows.first?["token"] == nil && rows.first?["status"]?.string == "active")
            // No client holds it, so none may ask about it or end it.
            let token = made["token"]
            #expect(try await world.fixture.introspect(token, http).text == TokenFixture.inactive)
            #expect(try await world.fixture.revoke(token, http).status == 200)
            #expect(try await world.isActive(token, http))
        }
    }

    @Test(
        "IN-05 who ends it ends it with the next answer; the list remembers it, and says how long servers offline take it"
    )
    func ending() async throws {
        try await TestServices.live.get().test { http in
            let world = try await World.make(http)
            let made = try await world.issue(http)
            let path = "/access-tokens/\(made["id"])"
            #expect(try await world.isActive(made["token"], http))
            let ended = try await world.fixture.admin(.delete, path, http)
            #expect(ended.status == 200 && ended["status"] == "revoked" && ended.headers[.auditEvent] != nil)
            #expect(ended["honoured_offline_until"] == made["expires_at"] && ended["token"].isEmpty)
            #expect(try await !world.isActive(made["token"], http))
            #expect(try await world.fixture.admin(.delete, path, http).status == 409)
            #expect(try await world.fixture.admin(.get, path, http)["status"] == "revoked")
            let events = try await world.events("access_token").map(\.type)
            #expect(events == ["access_token.created_for_other", "access_token.revoked"])
        }
    }

    @Test("TK-23 a person's tokens end when the person is kept out, and do not come back with them")
    func disabledUser() async throws {
        try await TestServices.live.get().test { http in
            let world = try await World.make(http)
            let token = try await world.issue(http)["token"]
            #expect(try await world.isActive(token, http))
            for verb in ["disable", "enable"] {
                let done = try await world.fixture.admin(.post, "/users/\(world.fixture.user):\(verb)", http)
                #expect(done.status == 200)
                #expect(try await !world.isActive(token, http))
            }
            _ = try await world.fixture.admin(.post, "/users/\(world.fixture.user):disable", http)
            let refused = try await world.issue(http)
            #expect(refused.status == 422 && refused.pointers == ["/user"])
        }
    }

    @Test("a service's token speaks for the service within its ceiling, and ends with the client")
    func forAService() async throws {
        try await TestServices.live.get().test { http in
            let world = try await World.make(http)
            let client = try await world.fixture.admin(
                .post, "/clients", #"{"kind":"service","name":"Nightly"}"#, http)
            #expect(client.status == 201, "\(client.text)")
            let id = client["id"]
            let denied = try await world.issue(["user": nil, "client": "\"\(id)\""], http)
            #expect(denied.status == 422 && denied.pointers == ["/scopes/0"], "everyone is every person")
            let policy = try await world.fixture.admin(
                .post, "/scope-policies",
                #"{"name":"services","effect":"allow","principals":{"services":["\#(id)"]},"scopes":["read"]}"#, http)
            #expect(policy.status == 201)
            let made = try await world.issue(["user": nil, "client": "\"\(id)\""], http)
            #expect(made.status == 201, "\(made.text)")
            let claims = try #require(try CompactJWS.parse(made["token"], expecting: [.es256]).claims)
            #expect(claims["sub"]?.string == id && claims["client_id"]?.string == made["id"])
            #expect(try await world.isActive(made["token"], http))
            let events = try await world.events("access_token")
            #expect(events.map(\.type) == ["access_token.created"] && events.first?.severity == 2)
            let etag = try await world.fixture.admin(.get, "/clients/\(id)", http).headers[.eTag]
            let disabled = try await http.execute(
                uri: "/v1/organizations/\(world.fixture.organization.id)/clients/\(id)", method: .patch,
                headers: [
                    .authorization: "Bearer \(try await AdminServer.platformKey())", .ifMatch: etag ?? "*",
                    .contentType: "application/json",
                ], body: ByteBuffer(string: #"{"status":"disabled","scope_ceiling":[]}"#))
            #expect(disabled.status == .ok)
            #expect(try await !world.isActive(made["token"], http))
            let refused = try await world.issue(["user": nil, "client": "\"\(id)\""], http)
            #expect(refused.status == 422 && refused.pointers == ["/client"])
        }
    }

    @Test(
        "K-22 no scope beyond policy, no life beyond the organization's setting, no issuer the resource does not take")
    func limits() async throws {
        try await TestServices.live.get().test { http in
            let world = try await World.make(http)
            func day(_ days: Double) -> String {
                "\"\(Date(timeIntervalSinceNow: days * 86_400).ISO8601Format())\""
            }
            let application = try await world.fixture.addClient(secret: nil)
            for (changes, pointers) in [
                (["scopes": #"["write"]"#], ["/scopes/0"]),
                (["scopes": #"["read","write","none"]"#], ["/scopes/1", "/scopes/2"]),
                (["scopes": "[]"], ["/scopes"]), (["scopes": #"["openid"]"#], ["/scopes/0"]),
                (["expires_at": day(-1)], ["/expires_at"]), (["expires_at": day(91)], ["/expires_at"]),
                (["name": "\"\""], ["/name"]), (["user": nil], ["/user"]),
                (["client": "\"\(application.wireID)\""], ["/user"]),
                (["user": nil, "client": "\"\(application.wireID)\""], ["/client"]),
                (["user": "\"\(UserID.make(at: Date(), .system))\""], ["/user"]),
                (["resource": "\"\(ResourceID.make(at: Date(), .system))\""], ["/resource"]),
                (["issuer": "\"platform\""], ["/issuer"]),
                (["issuer": "\"\(OrganizationID.make(at: Date(), .system))\""], ["/issuer"]),
                (["token": "\"x\""], ["/token"]),
            ] as [([String: String?], [String])] {
                let reply = try await world.issue(changes, http)
                #expect(reply.status == 422 && reply.pointers == pointers, "\(changes): \(reply.text)")
            }
            #expect(try await world.fixture.admin(.get, "/access-tokens", http).rows.isEmpty)
            for (seconds, status) in [(59, 422), (366 * 86_400 + 1, 422), (366 * 86_400, 200)] {
                let reply = try await world.fixture.admin(
                    .patch, "", #"{"settings":{"programmatic_token_lifetime_seconds":\#(seconds)}}"#, http)
                #expect(reply.status == status)
            }
            let long = try await world.issue(["expires_at": day(365)], http)
            #expect(long.status == 201)
            #expect(try await world.isActive(long["token"], http))
        }
    }

    @Test("K-22 IN-05 a named token ends with what gave it its scopes: the statement's end, a denial, a lower ceiling")
    func currentDecision() async throws {
        try await TestServices.live.get().test { http in
            let world = try await World.make(http)
            let fixture = world.fixture
            func statement(_ name: String, _ members: String) async throws -> AdminServer.Reply {
                let made = try await fixture.admin(
                    .post, "/scope-policies", #"{"name":"\#(name)",\#(members)}"#, http)
                #expect(made.status == 201, "\(made.text)")
                return made
            }
            let end = Date(timeIntervalSince1970: (Date().timeIntervalSince1970 + 3_600).rounded())
            _ = try await statement(
                "for-an-hour",
                #""effect":"allow","principals":{"everyone":true},"scopes":["write"],"conditions":{"valid_until":"\#(end.ISO8601Format())"}"#
            )
            let short = try await world.issue(["scopes": #"["read","write"]"#], http)
            let long = try await world.issue(http)
            #expect(
                short.status == 201 && short["expires_at"].hasPrefix(end.ISO8601Format().dropLast()), "\(short.text)")
            #expect(long["expires_at"] > short["expires_at"])
            #expect(try await world.isActive(short["token"], http))
            // A later denial of one scope ends what has it, and nothing else, for as long as it stands.
            let denial = try await statement(
                "no-writing", #""effect":"deny","principals":{"everyone":true},"scopes":["write"]"#)
            #expect(try await !world.isActive(short["token"], http))
            #expect(try await world.isActive(long["token"], http))
            let deleted = try await http.execute(
                uri: "/v1/organizations/\(fixture.organization.id)/scope-policies/\(denial["id"])", method: .delete,
                headers: [
                    .authorization: "Bearer \(try await AdminServer.platformKey())",
                    .ifMatch: denial.headers[.eTag] ?? "*",
                ])
            #expect(deleted.status == .noContent)
            #expect(try await world.isActive(short["token"], http))
            // What the identity provider lets the person have at most, as it said when they last signed in.
            try await Self.setCeiling(["read"], world)
            #expect(try await !world.isActive(short["token"], http))
            #expect(try await world.isActive(long["token"], http))
            let refused = try await world.issue(["scopes": #"["write"]"#], http)
            #expect(refused.status == 422 && refused.pointers == ["/scopes/0"])
            #expect(refused.text.contains("upstream_ceiling"))
            try await Self.setCeiling([], world)
            #expect(try await !world.isActive(long["token"], http))
            #expect(try await fixture.admin(.get, "/access-tokens", http).rows.count == 2)
        }
    }

    private static func setCeiling(_ ceiling: [String], _ world: World) async throws {
        let (database, id) = (try TestDatabase.open(), world.fixture.organization.id)
        try await database.transaction(id) { transaction in
            let now = Date()
            let session = Session(
                id: .make(at: now, .system), user: world.fixture.user, identityProvider: .make(at: now, .system),
                authTime: now, expiresAt: now + 1, mfa: false, scopeCeiling: ceiling, createdAt: now)
            try await SessionStore(database: database).insert(
                session, secret: SecretDigest(of: .random()), of: id, in: transaction)
        }
    }

    @Test("K-22 whoever holds an imported key makes no more of a named token than its row says")
    func forgedWithItsKey() async throws {
        let key = try SigningKey.generate(.es256)
        try await TestServices.live.get().test { http in
            let world = try await World.make(http)
            let pem = AdminSetupTests.pem(key).replacing("\n", with: "\\n")
            let imported = try await world.fixture.admin(
                .post, "/signing-keys",
                #"{"purpose":"access","resource":"\#(world.fixture.resource.id)","private_key":"\#(pem)"}"#, http)
            #expect(imported["status"] == "active")
            let policy = try await world.fixture.admin(
                .post, "/scope-policies",
                #"{"name":"writers","effect":"allow","principals":{"everyone":true},"scopes":["write"]}"#, http)
            #expect(policy.status == 201)
            let made = try await world.issue(http)
            let claims = try #require(try CompactJWS.parse(made["token"], expecting: [.es256]).claims)
            let id = made["id"]
            func forged(_ changes: [String: String?]) async throws -> Bool {
                var same: [String: String?] = [
                    "jti": "\"\(id)\"", "client_id": "\"\(id)\"", "grant_id": nil,
                    "exp": "\(claims["exp"]?.integer ?? 0)",
                ]
                for (name, value) in changes { same[name] = .some(value) }
                let header = #"{"alg":"ES256","kid":"\#(key.publicKey.thumbprint)","typ":"at+jwt"}"#
                let token = try world.fixture.sign(world.fixture.claims(same), header: header, by: key)
                return try await world.isActive(token, http)
            }
            #expect(try await forged([:]), "the same again")
            let later = (claims["exp"]?.integer ?? 0) + 1
            for changes in [
                ["scope": "\"read write\""], ["sub": "\"\(UserID.make(at: Date(), .system))\""], ["exp": "\(later)"],
                ["sub": "\"\(world.fixture.client.wireID)\""],
            ] as [[String: String?]] {
                #expect(try await !forged(changes), "\(changes)")
            }
        }
    }

    @Test("T-12 a foreign user, client or resource reads as one that does not exist", .tags(.isolation))
    func foreign() async throws {
        let other = try await TokenFixture.make()
        try await TestServices.live.get().test { http in
            let world = try await World.make(http)
            let now = Date()
            for (member, foreign, unknown) in [
                ("user", "\(other.user)", "\(UserID.make(at: now, .system))"),
                ("resource", "\(other.resource.id)", "\(ResourceID.make(at: now, .system))"),
                ("client", other.client.wireID, "\(ClientID.make(at: now, .system))"),
            ] {
                let user: [String: String?] = member == "client" ? ["user": nil] : [:]
                let first = try await world.issue(user.merging([member: "\"\(foreign)\""]) { $1 }, http)
                let second = try await world.issue(user.merging([member: "\"\(unknown)\""]) { $1 }, http)
                #expect(first.status == 422 && first.anonymous == second.anonymous)
            }
        }
    }

    @Test("MD-11 K-29 a key of this purpose is replaced like any other, and stays published until its last token ended")
    func rotation() async throws {
        try await TestServices.live.get().test { http in
            let world = try await World.make(http)
            let first = try await world.issue(http)
            let old = try #require(try CompactJWS.parse(first["token"], expecting: [.es256]).keyID)
            func row(_ kid: String) async throws -> [String: JSONValue] {
                try #require(
                    try await world.fixture.admin(.get, "/signing-keys", http).rows.first { $0["kid"]?.string == kid })
            }
            let id = try #require(try await row(old)["id"]?.string)
            #expect(try await row(old)["purpose"]?.string == "programmatic")
            let rotated = try await world.fixture.admin(.post, "/signing-keys/\(id):rotate", http)
            #expect(rotated.status == 200 && rotated["purpose"] == "programmatic" && rotated["status"] == "published")
            let new = rotated["kid"]
            #expect(try await Set(world.keys(http)).isSuperset(of: [old, new]), "announced before it signs")
            let between = try await world.issue(http)
            #expect(try CompactJWS.parse(between["token"], expecting: [.es256]).keyID == old)
            let path = "/signing-keys/\(rotated["id"]):activate"
            #expect(try await world.fixture.admin(.post, path, http).status == 409)
            try await Self.change(world, "created_at = created_at - interval '301 seconds'", kid: new)
            #expect(try await world.fixture.admin(.post, path, http).status == 200)
            let last = try await world.issue(http)
            #expect(try CompactJWS.parse(last["token"], expecting: [.es256]).keyID == new)
            // Long after an access key would be gone.
            try await Self.change(world, "retired_at = retired_at - interval '80 days'", kid: old)
            #expect(try await world.keys(http).contains(old))
            for reply in [first, between, last] { #expect(try await world.isActive(reply["token"], http)) }
            // And when the last of its tokens is over.
            try await Self.change(world, "needed_until = now() - interval '301 seconds'", kid: old)
            #expect(try await !world.keys(http).contains(old))
            #expect(try await !world.isActive(first["token"], http))
            #expect(try await world.isActive(last["token"], http))
        }
    }

    /// Moves time for one key, as no administrator can.
    private static func change(_ world: World, _ assignment: SQL, kid: String) async throws {
        let database = try TestDatabase.open()
        let id = world.fixture.organization.id
        try await database.transaction(id) { transaction in
            try await transaction.query(
                "UPDATE signing_key SET \(assignment) WHERE organization_id = \(id) AND kid = \(kid)")
            try await OrganizationStore(database: database).bumpEpoch(of: id, in: transaction)
        }
    }

    @Test(
        "MD-11 a resource's own key is replaced in the same steps, and its tokens are signed by nothing else (design §3.6)"
    )
    func ownKey() async throws {
        let key = try SigningKey.generate(.es256)
        let second = try SigningKey.generate(.es256)
        try await TestServices.live.get().test { http in
            let world = try await World.make(http)
            func importKey(_ key: SigningKey) async throws -> AdminServer.Reply {
                let pem = AdminSetupTests.pem(key).replacing("\n", with: "\\n")
                return try await world.fixture.admin(
                    .post, "/signing-keys",
                    #"{"purpose":"access","resource":"\#(world.fixture.resource.id)","private_key":"\#(pem)"}"#, http)
            }
            func signer() async throws -> String? {
                let made = try await world.issue(http)
                #expect(made.status == 201)
                #expect(try await world.isActive(made["token"], http))
                return try CompactJWS.parse(made["token"], expecting: [.es256]).keyID
            }
            let imported = try await importKey(key)
            #expect(imported["status"] == "active")
            #expect(try await signer() == key.publicKey.thumbprint)
            let announced = try await world.fixture.admin(.post, "/signing-keys/\(imported["id"]):rotate", http)
            #expect(announced.status == 200 && announced["resource"] == world.fixture.resource.id.description)
            #expect(announced["public_key"].contains("PUBLIC KEY") && announced.json["imported"] == .bool(false))
            #expect(try await signer() == key.publicKey.thumbprint)
            try await Self.change(world, "created_at = created_at - interval '301 seconds'", kid: announced["kid"])
            let activated = try await world.fixture.admin(.post, "/signing-keys/\(announced["id"]):activate", http)
            #expect(activated.status == 200)
            #expect(try await signer() == announced["kid"])
            #expect(
                try await world.keys(http).allSatisfy { ![key.publicKey.thumbprint, announced["kid"]].contains($0) })
            // One that is imported beside it waits for its turn too.
            let next = try await importKey(second)
            #expect(next.status == 201 && next["status"] == "published")
            #expect(try await signer() == announced["kid"])
            try await Self.change(world, "created_at = created_at - interval '301 seconds'", kid: next["kid"])
            #expect(try await world.fixture.admin(.post, "/signing-keys/\(next["id"]):activate", http).status == 200)
            #expect(try await signer() == second.publicKey.thumbprint)
        }
    }

    @Test(
        "where there is no key for it yet one is made, of the resource's algorithm, and is public before it signs",
        arguments: SigningAlgorithm.allCases)
    func firstKey(algorithm: SigningAlgorithm) async throws {
        try await TestServices.live.get().test { http in
            let world = try await World.make(http)
            let id = world.fixture.organization.id
            let database = try TestDatabase.open()
            try await database.transaction(id) { transaction in
                try await transaction.query(
                    "UPDATE resource SET algorithm = \(algorithm.rawValue) WHERE organization_id = \(id)")
                try await OrganizationStore(database: database).bumpEpoch(of: id, in: transaction)
            }
            let made = try await world.issue(http)
            #expect(made.status == 201, "\(made.text)")
            let jws = try CompactJWS.parse(made["token"], expecting: [algorithm])
            #expect(try await world.keys(http).contains(try #require(jws.keyID)))
            #expect(try await world.isActive(made["token"], http))
            let rows = try await world.fixture.admin(.get, "/signing-keys", http).rows
            #expect(rows.filter { $0["purpose"]?.string == "programmatic" }.count == 1)
        }
    }
}
