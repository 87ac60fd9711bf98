import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/organizations/{org}/grants`: what people gave clients. People see them as connections.
struct GrantsEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get("grants", .grantsRead, in: .organization, use: list)
        table.get("grants/{grant}", .grantsRead, in: .organization, use: get)
        table.post("grants/{grant}:revoke", .grantsWrite, in: .organization, use: revoke)
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "grants", filters: ["user", "client"])
        let rows = try await administration.grants.list(
            request.page, of: call.organization.id, user: request.id("user"), client: request.id("client"))
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
