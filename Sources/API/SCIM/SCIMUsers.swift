import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/Users` (RFC 7643 §4.1).
struct SCIMUsersEndpoint: Sendable {
    let administration: Administration

    func list(_ call: SCIMCall) async throws -> Response {
        try await list(call, call.query())
    }

    /// `POST /Users/.search` (RFC 7644 §3.4.3).
    func search(_ call: SCIMCall) async throws -> Response {
        let body = try await call.body()
        try body.check(schema: SCIM.searchSchema)
        return try await list(call, SCIMQuery(search: body))
    }

    private func list(_ call: SCIMCall, _ query: SCIMQuery) async throws -> Response {
        let found = try await part(query.directoryQuery(of: .user), call, query.projection)
        return call.list(found.page, total: found.total, startIndex: query.startIndex)
    }

    /// Those of a page, and how many there are in all.
    func part(
        _ query: DirectoryQuery, _ call: SCIMCall, _ shown: SCIMProjection
    ) async throws -> (total: Int, page: [[UInt8]]) {
        let found = try await administration.directory.users(query, of: call.organization)
        return (found.total, found.page.map { json($0, call, shown) })
    }

    func create(_ call: SCIMCall) async throws -> Response {
        let projection = try call.query().projection
        let body = try await call.body()
        try body.check(schema: SCIMSchema.user.id)
        let made = try await administration.provisionUser(
            DirectoryPerson(body).named, in: call.organization, by: call.administrator)
        let user = made.value
        return call.reply(
            json(user, call, projection), .created, version: user.tag, location: location(of: user, call),
            event: made.event)
    }

    func get(_ call: SCIMCall) async throws -> Response {
        let projection = try call.query().projection
        let user = try await administration.directoryUser(call.id(), of: call.organization)
        guard !call.has(version: user.tag) else {
            return Response(status: .notModified, headers: [.eTag: SCIMCall.tag(user.tag)])
        }
        return call.reply(json(user, call, projection), version: user.tag)
    }

    /// What is not said is gone afterwards (RFC 7644 §3.5.1); whoever is kept out stays so unless told otherwise.
    func replace(_ call: SCIMCall) async throws -> Response {
        let body = try await call.body()
        try body.check(schema: SCIMSchema.user.id)
        return try await update(call) { old in
            if let id = try body.string("id"), id != old.id.description {
                throw SCIMError(.mutability, "The id of a user cannot be changed.")
            }
            var person = try DirectoryPerson(body).named
            if body["active"] == nil { person.isActive = old.person.isActive }
            return person
        }
    }

    func patch(_ call: SCIMCall) async throws -> Response {
        let operations = try SCIMOperation.all(in: await call.body(), of: .user)
        return try await update(call) { old in
            var document = SCIMDocument(old.person.members, schema: .user)
            for operation in operations {
                if operation.path.attribute == "id" {
                    guard operation.value == .string(old.id.description) else {
                        throw SCIMError(.mutability, "The id of a user cannot be changed.")
                    }
                    continue
                }
                try document.apply(operation)
            }
            return try DirectoryPerson(SCIMObject(.object(document.members)))
        }
    }

    private func update(
        _ call: SCIMCall, _ change: (DirectoryUser) throws -> DirectoryPerson
    ) async throws -> Response {
        let projection = try call.query().projection
        let done = try await administration.updateUser(
            call.id(), if: call.condition(), in: call.organization, by: call.administrator, change)
        return call.reply(json(done.value, call, projection), version: done.value.tag, event: done.event)
    }

    func delete(_ call: SCIMCall) async throws -> Response {
        let done = try await administration.deprovisionUser(
            call.id(), if: call.condition(), in: call.organization, by: call.administrator)
        return call.deleted(done.event)
    }

    private func location(of user: DirectoryUser, _ call: SCIMCall) -> String { "\(call.base)/Users/\(user.id)" }

    private func json(_ user: DirectoryUser, _ call: SCIMCall, _ shown: SCIMProjection) -> [UInt8] {
        let person = user.person
        return JSONWriter.object(capacity: 1024) { json in
            json.strings("schemas", [SCIMSchema.user.id])
            json.string("id", user.id.description)
            if let id = person.externalID, shown.shows("externalId") { json.string("externalId", id) }
            if shown.shows("userName") { json.string("userName", person.userName) }
            let parts = person.name.parts.filter { shown.shows("name", $0.name) }
            if !parts.isEmpty {
                json.object("name") { json in for part in parts { json.string(part.name, part.value) } }
            }
            if let name = person.displayName, shown.shows("displayName") { json.string("displayName", name) }
            if shown.shows("active") { json.bool("active", person.isActive) }
            if !person.emails.isEmpty, shown.shows("emails") {
                json.raws("emails", person.emails.map { Self.json($0, shown) })
            }
            if !user.groups.isEmpty, shown.shows("groups") {
                json.raws("groups", user.groups.map { Self.json($0, call, shown) })
            }
            if shown.shows("meta") {
                json.meta(
                    "User", created: user.createdAt, modified: user.updatedAt, version: user.tag,
                    location: location(of: user, call))
            }
        }
    }

    private static func json(_ email: DirectoryPerson.Email, _ shown: SCIMProjection) -> [UInt8] {
        JSONWriter.object { json in
            if shown.shows("emails", "value") { json.string("value", email.value) }
            if let display = email.display, shown.shows("emails", "display") { json.string("display", display) }
            if let type = email.type, shown.shows("emails", "type") { json.string("type", type) }
            if let primary = email.primary, shown.shows("emails", "primary") { json.bool("primary", primary) }
        }
    }

    private static func json(
        _ group: DirectoryUser.GroupReference, _ call: SCIMCall, _ shown: SCIMProjection
    ) -> [UInt8] {
        JSONWriter.object { json in
            if shown.shows("groups", "value") { json.string("value", group.id.description) }
            if shown.shows("groups", "$ref") { json.string("$ref", "\(call.base)/Groups/\(group.id)") }
            if shown.shows("groups", "display") { json.string("display", group.name) }
        }
    }
}

// MARK: A person on the wire

extension DirectoryPerson {
    /// - Throws: `invalidValue`; attributes that are not kept are passed over.
    fileprivate init(_ object: SCIMObject) throws(SCIMError) {
        guard let userName = try object.string("userName") else {
            throw SCIMError(.invalidValue, "userName is required.")
        }
        self.init(userName: userName)
        externalID = try object.string("externalId")
        displayName = try object.string("displayName")
        isActive = try object.bool("active") ?? true
        if let said = try object.object("name") {
            name.formatted = try said.string("formatted")
            name.familyName = try said.string("familyName")
            name.givenName = try said.string("givenName")
            name.middleName = try said.string("middleName")
            name.honorificPrefix = try said.string("honorificPrefix")
            name.honorificSuffix = try said.string("honorificSuffix")
        }
        for element in try object.objects("emails") {
            // An element without its value says nothing.
            guard let value = try element.string("value") else { continue }
            emails.append(
                Email(
                    value: value, type: try element.string("type"), display: try element.string("display"),
                    primary: try element.bool("primary")))
        }
    }

    /// The same with a name to show, made of the parts where the directory gives none.
    fileprivate var named: DirectoryPerson {
        guard displayName == nil else { return self }
        var copy = self
        let parts = [name.givenName, name.familyName].compactMap { $0 }.joined(separator: " ")
        copy.displayName = name.formatted ?? (parts.isEmpty ? nil : parts)
        return copy
    }

    /// As a document that operations are applied to.
    fileprivate var members: [String: JSONValue] {
        var members: [String: JSONValue] = ["userName": .string(userName), "active": .bool(isActive)]
        members["externalId"] = externalID.map { .string($0) }
        members["displayName"] = displayName.map { .string($0) }
        if !name.parts.isEmpty {
            members["name"] = .object(
                Dictionary(uniqueKeysWithValues: name.parts.map { ($0.name, JSONValue.string($0.value)) }))
        }
        if !emails.isEmpty {
            members["emails"] = .array(
                emails.map { email in
                    var parts: [String: JSONValue] = ["value": .string(email.value)]
                    parts["type"] = email.type.map { .string($0) }
                    parts["display"] = email.display.map { .string($0) }
                    parts["primary"] = email.primary.map { .bool($0) }
                    return .object(parts)
                })
        }
        return members
    }
}

extension DirectoryPerson.Name {
    /// Those that are there, by their names in the schema.
    fileprivate var parts: [(name: String, value: String)] {
        [
            ("formatted", formatted), ("familyName", familyName), ("givenName", givenName),
            ("middleName", middleName), ("honorificPrefix", honorificPrefix), ("honorificSuffix", honorificSuffix),
        ].compactMap { name, value in value.map { (name, $0) } }
    }
}
