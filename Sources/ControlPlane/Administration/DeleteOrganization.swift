import Audit
import Foundation
import Postgres
package import Tenancy

extension Administration {
    /// The first step of a deletion: the organization is gone for everybody at once, and can be restored for a while.
    package func deleteOrganization(
        _ id: OrganizationID, if condition: VersionCondition, by administrator: Administrator
    ) async throws -> Administered<Organization> {
        guard administrator.isPlatform else { throw AdminError.platformOnly }
        return try await retryingLostUpdates(condition) {
            let old = try await organization(id)
            try condition.check(old.version)
            let grace = try await organization(.platform).settings.deletionGraceSeconds
            return try await administer(id, by: administrator) { transaction in
                guard
                    let deleted = try await organizations.delete(
                        old, until: administrator.now + Double(grace), at: administrator.now, in: transaction)
                else { throw LostUpdate() }
                return AdminChange(
                    value: deleted, type: .orgDeleted, target: deleted.auditTarget,
                    changes: .between(old.facts, deleted.facts), isCached: true)
            }
        }
    }

    /// Takes a deletion back, as long as nothing was erased.
    ///
    /// - Parameter name: id or slug.
    /// - Throws: ``AdminError/notFound`` for an organization that is not deleted; ``AdminError/conflict(_:)`` when the time
    ///   of grace is over.
    package func restoreOrganization(
        named name: String, by administrator: Administrator
    ) async throws -> Administered<Organization> {
        guard administrator.isPlatform else { throw AdminError.platformOnly }
        guard let id = try await organizationID(named: name), let old = try await organizations.find(id),
            old.status == .deleted
        else { throw AdminError.notFound }
        return try await administer(id, by: administrator) { transaction in
            guard let restored = try await organizations.restore(id, at: administrator.now, in: transaction) else {
                throw AdminError.conflict("The time in which this organization could be restored is over.")
            }
            return AdminChange(
                value: restored, type: .orgRestored, target: restored.auditTarget,
                changes: .between(old.facts, restored.facts), isCached: true)
        }
    }

    /// An organization by id or slug, whatever its status; the platform's own is none.
    package func organizationID(named text: String) async throws -> OrganizationID? {
        if let id = OrganizationID(text) { return id == .platform ? nil : id }
        guard Organization.isValid(slug: text) else { return nil }
        return try await catalog.organization(slug: text)
    }
}
