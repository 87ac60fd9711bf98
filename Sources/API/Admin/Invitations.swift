import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/organizations/{org}/invitations`
struct InvitationsEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "invitations", .invitationsRead, in: .organization, use: list,
            as: .list("listInvitations", "Invitations", of: Self.schema))
        table.post(
            "invitations", .invitationsWrite, in: .organization, use: create,
            as: .create(
                "createInvitation", "Open a way in for one address; the link is shown once", from: Self.draft,
                to: Self.made))
        table.get(
            "invitations/{invitation}", .invitationsRead, in: .organization, use: get,
            as: .read("getInvitation", "One invitation", Self.schema))
        table.post(
            "invitations/{invitation}:resend", .invitationsWrite, in: .organization, use: resend,
            as: .act(
                "resendInvitation", "Make a new link, shown once; the old one opens nothing any more",
                from: Self.again, to: Self.made
            ).said(
                "For invitations that nobody accepted or revoked, expired ones too. Its maker has to be able to give all "
                    + "that it gives."))
        table.delete(
            "invitations/{invitation}", .invitationsWrite, in: .organization, use: revoke,
            as: .remove("revokeInvitation", "End an invitation"))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "invitations")
        let rows = try await administration.users.invitations(request.page, of: call.organization.id)
        return request.reply(rows, id: \.id.uuid) { Self.json($0) }
    }

    private func create(_ call: AdminCall) async throws -> Response {
        var members = try await call.body()
        let email = members.requiredString("email")
        let name = members.string("name")
        let groups = members.ids("groups", of: GroupID.self) ?? []
        let roles = members.ids("roles", of: RoleID.self) ?? []
        let lifetime = members.integer("expires_in_seconds")
        try members.finish()
        return try await call.write { administrator in
            try await administration.createInvitation(
                email: email, name: name, groups: groups, roles: roles, lifetimeSeconds: lifetime,
                in: call.organization.id, by: administrator)
        } reply: { made in
            let invitation = made.value.invitation
            return .created(
                invitation.id.description, Self.json(invitation, link: made.shown(made.value.link)))
        }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        call.reply(
            unversioned: Self.json(try await administration.invitation(call.id("invitation"), of: call.organization.id))
        )
    }

    private func resend(_ call: AdminCall) async throws -> Response {
        let id = try call.id("invitation", of: InvitationID.self)
        var lifetime: Int?
        if var members = try await call.optionalBody() {
            lifetime = members.integer("expires_in_seconds")
            try members.finish()
        }
        return try await call.write { [lifetime] administrator in
            try await administration.resendInvitation(
                id, lifetimeSeconds: lifetime, in: call.organization.id, by: administrator)
        } reply: { made in
            .ok(Self.json(made.value.invitation, link: made.shown(made.value.link)))
        }
    }

    private func revoke(_ call: AdminCall) async throws -> Response {
        return try await call.write { administrator in
            try await administration.revokeInvitation(
                call.id("invitation"), in: call.organization.id, by: administrator)
        } reply: { _ in
            .deleted
        }
    }

    private static let schema = Schema.named(
        "Invitation",
        .object([
            "id": .id(InvitationID.self), "email": .string, "name": .string.nullable,
            "groups": .array(of: .id(GroupID.self)), "roles": .array(of: .id(RoleID.self)), "created_by": .string,
            "created_at": .time, "expires_at": .time, "accepted_at": .time.nullable, "revoked_at": .time.nullable,
        ]))

    private static let made = Schema.named(
        "IssuedInvitation", schema.adding(["link": .uri.optional.said("Shown once.")]))

    private static let draft = Schema.named(
        "NewInvitation",
        .draft([
            "email": .email, "name": .name.optional,
            "groups": .array(of: .id(GroupID.self), 0...50).optional.said("What whoever accepts it gets."),
            "roles": .array(of: .id(RoleID.self), 0...50).optional,
            "expires_in_seconds": .integer(Administration.invitationLifetime.allowed).optional,
        ]))

    private static let again = Schema.named(
        "InvitationAgain",
        .draft(["expires_in_seconds": .integer(Administration.invitationLifetime.allowed).optional]))

    /// - Parameter link: told once, in the reply that made it.
    private static func json(_ invitation: Invitation, link: Secret? = nil) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", invitation.id.description)
            json.string("email", invitation.email)
            json.optional("name", invitation.name)
            json.strings("groups", invitation.groups.map(\.description))
            json.strings("roles", invitation.roles.map(\.description))
            if let link { json.string("link", link.revealed) }
            json.string("created_by", invitation.createdBy)
            json.time("created_at", invitation.createdAt)
            json.time("expires_at", invitation.expiresAt)
            json.optional("accepted_at", time: invitation.acceptedAt)
            json.optional("revoked_at", time: invitation.revokedAt)
        }
    }
}
