import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/organizations/{org}/scim-tokens`
struct SCIMTokensEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "scim-tokens", .scimTokensRead, in: .organization, use: list,
            as: .list("listSCIMTokens", "Tokens of the organization's directories", of: Self.schema))
        table.post(
            "scim-tokens", .scimTokensWrite, in: .organization, use: create,
            as: .create(
                "createSCIMToken", "Make a token for a directory; shown once", from: Self.draft, to: Self.made))
        table.get(
            "scim-tokens/{scim}", .scimTokensRead, in: .organization, use: get,
            as: .read("getSCIMToken", "One token", Self.schema))
        table.delete(
            "scim-tokens/{scim}", .scimTokensWrite, in: .organization, use: revoke,
            as: .remove("revokeSCIMToken", "End a token; what it provisioned stays"))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "scim-tokens")
        let rows = try await administration.scimTokens.list(request.page, of: call.organization.id)
        return request.reply(rows, id: \.id.uuid) { Self.json($0) }
    }

    private func create(_ call: AdminCall) async throws -> Response {
        var members = try await call.body()
        let wanted = NewSCIMToken(
            name: members.requiredString("name"), cidrs: members.strings("cidrs") ?? [],
            expiresAt: members.time("expires_at"))
        try members.finish()
        return try await call.write { administrator in
            try await administration.createSCIMToken(wanted, in: call.organization.id, by: administrator)
        } reply: { made in
            let token = made.value.token
            return .created(token.id.description, Self.json(token, secret: made.shown(made.value.secret)))
        }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        let token = try await administration.scimToken(call.id("scim"), of: call.organization.id)
        return call.reply(unversioned: Self.json(token))
    }

    private func revoke(_ call: AdminCall) async throws -> Response {
        try await call.write { administrator in
            try await administration.revokeSCIMToken(
                call.id("scim"), in: call.organization.id, by: administrator)
        } reply: { _ in
            .deleted
        }
    }

    private static let schema = Schema.named(
        "SCIMToken",
        .object([
            "id": .id(SCIMTokenID.self), "name": .string, "cidrs": .array(of: .string), "created_by": .string,
            "created_at": .time, "expires_at": .time.nullable, "last_used_at": .time.nullable,
            "revoked_at": .time.nullable,
        ]))

    private static let made = Schema.named(
        "IssuedSCIMToken", schema.adding(["token": .string.optional.said("Shown once.")]))

    private static let draft = Schema.named(
        "NewSCIMToken",
        .draft(["name": .name, "cidrs": .array(of: .string, 0...64).optional, "expires_at": .time.optional]))

    /// - Parameter secret: told once, in the reply that made it.
    private static func json(_ token: SCIMToken, secret: Secret? = nil) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", token.id.description)
            json.string("name", token.name)
            if let secret { json.string("token", secret.revealed) }
            json.strings("cidrs", token.cidrs)
            json.string("created_by", token.createdBy)
            json.time("created_at", token.createdAt)
            json.optional("expires_at", time: token.expiresAt)
            json.optional("last_used_at", time: token.lastUsedAt)
            json.optional("revoked_at", time: token.revokedAt)
        }
    }
}
