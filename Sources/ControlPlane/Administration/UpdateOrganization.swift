import Audit
import Foundation
import Postgres
package import Tenancy

/// What an administrator wants changed about an organization; nil keeps a member.
package struct OrganizationUpdate: Sendable {
    package var name: String?
    package var refreshGraceSeconds: Int?
    package var grantIdleLifetimeSeconds: Int?
    package var grantLifetimeSeconds: Int?
    package var sessionLifetimeSeconds: Int?
    package var programmaticTokenLifetimeSeconds: Int?
    package var defaultResource = Patch<ResourceID>.keep
    package var approvalRequiredFor: [Client.Kind]?
    package var deviceAuthorization: Bool?

    package init() {}

    fileprivate func apply(to settings: inout OrganizationSettings) {
        settings.refreshGraceSeconds = refreshGraceSeconds ?? settings.refreshGraceSeconds
        settings.grantIdleLifetimeSeconds = grantIdleLifetimeSeconds ?? settings.grantIdleLifetimeSeconds
        settings.grantLifetimeSeconds = grantLifetimeSeconds ?? settings.grantLifetimeSeconds
        settings.sessionLifetimeSeconds = sessionLifetimeSeconds ?? settings.sessionLifetimeSeconds
        settings.programmaticTokenLifetimeSeconds =
            programmaticTokenLifetimeSeconds ?? settings.programmaticTokenLifetimeSeconds
        settings.defaultResource = defaultResource.applied(to: settings.defaultResource)
        settings.approvalRequiredFor = approvalRequiredFor ?? settings.approvalRequiredFor
        settings.deviceAuthorization = deviceAuthorization ?? settings.deviceAuthorization
    }
}

extension Administration {
    package func updateOrganization(
        _ id: OrganizationID, _ update: OrganizationUpdate, if condition: VersionCondition,
        by administrator: Administrator
    ) async throws -> Administered<Organization> {
        try await retryingLostUpdates(condition) {
            let old = try await organization(id)
            try condition.check(old.version)
            var new = old
            new.name = update.name ?? old.name
            update.apply(to: &new.settings)
            try await check(new)
            let wanted = new
            return try await administer(id, by: administrator) { transaction in
                guard let stored = try await organizations.update(wanted, at: administrator.now, in: transaction) else {
                    throw LostUpdate()
                }
                return AdminChange(
                    value: stored, type: old.settings == stored.settings ? .orgUpdated : .tenantSettingsChanged,
                    target: stored.auditTarget, changes: .between(old.facts, stored.facts), isCached: true)
            }
        }
    }

    private func check(_ organization: Organization) async throws {
        var checks = FieldChecks()
        let settings = organization.settings
        checks.name(organization.name, "/name")
        checks.range(settings.refreshGraceSeconds, 0...30, "/settings/refresh_grace_seconds")
        checks.range(settings.grantLifetimeSeconds, 3_600...(5 * 366 * 86_400), "/settings/grant_lifetime_seconds")
        checks.range(
            settings.grantIdleLifetimeSeconds, 600...(5 * 366 * 86_400), "/settings/grant_idle_lifetime_seconds")
        checks.range(settings.sessionLifetimeSeconds, 60...(30 * 86_400), "/settings/session_lifetime_seconds")
        checks.range(
            settings.programmaticTokenLifetimeSeconds, 60...(366 * 86_400),
            "/settings/programmatic_token_lifetime_seconds")
        if let resource = settings.defaultResource,
            try await !usableResources(of: organization.id).contains(where: { $0.id == resource })
        {
            checks.add(.unknown("/settings/default_resource"))
        }
        try checks.finish()
    }
}
