import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/Groups` (RFC 7643 §4.2).
struct SCIMGroupsEndpoint: Sendable {
    let administration: Administration

    func list(_ call: SCIMCall) async throws -> Response {
        try await list(call, call.query())
    }

    /// `POST /Groups/.search` (RFC 7644 §3.4.3).
    func search(_ call: SCIMCall) async throws -> Response {
        let body = try await call.body()
        try body.check(schema: SCIM.searchSchema)
        return try await list(call, SCIMQuery(search: body))
    }

    private func list(_ call: SCIMCall, _ query: SCIMQuery) async throws -> Response {
        let found = try await part(query.directoryQuery(of: .group), call, query.projection)
        return call.list(found.page, total: found.total, startIndex: query.startIndex)
    }

    /// Those of a page, and how many there are in all.
    func part(
        _ query: DirectoryQuery, _ call: SCIMCall, _ shown: SCIMProjection
    ) async throws -> (total: Int, page: [[UInt8]]) {
        let found = try await administration.directory.groups(query, of: call.organization)
        return (found.total, found.page.map { json($0, call, shown) })
    }

    func create(_ call: SCIMCall) async throws -> Response {
        let projection = try call.query().projection
        let body = try await call.body()
        try body.check(schema: SCIMSchema.group.id)
        guard let name = try body.string("displayName") else {
            throw SCIMError(.invalidValue, "displayName is required.")
        }
        let wanted = NewGroup(
            name: name, externalID: try body.string("externalId"), members: try Self.members(body.objects("members")))
        let made = try await administration.createGroup(wanted, in: call.organization, by: call.administrator)
        let group = DirectoryGroup(group: made.value, members: wanted.members.sorted())
        return call.reply(
            json(group, call, projection), .created, version: made.value.version, location: location(of: group, call),
            event: made.event)
    }

    func get(_ call: SCIMCall) async throws -> Response {
        let projection = try call.query().projection
        let group = try await find(call.id(), call, projection)
        guard !call.has(version: group.group.version) else {
            return Response(status: .notModified, headers: [.eTag: SCIMCall.tag(group.group.version)])
        }
        return call.reply(json(group, call, projection), version: group.group.version)
    }

    private func find(
        _ id: GroupID, _ call: SCIMCall, _ projection: SCIMProjection
    ) async throws -> DirectoryGroup {
        let found = try await administration.directory.group(
            id, in: call.organization, withMembers: projection.shows("members"))
        guard let found else { throw SCIMError.notFound }
        return found
    }

    func replace(_ call: SCIMCall) async throws -> Response {
        let id = try call.id(of: GroupID.self)
        let body = try await call.body()
        try body.check(schema: SCIMSchema.group.id)
        if let said = try body.string("id"), said != id.description {
            throw SCIMError(.mutability, "The id of a group cannot be changed.")
        }
        guard let name = try body.string("displayName") else {
            throw SCIMError(.invalidValue, "displayName is required.")
        }
        var update = GroupUpdate()
        update.name = name
        update.externalID = try body.string("externalId").map { .set($0) } ?? .clear
        update.members.replace(with: try Self.members(body.objects("members")))
        return try await write(update, to: id, call)
    }

    func patch(_ call: SCIMCall) async throws -> Response {
        let id = try call.id(of: GroupID.self)
        var update = GroupUpdate()
        for operation in try SCIMOperation.all(in: await call.body(), of: .group) {
            switch operation.path.attribute {
            case "id":
                guard operation.value == .string(id.description) else {
                    throw SCIMError(.mutability, "The id of a group cannot be changed.")
                }
            case "displayname":
                guard operation.verb != .remove, let name = operation.value?.string else {
                    throw SCIMError(.invalidValue, "displayName is a string, and there has to be one.")
                }
                update.name = name
            case "externalid":
                if operation.verb == .remove || operation.value == .null {
                    update.externalID = .clear
                } else if let text = operation.value?.string {
                    update.externalID = .set(text)
                } else {
                    throw SCIMObject.wrong("externalId", "a string")
                }
            default:
                try Self.apply(operation, to: &update.members)
            }
        }
        return try await write(update, to: id, call)
    }

    private static func apply(_ operation: SCIMOperation, to members: inout MembersUpdate) throws(SCIMError) {
        guard operation.path.part == nil else {
            throw SCIMError(.mutability, "A member is added or removed as a whole.")
        }
        if let filter = operation.path.filter {
            guard operation.verb == .remove, let values = filter.values else {
                throw SCIMError(.invalidFilter, #"Name members to remove by value, as in members[value eq "usr_…"]."#)
            }
            // Somebody nobody has is in no group.
            return members.remove(Set(values.compactMap { UserID($0) }))
        }
        guard let value = operation.value, value != .null, value != .array([]) else {
            if operation.verb != .add { members.replace(with: []) }
            return
        }
        let users = try Self.members(SCIMObject.objects(value, "members"))
        switch operation.verb {
        case .add: members.add(users)
        case .replace: members.replace(with: users)
        // Not in the RFC; some directories name whom they remove in the value.
        case .remove: members.remove(users)
        }
    }

    private func write(_ update: GroupUpdate, to id: GroupID, _ call: SCIMCall) async throws -> Response {
        let projection = try call.query().projection
        let done = try await administration.updateGroup(
            id, update, if: call.condition(), in: call.organization, by: call.administrator)
        let group = try await find(id, call, projection)
        return call.reply(json(group, call, projection), version: done.value.version, event: done.event)
    }

    func delete(_ call: SCIMCall) async throws -> Response {
        let done = try await administration.deleteGroup(
            call.id(), if: call.condition(), in: call.organization, by: call.administrator)
        return call.deleted(done.event)
    }

    /// - Throws: `invalidValue`, the same for an id of the wrong form, another organization's and one nobody has (SC-13).
    private static func members(_ objects: [SCIMObject]) throws(SCIMError) -> Set<UserID> {
        var users: Set<UserID> = []
        for object in objects {
            guard let text = try object.string("value") else { throw SCIMObject.wrong("members.value", "a string") }
            guard let id = UserID(text) else { throw SCIMError(AdminError.invalid([.unknown("/members")])) }
            users.insert(id)
        }
        return users
    }

    private func location(of group: DirectoryGroup, _ call: SCIMCall) -> String {
        "\(call.base)/Groups/\(group.group.id)"
    }

    private func json(_ group: DirectoryGroup, _ call: SCIMCall, _ shown: SCIMProjection) -> [UInt8] {
        JSONWriter.object(capacity: 1024) { json in
            json.strings("schemas", [SCIMSchema.group.id])
            json.string("id", group.group.id.description)
            if let id = group.group.externalID, shown.shows("externalId") { json.string("externalId", id) }
            if shown.shows("displayName") { json.string("displayName", group.group.name) }
            if let members = group.members, !members.isEmpty, shown.shows("members") {
                json.raws(
                    "members",
                    members.map { user in
                        JSONWriter.object { json in
                            if shown.shows("members", "value") { json.string("value", user.description) }
                            if shown.shows("members", "$ref") { json.string("$ref", "\(call.base)/Users/\(user)") }
                            if shown.shows("members", "type") { json.string("type", "User") }
                        }
                    })
            }
            if shown.shows("meta") {
                json.meta(
                    "Group", created: group.group.createdAt, modified: group.group.updatedAt,
                    version: group.group.version, location: location(of: group, call))
            }
        }
    }
}
