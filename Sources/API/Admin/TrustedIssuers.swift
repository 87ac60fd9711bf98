import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/organizations/{org}/trusted-issuers`: whose assertions about people the organization takes (RFC 7523, ID-JAG).
struct TrustedIssuersEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        // Whom an organization trusts with its people decides who can become any user, as an identity provider does.
        table.get(
            "trusted-issuers", .identityProvidersRead, in: .organization, use: list,
            as: .list(
                "listTrustedIssuers", "Issuers whose assertions about people the organization takes", of: Self.schema))
        table.post(
            "trusted-issuers", .identityProvidersWrite, in: .organization, use: create,
            as: .create("createTrustedIssuer", "Trust an issuer", from: Self.draftSchema, to: Self.schema))
        table.get(
            "trusted-issuers/{issuer}", .identityProvidersRead, in: .organization, use: get,
            as: .read("getTrustedIssuer", "One trusted issuer", Self.schema))
        table.patch(
            "trusted-issuers/{issuer}", .identityProvidersWrite, in: .organization, use: update,
            as: .update("updateTrustedIssuer", "Change what is trusted", from: Self.patch, to: Self.schema))
        table.delete(
            "trusted-issuers/{issuer}", .identityProvidersWrite, in: .organization, use: delete,
            as: .remove(
                "deleteTrustedIssuer", "End the trust, and every identity that came by it; people stay",
                ifMatch: .required))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "trusted-issuers")
        let rows = request.page(
            of: try await administration.trustedIssuers.all(of: call.organization.id), id: \.id.uuid)
        return request.reply(rows, id: \.id.uuid, Self.json)
    }

    private func create(_ call: AdminCall) async throws -> Response {
        var members = try await call.body()
        let issuer = members.requiredString("issuer")
        let draft = Self.draft(from: &members)
        try members.finish()
        return try await call.write { administrator in
            try await administration.createTrustedIssuer(
                issuer, draft, in: call.organization, by: administrator)
        } reply: { made in
            .created(
                made.value.id.description, Self.json(made.value), version: made.value.provider.version)
        }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        let issuer = try await administration.trustedIssuer(call.id("issuer"), of: call.organization.id)
        return call.reply(.ok, Self.json(issuer), version: issuer.provider.version)
    }

    private func update(_ call: AdminCall) async throws -> Response {
        let id = try call.id("issuer", of: IdentityProviderID.self)
        let condition = try call.requiredCondition()
        let patch = try await call.patchValue()
        guard patch.object != nil else { throw AdminError.invalid([FieldError("", "type", "This must be an object.")]) }
        return try await call.write { administrator in
            try await administration.updateTrustedIssuer(
                id, if: condition, in: call.organization, by: administrator
            ) { draft in
                // `jwks` is replaced as a whole: half of a key set is nobody's.
                var document = Self.value(of: draft)
                if patch.object?["jwks"] != nil { document["jwks"] = nil }
                var members = Members(JSONValue.object(document).merged(with: patch), isPatch: false)
                let edited = Self.draft(from: &members)
                try members.finish()
                return edited
            }
        } reply: { done in
            .ok(Self.json(done.value), version: done.value.provider.version)
        }
    }

    private func delete(_ call: AdminCall) async throws -> Response {
        let id = try call.id("issuer", of: IdentityProviderID.self)
        return try await call.write { administrator in
            try await administration.deleteTrustedIssuer(
                id, if: call.requiredCondition(), in: call.organization.id, by: administrator)
        } reply: { _ in
            .deleted
        }
    }

    // MARK: JSON

    private static func draft(from members: inout Members) -> TrustedIssuerDraft {
        let claims = members.value("required_claims") ?? .object([:])
        var texts: [String: String] = [:]
        if let object = claims.object {
            for (name, value) in object {
                guard let text = value.string else {
                    members.add(FieldError("/required_claims", "type", "The value of a claim must be a string."))
                    break
                }
                texts[name] = text
            }
        } else {
            members.add(FieldError("/required_claims", "type", "This must be an object."))
        }
        return TrustedIssuerDraft(
            name: members.requiredString("name"), status: members.word("status") ?? .active,
            jwks: members.value("jwks"), jwksURI: members.string("jwks_uri"),
            clientIDs: members.required("client_ids") { $0.strings("client_ids") } ?? [], requiredClaims: texts,
            authoritativeDomains: members.strings("authoritative_domains") ?? [])
    }

    /// The description as the members that a merge patch goes into; the issuer itself is not among them.
    private static func value(of draft: TrustedIssuerDraft) -> [String: JSONValue] {
        var members: [String: JSONValue] = [
            "name": .string(draft.name), "status": .string(draft.status.rawValue),
            "client_ids": .array(draft.clientIDs.map { .string($0) }),
            "required_claims": .object(draft.requiredClaims.mapValues { .string($0) }),
            "authoritative_domains": .array(draft.authoritativeDomains.map { .string($0) }),
        ]
        members["jwks"] = draft.jwks
        members["jwks_uri"] = draft.jwksURI.map { .string($0) }
        return members
    }

    private static let members: KeyValuePairs<String, Schema> = [
        "name": .name, "status": .words(IdentityProviderRecord.Status.self).optional, "jwks": .map(of: .any).optional,
        "jwks_uri": .https.optional, "client_ids": .array(of: .string, 1...200),
        "required_claims": .map(of: .string).optional, "authoritative_domains": .array(of: .string).optional,
    ]

    private static let draftSchema = Schema.named("NewTrustedIssuer", .draft(members).adding(["issuer": .https]))

    private static let patch = Schema.named("TrustedIssuerPatch", .mergePatch(members))

    private static let schema = Schema.named(
        "TrustedIssuer",
        .object([
            "id": .id(IdentityProviderID.self), "name": .string, "issuer": .uri,
            "status": .words(IdentityProviderRecord.Status.self), "jwks": .map(of: .any).optional,
            "jwks_uri": .uri.optional, "client_ids": .array(of: .string), "required_claims": .map(of: .string),
            "authoritative_domains": .array(of: .string), "created_at": .time, "updated_at": .time,
        ]))

    private static func json(_ issuer: TrustedIssuer) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", issuer.id.description)
            json.string("name", issuer.provider.name)
            json.string("issuer", issuer.issuer)
            json.string("status", issuer.provider.status.rawValue)
            switch issuer.keys {
            case .given(let set): json.raw("jwks", set.json)
            case .published(let url): json.string("jwks_uri", url)
            }
            json.strings("client_ids", issuer.clients.map(\.description))
            json.object("required_claims") { json in
                for (name, value) in issuer.requiredClaims.sorted(by: { $0.key < $1.key }) { json.string(name, value) }
            }
            json.strings("authoritative_domains", issuer.provider.authoritativeDomains)
            json.time("created_at", issuer.provider.createdAt)
            json.time("updated_at", issuer.provider.updatedAt)
        }
    }
}
