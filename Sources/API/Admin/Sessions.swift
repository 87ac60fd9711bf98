import ControlPlane
import Foundation
import Hummingbird
import Keys
import Tenancy

/// `/v1/organizations/{org}/sessions`: browsers in which somebody is, or was, signed in.
struct SessionsEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "sessions", .usersRead, in: .organization, use: list,
            as: .list(
                "listSessions", "Browsers in which somebody is, or was, signed in", of: Self.schema,
                filters: ["user": .id(UserID.self)]))
        table.get(
            "sessions/{session}", .usersRead, in: .organization, use: get,
            as: .read("getSession", "One session", Self.schema))
        table.post(
            "sessions/{session}:revoke", .usersWrite, in: .organization, use: revoke,
            as: .act("revokeSession", "Sign a browser out; what was connected goes on", to: Self.schema))
    }

    private static let schema = Schema.named(
        "Session",
        .object([
            "id": .id(SessionID.self), "user": .id(UserID.self), "identity_provider": .id(IdentityProviderID.self),
            "status": .words("active", "expired", "revoked"), "mfa": .bool, "auth_time": .time, "created_at": .time,
            "last_used_at": .time.nullable, "expires_at": .time, "revoked_at": .time.nullable,
        ]))

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "sessions", filters: ["user"])
        let rows = try await administration.sessions.list(
            request.page, of: call.organization.id, user: request.id("user"))
        return request.reply(rows, id: \.id.uuid) { Self.json($0, of: call.organization, at: call.administrator.now) }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        let session = try await administration.session(call.id("session"), of: call.organization.id)
        return call.reply(unversioned: Self.json(session, of: call.organization, at: call.administrator.now))
    }

    private func revoke(_ call: AdminCall) async throws -> Response {
        try await call.noBody()
        let (organization, now) = (call.organization, call.administrator.now)
        return try await call.write { administrator in
            try await administration.revokeSession(call.id("session"), in: organization.id, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value, of: organization, at: now))
        }
    }

    private static func json(_ session: Session, of organization: Organization, at now: Date) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", session.id.description)
            json.string("user", session.user.description)
            json.string("identity_provider", session.identityProvider.description)
            let isActive = session.isAccepted(under: organization.settings, at: now)
            json.string("status", session.revokedAt != nil ? "revoked" : isActive ? "active" : "expired")
            json.bool("mfa", session.mfa)
            json.time("auth_time", session.authTime)
            json.time("created_at", session.createdAt)
            json.optional("last_used_at", time: session.lastUsedAt)
            json.time("expires_at", session.expiresAt)
            json.optional("revoked_at", time: session.revokedAt)
        }
    }
}
