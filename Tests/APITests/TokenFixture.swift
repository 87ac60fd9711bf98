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

/// One organization whose signing key a test holds, so that it can sign whatever an attacker could wish for: a resource, a
/// person, a confidential client, and the person's grant to it.
struct TokenFixture: Sendable {
    let organization: Organization
    let resource: Resource
    let key: SigningKey
    let kid: String
    let user: UserID
    let client: Client
    let secret: Secret
    let grant: GrantID
    /// A right refresh token of the grant.
    let refreshToken: RefreshToken

    var issuer: String { "\(TestServices.publicURL)/o/\(organization.slug)" }
    var path: String { "/o/\(organization.slug)/oauth" }

    /// - Parameter accepted: whose tokens the resource takes; its organization's unless said.
    static func make(accepted: [OrganizationID]? = nil) async throws -> TokenFixture {
        let now = Date()
        let database = try TestDatabase.open()
        let organization = try await TestDatabase.freshOrganization(at: now)
        let key = try SigningKey.generate(.es256)
        let keyID = SigningKeyID.make(at: now, .system)
        let record = SigningKeyRecord(
            id: keyID, owner: organization.id, purpose: .access, resource: nil, algorithm: .es256,
            kid: key.publicKey.thumbprint, publicKeyPEM: key.publicKey.pem,
            sealedPrivateKey: try TestDatabase.secrets.seal(key.privateKeyBytes, for: organization, .privateKey(keyID)),
            imported: false, status: .active, createdAt: now, activatedAt: now, retiredAt: nil)
        let resource = MetadataEndpointTests.resource(
            owner: organization.id, uri: "https://\(organization.slug).example/mcp",
            accepted: accepted ?? [organization.id])
        let secret = Secret.random(prefix: "gs_")
        let client = Self.client(in: organization.id, secret: secret, at: now)
        let user = User(
            id: .make(at: now, .system), email: "a@\(organization.slug).example", emailVerified: true, name: nil,
            status: .active, version: 1, createdAt: now, updatedAt: now)
        let grant = GrantID.make(at: now, .system)
        let refreshToken = RefreshToken(organization: organization.id, grant: grant, .system)
        try await database.transaction(organization.id) { transaction in
            let id = organization.id
            try await SigningKeyStore(database: database).insert(record, in: transaction)
            _ = try await ResourceStore(database: database).insert(resource, in: transaction)
            _ = try await UserStore(database: database).insert(user, of: id, in: transaction)
            let clients = ClientStore(database: database)
            try await clients.insert(client, in: transaction)
            let admission = ClientAdmission(client: client.id, registry: id, status: .active, createdAt: now)
            _ = try await clients.admit(admission, by: id, in: transaction)
            try await transaction.query(
                """
                INSERT INTO "grant" (organization_id, id, issuer_organization_id, user_id, client_id, resource_id, scope,
                    status, auth_time, family_digest, current_digest, generation, mfa, created_at, last_used_at,
                    idle_expires_at, expires_at)
                SELECT \(id), \(grant), \(id), \(user.id), \(client.id), \(resource.id), \(["read"]), 'active', \(now),
                    \(refreshToken.familyDigest.bytes), \(refreshToken.digest.bytes), \(1), \(false), \(now), \(now),
                    \(now + 3600), \(now + 7200)
                """)
        }
        return TokenFixture(
            organization: organization, resource: resource, key: key, kid: record.kid, user: user.id, client: client,
            secret: secret, grant: grant, refreshToken: refreshToken)
    }

    static func client(in registry: OrganizationID, secret: Secret?, at now: Date) -> Client {
        Client(
            id: .make(at: now, .system), registry: registry, kind: .registered, name: "C",
            redirectURIs: ["https://client.example/cb"], grantTypes: ["authorization_code", "refresh_token"],
            responseTypes: ["code"], authenticationMethod: secret == nil ? .none : .clientSecretPost,
            applicationType: nil, scopeCeiling: nil, clientURI: nil, logoURI: nil, policyURI: nil, tosURI: nil,
            documentURL: nil, secretDigest: secret.map(SecretDigest.init(of:)), registrationTokenDigest: nil,
            status: .active, expiresAt: nil, version: 1, createdAt: now, updatedAt: now)
    }

    /// Another client of the organization; public without a secret.
    func addClient(secret: Secret?) async throws -> Client {
        let client = Self.client(in: organization.id, secret: secret, at: Date())
        let database = try TestDatabase.open()
        try await database.transaction(organization.id) {
            try await ClientStore(database: database).insert(client, in: $0)
        }
        return client
    }

    // MARK: Tokens

