import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/organizations/{org}/roles`
struct RolesEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "roles", .rolesRead, in: .organization, use: list,
            as: .list("listRoles", "Built-in roles and the organization's own", of: Self.schema))
        table.post(
            "roles", .rolesWrite, in: .organization, use: create,
            as: .create("createRole", "Make a role", from: Self.draft, to: Self.schema))
        table.get(
            "roles/{role}", .rolesRead, in: .organization, use: get, as: .read("getRole", "One role", Self.schema))
        table.patch(
            "roles/{role}", .rolesWrite, in: .organization, use: update,
            as: .update("updateRole", "Change a role", from: Self.patch, to: Self.schema, ifMatch: .optional))
        table.delete(
            "roles/{role}", .rolesWrite, in: .organization, use: delete,
            as: .remove("deleteRole", "Delete a role that no policy names", ifMatch: .optional))
        table.get(
            "roles/{role}/bindings", .rolesRead, in: .organization, use: bindings,
            as: .list("listRoleBindings", "Who has a role", of: Self.bindingSchema))
        table.post(
            "roles/{role}/bindings", .rolesWrite, in: .organization, use: bind,
            as: .create(
                "bindRole", "Give a role to a user or to everybody in a group", from: Self.bindingDraft,
                to: Self.bindingSchema))
        table.delete(
            "roles/{role}/bindings/{principal}", .rolesWrite, in: .organization, use: unbind,
            as: .remove("unbindRole", "Take a role away from a user or a group"))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "roles")
        let rows = try await administration.roles.list(request.page, of: call.organization.id)
        return request.reply(rows, id: \.id.uuid, Self.json)
    }

    private func create(_ call: AdminCall) async throws -> Response {
        var members = try await call.body()
        let wanted = NewRole(
            name: members.requiredString("name"), description: members.string("description"),
            adminScopes: members.strings("admin_scopes") ?? [])
        try members.finish()
        return try await call.write { administrator in
            try await administration.createRole(wanted, in: call.organization.id, by: administrator)
        } reply: { made in
            .created(made.value.id.description, Self.json(made.value), version: made.value.version)
        }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        let role = try await administration.role(call.id("role"), of: call.organization.id)
        return call.reply(.ok, Self.json(role), version: role.version)
    }

    private func update(_ call: AdminCall) async throws -> Response {
        let id = try call.id("role", of: RoleID.self)
        let condition = try call.condition()
        var members = try await call.patch()
        var update = RoleUpdate()
        update.name = members.string("name")
        update.description = members.patch(string: "description")
        update.adminScopes = members.strings("admin_scopes")
        try members.finish()
        let wanted = update
        return try await call.write { administrator in
            try await administration.updateRole(
                id, wanted, if: condition, in: call.organization.id, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value), version: done.value.version)
        }
    }

    private func delete(_ call: AdminCall) async throws -> Response {
        let id = try call.id("role", of: RoleID.self)
        return try await call.write { administrator in
            try await administration.deleteRole(
                id, if: call.condition(), in: call.organization.id, by: administrator)
        } reply: { _ in
            .deleted
        }
    }

    // MARK: Bindings

    private func bindings(_ call: AdminCall) async throws -> Response {
        let role = try await administration.role(call.id("role"), of: call.organization.id)
        let request = try ListRequest(call, of: "roles/\(role.id)/bindings")
        let rows = try await administration.roles.bindings(of: role.id, request.page, in: call.organization.id)
        return request.reply(rows, id: \.principal.uuid, Self.json)
    }

    private func bind(_ call: AdminCall) async throws -> Response {
        let id = try call.id("role", of: RoleID.self)
        var members = try await call.body()
        let user = members.id("user", of: UserID.self)
        let group = members.id("group", of: GroupID.self)
        try members.finish()
        let principal: RoleBinding.Principal
        switch (user, group) {
        case (let user?, nil): principal = .user(user)
        case (nil, let group?): principal = .group(group)
        default:
            throw AdminError.invalid([FieldError("", "required", "Name a user or a group, and not both.")])
        }
        return try await call.write { administrator in
            try await administration.bindRole(id, to: principal, in: call.organization.id, by: administrator)
        } reply: { made in
            .created(made.value.principal.id, Self.json(made.value))
        }
    }

    private func unbind(_ call: AdminCall) async throws -> Response {
        let id = try call.id("role", of: RoleID.self)
        let text = call.parameters.get("principal") ?? ""
        let principal: RoleBinding.Principal
        if let user = UserID(text) {
            principal = .user(user)
        } else if let group = GroupID(text) {
            principal = .group(group)
        } else {
            throw AdminError.notFound
        }
        return try await call.write { administrator in
            try await administration.unbindRole(id, from: principal, in: call.organization.id, by: administrator)
        } reply: { _ in
            .deleted
        }
    }

    private static let schema = Schema.named(
        "Role",
        .object([
            "id": .id(RoleID.self), "name": .string, "description": .string.nullable, "built_in": .bool,
            "admin_scopes": .array(of: .words(AdminScope.self)), "created_at": .time, "updated_at": .time,
        ]))

    private static let draft = Schema.named(
        "NewRole",
        .draft([
            "name": .name, "description": .string(0...500).optional,
            "admin_scopes": .array(of: .words(AdminScope.self), 0...64).optional,
        ]))

    private static let patch = Schema.named(
        "RolePatch",
        .patch([
            "name": .name, "description": .string(0...500).nullable,
            "admin_scopes": .array(of: .words(AdminScope.self), 0...64),
        ]))

    private static let bindingSchema = Schema.named(
        "RoleBinding",
        .object([
            "id": .string.said("The user's or the group's."), "role": .id(RoleID.self),
            "user": .id(UserID.self).optional, "group": .id(GroupID.self).optional, "created_by": .string,
            "created_at": .time,
        ]))

    private static let bindingDraft = Schema.named(
        "NewRoleBinding",
        .draft([
            "user": .id(UserID.self).optional.said("This or a group."), "group": .id(GroupID.self).optional,
        ]))

    private static func json(_ role: Role) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", role.id.description)
            json.string("name", role.name)
            json.optional("description", role.description)
            if case .builtIn = role.kind { json.bool("built_in", true) } else { json.bool("built_in", false) }
            json.strings("admin_scopes", role.adminScopes.map(\.rawValue))
            json.time("created_at", role.createdAt)
            json.time("updated_at", role.updatedAt)
        }
    }

    /// A binding is named by whom it binds.
    private static func json(_ binding: RoleBinding) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", binding.principal.id)
            json.string("role", binding.role.description)
            switch binding.principal {
            case .user(let user): json.string("user", user.description)
            case .group(let group): json.string("group", group.description)
            }
            json.string("created_by", binding.createdBy)
            json.time("created_at", binding.createdAt)
        }
    }
}
