import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/organizations/{org}/client-approvals`: what the organization decided about the clients it met.
struct ClientApprovalsEndpoint: Sendable {
    let administration: Administration
    let documents: ClientDocuments

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "client-approvals", .clientsRead, in: .organization, use: list,
            as: .list("listClientApprovals", "What the organization decided about the clients it met", of: Self.schema))
        table.post(
            "client-approvals", .clientsWrite, in: .organization, use: create,
            as: .create(
                "createClientApproval", "Approve a client before anybody came with it", from: Self.draft,
                to: Self.schema))
        table.get(
            "client-approvals/{client}", .clientsRead, in: .organization, use: get,
            as: .read("getClientApproval", "One decision", Self.schema))
        table.post(
            "client-approvals/{client}:approve", .clientsWrite, in: .organization, use: approve,
            as: .act("approveClient", "Let people connect with a client", from: Self.shown, to: Self.schema))
        table.post(
            "client-approvals/{client}:deny", .clientsWrite, in: .organization, use: deny,
            as: .act("denyClient", "Keep a client out; every connection made with it ends", to: Self.schema))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "client-approvals")
        let rows = try await administration.approvals(request.page, of: call.organization.id)
        return request.reply(rows, id: \.admission.client.uuid, Self.json)
    }

    /// Approves a client before anybody of the organization came with it: by its id, or by the URL of its document.
    private func create(_ call: AdminCall) async throws -> Response {
        var members = try await call.body()
        let clientID = members.requiredString("client_id")
        let digest = members.string("document_digest")
        try members.finish()
        return try await call.write { administrator in
            try await administration.approveClient(
                named: clientID, shownAs: digest, using: documents, in: call.organization.id, by: administrator)
        } reply: { done in
            .created(done.value.admission.client.description, Self.json(done.value))
        }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        call.reply(
            unversioned: Self.json(try await administration.approval(of: call.id("client"), by: call.organization.id)))
    }

    private func approve(_ call: AdminCall) async throws -> Response {
        var members = try await call.optionalBody()
        let digest = members?.string("document_digest")
        try members?.finish()
        return try await call.write { administrator in
            try await administration.approveClient(
                call.id("client"), shownAs: digest, in: call.organization.id, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value))
        }
    }

    private func deny(_ call: AdminCall) async throws -> Response {
        try await call.noBody()
        return try await call.write { administrator in
            try await administration.denyClient(
                call.id("client"), in: call.organization.id, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value))
        }
    }

    private static let schema = Schema.named(
        "ClientApproval",
        .object([
            "id": .id(ClientID.self), "client_id": .string.nullable, "name": .string.nullable,
            "kind": .words(Client.Kind.self).nullable, "redirect_uris": .array(of: .string).nullable,
            "document_digest": .string.nullable, "registry": .words("platform", "organization"),
            "status": .words(ClientAdmission.Status.self),
            "created_at": .time,
        ]))

    private static let draft = Schema.named(
        "NewClientApproval",
        .draft([
            "client_id": .string.said("Its id, or the URL of its metadata document."),
            "document_digest": .string.optional.said(
                "Of the only document that is meant; whatever it says by now unless given."),
        ]))

    private static let shown = Schema.named(
        "ClientApprovalShown",
        .draft([
            "document_digest": .string.optional.said(
                "As the approval showed it; required of a client that is a document.")
        ]))

    private static func json(_ approval: Administration.Approval) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", approval.admission.client.description)
            json.optional("client_id", approval.client?.wireID)
            json.optional("name", approval.client?.name)
            json.optional("kind", approval.client?.kind.rawValue)
            json.optional("redirect_uris", approval.client?.redirectURIs)
            json.optional("document_digest", approval.client?.document.map { Base64URL.encode($0.digest) })
            json.string("registry", approval.admission.registry == .platform ? "platform" : "organization")
            json.string("status", approval.admission.status.rawValue)
            json.time("created_at", approval.admission.createdAt)
        }
    }
}
