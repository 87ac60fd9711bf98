import Audit
import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import Keys
import Postgres
import Tenancy
import TestSupport
import Testing

@testable import API

@Suite struct AdminSetupTests {
    @Test("an organization is set up by calls alone, every write names its event (design §4.8)", .tags(.admin))
    func secondOrganization() async throws {
        try await AdminServer.run { server in
            let slug = AdminServer.freshSlug()
            let made = try await server.done(.post, "/v1/organizations", #"{"slug":"\#(slug)","name":"Globex"}"#)
            #expect(made.status == 201)
            #expect(made.headers[.location] == "https://as.example/v1/organizations/\(made["id"])")
            #expect(made.headers[.eTag] == "\"v1\"")
            let base = "/v1/organizations/\(made["id"])"
            var events = [made]
            func write(_ method: HTTPRequest.Method, _ path: String, _ body: String? = nil) async throws
                -> AdminServer.Reply
            {
                let reply = try await server.done(method, path, body)
                events.append(reply)
                return reply
            }
            let domain = "\(slug).example"
            #expect(try await write(.post, "\(base)/domains", #"{"domain":"\#(domain)"}"#)["status"] == "pending")
            #expect(try await write(.post, "\(base)/domains/\(domain):verify", "{}")["status"] == "verified")
            let provider = try await write(
                .post, "\(base)/identity-providers",
                """
                {"kind":"stytch_b2b","name":"Sign-in","project_id":"project-test-\(slug)","secret":"secret-of-\(slug)",
                 "organization_id":"organization-test-\(slug)","base_url":"http://127.0.0.1:8020",
                 "authoritative_domains":["\(domain)"]}
                """)
            #expect(!provider.text.contains("secret-of-"))
            let user = try await write(.post, "\(base)/users", #"{"email":"gus@\#(domain)","name":"Gus"}"#)
            let invitation = try await write(.post, "\(base)/invitations", #"{"email":"new@\#(domain)"}"#)
            #expect(invitation["link"].hasPrefix("https://as.example/signin/invitation/gi_"))
            let resource = try await write(
                .post, "\(base)/resources",
                """
                {"uri":"https://mcp.\(domain)/mcp","name":"Notes","scopes":["read",{"name":"write","description":"Change"}],
                 "scope_implications":{"write":["read"]},"algorithm":"EdDSA","listed":true}
                """)
            #expect(resource.json["accepted_issuers"]?.strings == [made["id"]])
            _ = try await write(
                .post, "\(base)/scope-policies",
                """
                {"name":"writers","effect":"allow","principals":{"users":["\(user["id"])"]},"resources":["\(resource["id"])"],
                 "scopes":["write"],"conditions":{"ip_ranges":["10.0.0.0/8"]}}
                """)
            let client = try await write(
                .post, "\(base)/clients", #"{"name":"App","redirect_uris":["https://app.\#(domain)/cb"]}"#)
            #expect(client["client_secret"].hasPrefix("gs_"))
            let read = try await server.done(.get, "\(base)/clients/\(client["id"])")
            #expect(read.json["client_secret"] == nil)
            _ = try await write(.post, "\(base)/clients/\(client["id"])/secrets")
            let key = try await write(.post, "\(base)/admin-keys", #"{"name":"ops","scopes":["users:read"]}"#)
            #expect(try await server.call(.get, "\(base)/users", key: key["secret"]).status == 200)
            #expect(try await server.call(.get, "/v1/organizations/\(slug)/users", key: key["secret"]).rows.count == 1)
            // EdDSA was not there before: the issuer got a key for each of its purposes.
            let algorithms = try await server.done(.get, "\(base)/signing-keys").rows.compactMap {
                $0["algorithm"]?.string
            }
            #expect(algorithms.sorted() == ["ES256", "ES256", "EdDSA", "EdDSA"])
            let policies = try await server.done(.get, "\(base)/scope-policies").rows.compactMap { $0["name"]?.string }
            #expect(policies == ["everyone-read", "writers"])

            guard let organization = OrganizationID(made["id"]) else { throw AdminServer.Unexpected("no id") }
            for reply in events {
                guard let id = EventID(reply.headers[.auditEvent] ?? "") else {
                    throw AdminServer.Unexpected("no Audit-Event: \(reply.text)")
                }
                let stored = try await server.administration.database.read(
                    organization, existingEvents(organization.uuid, [id.uuid])
                ) { try $0.decode("id", as: UUID.self) }
                #expect(stored == [id.uuid])
            }
        }
    }

    @Test(
        "a shared resource is enabled by an organization, and takes an imported key only when told so (§3.6)",
        .tags(.admin))
    func sharedResource() async throws {
        try await AdminServer.run { server in
            let tag = AdminServer.freshSlug()
            let pem = try Self.rsaPEM()
            let body = #"{"uri":"https://\#(tag).example/mcp","name":"S","scopes":["read"],"algorithm":"RS256"}"#
            let resource = try await server.done(.post, "/v1/resources", body)
            #expect(resource.json["accepted_issuers"]?.strings == ["platform"])
            #expect(try await server.call(.post, "/v1/resources", body).status == 409)
            let key = #"{"purpose":"access","resource":"\#(resource["id"])","private_key":"\#(pem)"}"#
            let refused = try await server.call(.post, "/v1/signing-keys", key)
            #expect(refused.status == 422 && refused.pointers == ["/resource"])
            try await server.done(.patch, "/v1/resources/\(resource["id"])", #"{"tenant_unaware":true}"#)
            let imported = try await server.done(.post, "/v1/signing-keys", key)
            #expect(imported["resource"] == resource["id"] && imported.json["imported"] == .bool(true))
            #expect(!imported.text.contains("PRIVATE"))
            #expect(try await server.call(.post, "/v1/signing-keys", key).status == 409)

            let tenant = try await server.organization()
            let enabled = try await server.done(
                .post, "\(tenant.path)/resources/\(resource["id"]):enable", key: tenant.key)
            #expect(enabled.json["enabled"] == .bool(true) && enabled.json["shared"] == .bool(true))
            let listed = try await server.done(.get, "\(tenant.path)/resources", key: tenant.key).rows
            #expect(listed.contains { $0["id"]?.string == resource["id"] && $0["enabled"] == .bool(true) })
            // Enabled is not owned: the organization cannot change it.
            #expect(
                try await server.call(
                    .patch, "\(tenant.path)/resources/\(resource["id"])", #"{"name":"mine"}"#, key: tenant.key
                ).status == 404)

            // The same key under another owner: refused without a word about the first.
            let own = try await server.done(
                .post, "\(tenant.path)/resources",
                #"{"uri":"https://\#(tenant.slug).example/x","name":"O","scopes":["read"],"algorithm":"RS256"}"#)
            let second = try await server.call(
                .post, "\(tenant.path)/signing-keys",
                #"{"purpose":"access","resource":"\#(own["id"])","private_key":"\#(pem)"}"#, key: tenant.key)
            #expect(second.status == 409 && !second.text.contains("platform") && !second.text.contains(resource["id"]))
        }
    }

    @Test(
        "a shared resource stays changeable when an organization whose issuer it accepts is deleted (§3.1)",
        .tags(.admin))
    func sharedResourceOfDeleted() async throws {
        try await AdminServer.run { server in
            let gone = try await server.organization()
            let other = try await server.organization()
            let issuers = #""accepted_issuers":["platform","\#(gone.id)"]"#
            let made = try await server.done(
                .post, "/v1/resources",
                #"{"uri":"https://\#(gone.slug).example/mcp","name":"S","scopes":["read"],\#(issuers)}"#)
            let path = "/v1/resources/\(made["id"])"
            #expect(try await server.call(.delete, gone.path, headers: [.ifMatch: "*"]).status == 200)

            let renamed = try await server.done(.patch, path, #"{"name":"T","algorithm":"EdDSA"}"#)
            #expect(renamed["name"] == "T" && renamed.json["accepted_issuers"]?.strings?.count == 2)
            #expect(try await server.call(.patch, path, "{\(issuers)}").status == 200)
            // Named anew, it is none.
            try await server.done(.patch, path, #"{"accepted_issuers":["platform","\#(other.id)"]}"#)
            let refused = try await server.call(.patch, path, "{\(issuers)}")
            #expect(refused.status == 422 && refused.pointers == ["/accepted_issuers"])
            let created = try await server.call(
                .post, "/v1/resources",
                #"{"uri":"https://\#(other.slug).example/mcp","name":"S","scopes":["read"],\#(issuers)}"#)
            #expect(created.status == 422 && created.pointers == ["/accepted_issuers"])
            #expect(
                try await server.done(.get, path).json["accepted_issuers"]?.strings?.sorted()
                    == ["platform", other.id].sorted())
        }
    }

    @Test(
        "a key's private half may follow its public one, and moves with its owner to another resource (§3.6)",
        .tags(.admin))
    func keys() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let signing = try SigningKey.generate(.es256)
            let resource = try await server.done(
                .post, "\(tenant.path)/resources",
                #"{"uri":"https://\#(tenant.slug).example/x","name":"O","scopes":["read"]}"#)
            func body(_ member: String, _ pem: String) -> String {
                #"{"purpose":"access","resource":"\#(resource["id"])","\#(member)":"\#(pem.replacing("\n", with: "\\n"))"}"#
            }
            let half = try await server.done(
                .post, "\(tenant.path)/signing-keys", body("public_key", signing.publicKey.pem), key: tenant.key)
            #expect(half["status"] == "published" && half.json["has_private_key"] == .bool(false))
            let whole = try await server.done(
                .post, "\(tenant.path)/signing-keys", body("private_key", Self.pem(signing)), key: tenant.key)
            #expect(whole["id"] == half["id"] && whole["status"] == "active")

            // A resource that was named wrongly is made anew, and takes its key along.
            try await server.done(.delete, "\(tenant.path)/resources/\(resource["id"])", key: tenant.key)
            let again = try await server.done(
                .post, "\(tenant.path)/resources",
                #"{"uri":"https://\#(tenant.slug).example/y","name":"O","scopes":["read"]}"#)
            let moved = try await server.done(
                .post, "\(tenant.path)/signing-keys",
                body("private_key", Self.pem(signing)).replacing(resource["id"], with: again["id"]), key: tenant.key)
            #expect(moved["id"] == half["id"] && moved["resource"] == again["id"] && moved["status"] == "active")

        }
    }

    @Test(
        "bootstrap makes what an existing server has in its environment, and again changes nothing (design §10)",
        .tags(.admin))
    func bootstrap() async throws {
        try await AdminServer.run { server in
            let administration = server.administration
            var values = DefaultOrganizationValues(
                stytchProjectID: "project-test-\(AdminServer.freshSlug())", stytchSecret: Secret("s"),
                publicKeyPEM: try SigningKey.generate(.rs256).publicKey.pem)
            values.resourceURI = "http://localhost:8000/\(AdminServer.freshSlug())"
            let first = try await administration.bootstrapDefaultOrganization(values, at: Date())
            let second = try await administration.bootstrapDefaultOrganization(values, at: Date())
            #expect(first.id == second.id)
            let resource = try await administration.resources.all(of: first.id).first { $0.uri == values.resourceURI }
            #expect(resource?.dedicatedKey == true && resource?.expanding(["admin"]).count == 4)
            #expect(resource?.acceptedIssuers == [first.id])
            let keys = try await administration.signingKeys.all(of: first.id).filter { $0.resource == resource?.id }
            #expect(keys.count == 1 && keys.first?.sealedPrivateKey == nil)
            #expect(try await administration.bootstrapPlatform(at: Date()) == false)
        }
    }

    @Test("the platform lists every organization page by page, oldest first", .tags(.admin))
    func organizations() async throws {
        try await AdminServer.run { server in
            let made = [try await server.organization().id, try await server.organization().id]
            var seen: [String] = []
            var next: String? = "/v1/organizations?limit=7"
            while let path = next {
                let page = try await server.done(.get, path)
                seen += page.rows.compactMap { $0["id"]?.string }
                next = page.headers[.link].map {
                    String($0.dropFirst("<https://as.example".count).prefix { $0 != ">" })
                }
            }
            #expect(seen.filter(made.contains) == made)
            #expect(Set(seen).count == seen.count && !seen.contains(OrganizationID.platform.description))
        }
    }

    @Test(
        "disabling a user ends their sessions and connections, suspending stops the organization's own keys",
        .tags(.admin))
    func endings() async throws {
        try await AdminServer.run { server in
            let tenant = try await server.organization()
            let user = try await server.done(.post, "\(tenant.path)/users", #"{"email":"u@\#(tenant.slug).example"}"#)
            let disabled = try await server.done(.post, "\(tenant.path)/users/\(user["id"]):disable", key: tenant.key)
            #expect(disabled["status"] == "disabled")
            #expect(
                try await server.done(.post, "\(tenant.path)/users/\(user["id"]):enable", key: tenant.key)["status"]
                    == "active")
            let own = try await server.call(.post, "\(tenant.path):suspend", key: tenant.key)
            #expect(own.status == 403 && own.code == "platform_key_required")
            #expect(try await server.done(.post, "\(tenant.path):suspend")["status"] == "suspended")
            #expect(try await server.call(.get, tenant.path, key: tenant.key).status == 401)
            #expect(try await server.done(.post, "\(tenant.path):resume")["status"] == "active")
            #expect(try await server.call(.get, tenant.path, key: tenant.key).status == 200)
        }
    }

    /// An RSA key as JSON holds it.
    static func rsaPEM() throws -> String { try pem(SigningKey.generate(.rs256)).replacing("\n", with: "\\n") }

    static func pem(_ key: SigningKey) -> String {
        let base64 = Data(key.privateKeyBytes).base64EncodedString(options: [
            .lineLength64Characters, .endLineWithLineFeed,
        ])
        return "-----BEGIN PRIVATE KEY-----\n\(base64)\n-----END PRIVATE KEY-----\n"
    }
}
