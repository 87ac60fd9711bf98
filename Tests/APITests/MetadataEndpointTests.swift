import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import Keys
import Testing

@testable import API
@testable import Tenancy

@Suite struct MetadataEndpointTests {
    static let now = Date(timeIntervalSince1970: 1_800_000_000)

    static func organization(_ id: OrganizationID, slug: String) -> Organization {
        Organization(
            id: id, slug: slug, name: slug, status: .active, wrappedDataKey: [], settings: OrganizationSettings(),
            version: 1, createdAt: now, updatedAt: now)
    }

    static func resource(owner: OrganizationID, uri: String, accepted: [OrganizationID], listed: Bool = true)
        -> Resource
    {
        Resource(
            id: ResourceID.make(at: now, .system), owner: owner, uri: uri, name: "Tools",
            scopes: [.init(name: "read", description: "Read"), .init(name: "write", description: "Write")],
            scopeImplications: [:], algorithm: .es256, accessTokenLifetimeSeconds: 600, acceptedIssuers: accepted,
            listed: listed, tenantUnaware: false, dedicatedKey: false, status: .active, version: 1, createdAt: now,
            updatedAt: now)
    }

    static func snapshot(_ organization: Organization, resources: [Resource] = [], epoch: Int64 = 1) -> TenantSnapshot {
        TenantSnapshot(
            organization: organization, epoch: epoch, resources: resources, admittedResources: [], policy: [],
            identityProviders: [], signingKeys: [])
    }

    static let acme = OrganizationID.make(at: now, .system)
    static let globex = OrganizationID.make(at: now, .system)

    static func issuer(_ resources: [Resource] = []) -> Issuer {
        Issuer(
            kind: .organization, url: "https://as.example/o/acme",
            home: snapshot(organization(acme, slug: "acme"), resources: resources),
            platform: snapshot(organization(.platform, slug: "platform")))
    }

    private func members(_ bytes: [UInt8]) throws -> [String: JSONValue] {
        try #require(try JSONBody(bytes: bytes).value.object)
    }

