import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/resources` (shared) and `/v1/organizations/{org}/resources`
struct ResourcesEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "resources", .resourcesRead, in: .platform, .organization, use: list,
            as: .list("listResources", "Resources: MCP servers that tokens are for", of: Self.schema))
        table.post(
            "resources", .resourcesWrite, in: .platform, .organization, use: create,
            as: .create("createResource", "Make a resource", from: Self.draft, to: Self.schema))
        table.get(
            "resources/{resource}", .resourcesRead, in: .platform, .organization, use: get,
            as: .read("getResource", "One resource", Self.schema))
        table.patch(
            "resources/{resource}", .resourcesWrite, in: .platform, .organization, use: update,
            as: .update("updateResource", "Change a resource", from: Self.patch, to: Self.schema, ifMatch: .optional))
        table.delete(
            "resources/{resource}", .resourcesWrite, in: .platform, .organization, use: delete,
            as: .remove("deleteResource", "Remove a resource", ifMatch: .optional))
        table.post(
            "resources/{resource}:enable", .resourcesWrite, in: .platform, .organization, use: enable,
            as: .act("enableResource", "Let the organization use a resource", to: Self.schema))
        table.post(
            "resources/{resource}:disable", .resourcesWrite, in: .platform, .organization, use: disable,
            as: .act("disableResource", "Stop tokens for a resource", to: Self.schema))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "resources")
        let all = try await administration.visibleResources(of: call.organization.id)
        return request.reply(
            request.page(of: all, id: \.resource.id.uuid), id: \.resource.id.uuid, Self.json)
    }

    private func create(_ call: AdminCall) async throws -> Response {
        var members = try await call.body()
        var wanted = NewResource(
            uri: members.requiredString("uri"), name: members.requiredString("name"),
            scopes: members.required("scopes") { Self.scopes(&$0) } ?? [])
        wanted.scopeImplications = Self.implications(&members).compactMapValues { patch in
            if case .set(let implied) = patch { implied } else { nil }
        }
        wanted.algorithm = members.word("algorithm") ?? wanted.algorithm
        wanted.accessTokenLifetimeSeconds =
            members.integer("access_token_lifetime_seconds") ?? wanted.accessTokenLifetimeSeconds
        wanted.acceptedIssuers = Self.issuers(&members)
        wanted.listed = members.bool("listed") ?? wanted.listed
        wanted.tenantUnaware = members.bool("tenant_unaware") ?? wanted.tenantUnaware
        wanted.dedicatedKey = members.bool("dedicated_key") ?? wanted.dedicatedKey
        try members.finish()
        return try await call.write { administrator in
            try await administration.createResource(
                wanted, ownedBy: call.organization.id, by: administrator)
        } reply: { made in
            .created(
                made.value.id.description, Self.json(.init(resource: made.value, isEnabled: true)),
                version: made.value.version)
        }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        let found = try await administration.visibleResource(call.id("resource"), of: call.organization.id)
        return call.reply(.ok, Self.json(found), version: found.resource.version)
    }

    private func update(_ call: AdminCall) async throws -> Response {
        let id = try call.id("resource", of: ResourceID.self)
        let condition = try call.condition()
        var members = try await call.patch()
        var update = ResourceUpdate()
        update.name = members.string("name")
        update.scopes = Self.scopes(&members)
        update.scopeImplications = Self.implications(&members)
        update.algorithm = members.word("algorithm")
        update.accessTokenLifetimeSeconds = members.integer("access_token_lifetime_seconds")
        update.acceptedIssuers = Self.issuers(&members)
        update.listed = members.bool("listed")
        update.tenantUnaware = members.bool("tenant_unaware")
        try members.finish()
        return try await call.write { administrator in
            try await administration.updateResource(
                id, update, if: condition, ownedBy: call.organization.id, by: administrator)
        } reply: { done in
            .ok(
                Self.json(.init(resource: done.value, isEnabled: done.value.status == .active)),
                version: done.value.version)
        }
    }

    private func delete(_ call: AdminCall) async throws -> Response {
        return try await call.write { administrator in
            try await administration.deleteResource(
                call.id("resource"), if: call.condition(), ownedBy: call.organization.id, by: administrator)
        } reply: { _ in
            .deleted
        }
    }

    private func enable(_ call: AdminCall) async throws -> Response {
        try await call.noBody()
        return try await call.write { administrator in
            try await administration.enableResource(
                call.id("resource"), in: call.organization.id, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value), version: done.value.resource.version)
        }
    }

    private func disable(_ call: AdminCall) async throws -> Response {
        try await call.noBody()
        return try await call.write { administrator in
            try await administration.disableResource(
                call.id("resource"), in: call.organization.id, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value), version: done.value.resource.version)
        }
    }

    // MARK: Members

    /// Each scope is its name alone, or an object of name and description.
    private static func scopes(_ members: inout Members) -> [Resource.Scope]? {
        guard let value = members.value("scopes") else { return nil }
        guard case .array(let elements) = value else {
            members.add(FieldError(members.pointer(to: "scopes"), "type", "This must be an array."))
            return nil
        }
        return elements.enumerated().compactMap { index, element in
            let pointer = "\(members.pointer(to: "scopes"))/\(index)"
            if let name = element.string { return Resource.Scope(name: name, description: "") }
            var inner = Members(element, isPatch: false, at: pointer)
            let scope = Resource.Scope(
                name: inner.requiredString("name"), description: inner.string("description") ?? "")
            do throws(AdminError) {
                try inner.finish()
                return scope
            } catch {
                if case .invalid(let errors) = error { errors.forEach { members.add($0) } }
                return nil
            }
        }
    }

    private static func implications(_ members: inout Members) -> [String: Patch<[String]>] {
        guard let object = members.value("scope_implications")?.object else { return [:] }
        return members.object("scope_implications") { inner in
            Dictionary(uniqueKeysWithValues: object.keys.map { ($0, inner.patch(strings: $0)) })
        } ?? [:]
    }

    /// `platform`, or ids of organizations.
    private static func issuers(_ members: inout Members) -> [OrganizationID]? {
        guard let names = members.strings("accepted_issuers") else { return nil }
        return names.enumerated().compactMap { index, name in
            guard let issuer = OrganizationID(issuerName: name) else {
                members.add(.unknown("\(members.pointer(to: "accepted_issuers"))/\(index)"))
                return nil
            }
            return issuer
        }
    }

    private static let lifetime = Schema.integer(60...3_600)
    private static let issuers = Schema.array(of: .issuerName, 1...100)
    private static let scopes = Schema.array(
        of: .either(.scope, .draft(["name": .scope, "description": .string(0...500).optional])), 1...200
    ).said("Each its name alone, or name and description.")

    private static let schema = Schema.named(
        "Resource",
        .object([
            "id": .id(ResourceID.self), "uri": .uri, "name": .string, "shared": .bool, "enabled": .bool,
            "scopes": .array(of: .object(["name": .string, "description": .string])),
            "scope_implications": .map(of: .array(of: .string)), "algorithm": .words(SigningAlgorithm.self),
            "access_token_lifetime_seconds": lifetime, "accepted_issuers": issuers, "listed": .bool,
            "tenant_unaware": .bool, "dedicated_key": .bool, "status": .words(Resource.Status.self),
            "created_at": .time, "updated_at": .time,
        ]))

    private static let draft = Schema.named(
        "NewResource",
        .draft([
            "uri": .string, "name": .name, "scopes": scopes,
            "scope_implications": .map(of: .array(of: .scope).nullable).optional,
            "algorithm": .words(SigningAlgorithm.self).optional, "access_token_lifetime_seconds": lifetime.optional,
            "accepted_issuers": issuers.optional, "listed": .bool.optional, "tenant_unaware": .bool.optional,
            "dedicated_key": .bool.optional,
        ]))

    private static let patch = Schema.named(
        "ResourcePatch",
        .patch([
            "name": .name, "scopes": scopes, "scope_implications": .map(of: .array(of: .scope).nullable),
            "algorithm": .words(SigningAlgorithm.self), "access_token_lifetime_seconds": lifetime,
            "accepted_issuers": issuers, "listed": .bool, "tenant_unaware": .bool,
        ]))

    private static func json(_ visible: Administration.VisibleResource) -> [UInt8] {
        let resource = visible.resource
        return JSONWriter.object { json in
            json.string("id", resource.id.description)
            json.string("uri", resource.uri)
            json.string("name", resource.name)
            json.bool("shared", resource.isShared)
            json.bool("enabled", visible.isEnabled)
            json.raws(
                "scopes",
                resource.scopes.map { scope in
                    JSONWriter.object { json in
                        json.string("name", scope.name)
                        json.string("description", scope.description)
                    }
                })
            json.object("scope_implications") { json in
                for (scope, implied) in resource.scopeImplications.sorted(by: { $0.key < $1.key }) {
                    json.strings(scope, implied)
                }
            }
            json.string("algorithm", resource.algorithm.rawValue)
            json.int("access_token_lifetime_seconds", resource.accessTokenLifetimeSeconds)
            json.strings("accepted_issuers", resource.acceptedIssuers.map(\.issuerName))
            json.bool("listed", resource.listed)
            json.bool("tenant_unaware", resource.tenantUnaware)
            json.bool("dedicated_key", resource.dedicatedKey)
            json.string("status", resource.status.rawValue)
            json.time("created_at", resource.createdAt)
            json.time("updated_at", resource.updatedAt)
        }
    }
}
