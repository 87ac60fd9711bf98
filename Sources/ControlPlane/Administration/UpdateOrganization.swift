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
    package var sessionIdleLifetimeSeconds = Patch<Int>.keep
    package var maxAuthenticationAgeSeconds = Patch<Int>.keep
    package var mfaRequired: Bool?
    package var admission: OrganizationSettings.Admission?
    package var consent: OrganizationSettings.Consent?
    package var deletionGraceSeconds: Int?
    package var programmaticTokenLifetimeSeconds: Int?
    package var defaultResource = Patch<ResourceID>.keep
    package var approvalRequiredFor: [Client.Kind]?
    package var deviceAuthorization: Bool?
    package var registration: OnboardingSettings.Registration?
    package var metadataDocuments: OnboardingSettings.Documents?
    package var allowedDocumentHosts: [String]?
    package var deniedDocumentHosts: [String]?
    package var allowedRedirectHosts: [String]?
    package var deniedRedirectHosts: [String]?

    package init() {}

    fileprivate func apply(to settings: inout OrganizationSettings) {
        settings.refreshGraceSeconds = refreshGraceSeconds ?? settings.refreshGraceSeconds
        settings.grantIdleLifetimeSeconds = grantIdleLifetimeSeconds ?? settings.grantIdleLifetimeSeconds
        settings.grantLifetimeSeconds = grantLifetimeSeconds ?? settings.grantLifetimeSeconds
        settings.sessionLifetimeSeconds = sessionLifetimeSeconds ?? settings.sessionLifetimeSeconds
        settings.sessionIdleLifetimeSeconds = sessionIdleLifetimeSeconds.applied(
            to: settings.sessionIdleLifetimeSeconds)
        settings.maxAuthenticationAgeSeconds = maxAuthenticationAgeSeconds.applied(
            to: settings.maxAuthenticationAgeSeconds)
        settings.mfaRequired = mfaRequired ?? settings.mfaRequired
        settings.admission = admission ?? settings.admission
        settings.consent = consent ?? settings.consent
        settings.deletionGraceSeconds = deletionGraceSeconds ?? settings.deletionGraceSeconds
        settings.programmaticTokenLifetimeSeconds =
            programmaticTokenLifetimeSeconds ?? settings.programmaticTokenLifetimeSeconds
        settings.defaultResource = defaultResource.applied(to: settings.defaultResource)
        settings.approvalRequiredFor = approvalRequiredFor ?? settings.approvalRequiredFor
        settings.deviceAuthorization = deviceAuthorization ?? settings.deviceAuthorization
        apply(to: &settings.onboarding)
    }

    private func apply(to onboarding: inout OnboardingSettings) {
        onboarding.registration = registration ?? onboarding.registration
        onboarding.metadataDocuments = metadataDocuments ?? onboarding.metadataDocuments
        onboarding.allowedDocumentHosts = allowedDocumentHosts ?? onboarding.allowedDocumentHosts
        onboarding.deniedDocumentHosts = deniedDocumentHosts ?? onboarding.deniedDocumentHosts
        onboarding.allowedRedirectHosts = allowedRedirectHosts ?? onboarding.allowedRedirectHosts
        onboarding.deniedRedirectHosts = deniedRedirectHosts ?? onboarding.deniedRedirectHosts
    }
}

extension Administration {
    /// - Parameter pointer: where the settings stand in the caller's document, for what is wrong with them.
    package func updateOrganization(
        _ id: OrganizationID, _ update: OrganizationUpdate, settingsAt pointer: String = "/settings",
        if condition: VersionCondition, by administrator: Administrator
    ) async throws -> Administered<Organization> {
        try await retryingLostUpdates(condition) {
            let old = try await organization(id)
            try condition.check(old.version)
            var new = old
            new.name = update.name ?? old.name
            update.apply(to: &new.settings)
            try await check(new, update, settingsAt: pointer)
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

    private func check(
        _ organization: Organization, _ update: OrganizationUpdate, settingsAt pointer: String
    ) async throws {
        var checks = FieldChecks()
        let settings = organization.settings
        checks.name(organization.name, "/name")
        checks.range(settings.refreshGraceSeconds, 0...30, "\(pointer)/refresh_grace_seconds")
        checks.range(settings.grantLifetimeSeconds, 3_600...(5 * 366 * 86_400), "\(pointer)/grant_lifetime_seconds")
        checks.range(
            settings.grantIdleLifetimeSeconds, 600...(5 * 366 * 86_400), "\(pointer)/grant_idle_lifetime_seconds")
        checks.range(settings.sessionLifetimeSeconds, 60...(30 * 86_400), "\(pointer)/session_lifetime_seconds")
        if let seconds = settings.sessionIdleLifetimeSeconds {
            checks.range(seconds, 300...(30 * 86_400), "\(pointer)/session_idle_lifetime_seconds")
        }
        if let seconds = settings.maxAuthenticationAgeSeconds {
            checks.range(seconds, 60...(30 * 86_400), "\(pointer)/max_authentication_age_seconds")
        }
        checks.range(settings.deletionGraceSeconds, 0...(366 * 86_400), "\(pointer)/deletion_grace_seconds")
        checks.require(
            update.deletionGraceSeconds == nil || organization.id == .platform, "\(pointer)/deletion_grace_seconds",
            "platform_only", "This is the platform's to decide, at /v1/settings.")
        checks.range(
            settings.programmaticTokenLifetimeSeconds, 60...(366 * 86_400),
            "\(pointer)/programmatic_token_lifetime_seconds")
        let onboarding = settings.onboarding
        checks.hosts(onboarding.allowedDocumentHosts, "\(pointer)/onboarding/allowed_document_hosts")
        checks.hosts(onboarding.deniedDocumentHosts, "\(pointer)/onboarding/denied_document_hosts")
        checks.hosts(onboarding.allowedRedirectHosts, "\(pointer)/onboarding/allowed_redirect_hosts")
        checks.hosts(onboarding.deniedRedirectHosts, "\(pointer)/onboarding/denied_redirect_hosts")
        // What is gone since it was set keeps nobody from changing something else.
        if case .set(let resource) = update.defaultResource,
            try await !usableResources(of: organization.id).contains(where: { $0.id == resource })
        {
            checks.add(.unknown("\(pointer)/default_resource"))
        }
        try checks.finish()
    }
}

extension FieldChecks {
    fileprivate mutating func hosts(_ hosts: [String], _ pointer: String) {
        require(hosts.count <= 200, pointer, "too_many", "A list has at most 200 hosts.")
        for (index, host) in hosts.enumerated() {
            require(
                HostPattern(host) != nil, "\(pointer)/\(index)", "invalid",
                "This must be a host in lower case, or *. and the end of one.")
        }
    }
}
