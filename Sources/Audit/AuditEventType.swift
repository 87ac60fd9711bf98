/// What happened: a closed catalogue, so that a misspelt name cannot be written and a reader can list them all.
///
/// The constant of a type is its name without dots and underscores: `token.reuse_detected` is ``tokenReuseDetected``.
package struct AuditEventType: RawRepresentable, Hashable, Sendable {
    /// The name in the log: `[a-z0-9_.]`, never renamed and never used for another thing.
    package let rawValue: String
    /// From 1, informational, to 5, critical (OCSF severity_id), when the act succeeded.
    package let severity: Int
    /// The name itself speaks of a failure, which ``severity`` then already counts.
    private let namesFailure: Bool

    private init(_ rawValue: String, _ severity: Int, namesFailure: Bool = false) {
        self.rawValue = rawValue
        self.severity = severity
        self.namesFailure = namesFailure
    }

    /// - Returns: nil for a name outside the catalogue.
    package init?(rawValue: String) {
        guard let known = Self.byName[rawValue] else { return nil }
        self = known
    }

    /// The severity of this act with this outcome: one more when it failed or was denied, at most 5.
    package func severity(of outcome: AuditEvent.Outcome) -> Int {
        switch outcome {
        case .success, .unknown: severity
        case .failure, .denied: namesFailure ? severity : min(severity + 1, 5)
        }
    }

    package static func == (left: Self, right: Self) -> Bool { left.rawValue == right.rawValue }
    package func hash(into hasher: inout Hasher) { hasher.combine(rawValue) }

    private static let byName = Dictionary(uniqueKeysWithValues: catalogue.map { ($0.rawValue, $0) })
}

// An organization and its settings.
extension AuditEventType {
    package static let orgCreated = AuditEventType("org.created", 1)
    package static let orgUpdated = AuditEventType("org.updated", 1)
    package static let orgSuspended = AuditEventType("org.suspended", 3)
    package static let orgResumed = AuditEventType("org.resumed", 3)
    package static let orgDeleted = AuditEventType("org.deleted", 4)
    package static let orgRestored = AuditEventType("org.restored", 4)
    package static let orgErased = AuditEventType("org.erased", 4)
    package static let orgDomainAdded = AuditEventType("org.domain_added", 2)
    package static let orgDomainVerified = AuditEventType("org.domain_verified", 3)
    package static let orgDomainRemoved = AuditEventType("org.domain_removed", 3)
    package static let tenantSettingsChanged = AuditEventType("tenant.settings_changed", 3)
}

// People.
extension AuditEventType {
    package static let userCreated = AuditEventType("user.created", 1)
    package static let userUpdated = AuditEventType("user.updated", 1)
    package static let userDeleted = AuditEventType("user.deleted", 2)
    package static let userDisabled = AuditEventType("user.disabled", 2)
    package static let userEnabled = AuditEventType("user.enabled", 2)
    package static let userLocked = AuditEventType("user.locked", 3)
    package static let userUnlocked = AuditEventType("user.unlocked", 2)
    package static let userPasswordChanged = AuditEventType("user.password_changed", 2)
    package static let userPasswordReset = AuditEventType("user.password_reset", 2)
    package static let userMfaEnrolled = AuditEventType("user.mfa_enrolled", 1)
    package static let userMfaRemoved = AuditEventType("user.mfa_removed", 3)
    package static let userRoleGranted = AuditEventType("user.role_granted", 2)
    package static let userRoleRevoked = AuditEventType("user.role_revoked", 2)
    package static let userIdentityLinked = AuditEventType("user.identity_linked", 2)
    package static let userIdentityUnlinked = AuditEventType("user.identity_unlinked", 2)
    package static let userErased = AuditEventType("user.erased", 3)
    package static let membershipAdded = AuditEventType("membership.added", 1)
    package static let membershipRemoved = AuditEventType("membership.removed", 1)
    package static let invitationCreated = AuditEventType("invitation.created", 2)
    package static let invitationResent = AuditEventType("invitation.resent", 2)
    package static let invitationAccepted = AuditEventType("invitation.accepted", 2)
    package static let invitationRevoked = AuditEventType("invitation.revoked", 2)
    package static let invitationExpired = AuditEventType("invitation.expired", 1)
    package static let groupCreated = AuditEventType("group.created", 2)
    package static let groupUpdated = AuditEventType("group.updated", 2)
    package static let groupDeleted = AuditEventType("group.deleted", 2)
    package static let roleCreated = AuditEventType("role.created", 3)
    package static let roleUpdated = AuditEventType("role.updated", 3)
    package static let roleDeleted = AuditEventType("role.deleted", 3)
}

