import Audit
import ControlPlane
import Foundation
import Hummingbird
import Keys
import Tenancy

/// `/v1/organizations/{org}/scope-policies`
struct ScopePoliciesEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "scope-policies", .policiesRead, in: .organization, use: list,
            as: .list(
                "listScopePolicies", "The statements of the organization's scope policy", of: StatementDocument.schema))
        table.post(
            "scope-policies", .policiesWrite, in: .organization, use: create,
            as: .create(
                "createScopePolicy", "Add a statement", from: StatementDocument.draftSchema,
                to: StatementDocument.schema))
        table.post(
            "scope-policies:evaluate", .policiesRead, in: .organization, use: evaluate,
            as: .compute(
                "evaluateScopePolicies", "What policy would say, and why", from: PolicyQuestionDocument.schema,
                to: PolicyAnswerDocument.schema
            ).said("Ask for a user through a client, or for a service. Nothing is changed and nothing recorded."))
        table.post(
            "scope-policies:simulate", .policiesRead, in: .organization, use: simulate,
            as: .compute(
                "simulateScopePolicies", "What a draft of the policy would have changed",
                from: PolicySimulationDocument.schema, to: PolicySimulationDocument.reply
            ).said(
                "Puts the decisions of a past window to the draft: who would have gained, who lost. Nothing is changed and nothing recorded."
            ))
        table.get(
            "scope-policies/{policy}", .policiesRead, in: .organization, use: get,
            as: .read("getScopePolicy", "One statement", StatementDocument.schema))
        table.patch(
            "scope-policies/{policy}", .policiesWrite, in: .organization, use: update,
            as: .update(
                "updateScopePolicy", "Change a statement", from: StatementDocument.patchSchema,
                to: StatementDocument.schema))
        table.delete(
            "scope-policies/{policy}", .policiesWrite, in: .organization, use: delete,
            as: .remove("deleteScopePolicy", "Remove a statement", ifMatch: .required))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "scope-policies")
        let rows = request.page(of: try await administration.policies.all(of: call.organization.id), id: \.id.uuid)
        return request.reply(rows, id: \.id.uuid, Self.json)
    }

    private func create(_ call: AdminCall) async throws -> Response {
        let draft = try await StatementDocument.draft(from: call.body())
        return try await call.write { administrator in
            try await administration.createScopePolicy(draft, in: call.organization.id, by: administrator)
        } reply: { made in
            .created(
                made.value.id.description, Self.json(made.value), version: made.value.version)
        }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        let statement = try await administration.scopePolicy(call.id("policy"), of: call.organization.id)
        return call.reply(.ok, Self.json(statement), version: statement.version)
    }

    private func update(_ call: AdminCall) async throws -> Response {
        let id = try call.id("policy", of: ScopePolicyID.self)
        let condition = try call.requiredCondition()
        let patch = try await call.patchValue()
        guard patch.object != nil else { throw AdminError.invalid([FieldError("", "type", "This must be an object.")]) }
        return try await call.write { administrator in
            try await administration.updateScopePolicy(
                id, if: condition, in: call.organization.id, by: administrator
            ) { draft in
                try StatementDocument.draft(
                    from: Members(StatementDocument.value(of: draft).merged(with: patch), isPatch: false))
            }
        } reply: { done in
            .ok(Self.json(done.value), version: done.value.version)
        }
    }

    private func delete(_ call: AdminCall) async throws -> Response {
        let id = try call.id("policy", of: ScopePolicyID.self)
        return try await call.write { administrator in
            try await administration.deleteScopePolicy(
                id, if: call.requiredCondition(), in: call.organization.id, by: administrator)
        } reply: { _ in
            .deleted
        }
    }

    /// What policy would say, and why. Writes nothing.
    private func evaluate(_ call: AdminCall) async throws -> Response {
        let question = try await PolicyQuestionDocument.question(from: call.body())
        let answer = try await administration.evaluate(
            question, in: call.organization.id, at: call.administrator.now)
        return call.reply(.ok, PolicyAnswerDocument.json(answer))
    }

    /// What a draft would have changed. Writes nothing.
    private func simulate(_ call: AdminCall) async throws -> Response {
        let asked = try await PolicySimulationDocument.request(from: call)
        let simulation = try await administration.simulate(
            asked.draft, over: asked.window, in: call.organization.id, at: call.administrator.now)
        return call.reply(.ok, asked.reply(simulation, call))
    }

    private static func json(_ statement: ScopePolicyStatement) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", statement.id.description)
            StatementDocument.write(StatementDraft(statement), to: &json)
            json.time("created_at", statement.createdAt)
            json.time("updated_at", statement.updatedAt)
        }
    }
}

/// A policy statement as JSON.
enum StatementDocument {
    private static let members: KeyValuePairs<String, Schema> = [
        "name": .name, "effect": .words(ScopePolicyStatement.Effect.self),
        "principals": .draft([
            "everyone": .bool.optional, "users": .array(of: .id(UserID.self)).optional,
            "groups": .array(of: .id(GroupID.self)).optional, "roles": .array(of: .id(RoleID.self)).optional,
            "services": .array(of: .string).optional,
        ]),
        "clients": .draft([
            "kinds": .array(of: .words(Client.Kind.self)).optional, "ids": .array(of: .string).optional,
            "hosts": .array(of: .string).optional,
        ]).optional,
        "resources": .array(of: .id(ResourceID.self)).optional, "scopes": .array(of: .string),
        "conditions": .draft([
            "ip_ranges": .array(of: .string).optional, "max_auth_age_seconds": .integer.optional, "mfa": .bool.optional,
            "valid_from": .time.optional, "valid_until": .time.optional,
            "exchanged_from": .array(of: .id(ResourceID.self)).optional,
        ]).optional,
    ]

