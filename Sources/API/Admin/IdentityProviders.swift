import ControlPlane
import Hummingbird
import Identity
import Keys
import Tenancy

/// `/v1/organizations/{org}/identity-providers`
struct IdentityProvidersEndpoint: Sendable {
    let administration: Administration
    let known: IdentityProviders

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "identity-providers", .identityProvidersRead, in: .organization, use: list,
            as: .list("listIdentityProviders", "What signs people in", of: Self.schema))
        table.post(
            "identity-providers", .identityProvidersWrite, in: .organization, use: create,
            as: .create(
                "createIdentityProvider", "Let a Stytch project sign people in", from: Self.draft, to: Self.schema))
        table.get(
            "identity-providers/{provider}", .identityProvidersRead, in: .organization, use: get,
            as: .read("getIdentityProvider", "One identity provider; its secret is never told", Self.schema))
        table.patch(
            "identity-providers/{provider}", .identityProvidersWrite, in: .organization, use: update,
            as: .update("updateIdentityProvider", "Change an identity provider", from: Self.patch, to: Self.schema))
        table.post(
            "identity-providers/{provider}:test", .identityProvidersWrite, in: .organization, use: test,
            as: .act(
                "testIdentityProvider", "Ask the provider whether people could sign in through it", to: Self.testSchema
            ).said("Sends nobody anything and changes nothing. One that is disabled can be tried too."))
        table.delete(
            "identity-providers/{provider}", .identityProvidersWrite, in: .organization, use: delete,
            as: .remove(
                "deleteIdentityProvider", "Remove an identity provider and every identity it linked; people stay",
                ifMatch: .required))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "identity-providers")
        let rows = request.page(
            of: try await administration.identityProviders(of: call.organization.id), id: \.id.uuid)
        return request.reply(rows, id: \.id.uuid, Self.json)
    }

    /// The kinds that are made here: trusted issuers have a collection of their own.
    private enum StytchKind: String, CaseIterable {
        case b2b = "stytch_b2b"
        case consumer = "stytch_consumer"

        var recorded: IdentityProviderRecord.Kind {
            switch self {
            case .b2b: .stytchB2B
            case .consumer: .stytchConsumer
            }
        }
    }

    private func create(_ call: AdminCall) async throws -> Response {
        var members = try await call.body()
        let kind = members.required("kind") { $0.word("kind", of: StytchKind.self) }
        let wanted = NewIdentityProvider(
            kind: (kind ?? .b2b).recorded, name: members.requiredString("name"),
            projectID: members.requiredString("project_id"), secret: Secret(members.requiredString("secret")),
            upstreamOrganization: members.string("organization_id"), baseURL: members.string("base_url"),
            authoritativeDomains: members.strings("authoritative_domains") ?? [])
        try members.finish()
        return try await call.write { administrator in
            try await administration.createIdentityProvider(
                wanted, in: call.organization, by: administrator)
        } reply: { made in
            .created(
                made.value.id.description, Self.json(made.value), version: made.value.version)
        }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        let provider = try await administration.identityProvider(call.id("provider"), of: call.organization.id)
        return call.reply(.ok, Self.json(provider), version: provider.version)
    }

    private func update(_ call: AdminCall) async throws -> Response {
        let id = try call.id("provider", of: IdentityProviderID.self)
        let condition = try call.requiredCondition()
        var members = try await call.patch()
        var update = IdentityProviderUpdate()
        update.name = members.string("name")
        update.secret = members.string("secret").map { Secret($0) }
        update.baseURL = members.patch(string: "base_url")
        update.authoritativeDomains = members.strings("authoritative_domains")
        update.status = members.word("status")
        try members.finish()
        return try await call.write { administrator in
            try await administration.updateIdentityProvider(
                id, update, if: condition, in: call.organization, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value), version: done.value.version)
        }
    }

    private func test(_ call: AdminCall) async throws -> Response {
        let id = try call.id("provider", of: IdentityProviderID.self)
        try await call.noBody()
        return try await call.write { administrator in
            try await administration.testIdentityProvider(
                id, in: call.organization, through: known, by: administrator)
        } reply: { done in
            .ok(
                JSONWriter.object { json in
                    json.bool("ok", done.value.problem == nil)
                    json.optional("code", done.value.problem?.reason)
                    json.optional("detail", done.value.problem?.explanation)
                    json.time("tested_at", done.value.testedAt)
                })
        }
    }

    private func delete(_ call: AdminCall) async throws -> Response {
        let id = try call.id("provider", of: IdentityProviderID.self)
        return try await call.write { administrator in
            try await administration.deleteIdentityProvider(
                id, if: call.requiredCondition(), in: call.organization.id, by: administrator)
        } reply: { _ in
            .deleted
        }
    }

    private static let testSchema = Schema.named(
        "IdentityProviderTest",
        .object([
            "ok": .bool, "code": .string.nullable.said("The machine's word for what is wrong."),
            "detail": .string.nullable, "tested_at": .time,
        ]))

    private static let schema = Schema.named(
        "IdentityProvider",
        .object([
            "id": .id(IdentityProviderID.self), "kind": .words(IdentityProviderRecord.Kind.self), "name": .string,
            "status": .words(IdentityProviderRecord.Status.self), "project_id": .string,
            "organization_id": .string.nullable, "base_url": .string.nullable, "has_secret": .bool,
            "authoritative_domains": .array(of: .string), "created_at": .time, "updated_at": .time,
        ]))

    private static let draft = Schema.named(
        "NewIdentityProvider",
        .draft([
            "kind": .words(StytchKind.self), "name": .name, "project_id": .string, "secret": .string,
            "organization_id": .string.optional.said("Stytch's organization, B2B only."), "base_url": .string.optional,
            "authoritative_domains": .array(of: .string).optional,
        ]))

    private static let patch = Schema.named(
        "IdentityProviderPatch",
        .patch([
            "name": .name, "secret": .string, "base_url": .string.nullable,
            "authoritative_domains": .array(of: .string), "status": .words(IdentityProviderRecord.Status.self),
        ]))

    /// Everything but the secret, of which only is said whether there is one (T-05).
    private static func json(_ provider: IdentityProviderRecord) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", provider.id.description)
            json.string("kind", provider.kind.rawValue)
            json.string("name", provider.name)
            json.string("status", provider.status.rawValue)
            json.string("project_id", provider.configuration.projectID)
            json.optional("organization_id", provider.configuration.upstreamOrganization)
            json.optional("base_url", provider.configuration.baseURL)
            json.bool("has_secret", provider.sealedSecret != nil)
            json.strings("authoritative_domains", provider.authoritativeDomains)
            json.time("created_at", provider.createdAt)
            json.time("updated_at", provider.updatedAt)
        }
    }
}

