import Foundation
import HTTPTypes
import HummingbirdTesting
import Keys
import Postgres
import Tenancy
import TestSupport
import Testing

@testable import API
@testable import ControlPlane

@Suite(.tags(.token)) struct RevocationTests {
    private static func stored(in organization: OrganizationID) async throws -> (tokens: Int, events: [String]) {
        let database = try TestDatabase.open()
        let tokens = try await database.read(
            organization, "SELECT jti FROM revoked_token WHERE organization_id = \(organization)"
        ) { _ in }.count
        let events = try await database.read(
            organization,
            """
            SELECT type, time FROM audit_outbox WHERE organization_id = \(organization)
            UNION ALL SELECT type, time FROM audit_event WHERE organization_id = \(organization) ORDER BY time
            """
        ) { try $0.decode("type", as: String.self) }
        return (tokens, events)
    }

    @Test(
        "RV-01 RV-03 an access token ends alone, again and again changes nothing, and its refresh token lives (RFC 7009 §2.1)"
    )
    func accessToken() async throws {
        let world = try await TokenFixture.make()
        let token = try world.sign(world.claims())
        let sibling = try world.sign(world.claims())
        try await TestServices.live.get().test { http in
            #expect(try await world.introspect(token, http).members["active"] == .bool(true))
            for _ in 0..<2 {
                let reply = try await world.revoke(token, http)
                #expect(reply.status == 200 && reply.text.isEmpty && reply.headers[.cacheControl] == "no-store")
            }
            #expect(try await world.introspect(token, http).text == TokenFixture.inactive)
            #expect(try await world.introspect(sibling, http).members["active"] == .bool(true))
            #expect(
                try await world.introspect(world.refreshToken.secret.revealed, http).members["active"] == .bool(true))
            let stored = try await Self.stored(in: world.organization.id)
            #expect(stored.tokens == 1 && stored.events == ["token.revoked"])
        }
    }

    @Test("RV-01 RV-03 RV-04 a refresh token takes the whole grant along, whatever the hint says (RFC 7009 §2.1)")
    func refreshToken() async throws {
        for hint in [nil, "refresh_token", "access_token", "device_code", "nonsense"] as [String?] {
            let world = try await TokenFixture.make()
            let token = try world.sign(world.claims())
            try await TestServices.live.get().test { http in
                #expect(try await world.introspect(token, http).members["active"] == .bool(true))
                for _ in 0..<2 {
                    #expect(try await world.revoke(world.refreshToken.secret.revealed, hint: hint, http).status == 200)
                }
                #expect(try await world.introspect(token, http).text == TokenFixture.inactive)
                let refreshed = try await TokenFixture.post(
                    "\(world.path)/token",
                    [
                        ("grant_type", "refresh_token"), ("refresh_token", world.refreshToken.secret.revealed),
                        ("client_id", world.client.wireID), ("client_secret", world.secret.revealed),
                    ], http)
                #expect(refreshed.status == 400 && refreshed.error == "invalid_grant")
                let stored = try await Self.stored(in: world.organization.id)
                #expect(stored.events.filter { $0 == "token.revoked" }.count == 1)
            }
        }
    }

    @Test("RV-04 an access token is found under a wrong hint too (RFC 7009 §2.1)")
    func wrongHint() async throws {
        let world = try await TokenFixture.make()
        let token = try world.sign(world.claims())
        try await TestServices.live.get().test { http in
            let reply = try await world.revoke(token, hint: "refresh_token", http)
            #expect(reply.status == 200)
            #expect(try await world.introspect(token, http).text == TokenFixture.inactive)
        }
    }

    @Test(
        "RV-01 RV-02 K-28 what is another's, over or nothing at all is answered alike, and nothing ends (RFC 7009 §2.2)"
    )
    func others() async throws {
        let world = try await TokenFixture.make()
        let foreign = try await TokenFixture.make()
        let other = try await world.addClient(secret: Secret("gs_other"))
        let access = try world.sign(world.claims())
        let refresh = world.refreshToken.secret.revealed
        let over = Int(Date().timeIntervalSince1970) - 1
        try await TestServices.live.get().test { http in
            #expect(try await world.introspect(access, http).members["active"] == .bool(true))
            for token in [access, refresh] {
                let own = try await world.revoke(token, as: (other.wireID, "gs_other"), http)
                let foreigners = try await world.revoke(
                    token, as: (foreign.client.wireID, foreign.secret.revealed), at: foreign.path, http)
                for reply in [own, foreigners] { #expect(reply.status == 200 && reply.text.isEmpty) }
            }
            let guessed = RefreshToken(organization: world.organization.id, grant: world.grant, .system).secret.revealed
            let tampered = String(access.dropLast(4)) + "AAAA"
            for token in [
                "x", guessed, tampered, try world.sign(world.claims(["exp": "\(over)", "iat": "\(over - 9)"])),
                try foreign.sign(world.claims()), String(repeating: "a", count: 40_000),
            ] {
                let reply = try await world.revoke(token, http)
                #expect(reply.status == 200 && reply.text.isEmpty, "\(token.prefix(40)) \(reply.text)")
            }
            for token in [access, refresh] {
                #expect(try await world.introspect(token, http).members["active"] == .bool(true))
            }
            let stored = try await Self.stored(in: world.organization.id)
            #expect(stored.tokens == 0 && stored.events.isEmpty)
        }
    }

    @Test("RV-04 what is not revoked here is unsupported_token_type, what is missing invalid_request (RFC 7009 §2.2.1)")
    func unsupported() async throws {
        let world = try await TokenFixture.make()
        try await TestServices.live.get().test { http in
            for token in [
                "gc_code", "gs_secret", "gh_key",
                try world.sign(world.claims(), header: #"{"alg":"ES256","kid":"\#(world.kid)","typ":"JWT"}"#),
            ] {
                let reply = try await world.revoke(token, http)
                #expect(reply.status == 400 && reply.error == "unsupported_token_type")
                #expect(reply.headers[.cacheControl] == "no-store")
            }
            let caller = [("client_id", world.client.wireID), ("client_secret", world.secret.revealed)]
            for parameters in [caller, caller + [("token", "")], caller + [("token", "a"), ("token", "a")]] {
                let reply = try await TokenFixture.post("\(world.path)/revoke", parameters, http)
                #expect(reply.status == 400 && reply.error == "invalid_request")
            }
            #expect(try await http.execute(uri: "\(world.path)/revoke", method: .get).status == .methodNotAllowed)
        }
    }

    @Test(
        "RV-01 a public client ends its own by naming itself; who claims to be another and cannot prove it is 401 (RFC 7009 §2.1)"
    )
    func publicClients() async throws {
        let world = try await TokenFixture.make()
        let open = try await world.addClient(secret: nil)
        let token = try world.sign(world.claims(["client_id": "\"\(open.wireID)\""]))
        try await TestServices.live.get().test { http in
            for caller in [
                (world.client.wireID, nil), (world.client.wireID, "wrong"), ("nobody", nil), (open.wireID, "secret"),
            ] as [(String, String?)] {
                let reply = try await world.revoke(token, as: caller, http)
                #expect(reply.status == 401 && reply.error == "invalid_client")
            }
            #expect(try await Self.stored(in: world.organization.id).tokens == 0)
            #expect(try await world.revoke(token, as: (open.wireID, nil), http).status == 200)
            #expect(try await Self.stored(in: world.organization.id).tokens == 1)
        }
    }

    @Test("RV-05 what cannot be stored is 503 with Retry-After, and the token lives (RFC 7009 §2.2.1)")
    func unavailable() async throws {
        try await TestServices.away.get().test { http in
            let reply = try await TokenFixture.post(
                "/oauth/revoke", [("token", "x"), ("client_id", "cli_x"), ("client_secret", "y")], http)
            #expect(reply.status == 503 && reply.headers[.retryAfter] != nil)
            #expect(reply.error == "temporarily_unavailable")
        }
    }

    @Test("ended tokens are forgotten when they would have ended by themselves")
    func housekeeping() async throws {
        let world = try await TokenFixture.make()
        let now = Int(Date().timeIntervalSince1970)
        let token = try world.sign(world.claims(["exp": "\(now + 60)"]))
        let store = AccessTokenStore(database: try TestDatabase.open())
        try await TestServices.live.get().test { http in
            #expect(try await world.revoke(token, http).status == 200)
            try await store.deleteExpired(in: world.organization.id, at: Date())
            #expect(try await Self.stored(in: world.organization.id).tokens == 1)
            try await store.deleteExpired(in: world.organization.id, at: Date() + 61)
            #expect(try await Self.stored(in: world.organization.id).tokens == 0)
        }
    }
}
