import ControlPlane
import Keys
import Tenancy

extension JSONWriter {
    /// The members of an organization's settings.
    mutating func settings(of organization: Organization) {
        let settings = organization.settings
        int("refresh_grace_seconds", settings.refreshGraceSeconds)
        int("grant_idle_lifetime_seconds", settings.grantIdleLifetimeSeconds)
        int("grant_lifetime_seconds", settings.grantLifetimeSeconds)
        int("session_lifetime_seconds", settings.sessionLifetimeSeconds)
        optional("session_idle_lifetime_seconds", settings.sessionIdleLifetimeSeconds)
        optional("max_authentication_age_seconds", settings.maxAuthenticationAgeSeconds)
        bool("mfa_required", settings.mfaRequired)
        string("admission", settings.admission.rawValue)
        string("consent", settings.consent.rawValue)
        int("programmatic_token_lifetime_seconds", settings.programmaticTokenLifetimeSeconds)
        optional("default_resource", settings.defaultResource?.description)
        strings("approval_required_for", settings.approvalRequiredFor.map(\.rawValue))
        bool("device_authorization", settings.deviceAuthorization)
        object("onboarding") { $0.onboarding(settings.onboarding) }
        if organization.id == .platform { int("deletion_grace_seconds", settings.deletionGraceSeconds) }
    }

    private mutating func onboarding(_ onboarding: OnboardingSettings) {
        string("registration", onboarding.registration.rawValue)
        string("metadata_documents", onboarding.metadataDocuments.rawValue)
        strings("allowed_document_hosts", onboarding.allowedDocumentHosts)
        strings("denied_document_hosts", onboarding.deniedDocumentHosts)
        strings("allowed_redirect_hosts", onboarding.allowedRedirectHosts)
        strings("denied_redirect_hosts", onboarding.deniedRedirectHosts)
    }

    private mutating func optional(_ name: String, _ number: Int?) {
        if let number { int(name, number) } else { null(name) }
    }
}

extension Members {
    /// The members of an organization's settings, as far as they are there.
    mutating func settings(_ update: inout OrganizationUpdate) {
        update.refreshGraceSeconds = integer("refresh_grace_seconds")
        update.grantIdleLifetimeSeconds = integer("grant_idle_lifetime_seconds")
        update.grantLifetimeSeconds = integer("grant_lifetime_seconds")
        update.sessionLifetimeSeconds = integer("session_lifetime_seconds")
        update.sessionIdleLifetimeSeconds = patch(integer: "session_idle_lifetime_seconds")
        update.maxAuthenticationAgeSeconds = patch(integer: "max_authentication_age_seconds")
        update.mfaRequired = bool("mfa_required")
        update.admission = word("admission")
        update.consent = word("consent")
        update.programmaticTokenLifetimeSeconds = integer("programmatic_token_lifetime_seconds")
        update.defaultResource = patch(id: "default_resource")
        update.approvalRequiredFor = words("approval_required_for")
        update.deviceAuthorization = bool("device_authorization")
        update.deletionGraceSeconds = integer("deletion_grace_seconds")
        _ = object("onboarding") { onboarding in
            update.registration = onboarding.word("registration")
            update.metadataDocuments = onboarding.word("metadata_documents")
            update.allowedDocumentHosts = onboarding.strings("allowed_document_hosts")
            update.deniedDocumentHosts = onboarding.strings("denied_document_hosts")
            update.allowedRedirectHosts = onboarding.strings("allowed_redirect_hosts")
            update.deniedRedirectHosts = onboarding.strings("denied_redirect_hosts")
        }
    }
}

/// The settings as the description of the API has them.
enum OrganizationSettingsSchema {
    static let reply = Schema.named(
        "OrganizationSettings", .object(members).adding(["onboarding": .object(onboarding)]))

    static let change = Schema.named(
        "OrganizationSettingsPatch", .patch(members).adding(["onboarding": .patch(onboarding).optional]))

    private static let hosts = Schema.array(of: .string(1...253), 0...200)

    private static let members: KeyValuePairs<String, Schema> = [
        "refresh_grace_seconds": .integer(0...30),
        "grant_idle_lifetime_seconds": .integer(600...(5 * 366 * 86_400)),
        "grant_lifetime_seconds": .integer(3_600...(5 * 366 * 86_400)),
        "session_lifetime_seconds": .integer(60...(30 * 86_400)),
        "session_idle_lifetime_seconds": .integer(300...(30 * 86_400)).nullable,
        "max_authentication_age_seconds": .integer(60...(30 * 86_400)).nullable,
        "mfa_required": .bool,
        "admission": .words(OrganizationSettings.Admission.self),
        "consent": .words(OrganizationSettings.Consent.self),
        "programmatic_token_lifetime_seconds": .integer(60...(366 * 86_400)),
        "default_resource": .id(ResourceID.self).nullable,
        "approval_required_for": .array(of: .words(Client.Kind.self)),
        "device_authorization": .bool,
        "deletion_grace_seconds": .integer(0...(366 * 86_400)).optional.said("The platform's alone."),
    ]

    private static let onboarding: KeyValuePairs<String, Schema> = [
        "registration": .words(OnboardingSettings.Registration.self),
        "metadata_documents": .words(OnboardingSettings.Documents.self),
        "allowed_document_hosts": hosts, "denied_document_hosts": hosts, "allowed_redirect_hosts": hosts,
        "denied_redirect_hosts": hosts,
    ]
}