extension SignInError {
    /// What an administrator can do something with.
    fileprivate var explanation: String {
        switch self {
        case .misconfigured(let what): what.explanation
        case .refused(let text): text
        case .unavailable: "The provider does not answer, or is left alone for a moment after failing repeatedly."
        default: "The provider answered with something else than was asked."
        }
    }
}

extension Misconfiguration {
    fileprivate var explanation: String {
        switch self {
        case .noProvider: "No active identity provider signs people in."
        case .disabled: "The identity provider is disabled."
        case .unsupportedKind: "This release cannot sign people in through this kind of provider."
        case .noOrganization: "Stytch's organization is not set: send organization_id."
        case .noSecret: "The project's secret is not set: send secret."
        case .unreadableSecret: "The stored secret cannot be opened with this server's master key: send it again."
        case .projectID: "The project_id must begin with project-live- or project-test-."
        case .testProject: "A Stytch test project, which anybody can open, signs nobody in here."
        case .baseURL: "The base_url cannot be used."
        case .rejectedCredentials: "Stytch does not accept the project's id and secret."
        case .otherKindOfProject:
            "The Stytch project is of the other kind: B2B in place of consumer, or consumer in place of B2B."
        case .unknownOrganization: "The Stytch project has no such active organization."
        case .wantsCaptcha: "The Stytch project wants a CAPTCHA for calls by servers."
        case .forbidsCodes: "The organization's Stytch settings do not allow codes by e-mail."
        case .forbidsCall: "Stytch forbids the call."
        }
    }
}
