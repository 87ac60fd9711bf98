import Audit
import Foundation
import Postgres
package import Tenancy

extension Administration {
    package var sessions: SessionStore { SessionStore(database: database) }

    package func session(_ id: SessionID, of organization: OrganizationID) async throws -> Session {
        guard let found = try await sessions.find(id, in: organization) else { throw AdminError.notFound }
        return found
    }

    /// Signs a browser out; what was connected from it goes on.
    ///
    /// - Throws: ``AdminError/conflict(_:)`` for one that ended before.
    package func revokeSession(
        _ id: SessionID, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<Session> {
        _ = try await session(id, of: organization)
        return try await administer(organization, by: administrator) { transaction in
            guard let ended = try await sessions.revoke(id, in: organization, at: administrator.now, transaction) else {
                throw AdminError.conflict("This session ended before.")
            }
            return AdminChange(
                value: ended, type: .sessionRevoked, target: AuditEvent.Target(type: "session", id: id.description),
                otherTargets: [AuditEvent.Target(type: "user", id: ended.user.description)], isCached: false)
        }
    }
}
