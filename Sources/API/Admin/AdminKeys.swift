import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/admin-keys` and `/v1/organizations/{org}/admin-keys`
struct AdminKeysEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "admin-keys", .adminKeysRead, in: .platform, .organization, use: list,
            as: .list("listAdminKeys", "Admin keys", of: Self.schema))
        table.post(
            "admin-keys", .adminKeysWrite, in: .platform, .organization, use: create,
            as: .create(
                "createAdminKey", "Make a key that can do at most what its maker can; the secret is shown once",
                from: Self.draft, to: Self.made))
        table.get(
            "admin-keys/{key}", .adminKeysRead, in: .platform, .organization, use: get,
            as: .read("getAdminKey", "One admin key", Self.schema))
        table.delete(
            "admin-keys/{key}", .adminKeysWrite, in: .platform, .organization, use: revoke,
            as: .remove("revokeAdminKey", "End an admin key at once", ifMatch: .required))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "admin-keys")
        let rows = try await administration.adminKeys.list(request.page, of: call.organization.id)
        return request.reply(rows, id: \.id.uuid) { Self.json($0) }
    }

    private func create(_ call: AdminCall) async throws -> Response {
        var members = try await call.body()
        let wanted = NewAdminKey(
            name: members.requiredString("name"), scopes: members.required("scopes") { $0.strings("scopes") } ?? [],
            cidrs: members.strings("cidrs") ?? [], expiresAt: members.time("expires_at"))
        try members.finish()
        return try await call.write { administrator in
            try await administration.createAdminKey(
                wanted, in: call.organization.id, by: administrator)
        } reply: { made in
            let key = made.value.key
            return .created(
                key.id.description, Self.json(key, secret: made.shown(made.value.secret)), version: key.version)
        }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        let key = try await administration.adminKey(call.id("key"), of: call.organization.id)
        return call.reply(.ok, Self.json(key), version: key.version)
    }

    private func revoke(_ call: AdminCall) async throws -> Response {
        let id = try call.id("key", of: AdminKeyID.self)
        return try await call.write { administrator in
            try await administration.revokeAdminKey(
                id, if: call.requiredCondition(), in: call.organization.id, by: administrator)
        } reply: { _ in
            .deleted
        }
    }

    private static let schema = Schema.named(
        "AdminKey",
        .object([
            "id": .id(AdminKeyID.self), "name": .string, "scopes": .array(of: .string), "cidrs": .array(of: .string),
            "created_by": .string, "created_at": .time, "expires_at": .time.nullable, "last_used_at": .time.nullable,
            "revoked_at": .time.nullable,
        ]))

    private static let made = Schema.named(
        "IssuedAdminKey", schema.adding(["secret": .string.optional.said("Shown once.")]))

    private static let draft = Schema.named(
        "NewAdminKey",
        .draft([
            "name": .name, "scopes": .array(of: .words(AdminScope.self), 1...64),
            "cidrs": .array(of: .string, 0...64).optional, "expires_at": .time.optional,
        ]))

    /// - Parameter secret: told once, in the reply that made it.
    private static func json(_ key: AdminKey, secret: Secret? = nil) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", key.id.description)
            json.string("name", key.name)
            if let secret { json.string("secret", secret.revealed) }
            json.strings("scopes", key.scopes)
            json.strings("cidrs", key.cidrs)
            json.string("created_by", key.createdBy)
            json.time("created_at", key.createdAt)
            json.optional("expires_at", time: key.expiresAt)
            json.optional("last_used_at", time: key.lastUsedAt)
            json.optional("revoked_at", time: key.revokedAt)
        }
    }
}