    @Test(
        "MD-02 MD-04 MD-05 MD-06 PK-06 MCP-AS-02 MCP-AS-04 MCP-AS-07 metadata names what works, under the issuer's own URL (RFC 8414 §2)"
    )
    func document() throws {
        let resource = Self.resource(owner: Self.acme, uri: "https://mcp.example/acme", accepted: [Self.acme])
        let document = try members(MetadataEndpoint.render(Self.issuer([resource])))
        #expect(document["issuer"]?.string == "https://as.example/o/acme")
        #expect(document["authorization_endpoint"]?.string == "https://as.example/o/acme/oauth/authorize")
        #expect(document["token_endpoint"]?.string == "https://as.example/o/acme/oauth/token")
        #expect(document["registration_endpoint"]?.string == "https://as.example/o/acme/oauth/register")
        #expect(document["introspection_endpoint"]?.string == "https://as.example/o/acme/oauth/introspect")
        #expect(
            document["introspection_endpoint_auth_methods_supported"]?.strings == [
                "client_secret_basic", "client_secret_post", "private_key_jwt",
            ])
        #expect(document["revocation_endpoint"]?.string == "https://as.example/o/acme/oauth/revoke")
        #expect(
            document["revocation_endpoint_auth_methods_supported"]?.strings == [
                "none", "client_secret_basic", "client_secret_post", "private_key_jwt",
            ])
        #expect(document["jwks_uri"]?.string == "https://as.example/o/acme/oauth/jwks")
        #expect(document["response_types_supported"]?.strings == ["code"])
        #expect(
            document["grant_types_supported"]?.strings == [
                "authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:token-exchange",
                "client_credentials",
            ])
        #expect(document["code_challenge_methods_supported"]?.strings == ["S256"])
        #expect(document["authorization_response_iss_parameter_supported"] == .bool(true))
        #expect(
            document["token_endpoint_auth_methods_supported"]?.strings == [
                "none", "client_secret_basic", "client_secret_post", "private_key_jwt",
            ])
        for endpoint in ["token", "introspection", "revocation"] {
            let algorithms = document["\(endpoint)_endpoint_auth_signing_alg_values_supported"]?.strings
            #expect(algorithms == ["ES256", "RS256", "EdDSA"])
        }
        #expect(document["client_id_metadata_document_supported"] == .bool(true))
        #expect(
            document["scopes_supported"]?.strings == ["openid", "profile", "email", "offline_access", "read", "write"])
    }

    @Test("MD-03 no member is an empty array (RFC 8414 §3.2)")
    func noEmptyArrays() throws {
        let document = try members(MetadataEndpoint.render(Self.issuer()))
        #expect(!document.values.contains(.array([])))
    }

    @Test("MD-10 the same bytes carry the same ETag, and who has them gets 304 (RFC 9110 §13.1.2)")
    func conditional() throws {
        let document = ReadyDocument(MetadataEndpoint.render(Self.issuer()))
        func ask(_ etag: String?, _ method: HTTPRequest.Method = .get) -> Response {
            var headers = HTTPFields()
            headers[.ifNoneMatch] = etag
            return document.response(
                to: Request(
                    head: HTTPRequest(
                        method: method, scheme: "https", authority: "x", path: "/", headerFields: headers),
                    body: RequestBody(buffer: .init())))
        }
        let first = ask(nil)
        let etag = try #require(first.headers[.eTag])
        #expect(first.status == .ok)
        #expect(first.headers[.cacheControl] == "public, max-age=300")
        #expect(ask(etag).status == .notModified)
        #expect(ask("\"other\", W/\(etag)").status == .notModified)
        #expect(ask("*").status == .notModified)
        #expect(ask("\"other\"").status == .ok)
        let head = ask(nil, .head)
        #expect(head.status == .ok)
        #expect(head.body.contentLength == 0)
        #expect(head.headers[.contentLength] == first.headers[.contentLength])
    }

    @Test("documents are rendered anew when an epoch moved or a minute passed, and not before")
    func readyDocuments() {
        let documents = ReadyDocuments()
        var renderings = 0
        func ask(epoch: Int64, at now: Date) {
            let issuer = Issuer(
                kind: .organization, url: "https://as.example/o/acme",
                home: Self.snapshot(Self.organization(Self.acme, slug: "acme"), epoch: epoch),
                platform: Self.snapshot(Self.organization(.platform, slug: "platform")))
            _ = documents.document(of: issuer, at: now) { _ in
                renderings += 1
                return []
            }
        }
        ask(epoch: 1, at: Self.now)
        ask(epoch: 1, at: Self.now + 30)
        #expect(renderings == 1)
        ask(epoch: 2, at: Self.now + 31)
        #expect(renderings == 2)
        ask(epoch: 2, at: Self.now + 95)
        #expect(renderings == 3)
    }

    @Test("the resource list shows listed resources of its own issuer and names no other tenant (RFC 9728 §3.1)")
    func resourceList() throws {
        let own = Self.resource(
            owner: Self.acme, uri: "https://mcp.example/acme/mcp", accepted: [Self.acme, Self.globex, .platform])
        let hidden = Self.resource(owner: Self.acme, uri: "https://mcp.example/x", accepted: [Self.acme], listed: false)
        let list = try members(
            ResourceListEndpoint(publicURL: "https://as.example").render(Self.issuer([own, hidden])))
        guard case .array(let entries) = list["resources"], entries.count == 1, let entry = entries[0].object else {
            Issue.record("not one resource")
            return
        }
        #expect(entry["resource"]?.string == "https://mcp.example/acme/mcp")
        #expect(
            entry["resource_metadata"]?.string == "https://mcp.example/.well-known/oauth-protected-resource/acme/mcp")
        #expect(entry["authorization_servers"]?.strings == ["https://as.example/o/acme", "https://as.example"])
        #expect(entry["scopes_supported"]?.strings == ["read", "write"])
    }
}
