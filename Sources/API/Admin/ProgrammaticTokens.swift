import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/organizations/{org}/access-tokens`: tokens that administrators issue by name, for scripts and services.
struct ProgrammaticTokensEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "access-tokens", .accessTokensRead, in: .organization, use: list,
            as: .list(
                "listAccessTokens", "Tokens that administrators issued by name", of: Self.schema,
                filters: ["user": .id(UserID.self), "client": .id(ClientID.self)]))
        table.post(
            "access-tokens", .accessTokensWrite, in: .organization, use: create,
            as: .create(
                "createAccessToken", "Issue a token for a person or a service; shown once", from: Self.draft,
                to: Self.made))
        table.get(
            "access-tokens/{token}", .accessTokensRead, in: .organization, use: get,
            as: .read("getAccessToken", "One token", Self.schema))
        table.delete(
            "access-tokens/{token}", .accessTokensWrite, in: .organization, use: revoke,
            as: .remove(
                "revokeAccessToken", "End a token for everyone who asks; servers that verify offline go on",
                to: Self.schema))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "access-tokens", filters: ["user", "client"])
        let rows = try await administration.programmaticTokens.list(
            request.page, of: call.organization.id, user: request.id("user"), client: request.id("client"))
        return request.reply(rows, id: \.id.uuid) { Self.json($0) }
    }

    private func create(_ call: AdminCall) async throws -> Response {
        var members = try await call.body()
        let name = members.requiredString("name")
        let user = members.id("user", of: UserID.self)
        let client = members.id("client", of: ClientID.self)
        let resource = members.required("resource") { $0.id("resource", of: ResourceID.self) }
        let scopes = members.required("scopes") { $0.strings("scopes") } ?? []
        let expiresAt = members.time("expires_at")
        let issuer = Self.issuer(&members)
        let principal: ProgrammaticToken.Principal? =
            switch (user, client) {
            case (let user?, nil): .user(user)
            case (nil, let client?): .service(client)
            default: nil
            }
        if principal == nil, members.errors.isEmpty {
            members.add(FieldError("/user", "required", "Name the user or the client that it speaks for, one of both."))
        }
        try members.finish()
        guard let principal, let resource else { throw AdminError.notFound }
        return try await call.write { administrator in
            try await administration.createProgrammaticToken(
                NewProgrammaticToken(
                    name: name, principal: principal, resource: resource, scopes: scopes, expiresAt: expiresAt,
                    issuer: issuer),
                in: call.organization.id, by: administrator)
        } reply: { made in
            let token = made.value.token
            return .created(token.id.description, Self.json(token, text: made.shown(made.value.text)))
        }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        call.reply(
            unversioned: Self.json(
                try await administration.programmaticToken(call.id("token"), of: call.organization.id)))
    }

    /// Answers with what is left of it, since that is more than nothing: servers that verify offline go on.
    private func revoke(_ call: AdminCall) async throws -> Response {
        return try await call.write { administrator in
            try await administration.revokeProgrammaticToken(
                call.id("token"), in: call.organization.id, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value))
        }
    }

    /// `platform`, or the organization's id.
    private static func issuer(_ members: inout Members) -> OrganizationID? {
        guard let name = members.string("issuer") else { return nil }
        guard let issuer = OrganizationID(issuerName: name) else {
            members.add(.unknown(members.pointer(to: "issuer")))
            return nil
        }
        return issuer
    }

    private static let schema = Schema.named(
        "AccessToken",
        .object([
            "id": .id(TokenID.self), "name": .string, "user": .id(UserID.self).optional,
            "client": .id(ClientID.self).optional, "resource": .id(ResourceID.self), "issuer": .issuerName,
            "scopes": .array(of: .string), "status": .words("active", "revoked"), "created_by": .string,
            "created_at": .time, "expires_at": .time, "revoked_at": .time.nullable, "honoured_offline_until": .time,
        ]))

    private static let made = Schema.named(
        "IssuedAccessToken", schema.adding(["token": .string.optional.said("Shown once, and not kept.")]))

    private static let draft = Schema.named(
        "NewAccessToken",
        .draft([
            "name": .name, "user": .id(UserID.self).optional, "client": .id(ClientID.self).optional,
            "resource": .id(ResourceID.self), "scopes": .array(of: .string), "expires_at": .time.optional,
            "issuer": .issuerName.optional,
        ]).said("Either user or client."))

    /// - Parameter text: the token, told once, in the reply that made it.
    private static func json(_ token: ProgrammaticToken, text: Secret? = nil) -> [UInt8] {
        JSONWriter.object(capacity: 2048) { json in
            json.string("id", token.id.description)
            json.string("name", token.name)
            if let text { json.string("token", text.revealed) }
            switch token.principal {
            case .user(let user): json.string("user", user.description)
            case .service(let client): json.string("client", client.description)
            }
            json.string("resource", token.resource.description)
            json.string("issuer", token.issuer.issuerName)
            json.strings("scopes", token.scope)
            json.string("status", token.revokedAt == nil ? "active" : "revoked")
            json.string("created_by", token.createdBy)
            json.time("created_at", token.createdAt)
            json.time("expires_at", token.expiresAt)
            json.optional("revoked_at", time: token.revokedAt)
            // Whatever becomes of it here.
            json.time("honoured_offline_until", token.expiresAt)
        }
    }
}
