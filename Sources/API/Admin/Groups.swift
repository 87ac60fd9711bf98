import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/organizations/{org}/groups`
struct GroupsEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "groups", .groupsRead, in: .organization, use: list,
            as: .list(
                "listGroups", "Groups of people", of: Self.schema, filters: ["name": .string, "user": .id(UserID.self)])
        )
        table.post(
            "groups", .groupsWrite, in: .organization, use: create,
            as: .create("createGroup", "Make a group that policy can name", from: Self.draft, to: Self.schema))
        table.get(
            "groups/{group}", .groupsRead, in: .organization, use: get, as: .read("getGroup", "One group", Self.schema))
        table.patch(
            "groups/{group}", .groupsWrite, in: .organization, use: update,
            as: .update("updateGroup", "Change a group", from: Self.patch, to: Self.schema, ifMatch: .optional))
        table.delete(
            "groups/{group}", .groupsWrite, in: .organization, use: delete,
            as: .remove("deleteGroup", "Take a group away; its people stay", ifMatch: .optional))
        table.get(
            "groups/{group}/members", .groupsRead, in: .organization, use: members,
            as: .list("listGroupMembers", "Who is in a group", of: Self.memberSchema))
        table.post(
            "groups/{group}/members", .groupsWrite, in: .organization, use: add,
            as: .act("addGroupMembers", "Put people into a group", from: Self.membersDraft, to: Self.schema))
        table.delete(
            "groups/{group}/members/{user}", .groupsWrite, in: .organization, use: remove,
            as: .remove(
                "removeGroupMember", "Take somebody out of a group", to: Self.schema, ifMatch: .optional))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "groups", filters: ["name", "user"])
        let groups = administration.groups
        if let user = try request.id("user", of: UserID.self) {
            guard request.filters["name"] == nil else {
                throw AdminError.malformed("Filter by name or by user, not by both.")
            }
            let rows = try await groups.list(request.page, with: user, of: call.organization.id)
            return request.reply(rows, id: \.id.uuid, Self.json)
        }
        if let name = request.filters["name"] {
            let found = try await groups.find(name: name, in: call.organization.id)
            return request.reply(request.page(of: found.map { [$0] } ?? [], id: \.id.uuid), id: \.id.uuid, Self.json)
        }
        let rows = try await groups.list(request.page, of: call.organization.id)
        return request.reply(rows, id: \.id.uuid, Self.json)
    }

    private func create(_ call: AdminCall) async throws -> Response {
        var members = try await call.body()
        let wanted = NewGroup(
            name: members.requiredString("name"), externalID: members.string("external_id"),
            members: Set(members.ids("members", of: UserID.self) ?? []))
        try members.finish()
        return try await call.write { administrator in
            try await administration.createGroup(wanted, in: call.organization.id, by: administrator)
        } reply: { made in
            .created(made.value.id.description, Self.json(made.value), version: made.value.version)
        }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        let group = try await administration.group(call.id("group"), of: call.organization.id)
        return call.reply(.ok, Self.json(group), version: group.version)
    }

    private func update(_ call: AdminCall) async throws -> Response {
        let id = try call.id("group", of: GroupID.self)
        let condition = try call.condition()
        var members = try await call.patch()
        var update = GroupUpdate()
        update.name = members.string("name")
        update.externalID = members.patch(string: "external_id")
        try members.finish()
        return try await write(update, to: id, if: condition, call)
    }

    private func delete(_ call: AdminCall) async throws -> Response {
        let id = try call.id("group", of: GroupID.self)
        let condition = try call.condition()
        return try await call.write { administrator in
            try await administration.deleteGroup(id, if: condition, in: call.organization.id, by: administrator)
        } reply: { _ in
            .deleted
        }
    }

    private func members(_ call: AdminCall) async throws -> Response {
        let group = try await administration.group(call.id("group"), of: call.organization.id)
        let request = try ListRequest(call, of: "groups/\(group.id)/members")
        let rows = try await administration.groups.members(request.page, of: group.id, in: call.organization.id)
        return request.reply(rows, id: \.user.uuid) { member in
            JSONWriter.object { json in
                json.string("user_id", member.user.description)
                json.time("added_at", member.addedAt)
            }
        }
    }

    /// Answers with the group; somebody who is in it already stays.
    private func add(_ call: AdminCall) async throws -> Response {
        let id = try call.id("group", of: GroupID.self)
        var members = try await call.body()
        let users = members.required("users") { $0.ids("users", of: UserID.self) } ?? []
        try members.finish()
        var update = GroupUpdate()
        update.members.add(Set(users))
        return try await write(update, to: id, if: .any, call)
    }

    /// Answers with the group; somebody who is not in it is no error.
    private func remove(_ call: AdminCall) async throws -> Response {
        let id = try call.id("group", of: GroupID.self)
        let user = try await administration.user(call.id("user"), of: call.organization.id)
        var update = GroupUpdate()
        update.members.remove([user.id])
        return try await write(update, to: id, if: call.condition(), call)
    }

    private func write(
        _ update: GroupUpdate, to id: GroupID, if condition: VersionCondition, _ call: AdminCall
    ) async throws -> Response {
        try await call.write { administrator in
            try await administration.updateGroup(
                id, update, if: condition, in: call.organization.id, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value), version: done.value.version)
        }
    }

    private static let schema = Schema.named(
        "Group",
        .object([
            "id": .id(GroupID.self), "name": .string, "external_id": .string.nullable, "created_at": .time,
            "updated_at": .time,
        ]))

    private static let draft = Schema.named(
        "NewGroup",
        .draft([
            "name": .name, "external_id": .string(1...512).optional,
            "members": .array(of: .id(UserID.self), 0...MembersUpdate.most).optional,
        ]))

    private static let patch = Schema.named(
        "GroupPatch", .patch(["name": .name, "external_id": .string(1...512).nullable]))

    private static let memberSchema = Schema.named(
        "GroupMember", .object(["user_id": .id(UserID.self), "added_at": .time]))

    private static let membersDraft = Schema.named(
        "NewGroupMembers", .draft(["users": .array(of: .id(UserID.self), 0...MembersUpdate.most)]))

    private static func json(_ group: Group) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", group.id.description)
            json.string("name", group.name)
            json.optional("external_id", group.externalID)
            json.time("created_at", group.createdAt)
            json.time("updated_at", group.updatedAt)
        }
    }
}
