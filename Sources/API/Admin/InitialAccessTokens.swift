import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/initial-access-tokens` and `/v1/organizations/{org}/initial-access-tokens`
struct InitialAccessTokensEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "initial-access-tokens", .clientsRead, in: .platform, .organization, use: list,
            as: .list("listInitialAccessTokens", "Tokens that let clients register", of: Self.schema))
        table.post(
            "initial-access-tokens", .clientsWrite, in: .platform, .organization, use: create,
            as: .create(
                "createInitialAccessToken", "Make a token that lets clients register; shown once", from: Self.draft,
                to: Self.made))
        table.get(
            "initial-access-tokens/{initial}", .clientsRead, in: .platform, .organization, use: get,
            as: .read("getInitialAccessToken", "One token", Self.schema))
        table.delete(
            "initial-access-tokens/{initial}", .clientsWrite, in: .platform, .organization, use: revoke,
            as: .remove("revokeInitialAccessToken", "End a token; clients that registered with it stay"))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "initial-access-tokens")
        let rows = try await administration.initialAccessTokens.list(request.page, of: call.organization.id)
        return request.reply(rows, id: \.id.uuid) { Self.json($0) }
    }

    private func create(_ call: AdminCall) async throws -> Response {
        var members = try await call.body()
        let wanted = NewInitialAccessToken(
            name: members.requiredString("name"), uses: members.integer("uses"), expiresAt: members.time("expires_at"))
        try members.finish()
        return try await call.write { administrator in
            try await administration.createInitialAccessToken(
                wanted, in: call.organization.id, by: administrator)
        } reply: { made in
            let token = made.value.token
            return .created(
                token.id.description, Self.json(token, secret: made.shown(made.value.secret)))
        }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        let token = try await administration.initialAccessToken(call.id("initial"), of: call.organization.id)
        return call.reply(unversioned: Self.json(token))
    }

    private func revoke(_ call: AdminCall) async throws -> Response {
        return try await call.write { administrator in
            try await administration.revokeInitialAccessToken(
                call.id("initial"), in: call.organization.id, by: administrator)
        } reply: { _ in
            .deleted
        }
    }

    private static let schema = Schema.named(
        "InitialAccessToken",
        .object([
            "id": .id(InitialAccessTokenID.self), "name": .string, "uses_left": .integer.nullable,
            "created_by": .string, "created_at": .time, "expires_at": .time.nullable, "last_used_at": .time.nullable,
            "revoked_at": .time.nullable,
        ]))

    private static let made = Schema.named(
        "IssuedInitialAccessToken", schema.adding(["token": .string.optional.said("Shown once.")]))

    private static let draft = Schema.named(
        "NewInitialAccessToken",
        .draft(["name": .name, "uses": .integer(1...1_000_000).optional, "expires_at": .time.optional]))

    /// - Parameter secret: told once, in the reply that made it.
    private static func json(_ token: InitialAccessToken, secret: Secret? = nil) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", token.id.description)
            json.string("name", token.name)
            if let secret { json.string("token", secret.revealed) }
            if let uses = token.usesLeft { json.int("uses_left", uses) } else { json.null("uses_left") }
            json.string("created_by", token.createdBy)
            json.time("created_at", token.createdAt)
            json.optional("expires_at", time: token.expiresAt)
            json.optional("last_used_at", time: token.lastUsedAt)
            json.optional("revoked_at", time: token.revokedAt)
        }
    }
}