// Clients and the organization's decision about them.
extension AuditEventType {
    package static let clientCreated = AuditEventType("client.created", 2)
    package static let clientUpdated = AuditEventType("client.updated", 2)
    package static let clientDeleted = AuditEventType("client.deleted", 2)
    package static let clientEnabled = AuditEventType("client.enabled", 2)
    package static let clientDisabled = AuditEventType("client.disabled", 3)
    package static let clientSecretRotated = AuditEventType("client.secret_rotated", 2)
    package static let clientSecretViewed = AuditEventType("client.secret_viewed", 3)
    package static let clientRedirectUrisChanged = AuditEventType("client.redirect_uris_changed", 3)
    package static let clientJwksChanged = AuditEventType("client.jwks_changed", 3)
    package static let clientRegistered = AuditEventType("client.registered", 2)
    package static let clientApproved = AuditEventType("client.approved", 2)
    package static let clientRejected = AuditEventType("client.rejected", 2)
    package static let clientAuthFailed = AuditEventType("client.auth_failed", 3, namesFailure: true)
    package static let initialAccessTokenCreated = AuditEventType("initial_access_token.created", 3)
    package static let initialAccessTokenRevoked = AuditEventType("initial_access_token.revoked", 2)
}

// Resources and policy.
extension AuditEventType {
    package static let scopeCreated = AuditEventType("scope.created", 2)
    package static let scopeUpdated = AuditEventType("scope.updated", 2)
    package static let scopeDeleted = AuditEventType("scope.deleted", 2)
    package static let resourceCreated = AuditEventType("resource.created", 2)
    package static let resourceUpdated = AuditEventType("resource.updated", 2)
    package static let resourceDeleted = AuditEventType("resource.deleted", 2)
    package static let resourceEnabled = AuditEventType("resource.enabled", 2)
    package static let resourceDisabled = AuditEventType("resource.disabled", 2)
    package static let resourceToolsImported = AuditEventType("resource.tools_imported", 2)
    package static let resourceCredentialCreated = AuditEventType("resource.credential_created", 2)
    package static let resourceCredentialDeleted = AuditEventType("resource.credential_deleted", 2)
    package static let policyCreated = AuditEventType("policy.created", 3)
    package static let policyUpdated = AuditEventType("policy.updated", 3)
    package static let policyDeleted = AuditEventType("policy.deleted", 3)
    package static let policyActivated = AuditEventType("policy.activated", 3)
    package static let policyDeactivated = AuditEventType("policy.deactivated", 3)
    package static let accessReviewCreated = AuditEventType("access_review.created", 2)
    package static let policyDenied = AuditEventType("policy.denied", 2, namesFailure: true)
}

// Upstream identity providers.
extension AuditEventType {
    package static let identityProviderCreated = AuditEventType("identity_provider.created", 3)
    package static let identityProviderUpdated = AuditEventType("identity_provider.updated", 3)
    package static let identityProviderDeleted = AuditEventType("identity_provider.deleted", 3)
    package static let identityProviderTested = AuditEventType("identity_provider.tested", 1)
    package static let identityProviderCertExpiring = AuditEventType("identity_provider.cert_expiring", 3)
}

