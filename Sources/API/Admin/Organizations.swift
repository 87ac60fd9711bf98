import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/organizations`
struct OrganizationsEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get("organizations", .organizationsRead, in: .platform, use: list)
        table.post("organizations", .organizationsWrite, in: .platform, use: create)
        table.get("", .organizationsRead, in: .organization, use: get)
        table.patch("", .organizationsWrite, in: .organization, use: update)
        table.post(":suspend", .organizationsWrite, in: .organization, use: suspend)
        table.post(":resume", .organizationsWrite, in: .organization, use: resume)
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "organizations")
        var rows: [Organization] = []
        for id in try await administration.organizations.ids(request.page) {
            if let row = try await administration.organizations.find(id) { rows.append(row) }
        }
        return request.reply(rows, id: \.id.uuid, Self.json)
    }

    private func create(_ call: AdminCall) async throws -> Response {
        var members = try await call.body()
        let slug = members.requiredString("slug")
        let name = members.requiredString("name")
        try members.finish()
        let made = try await administration.createOrganization(slug: slug, name: name, by: call.administrator)
        return call.created(
            made.value.id.description, Self.json(made.value), version: made.value.version, event: made.event)
    }

    private func get(_ call: AdminCall) async throws -> Response {
        call.reply(.ok, Self.json(call.organization), version: call.organization.version)
    }

    private func update(_ call: AdminCall) async throws -> Response {
        let condition = try call.condition()
        var members = try await call.patch()
        var update = OrganizationUpdate()
        update.name = members.string("name")
        _ = members.object("settings") { settings in
            update.refreshGraceSeconds = settings.integer("refresh_grace_seconds")
            update.grantIdleLifetimeSeconds = settings.integer("grant_idle_lifetime_seconds")
            update.grantLifetimeSeconds = settings.integer("grant_lifetime_seconds")
            update.sessionLifetimeSeconds = settings.integer("session_lifetime_seconds")
            update.programmaticTokenLifetimeSeconds = settings.integer("programmatic_token_lifetime_seconds")
            update.defaultResource = settings.patch(id: "default_resource")
            update.approvalRequiredFor = settings.words("approval_required_for")
            update.deviceAuthorization = settings.bool("device_authorization")
        }
        try members.finish()
        let done = try await administration.updateOrganization(
            call.organization.id, update, if: condition, by: call.administrator)
        return call.reply(.ok, Self.json(done.value), version: done.value.version, event: done.event)
    }

    private func suspend(_ call: AdminCall) async throws -> Response {
        try await call.noBody()
        let done = try await administration.suspendOrganization(call.organization.id, by: call.administrator)
        return call.reply(.ok, Self.json(done.value), version: done.value.version, event: done.event)
    }

    private func resume(_ call: AdminCall) async throws -> Response {
        try await call.noBody()
        let done = try await administration.resumeOrganization(call.organization.id, by: call.administrator)
        return call.reply(.ok, Self.json(done.value), version: done.value.version, event: done.event)
    }

    private static func json(_ organization: Organization) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", organization.id.description)
            json.string("slug", organization.slug)
            json.string("name", organization.name)
            json.string("status", organization.status.rawValue)
            json.object("settings") { json in
                let settings = organization.settings
                json.int("refresh_grace_seconds", settings.refreshGraceSeconds)
                json.int("grant_idle_lifetime_seconds", settings.grantIdleLifetimeSeconds)
                json.int("grant_lifetime_seconds", settings.grantLifetimeSeconds)
                json.int("session_lifetime_seconds", settings.sessionLifetimeSeconds)
                json.int("programmatic_token_lifetime_seconds", settings.programmaticTokenLifetimeSeconds)
                json.optional("default_resource", settings.defaultResource?.description)
                json.strings("approval_required_for", settings.approvalRequiredFor.map(\.rawValue))
                json.bool("device_authorization", settings.deviceAuthorization)
            }
            json.time("created_at", organization.createdAt)
            json.time("updated_at", organization.updatedAt)
        }
    }
}
