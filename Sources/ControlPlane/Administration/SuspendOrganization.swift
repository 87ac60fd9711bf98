import Audit
import Foundation
import Postgres
package import Tenancy

extension Administration {
    /// Stops everything an organization's issuer does; tokens verified offline live until they expire.
    package func suspendOrganization(
        _ id: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<Organization> {
        try await setStatus(.suspended, of: id, as: .orgSuspended, by: administrator)
    }

    package func resumeOrganization(
        _ id: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<Organization> {
        try await setStatus(.active, of: id, as: .orgResumed, by: administrator)
    }

    private func setStatus(
        _ status: Organization.Status, of id: OrganizationID, as type: AuditEventType, by administrator: Administrator
    ) async throws -> Administered<Organization> {
        guard administrator.isPlatform else { throw AdminError.platformOnly }
        return try await retryingLostUpdates(.any) {
            let old = try await organization(id)
            var new = old
            new.status = status
            let wanted = new
            return try await administer(id, by: administrator) { transaction in
                guard let stored = try await organizations.update(wanted, at: administrator.now, in: transaction) else {
                    throw LostUpdate()
                }
                return AdminChange(
                    value: stored, type: type, target: stored.auditTarget,
                    changes: .between(old.facts, stored.facts), isCached: true)
            }
        }
    }
}
