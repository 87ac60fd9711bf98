import Crypto
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

@Suite(.tags(.token)) struct IntrospectionTests {
    @Test("IN-03 IN-05 an active answer is the token's own claims, and is not kept by any cache (RFC 7662 §2.2)")
    func active() async throws {
        let world = try await TokenFixture.make()
        let payload = world.claims()
        let token = try world.sign(payload)
        try await TestServices.live.get().test { http in
            // The first answer costs a signature, the others come from memory.
            for _ in 0..<3 {
                let reply = try await world.introspect(token, http)
                #expect(reply.status == 200)
                #expect(reply.headers[.contentType] == "application/json")
                #expect(reply.headers[.cacheControl] == "no-store")
                #expect(reply.headers[.accessControlAllowOrigin] == nil)
                var members = reply.members
                #expect(members.removeValue(forKey: "active") == .bool(true))
                #expect(members.removeValue(forKey: "token_type")?.string == "Bearer")
                #expect(try members == #require(JSONText.parse([UInt8](payload.utf8)).object))
            }
        }
    }

    @Test("IN-03 a token bound to a key is of type DPoP and shows the key's thumbprint (RFC 9449 §6.2)")
    func bound() async throws {
        let world = try await TokenFixture.make()
        let token = try world.sign(world.claims(["cnf": #"{"jkt":"abc"}"#]))
        try await TestServices.live.get().test { http in
            let members = try await world.introspect(token, http).members
            #expect(members["token_type"]?.string == "DPoP" && members["cnf"]?.object == ["jkt": .string("abc")])
        }
    }

    @Test(
        "IN-01 who does not prove to be a confidential client is 401, whatever they ask; a token proves nothing (RFC 7662 §2.1, §4)"
    )
    func callers() async throws {
        let world = try await TokenFixture.make()
        let open = try await world.addClient(secret: nil)
        let token = try world.sign(world.claims(["client_id": "\"\(open.wireID)\""]))
        let path = "\(world.path)/introspect"
        try await TestServices.live.get().test { http in
            let bearer: HTTPFields = [.authorization: "Bearer \(token)"]
            let basic = "Basic \(Data("\(world.client.wireID):wrong".utf8).base64EncodedString())"
            for (parameters, headers) in [
                ([("token", token)], [:]), ([("token", token)], bearer), ([("token", "x")], [:]),
                ([("token", token), ("client_id", open.wireID)], [:]),
                ([("token", token), ("client_id", world.client.wireID)], [:]),
                ([("token", token), ("client_id", world.client.wireID), ("client_secret", "wrong")], [:]),
                ([("token", token), ("client_id", "nobody"), ("client_secret", world.secret.revealed)], [:]),
                ([("token", token)], [.authorization: basic]),
            ] as [([(String, String)], HTTPFields)] {
                let reply = try await TokenFixture.post(path, parameters, headers: headers, http)
                #expect(reply.status == 401 && reply.error == "invalid_client", "\(parameters.map(\.0)) \(reply.text)")
                #expect(reply.headers[.cacheControl] == "no-store")
                #expect((reply.headers[.wwwAuthenticate] != nil) == (headers[.authorization] != nil))
            }
            let events = try await Self.refusals(in: world.organization.id)
            #expect(events == 5, "each claim that was looked at is on record")
        }
    }

    private static func refusals(in organization: OrganizationID) async throws -> Int {
        try await TestDatabase.open().read(
            organization,
            """
            SELECT (SELECT count(*) FROM audit_outbox WHERE organization_id = \(organization)
                       AND type = 'client.auth_failed')
                   + (SELECT count(*) FROM audit_event WHERE organization_id = \(organization)
                       AND type = 'client.auth_failed') AS count
            """
        ) { try $0.decode("count", as: Int.self) }.first ?? 0
    }

    @Test("IN-01 the form is a form: POST alone, token required, nothing twice, the query never read (RFC 7662 §2.1)")
    func form() async throws {
        let world = try await TokenFixture.make()
        let token = try world.sign(world.claims())
        let caller = [("client_id", world.client.wireID), ("client_secret", world.secret.revealed)]
        try await TestServices.live.get().test { http in
            let path = "\(world.path)/introspect"
            #expect(try await http.execute(uri: path, method: .get).status == .methodNotAllowed)
            for parameters in [caller, caller + [("token", "")], caller + [("token", token), ("token", token)]] {
                let reply = try await TokenFixture.post(path, parameters, http)
                #expect(reply.status == 400 && reply.error == "invalid_request")
            }
            let query = try await TokenFixture.post("\(path)?token=\(token)", caller, http)
            #expect(query.status == 400 && query.error == "invalid_request")
            let json = try await http.execute(
                uri: path, method: .post, headers: [.contentType: "application/json"],
                body: ByteBuffer(string: #"{"token":"x"}"#))
            #expect(json.status == .badRequest)
            let hinted = try await TokenFixture.post(
                path, caller + [("token", token), ("token_type_hint", "refresh_token")], http)
            #expect(hinted.members["active"] == .bool(true))
        }
    }

    @Test(
        "IN-02 IN-04 K-27 T-13 K-13 AT-07 BR-02 BR-07 to a token of another, for another, or of another kind the answer is the same bytes (RFC 7662 §2.2)"
    )
    func others() async throws {
        let world = try await TokenFixture.make()
        let foreign = try await TokenFixture.make()
        let other = try await world.addClient(secret: Secret("gs_other"))
        let right = try world.sign(world.claims())
        let cases: [(String, String)] = [
            ("nothing of ours", "random"), ("empty parts", "a.b.c"),
            ("another tenant's", try foreign.sign(foreign.claims())),
            ("another tenant's claims", try world.sign(foreign.claims())),
            ("another tenant's issuer", try world.sign(world.claims(["iss": "\"\(foreign.issuer)\""]))),
            ("another tenant's resource", try world.sign(world.claims(["aud": "\"\(foreign.resource.uri)\""]))),
            (
                "another tenant's organization",
                try world.sign(world.claims(["org_id": "\"\(foreign.organization.id)\""]))
            ),
            ("the platform's issuer", try world.sign(world.claims(["iss": "\"\(TestServices.publicURL)\""]))),
            ("another client's", try world.sign(world.claims(["client_id": "\"\(other.wireID)\""]))),
            ("for nobody", try world.sign(world.claims(["aud": nil]))),
            ("for several", try world.sign(world.claims(["aud": "[\"\(world.resource.uri)\"]"]))),
            (
                "an ID token",
                try world.sign(world.claims(), header: #"{"alg":"ES256","kid":"\#(world.kid)","typ":"JWT"}"#)
            ),
            (
                "a logout token",
                try world.sign(world.claims(), header: #"{"alg":"ES256","kid":"\#(world.kid)","typ":"logout+jwt"}"#)
            ),
            (
                "an answer of this endpoint",
                try world.sign(
                    world.claims(), header: #"{"alg":"ES256","kid":"\#(world.kid)","typ":"token-introspection+jwt"}"#)
            ),
            ("a client assertion", try world.sign(world.claims(), header: #"{"alg":"ES256","kid":"\#(world.kid)"}"#)),
            (
                "a refresh token of another grant",
                RefreshToken(organization: world.organization.id, grant: .make(at: Date(), .system), .system).secret
                    .revealed
            ),
            (
                "a refresh token never issued",
                RefreshToken(organization: world.organization.id, grant: world.grant, .system).secret.revealed
            ),
            ("another tenant's refresh token", foreign.refreshToken.secret.revealed),
            ("its own secret", world.secret.revealed),
        ]
        try await TestServices.live.get().test { http in
            #expect(try await world.introspect(right, http).members["active"] == .bool(true))
            for (name, token) in cases {
                let reply = try await world.introspect(token, http)
                #expect(reply.status == 200 && reply.text == TokenFixture.inactive, "\(name): \(reply.text)")
                #expect(reply.headers[.cacheControl] == "no-store")
            }
            // The same right token, asked about by others.
            for (caller, place) in [
                ((other.wireID, "gs_other"), world.path),
                ((foreign.client.wireID, foreign.secret.revealed), foreign.path),
            ] {
                let reply = try await world.introspect(right, as: caller, at: place, http)
                #expect(reply.status == 200 && reply.text == TokenFixture.inactive)
            }
            let elsewhere = try await world.introspect(right, at: foreign.path, http)
            #expect(elsewhere.status == 401, "a client of one organization is nobody at another's issuer")
        }
    }

    @Test("IN-02 IN-03 a client is told of its own current refresh token and of no other (RFC 7662 §2.2)")
    func refreshTokens() async throws {
        let world = try await TokenFixture.make()
        try await TestServices.live.get().test { http in
            let members = try await world.introspect(world.refreshToken.secret.revealed, http).members
            #expect(members["active"] == .bool(true) && members["client_id"]?.string == world.client.wireID)
            #expect(members["sub"]?.string == world.user.description && members["scope"]?.string == "read")
            #expect(members["iss"]?.string == world.issuer && (members["exp"]?.integer ?? 0) > 0)
            #expect(members["grant_id"]?.string == world.grant.description)
            let next = world.refreshToken.successor(.system)
            #expect(try await world.introspect(next.secret.revealed, http).text == TokenFixture.inactive)
        }
    }

    @Test("T-20 a suspended organization's tokens are inactive, its callers still proven; a deleted one's is 404")
    func suspended() async throws {
        let world = try await TokenFixture.make()
        let token = try world.sign(world.claims())
        try await TestServices.live.get().test { http in
            #expect(try await world.introspect(token, http).members["active"] == .bool(true))
            try await world.setStatus(.suspended)
            let closed = try await world.introspect(token, http)
            #expect(closed.status == 200 && closed.text == TokenFixture.inactive)
            let stranger = try await world.introspect(token, as: (world.client.wireID, "wrong"), http)
            #expect(stranger.status == 401)
            #expect(try await world.revoke(world.refreshToken.secret.revealed, http).status == 200)
            try await world.setStatus(.active)
            #expect(try await world.introspect(token, http).text == TokenFixture.inactive, "what ended stays ended")
            try await world.setStatus(.deleted)
            let gone = try await world.introspect(token, http)
            let unknown = try await world.introspect(token, at: "/o/nobody-has-this-slug/oauth", http)
            #expect(gone.status == 404 && gone.text == unknown.text)
            #expect(try await world.revoke(token, http).status == 404)
        }
    }

    @Test(
        "TK-23 IN-05 what ends the person, the connection, the client or its admission ends the token with the next answer",
        arguments: ["user", "grant", "expired grant", "client_admission", "client"])
    func endings(what: String) async throws {
        let world = try await TokenFixture.make()
        let token = try world.sign(world.claims())
        try await TestServices.live.get().test { http in
            #expect(try await world.introspect(token, http).members["active"] == .bool(true))
            let database = try TestDatabase.open()
            let (id, user, grant, client) = (world.organization.id, world.user, world.grant, world.client.id)
            try await database.transaction(id) { transaction in
                switch what {
                case "user":
                    try await transaction.query(
                        "UPDATE \"user\" SET status = 'disabled' WHERE organization_id = \(id) AND id = \(user)")
                case "grant":
                    try await transaction.query(
                        "UPDATE \"grant\" SET status = 'revoked' WHERE organization_id = \(id) AND id = \(grant)")
                case "expired grant":
                    try await transaction.query(
                        "UPDATE \"grant\" SET expires_at = now() WHERE organization_id = \(id) AND id = \(grant)")
                case "client_admission":
                    try await transaction.query(
                        "UPDATE client_admission SET status = 'denied' WHERE organization_id = \(id) AND client_id = \(client)"
                    )
                default:
                    try await transaction.query(
                        "UPDATE client SET status = 'disabled' WHERE organization_id = \(id) AND id = \(client)")
                    try await OrganizationStore(database: database).bumpEpoch(of: id, in: transaction)
                }
            }
            let reply = try await world.introspect(token, http)
            // A client that is switched off is nobody itself.
            if what == "client" { #expect(reply.status == 401) } else { #expect(reply.text == TokenFixture.inactive) }
        }
    }

    @Test("IN-02 a token for a resource that was closed, or closed to its issuer, is inactive")
    func closedResource() async throws {
        let world = try await TokenFixture.make()
        let token = try world.sign(world.claims())
        let database = try TestDatabase.open()
        let (id, resource) = (world.organization.id, world.resource.id)
        try await TestServices.live.get().test { http in
            #expect(try await world.introspect(token, http).members["active"] == .bool(true))
            try await database.transaction(id) { transaction in
                try await transaction.query(
                    "UPDATE resource SET status = 'disabled' WHERE organization_id = \(id) AND id = \(resource)")
                try await OrganizationStore(database: database).bumpEpoch(of: id, in: transaction)
            }
            #expect(try await world.introspect(token, http).text == TokenFixture.inactive)
        }
    }
}

extension TokenFixture {
    func setStatus(_ status: Organization.Status) async throws {
        let database = try TestDatabase.open()
        let id = organization.id
        try await database.transaction(id) { transaction in
            try await transaction.query(
                "UPDATE organization SET status = \(status.rawValue) WHERE organization_id = \(id)")
            try await OrganizationStore(database: database).bumpEpoch(of: id, in: transaction)
        }
    }
}