// Signing in.
extension AuditEventType {
    package static let loginStarted = AuditEventType("login.started", 1)
    package static let loginSucceeded = AuditEventType("login.succeeded", 1)
    package static let loginFailed = AuditEventType("login.failed", 2, namesFailure: true)
    package static let loginMfaChallenged = AuditEventType("login.mfa_challenged", 1)
    package static let loginMfaFailed = AuditEventType("login.mfa_failed", 3, namesFailure: true)
    package static let loginThrottled = AuditEventType("login.throttled", 3, namesFailure: true)
    package static let logout = AuditEventType("logout", 1)
    package static let sessionRevoked = AuditEventType("session.revoked", 2)
    package static let sessionImpersonated = AuditEventType("session.impersonated", 4)
}

// Authorization.
extension AuditEventType {
    package static let authorizeRequested = AuditEventType("authorize.requested", 1)
    package static let authorizeParAccepted = AuditEventType("authorize.par_accepted", 1)
    package static let authorizeGranted = AuditEventType("authorize.granted", 1)
    package static let authorizeDenied = AuditEventType("authorize.denied", 2, namesFailure: true)
    package static let authorizeCodeReplayed = AuditEventType("authorize.code_replayed", 4, namesFailure: true)
    package static let authorizeRedirectMismatch = AuditEventType("authorize.redirect_mismatch", 3, namesFailure: true)
    package static let authorizePkceFailed = AuditEventType("authorize.pkce_failed", 3, namesFailure: true)
    package static let consentGranted = AuditEventType("consent.granted", 1)
    package static let consentUpdated = AuditEventType("consent.updated", 1)
    package static let consentRevoked = AuditEventType("consent.revoked", 1)
    package static let grantCreated = AuditEventType("grant.created", 1)
    package static let grantUpdated = AuditEventType("grant.updated", 1)
    package static let grantRevoked = AuditEventType("grant.revoked", 2)
    package static let grantExpired = AuditEventType("grant.expired", 1)
    package static let deviceCodeIssued = AuditEventType("device.code_issued", 1)
    package static let deviceApproved = AuditEventType("device.approved", 1)
    package static let deviceDenied = AuditEventType("device.denied", 2, namesFailure: true)
}

// Tokens.
extension AuditEventType {
    package static let tokenIssued = AuditEventType("token.issued", 1)
    package static let tokenRefreshed = AuditEventType("token.refreshed", 1)
    package static let tokenDenied = AuditEventType("token.denied", 2, namesFailure: true)
    package static let tokenExchanged = AuditEventType("token.exchanged", 2)
    package static let tokenRevoked = AuditEventType("token.revoked", 2)
    package static let tokenReuseDetected = AuditEventType("token.reuse_detected", 4, namesFailure: true)
    package static let tokenIntrospected = AuditEventType("token.introspected", 1)
    package static let tokenDpopFailed = AuditEventType("token.dpop_failed", 3, namesFailure: true)
    package static let accessTokenCreated = AuditEventType("access_token.created", 2)
    package static let accessTokenCreatedForOther = AuditEventType("access_token.created_for_other", 4)
    package static let accessTokenRevoked = AuditEventType("access_token.revoked", 2)
    package static let accessTokenExpired = AuditEventType("access_token.expired", 1)
}

// Administration.
extension AuditEventType {
    package static let adminKeyCreated = AuditEventType("admin_key.created", 3)
    package static let adminKeyRotated = AuditEventType("admin_key.rotated", 3)
    package static let adminKeyUsedFirst = AuditEventType("admin_key.used_first", 1)
    package static let adminKeyUsedNewIp = AuditEventType("admin_key.used_new_ip", 3)
    package static let adminKeyRevoked = AuditEventType("admin_key.revoked", 2)
    package static let adminKeyExpired = AuditEventType("admin_key.expired", 2)
    package static let adminKeyAuthFailed = AuditEventType("admin_key.auth_failed", 3, namesFailure: true)
    package static let scimTokenCreated = AuditEventType("scim_token.created", 3)
    package static let scimTokenRevoked = AuditEventType("scim_token.revoked", 2)
    package static let scimTokenAuthFailed = AuditEventType("scim_token.auth_failed", 3, namesFailure: true)
    package static let adminApiCalled = AuditEventType("admin.api_called", 1)
    package static let adminAccessDenied = AuditEventType("admin.access_denied", 3, namesFailure: true)
    package static let operationFinished = AuditEventType("operation.finished", 1)
}

