import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/resources/{resource}/tools` and `/v1/organizations/{org}/resources/{resource}/tools`
struct ResourceToolsEndpoint: Sendable {
    let administration: Administration
    let discovery: ToolDiscovery

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "resources/{resource}/tools", .resourcesRead, in: .platform, .organization, use: list,
            as: .list("listResourceTools", "The tools of a resource, and what a call of each needs", of: Self.schema))
        table.patch(
            "resources/{resource}/tools", .resourcesWrite, in: .platform, .organization, use: review,
            as: .update(
                "reviewResourceTools", "Say what calls of tools need, and that their definitions were looked at",
                from: Self.reviewSchema, to: Self.reviewedSchema, ifMatch: .none
            ).said("reviewed_digest is the digest of the definition that was looked at; it has to be the present one."))
        table.post(
            "resources/{resource}:import-tools", .resourcesWrite, in: .platform, .organization, use: importTools,
            as: .act(
                "importResourceTools", "Read the tools of the resource's live MCP server",
                from: .draft(["token": .string(1...8192).optional.said("Presented to the server and kept nowhere.")]),
                to: Self.importSchema
            ).said("A tool that is new, or says something else than when it was reviewed, has to be reviewed."))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "resources/\(call.id("resource", of: ResourceID.self))/tools")
        let rows = try await administration.tools(
            of: call.id("resource"), in: call.organization.id, after: request.position, limit: request.limit + 1)
        return request.reply(rows, position: \.name, Self.json)
    }

    private func review(_ call: AdminCall) async throws -> Response {
        let id = try call.id("resource", of: ResourceID.self)
        // Tools that it does not name stay as they are; within a tool null means absent.
        var members = Members(try await call.patchValue(), isPatch: false)
        let names = members.value("tools")?.object.map { $0.keys.sorted() } ?? []
        let reviews = members.required("tools") { members in
            members.object("tools") { tools in
                var reviews: [String: ToolReview] = [:]
                for name in names {
                    reviews[name] = tools.required(name) { tools in
                        tools.object(name) { tool in
                            ToolReview(scopes: tool.strings("scopes"), digest: Self.digest(&tool))
                        }
                    }
                }
                return reviews
            }
        }
        if names.count > 200 { members.add(FieldError("/tools", "too_many", "Review at most 200 tools at once.")) }
        try members.finish()
        return try await call.write { administrator in
            try await administration.reviewTools(
                of: id, reviews ?? [:], ownedBy: call.organization.id, by: administrator)
        } reply: { done in
            .ok(JSONWriter.object { $0.raws("data", done.value.map(Self.json)) })
        }
    }

    private static func digest(_ members: inout Members) -> [UInt8]? {
        guard let text = members.string("reviewed_digest") else { return nil }
        guard let bytes = Base64URL.decode(text), bytes.count == 32 else {
            members.add(FieldError(members.pointer(to: "reviewed_digest"), "invalid", "This is not a digest."))
            return nil
        }
        return bytes
    }

    private func importTools(_ call: AdminCall) async throws -> Response {
        let id = try call.id("resource", of: ResourceID.self)
        var token: Secret?
        if var members = try await call.optionalBody() {
            token = members.string("token").map { Secret($0) }
            if let token, !token.isBearer {
                members.add(FieldError("/token", "invalid", "This is not a bearer token (RFC 6750 §2.1)."))
            }
            try members.finish()
        }
        return try await call.write { [token] administrator in
            try await administration.importTools(
                of: id, ownedBy: call.organization.id, token: token, from: discovery, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value))
        }
    }

    // MARK: JSON

    private static let schema = Schema.named(
        "ResourceTool",
        .object([
            "name": .string, "scopes": .array(of: .string), "state": .words(ResourceTool.State.self),
            "digest": .string, "reviewed_digest": .string.nullable,
            "definition": .any.said(
                "title, description, inputSchema, outputSchema and annotations, as the server gave them."),
            "created_at": .time, "updated_at": .time,
        ]))

    private static let reviewSchema = Schema.named(
        "ResourceToolReview",
        .draft([
            "tools": .map(
                of: .draft([
                    "scopes": .array(of: .string).optional, "reviewed_digest": .string.optional,
                ]))
        ]))

    private static let reviewedSchema = Schema.named(
        "ReviewedResourceTools", .object(["data": .array(of: schema)]))

    private static let importSchema = Schema.named(
        "ResourceToolImport",
        .object([
            "tools": .array(of: schema), "new": .array(of: .string),
            "changed": .array(of: .object(["name": .string, "members": .array(of: .string)])),
            "gone": .array(of: .string),
        ]))

    private static func json(_ tool: ResourceTool) -> [UInt8] {
        JSONWriter.object(capacity: 1024) { json in
            json.string("name", tool.name)
            json.strings("scopes", tool.scopes)
            json.string("state", tool.state.rawValue)
            json.string("digest", Base64URL.encode(tool.digest))
            json.optional("reviewed_digest", tool.reviewedDigest.map { Base64URL.encode($0) })
            json.raw("definition", tool.definition)
            json.time("created_at", tool.createdAt)
            json.time("updated_at", tool.updatedAt)
        }
    }

    private static func json(_ done: ToolImport) -> [UInt8] {
        JSONWriter.object(capacity: 4096) { json in
            json.raws("tools", done.tools.map(self.json))
            json.strings("new", done.new)
            json.raws(
                "changed",
                done.changed.sorted { $0.key < $1.key }.map { name, members in
                    JSONWriter.object { json in
                        json.string("name", name)
                        json.strings("members", members)
                    }
                })
            json.strings("gone", done.gone)
        }
    }
}

extension Secret {
    /// Whether it can stand in an `Authorization` header (RFC 6750 §2.1, b64token).
    fileprivate var isBearer: Bool {
        !revealed.isEmpty
            && revealed.utf8.allSatisfy { byte in
                (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                    || "-._~+/=".utf8.contains(byte)
            }
    }
}
