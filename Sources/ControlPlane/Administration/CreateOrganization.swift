import Audit
import Foundation
import Keys
import Postgres
package import Tenancy

extension Administration {
    /// Makes an organization that can be used at once: its data key, signing keys, and a policy that lets everyone read.
    ///
    /// - Throws: ``AdminError/conflict(_:)`` for a slug that is, or ever was, somebody's.
    package func createOrganization(
        slug: String, name: String, by administrator: Administrator
    ) async throws -> Administered<Organization> {
        var checks = FieldChecks()
        checks.require(
            Organization.isValid(slug: slug), "/slug", "invalid",
            "A slug has 2 to 63 characters of a-z, 0-9 and -, no - at its ends, and is no word the platform keeps.")
        checks.name(name, "/name")
        try checks.finish()
        let now = administrator.now
        let organization = try newOrganization(OrganizationID.make(at: now, random), slug: slug, name: name, at: now)
        let keys = [
            try await newSigningKey(.es256, for: .access, of: organization, at: now),
            try await newSigningKey(.es256, for: .programmatic, of: organization, at: now),
        ]
        let everyoneReads = ScopePolicyStatement(
            id: ScopePolicyID.make(at: now, random), name: "everyone-read", effect: .allow,
            principals: ScopePolicyStatement.Principals(everyone: true), clients: ScopePolicyStatement.Clients(),
            resources: [], scopes: ["read"], conditions: ScopePolicyStatement.Conditions(), version: 1, createdAt: now,
            updatedAt: now)
        return try await administer(organization.id, by: administrator) { transaction in
            guard try await organizations.insert(organization, in: transaction) else {
                throw AdminError.conflict(
                    "This slug is taken, or was once; slugs are never used twice. Choose another.")
            }
            for key in keys { try await signingKeys.insert(key, in: transaction) }
            _ = try await policies.insert(everyoneReads, of: organization.id, in: transaction)
            return AdminChange(
                value: organization, type: .orgCreated, target: organization.auditTarget,
                changes: .between([:], organization.facts),
                metadata: ["signing_keys": keys.map(\.id.description).joined(separator: " ")],
                isCached: false)
        }
    }

    func newOrganization(_ id: OrganizationID, slug: String, name: String, at now: Date) throws -> Organization {
        Organization(
            id: id, slug: slug, name: name, status: .active, wrappedDataKey: try secrets.makeDataKey(for: id),
            settings: OrganizationSettings(), version: 1, createdAt: now, updatedAt: now)
    }
}

extension Organization {
    var auditTarget: AuditEvent.Target { AuditEvent.Target(type: "organization", id: id.description, name: name) }

    var facts: Facts {
        var facts: Facts = [
            "slug": .string(slug), "name": .string(name), "status": .string(status.rawValue),
            "settings.refresh_grace_seconds": .int(settings.refreshGraceSeconds),
            "settings.grant_idle_lifetime_seconds": .int(settings.grantIdleLifetimeSeconds),
            "settings.grant_lifetime_seconds": .int(settings.grantLifetimeSeconds),
            "settings.session_lifetime_seconds": .int(settings.sessionLifetimeSeconds),
            "settings.programmatic_token_lifetime_seconds": .int(settings.programmaticTokenLifetimeSeconds),
            "settings.approval_required_for": .texts(settings.approvalRequiredFor.map(\.rawValue)),
        ]
        let onboarding = settings.onboarding
        facts["settings.onboarding.registration"] = .string(onboarding.registration.rawValue)
        facts["settings.onboarding.metadata_documents"] = .string(onboarding.metadataDocuments.rawValue)
        facts["settings.onboarding.allowed_document_hosts"] = .texts(onboarding.allowedDocumentHosts)
        facts["settings.onboarding.denied_document_hosts"] = .texts(onboarding.deniedDocumentHosts)
        facts["settings.onboarding.allowed_redirect_hosts"] = .texts(onboarding.allowedRedirectHosts)
        facts["settings.onboarding.denied_redirect_hosts"] = .texts(onboarding.deniedRedirectHosts)
        facts["settings.device_authorization"] = .bool(settings.deviceAuthorization)
        facts["settings.session_idle_lifetime_seconds"] = settings.sessionIdleLifetimeSeconds.map { .int($0) }
        facts["settings.max_authentication_age_seconds"] = settings.maxAuthenticationAgeSeconds.map { .int($0) }
        facts["settings.mfa_required"] = .bool(settings.mfaRequired)
        facts["settings.admission"] = .string(settings.admission.rawValue)
        facts["settings.consent"] = .string(settings.consent.rawValue)
        if id == .platform { facts["settings.deletion_grace_seconds"] = .int(settings.deletionGraceSeconds) }
        facts["deletes_at"] = .time(deletion?.deletesAt)
        facts["settings.default_resource"] = .text(settings.defaultResource?.description)
        return facts
    }
}