// Signing keys.
extension AuditEventType {
    package static let signingKeyGenerated = AuditEventType("signing_key.generated", 3)
    package static let signingKeyImported = AuditEventType("signing_key.imported", 3)
    package static let signingKeyActivated = AuditEventType("signing_key.activated", 3)
    package static let signingKeyRotated = AuditEventType("signing_key.rotated", 3)
    package static let signingKeyRetired = AuditEventType("signing_key.retired", 3)
    package static let signingKeyCompromised = AuditEventType("signing_key.compromised", 5)
    package static let signingKeyDeleted = AuditEventType("signing_key.deleted", 4)
}

// The log itself.
extension AuditEventType {
    package static let auditRead = AuditEventType("audit.read", 1)
    package static let auditSearched = AuditEventType("audit.searched", 1)
    package static let auditExportRequested = AuditEventType("audit.export.requested", 2)
    package static let auditExportCompleted = AuditEventType("audit.export.completed", 1)
    package static let auditExportFailed = AuditEventType("audit.export.failed", 3, namesFailure: true)
    package static let auditExportDownloaded = AuditEventType("audit.export.downloaded", 2)
    package static let auditExportExpired = AuditEventType("audit.export.expired", 1)
    package static let auditExportCancelled = AuditEventType("audit.export.cancelled", 1)
    package static let auditStreamCreated = AuditEventType("audit.stream.created", 3)
    package static let auditStreamUpdated = AuditEventType("audit.stream.updated", 3)
    package static let auditStreamDeleted = AuditEventType("audit.stream.deleted", 3)
    package static let auditStreamPaused = AuditEventType("audit.stream.paused", 3)
    package static let auditStreamResumed = AuditEventType("audit.stream.resumed", 2)
    package static let auditStreamDeadLettered = AuditEventType("audit.stream.dead_lettered", 4, namesFailure: true)
    package static let auditRetentionChanged = AuditEventType("audit.retention_changed", 4)
    package static let auditHoldPlaced = AuditEventType("audit.hold_placed", 4)
    package static let auditHoldReleased = AuditEventType("audit.hold_released", 4)
    package static let auditPartitionArchived = AuditEventType("audit.partition_archived", 3)
    package static let auditPartitionPurged = AuditEventType("audit.partition_purged", 3)
    package static let auditRedacted = AuditEventType("audit.redacted", 3)
    package static let auditCheckpointFailed = AuditEventType("audit.checkpoint_failed", 5, namesFailure: true)
    package static let auditGapDetected = AuditEventType("audit.gap_detected", 5, namesFailure: true)
    package static let auditVerifyFailed = AuditEventType("audit.verify_failed", 5, namesFailure: true)
    package static let auditLogStarted = AuditEventType("audit.log_started", 3)
    package static let auditLogStopped = AuditEventType("audit.log_stopped", 3)
}

// Webhooks.
extension AuditEventType {
    package static let webhookCreated = AuditEventType("webhook.created", 2)
    package static let webhookUpdated = AuditEventType("webhook.updated", 2)
    package static let webhookDeleted = AuditEventType("webhook.deleted", 2)
    package static let webhookSecretRotated = AuditEventType("webhook.secret_rotated", 2)
    package static let webhookDisabledAfterFailures = AuditEventType(
        "webhook.disabled_after_failures", 3, namesFailure: true)
}