    /// Claims of a right access token, as JSON text by name; nil leaves one out.
    func claims(_ changes: [String: String?] = [:]) -> String {
        let now = Int(Date().timeIntervalSince1970)
        var members: [String: String?] = [
            "iss": "\"\(issuer)\"", "sub": "\"\(user)\"", "aud": "\"\(resource.uri)\"", "exp": "\(now + 600)",
            "iat": "\(now)", "nbf": "\(now)", "jti": "\"\(TokenID.make(at: Date(), .system))\"",
            "client_id": "\"\(client.wireID)\"", "scope": "\"read\"", "scopes": "[\"read\"]",
            "org_id": "\"\(organization.id)\"", "org_slug": "\"\(organization.slug)\"", "grant_id": "\"\(grant)\"",
        ]
        for (name, value) in changes { members[name] = .some(value) }
        let text = members.compactMap { name, value in value.map { "\"\(name)\":\($0)" } }.sorted()
        return "{\(text.joined(separator: ","))}"
    }

    /// A compact JWS of whatever header and payload, signed by the organization's key or another.
    func sign(_ payload: String, header: String? = nil, by other: SigningKey? = nil) throws -> String {
        let header = header ?? #"{"alg":"ES256","kid":"\#(kid)","typ":"at+jwt"}"#
        return try CompactJWS.sign(
            header: [UInt8](Base64URL.encode([UInt8](header.utf8)).utf8), payload: [UInt8](payload.utf8),
            key: other ?? key)
    }

    // MARK: Requests

    struct Reply: Sendable {
        let status: Int
        let headers: HTTPFields
        let text: String

        var members: [String: JSONValue] { (try? JSONText.parse([UInt8](text.utf8)))?.object ?? [:] }
        var error: String? { members["error"]?.string }
    }

    static let inactive = #"{"active":false}"#

    static func post(
        _ path: String, _ parameters: [(String, String)], headers more: HTTPFields = [:], _ http: any TestClientProtocol
    ) async throws -> Reply {
        var headers: HTTPFields = [.contentType: "application/x-www-form-urlencoded"]
        for field in more { headers[field.name] = field.value }
        let body = parameters.map { name, value in "\(name)=\(value.formEncoded)" }.joined(separator: "&")
        return try await http.execute(uri: path, method: .post, headers: headers, body: ByteBuffer(string: body)) {
            Reply(status: $0.status.code, headers: $0.headers, text: String(buffer: $0.body))
        }
    }

    /// A call of the admin API about this organization, or about the platform.
    func admin(
        _ method: HTTPRequest.Method, _ path: String, _ body: String?, ofPlatform: Bool = false,
        _ http: any TestClientProtocol
    ) async throws -> AdminServer.Reply {
        var headers: HTTPFields = [.authorization: "Bearer \(try await Self.platformKey.value)"]
        if body != nil { headers[.contentType] = "application/json" }
        let base = ofPlatform ? "/v1" : "/v1/organizations/\(organization.id)"
        return try await http.execute(
            uri: base + path, method: method, headers: headers, body: body.map { ByteBuffer(string: $0) }
        ) { AdminServer.Reply(status: $0.status.code, headers: $0.headers, body: Array($0.body.readableBytesView)) }
    }

    func admin(
        _ method: HTTPRequest.Method, _ path: String, _ http: any TestClientProtocol
    ) async throws -> AdminServer.Reply {
        try await admin(method, path, nil, http)
    }

    private static let platformKey = Task { try await AdminServer.platformKey() }

    /// Asks about a token as the fixture's client, unless another asks.
    func introspect(
        _ token: String, as caller: (id: String, secret: String)? = nil, at other: String? = nil,
        headers: HTTPFields = [:], _ http: any TestClientProtocol
    ) async throws -> Reply {
        let (id, secret) = caller ?? (client.wireID, self.secret.revealed)
        return try await Self.post(
            "\(other ?? path)/introspect", [("token", token), ("client_id", id), ("client_secret", secret)],
            headers: headers, http)
    }

    func revoke(
        _ token: String, as caller: (id: String, secret: String?)? = nil, at other: String? = nil,
        hint: String? = nil, _ http: any TestClientProtocol
    ) async throws -> Reply {
        let (id, secret) = caller ?? (client.wireID, self.secret.revealed)
        var parameters = [("token", token), ("client_id", id)]
        if let secret { parameters.append(("client_secret", secret)) }
        if let hint { parameters.append(("token_type_hint", hint)) }
        return try await Self.post("\(other ?? path)/revoke", parameters, http)
    }
}

extension String {
    fileprivate var formEncoded: String {
        addingPercentEncoding(withAllowedCharacters: .init(charactersIn: "-._~").union(.alphanumerics)) ?? ""
    }
}
