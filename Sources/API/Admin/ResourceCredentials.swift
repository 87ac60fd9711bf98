import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `…/resources/{resource}/credentials`: what a resource asks the introspection endpoint with (RFC 7662). For shared
/// resources the platform's.
struct ResourceCredentialsEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "resources/{resource}/credentials", .resourcesRead, in: .platform, .organization, use: list,
            as: .list(
                "listResourceCredentials", "What a resource asks the introspection endpoint with", of: Self.schema))
        table.post(
            "resources/{resource}/credentials", .resourcesWrite, in: .platform, .organization, use: create,
            as: .create(
                "createResourceCredential", "Give a resource one more credential; its secret is shown once",
                from: Self.draft, to: Self.made))
        table.get(
            "resources/{resource}/credentials/{credential}", .resourcesRead, in: .platform, .organization, use: get,
            as: .read("getResourceCredential", "One credential", Self.schema))
        table.delete(
            "resources/{resource}/credentials/{credential}", .resourcesWrite, in: .platform, .organization, use: delete,
            as: .remove("deleteResourceCredential", "End a credential at once"))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let resource = try call.id("resource", of: ResourceID.self)
        let request = try ListRequest(call, of: "resources/\(resource)/credentials")
        let all = try await administration.resourceCredentials(of: resource, ownedBy: call.organization.id)
        return request.reply(request.page(of: all, id: \.id.uuid), id: \.id.uuid) { Self.json($0) }
    }

    private func create(_ call: AdminCall) async throws -> Response {
        let resource = try call.id("resource", of: ResourceID.self)
        var members = try await call.body()
        let name = members.requiredString("name")
        let keys = members.value("jwks")
        try members.finish()
        return try await call.write { administrator in
            try await administration.createResourceCredential(
                name: name, keys: keys, for: resource, ownedBy: call.organization.id, by: administrator)
        } reply: { made in
            let credential = made.value.credential
            return .created(
                credential.id.description, Self.json(credential, secret: made.shown(made.value.secret)))
        }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        let found = try await administration.resourceCredential(
            call.id("credential"), of: call.id("resource"), ownedBy: call.organization.id)
        return call.reply(unversioned: Self.json(found))
    }

    private func delete(_ call: AdminCall) async throws -> Response {
        return try await call.write { administrator in
            try await administration.deleteResourceCredential(
                call.id("credential"), of: call.id("resource"), ownedBy: call.organization.id, by: administrator)
        } reply: { _ in
            .deleted
        }
    }

    private static let schema = Schema.named(
        "ResourceCredential",
        .object([
            "id": .id(ResourceCredentialID.self), "client_id": .string, "jwks": .map(of: .any).optional,
            "resource": .id(ResourceID.self), "name": .string, "created_by": .string, "created_at": .time,
        ]))

    private static let made = Schema.named(
        "IssuedResourceCredential", schema.adding(["client_secret": .string.optional.said("Shown once.")]))

    private static let draft = Schema.named(
        "NewResourceCredential",
        .draft([
            "name": .name,
            "jwks": .map(of: .any).optional.said("Public keys that it proves itself with, instead of a secret."),
        ]))

    /// - Parameter secret: told once, in the reply that made it.
    private static func json(_ credential: ResourceCredential, secret: Secret? = nil) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", credential.id.description)
            // Under this name it asks.
            json.string("client_id", credential.id.description)
            if let secret { json.string("client_secret", secret.revealed) }
            if case .keys(let set) = credential.proof { json.raw("jwks", set.json) }
            json.string("resource", credential.resource.description)
            json.string("name", credential.name)
            json.string("created_by", credential.createdBy)
            json.time("created_at", credential.createdAt)
        }
    }
}
