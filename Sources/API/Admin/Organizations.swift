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
            as: .list("listOrganizations", "All organizations", of: Self.schema))
        table.post(
            "organizations", .organizationsWrite, in: .platform, use: create,
            as: .create(
                "createOrganization", "Make an organization that can be used at once", from: Self.draft, to: Self.schema
            ))
        table.get(
            "", .organizationsRead, in: .organization, use: get,
            as: .read("getOrganization", "The organization and its settings", Self.schema))
        table.patch(
            "", .organizationsWrite, in: .organization, use: update,
            as: .update(
                "updateOrganization", "Change the organization and its settings", from: Self.patch, to: Self.schema,
                ifMatch: .optional))
        table.get(
            "settings", .organizationsRead, in: .platform, use: get,
            as: .read("getPlatform", "The platform and its settings", Self.schema))
        table.patch(
            "settings", .organizationsWrite, in: .platform, use: update,
            as: .update(
                "updatePlatform", "Change the platform and its settings", from: Self.patch, to: Self.schema,
                ifMatch: .optional))
        table.post(
            ":suspend", .organizationsWrite, in: .organization, use: suspend,
            as: .act("suspendOrganization", "Stop everything that the organization issues", to: Self.schema))
        table.post(
            ":resume", .organizationsWrite, in: .organization, use: resume,
            as: .act("resumeOrganization", "End a suspension", to: Self.schema))
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

    private static let hosts = Schema.array(of: .string(1...253), 0...200)

    private static let settingsMembers: KeyValuePairs<String, Schema> = [
        "refresh_grace_seconds": .integer(0...30),
        "grant_idle_lifetime_seconds": .integer(600...(5 * 366 * 86_400)),
        "grant_lifetime_seconds": .integer(3_600...(5 * 366 * 86_400)),
        "session_lifetime_seconds": .integer(60...(30 * 86_400)),
        "programmatic_token_lifetime_seconds": .integer(60...(366 * 86_400)),
        "default_resource": .id(ResourceID.self).nullable,
        "approval_required_for": .array(of: .words(Client.Kind.self)),
        "device_authorization": .bool,
    ]

    private static let onboardingMembers: KeyValuePairs<String, Schema> = [
        "registration": .words(OnboardingSettings.Registration.self),
        "metadata_documents": .words(OnboardingSettings.Documents.self),
        "allowed_document_hosts": hosts, "denied_document_hosts": hosts, "allowed_redirect_hosts": hosts,
        "denied_redirect_hosts": hosts,
    ]

    static let schema = Schema.named(
        "Organization",
        .object([
            "id": .id(OrganizationID.self), "slug": .string, "name": .string,
            "status": .words(Organization.Status.self),
            "settings": .object(settingsMembers).adding(["onboarding": .object(onboardingMembers)]),
            "created_at": .time, "updated_at": .time,
        ]))

    private static let draft = Schema.named(
        "NewOrganization",
        .draft(["slug": .string(2...63, pattern: "^[a-z0-9][a-z0-9-]*[a-z0-9]$"), "name": .name]))

    private static let patch = Schema.named(
        "OrganizationPatch",
        .patch([
            "name": .name,
            "settings": .patch(settingsMembers).adding(["onboarding": .patch(onboardingMembers).optional]),
        ]))

    static func json(_ organization: Organization) -> [UInt8] {
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
                json.object("onboarding") { json in
                    let onboarding = settings.onboarding
                    json.string("registration", onboarding.registration.rawValue)
                    json.string("metadata_documents", onboarding.metadataDocuments.rawValue)
                    json.strings("allowed_document_hosts", onboarding.allowedDocumentHosts)
                    json.strings("denied_document_hosts", onboarding.deniedDocumentHosts)
                    json.strings("allowed_redirect_hosts", onboarding.allowedRedirectHosts)
                    json.strings("denied_redirect_hosts", onboarding.deniedRedirectHosts)
                }
            }
            json.time("created_at", organization.createdAt)
            json.time("updated_at", organization.updatedAt)
        }
    }
}

extension Members {
    /// The members of `settings`, as far as they are there.
    fileprivate mutating func settings(_ update: inout OrganizationUpdate) {
        update.refreshGraceSeconds = integer("refresh_grace_seconds")
        update.grantIdleLifetimeSeconds = integer("grant_idle_lifetime_seconds")
        update.grantLifetimeSeconds = integer("grant_lifetime_seconds")
        update.sessionLifetimeSeconds = integer("session_lifetime_seconds")
        update.programmaticTokenLifetimeSeconds = integer("programmatic_token_lifetime_seconds")
        update.defaultResource = patch(id: "default_resource")
        update.approvalRequiredFor = words("approval_required_for")
        update.deviceAuthorization = bool("device_authorization")
        _ = object("onboarding") { onboarding in
            update.registration = onboarding.word("registration")
            update.metadataDocuments = onboarding.word("metadata_documents")
            update.allowedDocumentHosts = onboarding.strings("allowed_document_hosts")
            update.deniedDocumentHosts = onboarding.strings("denied_document_hosts")
            update.allowedRedirectHosts = onboarding.strings("allowed_redirect_hosts")
            update.deniedRedirectHosts = onboarding.strings("denied_redirect_hosts")
        }
    }
}
