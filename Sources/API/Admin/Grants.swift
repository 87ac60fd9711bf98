import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/organizations/{org}/grants`: what people gave clients. People see them as connections.
struct GrantsEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "grants", .grantsRead, in: .organization, use: list,
            as: .list(
                "listGrants", "What people gave clients; people see them as connections", of: Self.schema,
                filters: [
                    "user": .id(UserID.self), "client": .id(ClientID.self), "resource": .id(ResourceID.self),
                    "status": .words(Grant.Status.self),
                ]))
        table.get(
            "grants/{grant}", .grantsRead, in: .organization, use: get,
            as: .read("getGrant", "One grant", Self.schema))
        table.post(
            "grants/{grant}:revoke", .grantsWrite, in: .organization, use: revoke,
            as: .act("revokeGrant", "End a grant and all its tokens", to: Self.schema))
        table.post(
            "grants:revoke", .grantsWrite, in: .organization, use: revokeSome,
            as: .act(
                "revokeGrants", "End the grants of a user, a client, a resource, or all", from: Self.selection,
                to: Self.outcome
            ).said("So many at a time: repeat it while has_more."))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "grants", filters: ["user", "client", "resource", "status"])
        let filter = GrantFilter(
            user: try request.id("user"), client: try request.id("client"), resource: try request.id("resource"),
            status: try request.word("status"))
        let rows = try await administration.grants.list(request.page, of: call.organization.id, filter)
        return request.reply(rows, id: \.id.uuid, Self.json)
    }

    private func get(_ call: AdminCall) async throws -> Response {
        let grant = try await administration.grant(call.id("grant"), of: call.organization.id)
        return call.reply(.ok, Self.json(grant), version: grant.version)
    }

    private func revoke(_ call: AdminCall) async throws -> Response {
        try await call.noBody()
        return try await call.write { administrator in
            try await administration.revokeGrant(
                call.id("grant"), in: call.organization.id, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value), version: done.value.version)
        }
    }

    private static let schema = Schema.named(
        "Grant",
        .object([
            "id": .id(GrantID.self), "user": .id(UserID.self), "client": .id(ClientID.self),
            "resource": .id(ResourceID.self), "issuer": .issuerName, "scopes": .array(of: .string),
            "status": .words(Grant.Status.self), "auth_time": .time, "refreshable": .bool, "created_at": .time,
            "last_used_at": .time, "idle_expires_at": .time, "expires_at": .time,
        ]))

    private static let selection = Schema.named(
        "GrantSelection",
        .draft([
            "user": .id(UserID.self).optional, "client": .id(ClientID.self).optional,
            "resource": .id(ResourceID.self).optional,
            "all": .bool.optional.said("True where none of the others is named: the whole organization."),
        ]))

    private static let outcome = Schema.named("RevokedGrants", .object(["revoked": .integer, "has_more": .bool]))

    /// Ends all connections of a user, a client, a resource or, with `all`, of the organization: so many at a time, and the
    /// caller repeats while `has_more`.
    private func revokeSome(_ call: AdminCall) async throws -> Response {
        var members = try await call.body()
        let filter = GrantFilter(
            user: members.id("user"), client: members.id("client"), resource: members.id("resource"))
        let all = members.bool("all") ?? false
        if all != (filter == GrantFilter()) {
            members.add(
                FieldError("/all", "invalid", "Name a user, a client or a resource, or none of them and \"all\": true.")
            )
        }
        try members.finish()
        return try await call.write { administrator in
            try await administration.revokeGrants(filter, in: call.organization.id, by: administrator)
        } reply: { done in
            .ok(
                JSONWriter.object { json in
                    json.int("revoked", done.value.grants.count)
                    json.bool("has_more", done.value.hasMore)
                })
        }
    }

    private static func json(_ grant: Grant) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", grant.id.description)
            json.string("user", grant.user.description)
            json.string("client", grant.client.description)
            json.string("resource", grant.resource.description)
            json.string("issuer", grant.issuer.issuerName)
            json.strings("scopes", grant.scope)
            json.string("status", grant.status.rawValue)
            json.time("auth_time", grant.authTime)
            json.bool("refreshable", grant.family != nil)
            json.time("created_at", grant.createdAt)
            json.time("last_used_at", grant.lastUsedAt)
            json.time("idle_expires_at", grant.idleExpiresAt)
            json.time("expires_at", grant.expiresAt)
        }
    }
}