    static let draftSchema = Schema.named("NewScopePolicy", .draft(members))

    static let patchSchema = Schema.named("ScopePolicyPatch", .mergePatch(members))

    static let schema = Schema.named(
        "ScopePolicy",
        .object([
            "id": .id(ScopePolicyID.self), "name": .string, "effect": .words(ScopePolicyStatement.Effect.self),
            "principals": .object([
                "everyone": .bool, "users": .array(of: .id(UserID.self)), "groups": .array(of: .id(GroupID.self)),
                "roles": .array(of: .id(RoleID.self)), "services": .array(of: .string),
            ]),
            "clients": .object([
                "kinds": .array(of: .words(Client.Kind.self)).optional, "ids": .array(of: .string).optional,
                "hosts": .array(of: .string).optional,
            ]),
            "resources": .array(of: .id(ResourceID.self)), "scopes": .array(of: .string),
            "conditions": .object([
                "ip_ranges": .array(of: .string).optional, "max_auth_age_seconds": .integer.optional,
                "mfa": .bool.optional, "valid_from": .time.optional, "valid_until": .time.optional,
                "exchanged_from": .array(of: .id(ResourceID.self)).optional,
            ]),
            "created_at": .time, "updated_at": .time,
        ]))

    /// - Throws: ``AdminError/invalid(_:)``.
    static func draft(from members: Members) throws(AdminError) -> StatementDraft {
        var members = members
        let effect = members.required("effect") { $0.word("effect", of: ScopePolicyStatement.Effect.self) }
        var draft = StatementDraft(
            name: members.requiredString("name"), effect: effect ?? .deny, principals: .init(),
            scopes: members.required("scopes") { $0.strings("scopes") } ?? [])
        draft.principals = members.required("principals") { $0.object("principals", principals) } ?? .init()
        draft.clients = members.object("clients", clients) ?? .init()
        draft.resources = members.ids("resources") ?? []
        draft.conditions = members.object("conditions", conditions) ?? .init()
        try members.finish()
        return draft
    }

    private static func principals(_ members: inout Members) -> ScopePolicyStatement.Principals {
        ScopePolicyStatement.Principals(
            everyone: members.bool("everyone") ?? false, users: members.ids("users") ?? [],
            groups: members.ids("groups") ?? [], roles: members.ids("roles") ?? [],
            services: members.strings("services") ?? [])
    }

    private static func clients(_ members: inout Members) -> ScopePolicyStatement.Clients {
        ScopePolicyStatement.Clients(
            kinds: members.words("kinds"), ids: members.strings("ids"), hosts: members.strings("hosts"))
    }

    private static func conditions(_ members: inout Members) -> ScopePolicyStatement.Conditions {
        ScopePolicyStatement.Conditions(
            ipRanges: members.strings("ip_ranges"), maxAuthAgeSeconds: members.integer("max_auth_age_seconds"),
            mfa: members.bool("mfa"), validFrom: members.time("valid_from"), validUntil: members.time("valid_until"),
            exchangedFrom: members.ids("exchanged_from"))
    }

    /// The statement as the value that a merge patch goes into; absent members are absent.
    static func value(of draft: StatementDraft) -> JSONValue {
        .object(draft.members)
    }

    static func write(_ draft: StatementDraft, to json: inout JSONWriter) {
        json.string("name", draft.name)
        json.string("effect", draft.effect.rawValue)
        json.object("principals") { json in
            json.bool("everyone", draft.principals.everyone)
            json.strings("users", draft.principals.users.map(\.description))
            json.strings("groups", draft.principals.groups.map(\.description))
            json.strings("roles", draft.principals.roles.map(\.description))
            json.strings("services", draft.principals.services)
        }
        json.object("clients") { json in
            if let kinds = draft.clients.kinds { json.strings("kinds", kinds.map(\.rawValue)) }
            if let ids = draft.clients.ids { json.strings("ids", ids) }
            if let hosts = draft.clients.hosts { json.strings("hosts", hosts) }
        }
        json.strings("resources", draft.resources.map(\.description))
        json.strings("scopes", draft.scopes)
        json.object("conditions") { json in
            let conditions = draft.conditions
            if let ranges = conditions.ipRanges { json.strings("ip_ranges", ranges) }
            if let age = conditions.maxAuthAgeSeconds { json.int("max_auth_age_seconds", age) }
            if let mfa = conditions.mfa { json.bool("mfa", mfa) }
            if let from = conditions.validFrom { json.time("valid_from", from) }
            if let until = conditions.validUntil { json.time("valid_until", until) }
            if let exchanged = conditions.exchangedFrom { json.strings("exchanged_from", exchanged.map(\.description)) }
        }
    }
}

extension StatementDraft {
    /// What ``StatementDocument/write(_:to:)`` writes, read back.
    fileprivate var members: [String: JSONValue] {
        let text = JSONWriter.object { StatementDocument.write(self, to: &$0) }
        return (try? JSONText.parse(text))?.object ?? [:]
    }
}

extension JSONValue {
    /// MergePatch(self, patch) of RFC 7396 §2.
    func merged(with patch: JSONValue) -> JSONValue {
        guard case .object(let changes) = patch else { return patch }
        var members = object ?? [:]
        for (name, change) in changes {
            members[name] = change == .null ? nil : (members[name] ?? .null).merged(with: change)
        }
        return .object(members)
    }
}
