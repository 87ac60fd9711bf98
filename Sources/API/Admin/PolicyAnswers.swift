import Audit
import ControlPlane
import Foundation
import Keys
import Tenancy

/// The body of `:evaluate`.
enum PolicyQuestionDocument {
    static let schema = Schema.named(
        "PolicyQuestion",
        .draft([
            "user": .id(UserID.self).optional.said("A person, with the client they use; or else a service."),
            "client": .id(ClientID.self).optional, "service": .id(ClientID.self).optional,
            "resource": .id(ResourceID.self),
            "scopes": .array(of: .string).optional.said("None means every scope of the resource."),
            "exchanged_from": .id(ResourceID.self).optional, "address": .string.optional,
            "auth_age_seconds": .integer(0...31_536_000).optional, "mfa": .bool.optional,
            "upstream_scopes": .array(of: .string).optional, "time": .time.optional,
            "tool": .string(1...128).optional.said("A tool of the resource: would a call of it be allowed?"),
        ]))

    /// - Throws: ``AdminError/invalid(_:)``.
    static func question(from members: Members) throws(AdminError) -> PolicyQuestion {
        var members = members
        let user = members.id("user", of: UserID.self)
        let client = members.id("client", of: ClientID.self)
        let service = members.id("service", of: ClientID.self)
        let resource = members.required("resource") { $0.id("resource", of: ResourceID.self) }
        let scopes = members.strings("scopes") ?? []
        let exchangedFrom = members.id("exchanged_from", of: ResourceID.self)
        let address = members.string("address")
        let age = members.integer("auth_age_seconds")
        let mfa = members.bool("mfa") ?? false
        let upstream = members.strings("upstream_scopes")
        let time = members.time("time")
        let tool = members.string("tool")
        if members.has("service") {
            for name in ["user", "client"] where members.has(name) {
                members.add(
                    FieldError("/\(name)", "invalid", "A service speaks for itself: leave this out, or the service."))
            }
        } else {
            for name in ["user", "client"] where !members.has(name) {
                members.add(FieldError("/\(name)", "required", "Name a user and a client, or a service."))
            }
        }
        try members.finish()
        guard let resource else { throw .notFound }
        let principal: PolicyQuestion.Principal
        if let service {
            principal = .service(service)
        } else if let user, let client {
            principal = .user(user, through: client)
        } else {
            throw .notFound
        }
        var question = PolicyQuestion(principal, resource: resource)
        question.scopes = scopes
        question.exchangedFrom = exchangedFrom
        question.address = address
        question.authAgeSeconds = age
        question.mfa = mfa
        question.upstreamScopes = upstream
        question.time = time
        question.tool = tool
        return question
    }
}

/// The reply of `:evaluate`.
enum PolicyAnswerDocument {
    static let schema = Schema.named(
        "PolicyAnswer",
        .object([
            "decision": .words("allow", "narrowed", "deny"), "granted": .array(of: .string),
            "effective": .array(of: .string).said("What a token would carry: implied scopes too."),
            "withheld": .array(of: .string),
            "tool": .object([
                "name": .string, "allowed": .bool, "reason": .words(ToolAnswer.Reason.self),
                "state": .words(ResourceTool.State.self),
                "scopes": .array(of: .string).said("A call needs all of them."),
                "missing": .array(of: .string),
            ]).optional.said(
                "Where a tool was asked about; a tool that is not reviewed is denied whatever the scopes."),
            "trace": .array(
                of: .object([
                    "scope": .string, "result": .words("allowed", "denied"), "rule": .string,
                    "matched": .array(of: .id(ScopePolicyID.self)),
                ])),
            "statements": .array(
                of: .object([
                    "id": .id(ScopePolicyID.self), "name": .string, "effect": .words(ScopePolicyStatement.Effect.self),
                    "applies": .bool,
                    "mismatch": .string.nullable.said("JSON pointer to the first member that does not fit."),
                    "conditions": .array(
                        of: .object(["condition": .string, "met": .bool, "saw": .string.nullable])),
                ])),
            "input": .object([
                "groups": .array(of: .id(GroupID.self)), "roles": .array(of: .id(RoleID.self)),
                "client_id": .string.nullable, "client_kind": .words(Client.Kind.self),
                "client_hosts": .array(of: .string), "client_ceiling": .array(of: .string).nullable,
                "address": .string.nullable, "auth_time": .time.nullable, "mfa": .bool,
                "upstream_scopes": .array(of: .string).nullable, "time": .time,
            ]),
        ]))

    static func json(_ answer: PolicyAnswer) -> [UInt8] {
        let explanation = answer.explanation
        let decision = explanation.decision
        return JSONWriter.object(capacity: 2048) { json in
            json.string("decision", decision.info.decision)
            json.strings("granted", decision.granted)
            json.strings("effective", decision.effective)
            json.strings("withheld", decision.withheld)
            if let tool = answer.tool { json.object("tool") { write(tool, to: &$0) } }
            json.raws(
                "trace",
                decision.findings.map { finding in
                    JSONWriter.object { json in
                        json.string("scope", finding.scope)
                        json.string("result", finding.result.rawValue)
                        json.string("rule", finding.rule)
                        json.strings("matched", explanation.matching(finding.scope).map(\.id.description))
                    }
                })
            json.raws("statements", explanation.readings.map(self.json))
            json.object("input") { write(decision.request, at: explanation.decidedAt, to: &$0) }
        }
    }

    private static func json(_ reading: ScopeExplanation.Reading) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", reading.statement.id.description)
            json.string("name", reading.statement.name)
            json.string("effect", reading.statement.effect.rawValue)
            json.bool("applies", reading.applies)
            json.optional("mismatch", reading.mismatch)
            json.raws(
                "conditions",
                reading.conditions.map { condition in
                    JSONWriter.object { json in
                        json.string("condition", condition.condition.rawValue)
                        json.bool("met", condition.isMet)
                        json.optional("saw", condition.saw)
                    }
                })
        }
    }

    private static func write(_ answer: ToolAnswer, to json: inout JSONWriter) {
        json.string("name", answer.tool.name)
        json.bool("allowed", answer.reason == .allowed)
        json.string("reason", answer.reason.rawValue)
        json.string("state", answer.tool.state.rawValue)
        json.strings("scopes", answer.tool.scopes)
        json.strings("missing", answer.missing)
    }

    private static func write(_ request: ScopeRequest, at time: Date, to json: inout JSONWriter) {
        var membership = Membership()
        if case .user(_, let known) = request.principal { membership = known }
        json.strings("groups", membership.groups.map(\.description))
        json.strings("roles", membership.roles.map(\.description))
        json.optional("client_id", request.client.id)
        json.string("client_kind", request.client.kind.rawValue)
        json.strings("client_hosts", request.client.hosts)
        json.optional("client_ceiling", request.client.scopeCeiling)
        json.optional("address", request.address)
        json.optional("auth_time", time: request.authTime)
        json.bool("mfa", request.mfa)
        json.optional("upstream_scopes", request.upstreamCeiling)
        json.time("time", time)
    }
}
