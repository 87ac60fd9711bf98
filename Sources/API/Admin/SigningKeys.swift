import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/signing-keys` and `/v1/organizations/{org}/signing-keys`. Private halves never leave (AT-08).
struct SigningKeysEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "signing-keys", .signingKeysRead, in: .platform, .organization, use: list,
            as: .list("listSigningKeys", "Signing keys; private halves never leave", of: Self.schema))
        table.post(
            "signing-keys", .signingKeysWrite, in: .platform, .organization, use: importKey,
            as: .create(
                "importSigningKey", "Bring the key that an existing server trusts", from: Self.draft, to: Self.schema))
        table.get(
            "signing-keys/{signing_key}", .signingKeysRead, in: .platform, .organization, use: get,
            as: .read("getSigningKey", "One signing key", Self.schema))
        table.post(
            "signing-keys/{signing_key}:rotate", .signingKeysWrite, in: .platform, .organization, use: rotate,
            as: .act("rotateSigningKey", "Publish a successor, which does not sign yet", to: Self.schema))
        table.post(
            "signing-keys/{signing_key}:activate", .signingKeysWrite, in: .platform, .organization, use: activate,
            as: .act("activateSigningKey", "Let a published key sign; the old one retires", to: Self.schema))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "signing-keys")
        let rows = request.page(of: try await administration.signingKeys.all(of: call.organization.id), id: \.id.uuid)
        return request.reply(rows, id: \.id.uuid, Self.json)
    }

    private func importKey(_ call: AdminCall) async throws -> Response {
        var members = try await call.body()
        let purpose = members.required("purpose") { $0.word("purpose", of: SigningKeyRecord.Purpose.self) }
        let resource = members.required("resource") { $0.id("resource", of: ResourceID.self) }
        let material: ImportedKeyMaterial? =
            switch (members.string("private_key"), members.string("public_key")) {
            case (let pem?, nil): .privateKey(Secret(pem))
            case (nil, let pem?): .publicKey(pem)
            default: nil
            }
        if let purpose, purpose != .access {
            members.add(FieldError("/purpose", "unsupported", "Only keys for access tokens are imported."))
        }
        if material == nil {
            members.add(FieldError("/private_key", "required", "Send private_key, or public_key alone."))
        }
        try members.finish()
        guard let resource, let material else { throw AdminError.notFound }
        return try await call.write { administrator in
            try await administration.importSigningKey(
                material, for: resource, in: call.organization, by: administrator)
        } reply: { made in
            .created(made.value.id.description, Self.json(made.value))
        }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        call.reply(
            unversioned: Self.json(
                try await administration.signingKey(call.id("signing_key"), of: call.organization.id)))
    }

    private func rotate(_ call: AdminCall) async throws -> Response {
        try await call.noBody()
        return try await call.write { administrator in
            try await administration.rotateSigningKey(
                call.id("signing_key"), of: call.organization, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value))
        }
    }

    private func activate(_ call: AdminCall) async throws -> Response {
        try await call.noBody()
        return try await call.write { administrator in
            try await administration.activateSigningKey(
                call.id("signing_key"), of: call.organization, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value))
        }
    }

    private static let schema = Schema.named(
        "SigningKey",
        .object([
            "id": .id(SigningKeyID.self), "purpose": .words(SigningKeyRecord.Purpose.self),
            "resource": .id(ResourceID.self).nullable, "algorithm": .words(SigningAlgorithm.self), "kid": .string,
            "public_key": .string, "has_private_key": .bool, "imported": .bool,
            "status": .words(SigningKeyRecord.Status.self), "created_at": .time, "activated_at": .time.nullable,
            "retired_at": .time.nullable,
        ]))

    private static let draft = Schema.named(
        "ImportedSigningKey",
        .draft([
            "purpose": .words(SigningKeyRecord.Purpose.access.rawValue), "resource": .id(ResourceID.self),
            "private_key": .string.optional.said("PEM."), "public_key": .string.optional.said("PEM."),
        ]).said("Either private_key or public_key."))

    private static func json(_ key: SigningKeyRecord) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", key.id.description)
            json.string("purpose", key.purpose.rawValue)
            json.optional("resource", key.resource?.description)
            json.string("algorithm", key.algorithm.rawValue)
            json.string("kid", key.kid)
            json.string("public_key", key.publicKeyPEM)
            json.bool("has_private_key", key.sealedPrivateKey != nil)
            json.bool("imported", key.imported)
            json.string("status", key.status.rawValue)
            json.time("created_at", key.createdAt)
            json.optional("activated_at", time: key.activatedAt)
            json.optional("retired_at", time: key.retiredAt)
        }
    }
}
