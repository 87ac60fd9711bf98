import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/organizations`
struct OrganizationsEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "organizations", .organizationsRead, in: .platform, use: list,
            as: .list(
                "listOrganizations", "All organizations, those that are deleted, or those that were erased since",
                of: Self.schema, filters: ["status": .words("deleted", "erased")]))
        table.post(
            "organizations", .organizationsWrite, in: .platform, use: create,
            as: .create(
                "createOrganization", "Make an organization that can be used at once", from: Self.draft, to: Self.schema
            ))
        table.get(
            "", .organizationsRead, in: .organization, evenDeleted: true, use: get,
            as: .read("getOrganization", "The organization and its settings", Self.schema).said(
                "Keys of the platform see a deleted one too, with when it was deleted and when it is, or was, erased."))
        table.patch(
            "", .organizationsWrite, in: .organization, use: update,
            as: .update(
                "updateOrganization", "Change the organization and its settings", from: Self.patch, to: Self.schema,
                ifMatch: .optional))
        table.get(
            "settings", .organizationsRead, in: .platform, .organization, use: getSettings,
            as: .read("getSettings", "What it decides for itself", OrganizationSettingsSchema.reply))
        table.patch(
            "settings", .organizationsWrite, in: .platform, .organization, use: updateSettings,
            as: .update(
                "updateSettings", "Change what it decides for itself", from: OrganizationSettingsSchema.change,
                to: OrganizationSettingsSchema.reply, ifMatch: .optional))
        table.post(
            ":suspend", .organizationsWrite, in: .organization, use: suspend,
            as: .act("suspendOrganization", "Stop everything that the organization issues", to: Self.schema))
        table.post(
            ":resume", .organizationsWrite, in: .organization, use: resume,
            as: .act("resumeOrganization", "End a suspension", to: Self.schema))
        table.delete(
            "", .organizationsWrite, in: .organization, use: delete,
            as: .remove("deleteOrganization", "Delete the organization", to: Self.schema, ifMatch: .required)
                .said(
                    "It is gone at once, can be restored until deletes_at, and is erased then. For keys of the platform."
                ))
        table.post(
            "organizations/{org}:restore", .organizationsWrite, in: .platform, use: restore,
            as: .act("restoreOrganization", "Take a deletion back", to: Self.schema))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "organizations", filters: ["status"])
        let presence: OrganizationStore.Presence
        switch request.filters["status"] {
        case nil: presence = .present
        case "deleted": presence = .deleted
        case "erased": presence = .erased
        default:
            throw AdminError.malformed(
                "status is deleted or erased, or left out: then those that are neither are listed.")
        }
        let rows = try await administration.organizations.list(request.page, presence)
        return request.reply(rows, id: \.id.uuid, Self.json)
    }

    private func create(_ call: AdminCall) async throws -> Response {
        var members = try await call.body()
        let slug = members.requiredString("slug")
        let name = members.requiredString("name")
        try members.finish()
        return try await call.write { administrator in
            try await administration.createOrganization(slug: slug, name: name, by: administrator)
        } reply: { made in
            .created(
                made.value.id.description, Self.json(made.value), version: made.value.version)
        }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        call.reply(.ok, Self.json(call.organization), version: call.organization.version)
    }

    private func update(_ call: AdminCall) async throws -> Response {
        let condition = try call.condition()
        var members = try await call.patch()
        var update = OrganizationUpdate()
        update.name = members.string("name")
        _ = members.object("settings") { $0.settings(&update) }
        try members.finish()
        return try await call.write { administrator in
            try await administration.updateOrganization(
                call.organization.id, update, if: condition, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value), version: done.value.version)
        }
    }

    private func getSettings(_ call: AdminCall) async throws -> Response {
        call.reply(.ok, JSONWriter.object { $0.settings(of: call.organization) }, version: call.organization.version)
    }

    private func updateSettings(_ call: AdminCall) async throws -> Response {
        let condition = try call.condition()
        var members = try await call.patch()
        var update = OrganizationUpdate()
        members.settings(&update)
        try members.finish()
        return try await call.write { administrator in
            try await administration.updateOrganization(
                call.organization.id, update, settingsAt: "", if: condition, by: administrator)
        } reply: { done in
            .ok(JSONWriter.object { $0.settings(of: done.value) }, version: done.value.version)
        }
    }

    private func suspend(_ call: AdminCall) async throws -> Response {
        try await call.noBody()
        return try await call.write { administrator in
            try await administration.suspendOrganization(call.organization.id, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value), version: done.value.version)
        }
    }

    private func resume(_ call: AdminCall) async throws -> Response {
        try await call.noBody()
        return try await call.write { administrator in
            try await administration.resumeOrganization(call.organization.id, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value), version: done.value.version)
        }
    }

    /// 200 with what became of it: the reply tells until when it can be restored.
    private func delete(_ call: AdminCall) async throws -> Response {
        let condition = try call.requiredCondition()
        try await call.noBody()
        return try await call.write { administrator in
            try await administration.deleteOrganization(call.organization.id, if: condition, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value), version: done.value.version)
        }
    }

    private func restore(_ call: AdminCall) async throws -> Response {
        try await call.noBody()
        let name = call.parameters.get("org") ?? ""
        return try await call.write { administrator in
            try await administration.restoreOrganization(named: name, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value), version: done.value.version)
        }
    }

    static let schema = Schema.named(
        "Organization",
        .object([
            "id": .id(OrganizationID.self), "slug": .string, "name": .string,
            "status": .words(Organization.Status.self),
            "settings": OrganizationSettingsSchema.reply,
            "created_at": .time, "updated_at": .time, "deleted_at": .time.optional, "deletes_at": .time.optional,
            "erased_at": .time.optional,
        ]))

    private static let draft = Schema.named(
        "NewOrganization",
        .draft(["slug": .string(2...63, pattern: "^[a-z0-9][a-z0-9-]*[a-z0-9]$"), "name": .name]))

    private static let patch = Schema.named(
        "OrganizationPatch",
        .patch([
            "name": .name,
            "settings": OrganizationSettingsSchema.change,
        ]))

    static func json(_ organization: Organization) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", organization.id.description)
            json.string("slug", organization.slug)
            json.string("name", organization.name)
            json.string("status", organization.status.rawValue)
            json.object("settings") { $0.settings(of: organization) }
            json.time("created_at", organization.createdAt)
            json.time("updated_at", organization.updatedAt)
            if let deletion = organization.deletion {
                json.time("deleted_at", deletion.deletedAt)
                json.time("deletes_at", deletion.deletesAt)
                if let erasedAt = deletion.erasedAt { json.time("erased_at", erasedAt) }
            }
        }
    }
}
