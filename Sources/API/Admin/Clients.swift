import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/clients` and `/v1/organizations/{org}/clients`
struct ClientsEndpoint: Sendable {
    let administration: Administration
    let documents: ClientDocuments

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "clients", .clientsRead, in: .platform, .organization, use: list,
            as: .list("listClients", "Clients", of: Self.schema))
        table.post(
            "clients", .clientsWrite, in: .platform, .organization, use: create,
            as: .create("createClient", "Make a client; its secret is shown once", from: Self.draft, to: Self.made))
        table.get(
            "clients/{client}", .clientsRead, in: .platform, .organization, use: get,
            as: .read("getClient", "One client", Self.schema))
        table.patch(
            "clients/{client}", .clientsWrite, in: .platform, .organization, use: update,
            as: .update("updateClient", "Change a client", from: Self.patch, to: Self.schema))
        table.delete(
            "clients/{client}", .clientsWrite, in: .platform, .organization, use: delete,
            as: .remove("deleteClient", "Remove a client; every connection made with it ends", ifMatch: .required))
        table.post(
            "clients/{client}/secrets", .clientsWrite, in: .platform, .organization, use: rotateSecret,
            as: .act(
                "rotateClientSecret", "Give a client a new secret, shown once", from: Self.rotation, to: Self.made,
                status: .created))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "clients")
        let rows = try await administration.clients.list(request.page, of: call.organization.id)
        return request.reply(rows, id: \.id.uuid) { Self.json($0) }
    }

    private func create(_ call: AdminCall) async throws -> Response {
        var members = try await call.body()
        let kind = members.word("kind", of: Client.Kind.self) ?? .registered
        switch kind {
        case .registered: break
        // A service client belongs to exactly one organization.
        case .service where call.organization.id != .platform: break
        case .service:
            members.add(FieldError("/kind", "unsupported", "A service client belongs to one organization."))
        case .metadataDocument: return try await preregister(&members, call)
        case .dynamic:
            members.add(
                FieldError("/kind", "unsupported", "Administrators make registered, service and document clients."))
        }
        let name = members.requiredString("name")
        let redirects = members.strings("redirect_uris") ?? []
        var wanted = kind == .service ? NewClient(service: name) : NewClient(name: name, redirectURIs: redirects)
        wanted.redirectURIs = redirects
        wanted.grantTypes = members.strings("grant_types") ?? wanted.grantTypes
        wanted.authenticationMethod = members.word("token_endpoint_auth_method") ?? wanted.authenticationMethod
        wanted.keys = members.keys()
        wanted.applicationType = members.word("application_type")
        wanted.scopeCeiling = members.strings("scope_ceiling")
        wanted.clientURI = members.string("client_uri")
        wanted.logoURI = members.string("logo_uri")
        wanted.policyURI = members.string("policy_uri")
        wanted.tosURI = members.string("tos_uri")
        wanted.demands.proofOfPossession = members.bool("dpop_bound_access_tokens") ?? false
        wanted.demands.pushedRequests = members.bool("require_pushed_authorization_requests") ?? false
        wanted.opensAdminAPI = members.bool("admin_api_access") ?? false
        try members.finish()
        return try await call.write { administrator in
            try await administration.createClient(
                wanted, in: call.organization.id, by: administrator)
        } reply: { made in
            let client = made.value.client
            return .created(
                client.id.description, Self.json(client, secret: made.shown(made.value.secret)), version: client.version
            )
        }
    }

    /// A metadata document that may be used before anybody came with it (CIMD §7.2); it is read now.
    private func preregister(_ members: inout Members, _ call: AdminCall) async throws -> Response {
        let url = members.requiredString("document_url")
        let ceiling = members.strings("scope_ceiling")
        try members.finish()
        return try await call.write { administrator in
            try await administration.preregisterClient(
                document: url, scopeCeiling: ceiling, in: call.organization.id, using: documents, by: administrator)
        } reply: { made in
            .created(
                made.value.id.description, Self.json(made.value), version: made.value.version)
        }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        let client = try await administration.client(call.id("client"), in: call.organization.id)
        return call.reply(.ok, Self.json(client), version: client.version)
    }

    private func update(_ call: AdminCall) async throws -> Response {
        let id = try call.id("client", of: ClientID.self)
        let condition = try call.requiredCondition()
        var members = try await call.patch()
        var update = ClientUpdate()
        update.name = members.string("name")
        update.redirectURIs = members.strings("redirect_uris")
        update.keys = members.keys()
        update.scopeCeiling = members.patch(strings: "scope_ceiling")
        update.clientURI = members.patch(string: "client_uri")
        update.logoURI = members.patch(string: "logo_uri")
        update.policyURI = members.patch(string: "policy_uri")
        update.tosURI = members.patch(string: "tos_uri")
        update.proofOfPossession = members.bool("dpop_bound_access_tokens")
        update.pushedRequests = members.bool("require_pushed_authorization_requests")
        update.opensAdminAPI = members.bool("admin_api_access")
        update.status = members.word("status")
        try members.finish()
        return try await call.write { administrator in
            try await administration.updateClient(
                id, update, if: condition, in: call.organization.id, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value), version: done.value.version)
        }
    }

    private func delete(_ call: AdminCall) async throws -> Response {
        let id = try call.id("client", of: ClientID.self)
        return try await call.write { administrator in
            try await administration.deleteClient(
                id, if: call.requiredCondition(), in: call.organization.id, by: administrator)
        } reply: { _ in
            .deleted
        }
    }

    private func rotateSecret(_ call: AdminCall) async throws -> Response {
        let id = try call.id("client", of: ClientID.self)
        var overlap: Int?
        if var members = try await call.optionalBody() {
            overlap = members.integer("overlap_seconds")
            try members.finish()
        }
        return try await call.write { administrator in
            try await administration.rotateClientSecret(
                id, overlapSeconds: overlap ?? 0, in: call.organization.id, by: administrator)
        } reply: { done in
            .created(
                nil, Self.json(done.value.client, secret: done.shown(done.value.secret)),
                version: done.value.client.version)
        }
    }

    private static let scopes = Schema.array(of: .scope, 0...200)
    private static let adminAccess = Schema.bool.said(
        "Needs `admin-keys:write` too, and so does any later change of such a client but switching it off.")

    private static let schema = Schema.named(
        "Client",
        .object([
            "id": .id(ClientID.self), "client_id": .string, "kind": .words(Client.Kind.self), "name": .string,
            "redirect_uris": .array(of: .string), "grant_types": .array(of: .string),
            "response_types": .array(of: .string),
            "token_endpoint_auth_method": .words(Client.AuthenticationMethod.self),
            "token_endpoint_auth_methods_supported": .array(of: .words(Client.AuthenticationMethod.self)).optional,
            "jwks": .map(of: .any).optional, "jwks_uri": .uri.optional, "previous_secret_expires_at": .time.optional,
            "document": .object([
                "url": .uri, "digest": .string, "fetched_at": .time, "fresh_until": .time, "preregistered": .bool,
            ]).optional,
            "application_type": .words(Client.ApplicationType.self).nullable,
            "scope_ceiling": .array(of: .string).nullable, "client_uri": .string.nullable,
            "logo_uri": .string.nullable, "policy_uri": .string.nullable, "tos_uri": .string.nullable,
            "dpop_bound_access_tokens": .bool, "require_pushed_authorization_requests": .bool,
            "admin_api_access": .bool.said("People may administer their organization with it."),
            "status": .words(Client.Status.self), "expires_at": .time.nullable, "created_at": .time,
            "updated_at": .time,
        ]))

    private static let made = Schema.named(
        "IssuedClient", schema.adding(["client_secret": .string.optional.said("Shown once.")]))

    private static let draft = Schema.named(
        "NewClient",
        .either(
            .draft([
                "kind": .words(Client.Kind.registered.rawValue, Client.Kind.service.rawValue).optional,
                "name": .name, "redirect_uris": .array(of: .string, 0...16).optional,
                "grant_types": .array(of: .string, 1...6).optional,
                "token_endpoint_auth_method": .words(Client.AuthenticationMethod.self).optional,
                "jwks": .map(of: .any).optional, "jwks_uri": .https.optional,
                "application_type": .words(Client.ApplicationType.self).optional,
                "scope_ceiling": scopes.optional, "client_uri": .https.optional, "logo_uri": .https.optional,
                "policy_uri": .https.optional, "tos_uri": .https.optional,
                "dpop_bound_access_tokens": .bool.optional, "require_pushed_authorization_requests": .bool.optional,
                "admin_api_access": adminAccess.optional,
            ]),
            .draft([
                "kind": .words(Client.Kind.metadataDocument.rawValue), "document_url": .https,
                "scope_ceiling": scopes.optional,
            ])))

    private static let patch = Schema.named(
        "ClientPatch",
        .patch([
            "name": .name, "redirect_uris": .array(of: .string, 0...16), "jwks": .map(of: .any),
            "jwks_uri": .https, "scope_ceiling": scopes.nullable, "client_uri": .https.nullable,
            "logo_uri": .https.nullable, "policy_uri": .https.nullable, "tos_uri": .https.nullable,
            "dpop_bound_access_tokens": .bool, "require_pushed_authorization_requests": .bool,
            "admin_api_access": adminAccess, "status": .words(Client.Status.self),
        ]))

    private static let rotation = Schema.named(
        "ClientSecretRotation",
        .draft([
            "overlap_seconds": .integer(0...(7 * 86_400)).optional.said(
                "How long the old secret works beside it; 0 unless said.")
        ]))

    /// - Parameter secret: told once, in the reply that made it.
    private static func json(_ client: Client, secret: Secret? = nil) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", client.id.description)
            json.string("client_id", client.wireID)
            if let secret { json.string("client_secret", secret.revealed) }
            json.string("kind", client.kind.rawValue)
            json.string("name", client.name)
            json.strings("redirect_uris", client.redirectURIs)
            json.strings("grant_types", client.grantTypes)
            json.strings("response_types", client.responseTypes)
            json.string("token_endpoint_auth_method", client.authenticationMethod.rawValue)
            if !client.otherMethods.isEmpty {
                json.strings("token_endpoint_auth_methods_supported", client.authenticationMethods.map(\.rawValue))
            }
            switch client.keys {
            case nil: break
            case .given(let set): json.raw("jwks", set.json)
            case .published(let url): json.string("jwks_uri", url)
            }
            if let previous = client.previousSecret {
                json.time("previous_secret_expires_at", previous.expiresAt)
            }
            if let document = client.document {
                json.object("document") { json in
                    json.string("url", client.wireID)
                    json.string("digest", Base64URL.encode(document.digest))
                    json.time("fetched_at", document.fetchedAt)
                    json.time("fresh_until", document.freshUntil)
                    json.bool("preregistered", document.isPreregistered)
                }
            }
            json.optional("application_type", client.applicationType?.rawValue)
            json.optional("scope_ceiling", client.scopeCeiling)
            json.optional("client_uri", client.clientURI)
            json.optional("logo_uri", client.logoURI)
            json.optional("policy_uri", client.policyURI)
            json.optional("tos_uri", client.tosURI)
            json.bool("dpop_bound_access_tokens", client.demands.proofOfPossession)
            json.bool("require_pushed_authorization_requests", client.demands.pushedRequests)
            json.bool("admin_api_access", client.opensAdminAPI)
            json.string("status", client.status.rawValue)
            json.optional("expires_at", time: client.expiresAt)
            json.time("created_at", client.createdAt)
            json.time("updated_at", client.updatedAt)
        }
    }
}

extension Members {
    /// `jwks` or `jwks_uri`.
    fileprivate mutating func keys() -> ClientKeys {
        var keys = ClientKeys()
        keys.jwks = value("jwks")
        keys.jwksURI = string("jwks_uri")
        return keys
    }
}
