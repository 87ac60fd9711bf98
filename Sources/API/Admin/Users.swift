import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/organizations/{org}/users`
struct UsersEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "users", .usersRead, in: .organization, use: list,
            as: .list(
                "listUsers", "The people of the organization", of: Self.schema,
                filters: [
                    "email": .string, "status": .words(User.Status.self), "group": .id(GroupID.self),
                    "q": .string.said("What the e-mail address begins with; orders by it."),
                ]))
        table.post(
            "users", .usersWrite, in: .organization, use: create,
            as: .create("createUser", "Make a person before they first come", from: Self.draft, to: Self.schema))
        table.get(
            "users/{user}", .usersRead, in: .organization, use: get,
            as: .read("getUser", "One person", Self.schema))
        table.patch(
            "users/{user}", .usersWrite, in: .organization, use: update,
            as: .update("updateUser", "Change a person", from: Self.patch, to: Self.schema, ifMatch: .optional))
        table.delete(
            "users/{user}", .usersWrite, in: .organization, use: erase,
            as: .begin(
                "eraseUser", "Forget a person: gone now, and from the log as the operation goes on", ifMatch: .optional)
        )
        table.post(
            "users/{user}:disable", .usersWrite, in: .organization, use: disable,
            as: .act("disableUser", "Keep a person out; every session and connection ends now", to: Self.schema))
        table.post(
            "users/{user}:enable", .usersWrite, in: .organization, use: enable,
            as: .act("enableUser", "Let a person in again", to: Self.schema))
        table.get(
            "users/{user}/identities", .usersRead, in: .organization, use: identities,
            as: .list("listIdentities", "Who a person is at identity providers", of: Self.identitySchema))
        table.post(
            "users/{user}/identities", .usersWrite, in: .organization, use: link,
            as: .create(
                "linkIdentity", "Accept that an upstream identity is this person", from: Self.identityDraft,
                to: Self.identitySchema))
        table.get(
            "users/{user}/identities/{identity}", .usersRead, in: .organization, use: getIdentity,
            as: .read("getIdentity", "One of them", Self.identitySchema))
        table.delete(
            "users/{user}/identities/{identity}", .usersWrite, in: .organization, use: unlink,
            as: .remove(
                "unlinkIdentity", "Take back that an upstream identity is this person; all their connections end"))
        table.get(
            "pending-identities", .usersRead, in: .organization, use: pending,
            as: .list(
                "listPendingIdentities", "The newest sign-ins that wait for an administrator", of: Self.pendingSchema))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "users", filters: ["email", "status", "group", "q"])
        var filter = UserStore.Filter()
        filter.email = request.filters["email"]
        filter.group = try request.id("group", of: GroupID.self)
        filter.status = try request.word("status")
        guard let prefix = request.filters["q"] else {
            let rows = try await administration.users.list(request.page, where: filter, of: call.organization.id)
            return request.reply(rows, id: \.id.uuid, Self.json)
        }
        let rows = try await administration.users.list(
            beginning: prefix, after: request.position, limit: request.limit + 1, where: filter,
            of: call.organization.id)
        return request.reply(rows, position: { $0.email?.lowercased() ?? "" }, Self.json)
    }

    private func create(_ call: AdminCall) async throws -> Response {
        var members = try await call.body()
        let email = members.requiredString("email")
        let name = members.string("name")
        try members.finish()
        return try await call.write { administrator in
            try await administration.createUser(
                email: email, name: name, in: call.organization.id, by: administrator)
        } reply: { made in
            .created(
                made.value.id.description, Self.json(made.value), version: made.value.version)
        }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        let user = try await administration.user(call.id("user"), of: call.organization.id)
        return call.reply(.ok, Self.json(user), version: user.version)
    }

    private func update(_ call: AdminCall) async throws -> Response {
        let id = try call.id("user", of: UserID.self)
        let condition = try call.condition()
        var members = try await call.patch()
        var update = UserUpdate()
        update.email = members.string("email")
        update.name = members.patch(string: "name")
        try members.finish()
        return try await call.write { administrator in
            try await administration.updateUser(
                id, update, if: condition, in: call.organization.id, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value), version: done.value.version)
        }
    }

    private func erase(_ call: AdminCall) async throws -> Response {
        let id = try call.id("user", of: UserID.self)
        return try await call.write { administrator in
            try await administration.eraseUser(id, if: call.condition(), in: call.organization.id, by: administrator)
        } reply: { done in
            .accepted(done.value)
        }
    }

    private func disable(_ call: AdminCall) async throws -> Response {
        try await call.noBody()
        return try await call.write { administrator in
            try await administration.disableUser(
                call.id("user"), in: call.organization.id, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value), version: done.value.version)
        }
    }

    private func enable(_ call: AdminCall) async throws -> Response {
        try await call.noBody()
        return try await call.write { administrator in
            try await administration.enableUser(
                call.id("user"), in: call.organization.id, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value), version: done.value.version)
        }
    }

    private func identities(_ call: AdminCall) async throws -> Response {
        let user = try await administration.user(call.id("user"), of: call.organization.id)
        let request = try ListRequest(call, of: "identities/\(user.id)")
        let all = try await administration.users.identities(of: user.id, in: call.organization.id)
            .sorted { Self.position($0.key) < Self.position($1.key) }
        let rest = request.position.map { last in all.drop { Self.position($0.key) <= last } } ?? all[...]
        return request.reply(
            Array(rest.prefix(request.limit + 1)), position: { Self.position($0.key) }, Self.json)
    }

    private func link(_ call: AdminCall) async throws -> Response {
        let id = try call.id("user", of: UserID.self)
        var members = try await call.body()
        let provider = members.required("identity_provider_id") {
            $0.id("identity_provider_id", of: IdentityProviderID.self)
        }
        let population = members.string("provider")
        let subject = members.requiredString("subject")
        try members.finish()
        guard let provider else { throw AdminError.notFound }
        return try await call.write { administrator in
            try await administration.linkIdentity(
                subject, at: provider, provider: population, to: id, in: call.organization.id, by: administrator)
        } reply: { made in
            .created(Self.position(made.value.key), Self.json(made.value))
        }
    }

    private func getIdentity(_ call: AdminCall) async throws -> Response {
        call.reply(unversioned: Self.json(try await identity(call)))
    }

    private func unlink(_ call: AdminCall) async throws -> Response {
        let identity = try await identity(call)
        return try await call.write { administrator in
            try await administration.unlinkIdentity(
                identity.key, from: identity.user, in: call.organization.id, by: administrator)
        } reply: { _ in
            .deleted
        }
    }

    private func identity(_ call: AdminCall) async throws -> LinkedIdentity {
        let name = call.parameters.get("identity")
        let linked = try await administration.users.identities(of: call.id("user"), in: call.organization.id)
        guard let found = linked.first(where: { Self.position($0.key) == name }) else { throw AdminError.notFound }
        return found
    }

    /// The newest 200 sign-ins that wait for an administrator.
    private func pending(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "pending-identities")
        let all = try await administration.users.pendingIdentities(of: call.organization.id)
            .sorted { Self.position($0.key) < Self.position($1.key) }
        let rest = request.position.map { last in all.drop { Self.position($0.key) <= last } } ?? all[...]
        return request.reply(Array(rest.prefix(request.limit + 1)), position: { Self.position($0.key) }) { row in
            JSONWriter.object { json in
                Self.write(row.key, to: &json)
                json.optional("email", row.email)
            }
        }
    }

    /// What an identity is called in paths, and in whose order they are listed.
    private static func position(_ key: IdentityKey) -> String {
        Base64URL.encode(sha256("\(key.identityProvider)|\(key.provider.utf8.count)|\(key.provider)|\(key.subject)"))
    }

    private static func write(_ key: IdentityKey, to json: inout JSONWriter) {
        json.string("identity_provider_id", key.identityProvider.description)
        json.string("provider", key.provider)
        json.string("subject", key.subject)
    }

    private static func json(_ identity: LinkedIdentity) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", position(identity.key))
            write(identity.key, to: &json)
            json.string("user_id", identity.user.description)
            json.time("created_at", identity.createdAt)
        }
    }

    private static let identitySchema = Schema.named(
        "Identity",
        .object([
            "id": .string, "identity_provider_id": .id(IdentityProviderID.self), "provider": .string,
            "subject": .string,
            "user_id": .id(UserID.self), "created_at": .time,
        ]))

    private static let identityDraft = Schema.named(
        "NewIdentity",
        .draft([
            "identity_provider_id": .id(IdentityProviderID.self),
            "provider": .string(1...512).optional.said(
                "The population of the subject; the provider's own unless said."),
            "subject": .string(1...512),
        ]))

    private static let pendingSchema = Schema.named(
        "PendingIdentity",
        .object([
            "identity_provider_id": .id(IdentityProviderID.self), "provider": .string, "subject": .string,
            "email": .string.nullable,
        ]))

    private static let schema = Schema.named(
        "User",
        .object([
            "id": .id(UserID.self), "email": .string.nullable, "email_verified": .bool, "name": .string.nullable,
            "status": .words(User.Status.self), "created_at": .time, "updated_at": .time,
        ]))

    private static let draft = Schema.named("NewUser", .draft(["email": .email, "name": .name.optional]))

    private static let patch = Schema.named("UserPatch", .patch(["email": .email, "name": .name.nullable]))

    private static func json(_ user: User) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", user.id.description)
            json.optional("email", user.email)
            json.bool("email_verified", user.emailVerified)
            json.optional("name", user.name)
            json.string("status", user.status.rawValue)
            json.time("created_at", user.createdAt)
            json.time("updated_at", user.updatedAt)
        }
    }
}
