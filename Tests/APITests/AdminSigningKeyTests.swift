import Foundation
import HTTPTypes
import Keys
import Postgres
import Tenancy
import TestSupport
import Testing

@testable import API
@testable import ControlPlane

@Suite struct AdminSigningKeyTests {
    /// A resource of its own key, and the body that imports one for it.
    private static func resource(
        _ server: AdminServer, _ tenant: AdminServer.Tenant, _ algorithm: SigningAlgorithm
    ) async throws -> String {
        try await server.done(
            .post, "\(tenant.path)/resources",
            """
            {"uri":"https://\(AdminServer.freshSlug()).example/x","name":"O","scopes":["read"],
             "algorithm":"\(algorithm.rawValue)","dedicated_key":true}
            """)["id"]
    }

    private static func importKey(
        _ server: AdminServer, _ tenant: AdminServer.Tenant, _ resource: String, _ member: String, _ pem: String
    ) async throws -> AdminServer.Reply {
        try await server.call(
            .post, "\(tenant.path)/signing-keys",
            #"{"purpose":"access","resource":"\#(resource)","\#(member)":"\#(pem.replacing("\n", with: "\\n"))"}"#,
            key: tenant.key)
    }

    @Test("a key of more than 4096 bits, or of 16 KiB of text, is refused before it is checked (§3.6)", .tags(.admin))
    func largeKeys() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let resource = try await Self.resource(server, tenant, .rs256)
            let large = try SigningKey.generate(.rs256, rsaBits: 4104)
            for (member, pem) in [
                ("private_key", AdminSetupTests.pem(large)), ("public_key", large.publicKey.pem),
                ("private_key", String(repeating: "a", count: 20_000)),
            ] {
                let reply = try await Self.importKey(server, tenant, resource, member, pem)
                #expect(reply.status == 422 && reply.pointers == ["/\(member)"] && reply.text.contains("too_large"))
            }
        }
    }

    @Test(
        "RSA keys are checked one by one: who asks again too early hears 503, what is wrong otherwise is told first",
        .tags(.admin), .timeLimit(.minutes(1)))
    func busy() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            guard let organization = OrganizationID(tenant.id) else { throw AdminServer.Unexpected("no id") }
            let resource = try await Self.resource(server, tenant, .rs256)
            let other = try await Self.resource(server, tenant, .es256)
            let pem = AdminSetupTests.pem(try SigningKey.generate(.rs256))
            let gate = DispatchSemaphore(value: 0)
            let (started, begun) = AsyncStream.makeStream(of: Void.self)
            let errand = Task {
                try await RSAWork.run(.check(organization)) {
                    begun.yield()
                    gate.wait()
                }
            }
            for await _ in started { break }
            let refused = try await Self.importKey(server, tenant, resource, "private_key", pem)
            #expect(refused.status == 503 && refused.headers[.retryAfter] != nil)
            let wrong = try await Self.importKey(server, tenant, other, "private_key", pem)
            #expect(wrong.status == 422 && wrong.text.contains("wrong_algorithm"))
            // Elliptic curves do not wait.
            let instant = AdminSetupTests.pem(try SigningKey.generate(.es256))
            #expect(try await Self.importKey(server, tenant, other, "private_key", instant).status == 201)
            gate.signal()
            try await errand.value
            #expect(try await Self.importKey(server, tenant, resource, "private_key", pem).status == 201)
        }
    }

    @Test("an RSA key that does not hold together is refused by its member", .tags(.admin))
    func brokenKey() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let resource = try await Self.resource(server, tenant, .rs256)
            let key = try SigningKey.generate(.rs256)
            // The last bytes are the coefficient: with another one the parts do not belong together.
            var bytes = key.privateKeyBytes
            bytes[bytes.count - 1] ^= 1
            let pem =
                "-----BEGIN PRIVATE KEY-----\n\(Data(bytes).base64EncodedString())\n-----END PRIVATE KEY-----\n"
            let reply = try await Self.importKey(server, tenant, resource, "private_key", pem)
            #expect(reply.status == 422 && reply.pointers == ["/private_key"])
        }
    }

    @Test("whoever has the private half has the key, whoever showed the public half first (§3.6)", .tags(.admin))
    func claims() async throws {
        try await AdminServer.run { server in
            let (a, b) = (try await server.organization(), try await server.organization())
            let key = try SigningKey.generate(.es256)
            let ofA = try await Self.resource(server, a, .es256)
            let ofB = try await Self.resource(server, b, .es256)
            let shown = try await Self.importKey(server, a, ofA, "public_key", key.publicKey.pem)
            #expect(shown.status == 201 && shown["status"] == "published")
            let taken = try await Self.importKey(server, b, ofB, "private_key", AdminSetupTests.pem(key))
            #expect(taken.status == 201 && taken["status"] == "active")
            let late = try await Self.importKey(server, a, ofA, "private_key", AdminSetupTests.pem(key))
            #expect(late.status == 409)
            let row = try await server.done(.get, "\(a.path)/signing-keys/\(shown["id"])", key: a.key)
            #expect(row["status"] == "published" && row.json["has_private_key"] == .bool(false))
        }
    }

    @Test("a key made here is none to import, and one that comes for two resources at once is taken once", .tags(.race))
    func ownKeys() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let resources = [
                try await Self.resource(server, tenant, .es256), try await Self.resource(server, tenant, .es256),
            ]
            let rows = try await server.done(.get, "\(tenant.path)/signing-keys", key: tenant.key).rows
            let made = try #require(rows.first { $0["algorithm"]?.string == "ES256" }?["public_key"]?.string)
            #expect(try await Self.importKey(server, tenant, resources[0], "public_key", made).status == 409)
            let key = try SigningKey.generate(.es256)
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for resource in resources {
                    group.addTask {
                        try await Self.importKey(server, tenant, resource, "public_key", key.publicKey.pem).status
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }.sorted()
            }
            #expect(statuses == [201, 409])
        }
    }

    @Test("a new key is published first, and signs after every cache has it (RFC 7517 §5, §3.6)", .tags(.admin, .race))
    func rotation() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            guard let organization = OrganizationID(tenant.id) else { throw AdminServer.Unexpected("no id") }
            func keys() async throws -> [String: String] {
                let rows = try await server.done(.get, "\(tenant.path)/signing-keys", key: tenant.key).rows
                return Dictionary(
                    uniqueKeysWithValues: rows.filter { $0["purpose"]?.string == "access" }.compactMap { row in
                        row["id"]?.string.map { ($0, row["status"]?.string ?? "") }
                    })
            }
            func post(_ id: String, _ verb: String) async throws -> AdminServer.Reply {
                try await server.call(.post, "\(tenant.path)/signing-keys/\(id):\(verb)", key: tenant.key)
            }
            func statuses(_ id: String, _ verb: String) async throws -> [Int] {
                try await withThrowingTaskGroup(of: Int.self) { group in
                    for _ in 0..<6 { group.addTask { try await post(id, verb).status } }
                    return try await group.reduce(into: []) { $0.append($1) }.sorted()
                }
            }
            guard let old = try await keys().keys.first else { throw AdminServer.Unexpected("no key") }
            #expect(try await keys() == [old: "active"])
            #expect(try await statuses(old, "rotate") == [200, 409, 409, 409, 409, 409])
            guard let new = try await keys().first(where: { $0.value == "published" })?.key else {
                throw AdminServer.Unexpected("no new key")
            }
            #expect(try await keys() == [old: "active", new: "published"])
            let early = try await post(new, "activate")
            #expect(early.status == 409 && early["detail"].contains("300"))
            #expect(try await post(old, "activate").status == 409)
            #expect(try await post(new, "rotate").status == 409)

            try await server.administration.database.transaction(organization) { transaction in
                _ = try await transaction.query(
                    """
                    UPDATE signing_key SET created_at = created_at - interval '301 seconds'
                     WHERE organization_id = \(organization) AND id = \(SigningKeyID(new)?.uuid)
                    """)
            }
            #expect(try await statuses(new, "activate") == [200, 409, 409, 409, 409, 409])
            #expect(try await keys() == [old: "retired", new: "active"])
            #expect(try await post(old, "rotate").status == 409)
            #expect(try await post(new, "rotate").status == 200)

            let resource = try await Self.resource(server, tenant, .es256)
            let half = try await Self.importKey(
                server, tenant, resource, "public_key", try SigningKey.generate(.es256).publicKey.pem)
            for verb in ["rotate", "activate"] { #expect(try await post(half["id"], verb).status == 409) }
        }
    }

    @Test("an issuer gets one RSA key, however many resources ask for it at once", .tags(.admin, .race))
    func firstRSAKey() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for index in 0..<4 {
                    group.addTask {
                        try await server.done(
                            .post, "\(tenant.path)/resources",
                            """
                            {"uri":"https://\(tenant.slug).example/\(index)","name":"R","scopes":["read"],
                             "algorithm":"RS256"}
                            """, key: tenant.key)
                    }
                }
                try await group.waitForAll()
            }
            func made() async throws -> [String] {
                try await server.done(.get, "\(tenant.path)/signing-keys", key: tenant.key).rows
                    .filter { $0["algorithm"]?.string == "RS256" && $0["purpose"]?.string == "access" }.compactMap {
                        $0["status"]?.string
                    }
            }
            // Each answer came after its errand had begun; when another may begin, all of them are done.
            let issuer = RSAWork.Wanted(
                algorithm: .rs256, purpose: .access, issuer: try #require(OrganizationID(tenant.id)))
            var isDone = RSAWork.begin(issuer)
            for _ in 0..<200 where !isDone {
                try await Task.sleep(for: .milliseconds(50))
                isDone = RSAWork.begin(issuer)
            }
            #expect(isDone)
            if isDone { RSAWork.end(issuer) }
            #expect(try await made() == ["active"])
        }
    }
    private static func keys(
        _ server: AdminServer, _ tenant: AdminServer.Tenant, _ algorithm: SigningAlgorithm
    ) async throws -> Set<String> {
        Set(
            try await server.done(.get, "\(tenant.path)/signing-keys", key: tenant.key).rows
                .filter { $0["algorithm"]?.string == algorithm.rawValue && $0["status"]?.string == "active" }
                .compactMap { $0["purpose"]?.string })
    }

    @Test("F-18 a resource whose keys cannot be made just now is registered all the same, and gets them", .tags(.admin))
    func keysFollow() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let database = server.administration.database
            let id = try #require(OrganizationID(tenant.id))
            // Somebody holds the organization's keys for longer than anybody waits for them.
            try await database.transaction(id) { transaction in
                _ = try await server.administration.signingKeys.hold(of: id, in: transaction)
                let made = try await server.call(
                    .post, "\(tenant.path)/resources",
                    #"{"uri":"https://\#(tenant.slug).example/x","name":"X","scopes":["read"],"algorithm":"EdDSA"}"#,
                    key: tenant.key)
                #expect(made.status == 201)
                #expect(try await Self.keys(server, tenant, .eddsa).isEmpty)
            }
            var found: Set<String> = []
            for _ in 0..<200 where found.count < 2 {
                try await Task.sleep(for: .milliseconds(100))
                found = try await Self.keys(server, tenant, .eddsa)
            }
            #expect(found == ["access", "programmatic"])
        }
    }

    @Test("F-18 a resource that was registered by a node which ended then gets its keys by housekeeping", .tags(.admin))
    func keysOfEndedNode() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let id = try #require(OrganizationID(tenant.id))
            let resource = Resource(
                id: ResourceID.make(at: Date(), .system), owner: id, uri: "https://\(tenant.slug).example/x", name: "X",
                scopes: [], scopeImplications: [:], algorithm: .eddsa, accessTokenLifetimeSeconds: 600,
                acceptedIssuers: [id], listed: false, tenantUnaware: false, dedicatedKey: false, status: .active,
                version: 1, createdAt: Date(), updatedAt: Date())
            _ = try await server.administration.insert(resource, by: Administrator(system: "test", now: Date()))
            #expect(try await Self.keys(server, tenant, .eddsa).isEmpty)
            for _ in 0..<2 { try await server.administration.makeMissingKeys(of: id, at: Date()) }
            #expect(try await Self.keys(server, tenant, .eddsa) == ["access", "programmatic"])
        }
    }
}