extension AuditEventType {
    /// Every type there is.
    package static let catalogue: [AuditEventType] = [
        .orgCreated, .orgUpdated, .orgSuspended, .orgResumed, .orgDeleted, .orgRestored, .orgErased, .orgDomainAdded,
        .orgDomainVerified,
        .orgDomainRemoved, .tenantSettingsChanged,
        .userCreated, .userUpdated, .userDeleted, .userDisabled, .userEnabled, .userLocked, .userUnlocked,
        .userPasswordChanged, .userPasswordReset, .userMfaEnrolled, .userMfaRemoved, .userRoleGranted,
        .userRoleRevoked, .userIdentityLinked, .userIdentityUnlinked, .userErased, .membershipAdded,
        .membershipRemoved, .invitationCreated, .invitationResent, .invitationAccepted, .invitationRevoked,
        .invitationExpired,
        .groupCreated, .groupUpdated, .groupDeleted, .roleCreated, .roleUpdated, .roleDeleted,
        .clientCreated, .clientUpdated, .clientDeleted, .clientEnabled, .clientDisabled, .clientSecretRotated,
        .clientSecretViewed, .clientRedirectUrisChanged, .clientJwksChanged, .clientRegistered, .clientApproved,
        .clientRejected, .clientAuthFailed, .initialAccessTokenCreated, .initialAccessTokenRevoked,
        .scopeCreated, .scopeUpdated, .scopeDeleted, .resourceCreated, .resourceUpdated, .resourceDeleted,
        .resourceEnabled, .resourceDisabled, .resourceToolsImported, .resourceCredentialCreated,
        .resourceCredentialDeleted, .policyCreated, .policyUpdated, .policyDeleted,
        .policyActivated, .policyDeactivated, .accessReviewCreated, .policyDenied,
        .identityProviderCreated, .identityProviderUpdated, .identityProviderDeleted, .identityProviderTested,
        .identityProviderCertExpiring,
        .loginStarted, .loginSucceeded, .loginFailed, .loginMfaChallenged, .loginMfaFailed, .loginThrottled, .logout,
        .sessionRevoked, .sessionImpersonated,
        .authorizeRequested, .authorizeParAccepted, .authorizeGranted, .authorizeDenied, .authorizeCodeReplayed,
        .authorizeRedirectMismatch, .authorizePkceFailed, .consentGranted, .consentUpdated, .consentRevoked,
        .grantCreated, .grantUpdated, .grantRevoked, .grantExpired, .deviceCodeIssued, .deviceApproved, .deviceDenied,
        .tokenIssued, .tokenRefreshed, .tokenDenied, .tokenExchanged, .tokenRevoked, .tokenReuseDetected,
        .tokenIntrospected, .tokenDpopFailed, .accessTokenCreated, .accessTokenCreatedForOther, .accessTokenRevoked,
        .accessTokenExpired,
        .adminKeyCreated, .adminKeyRotated, .adminKeyUsedFirst, .adminKeyUsedNewIp, .adminKeyRevoked,
        .adminKeyExpired, .adminKeyAuthFailed, .scimTokenCreated, .scimTokenRevoked, .scimTokenAuthFailed,
        .adminApiCalled, .adminAccessDenied, .operationFinished,
        .signingKeyGenerated, .signingKeyImported, .signingKeyActivated, .signingKeyRotated, .signingKeyRetired,
        .signingKeyCompromised, .signingKeyDeleted,
        .auditRead, .auditSearched, .auditExportRequested, .auditExportCompleted, .auditExportFailed,
        .auditExportDownloaded, .auditExportExpired, .auditExportCancelled, .auditStreamCreated, .auditStreamUpdated,
        .auditStreamDeleted, .auditStreamPaused, .auditStreamResumed, .auditStreamDeadLettered,
        .auditRetentionChanged, .auditHoldPlaced, .auditHoldReleased, .auditPartitionArchived, .auditPartitionPurged,
        .auditRedacted, .auditCheckpointFailed, .auditGapDetected, .auditVerifyFailed, .auditLogStarted,
        .auditLogStopped,
        .webhookCreated, .webhookUpdated, .webhookDeleted, .webhookSecretRotated, .webhookDisabledAfterFailures,
    ]
}
