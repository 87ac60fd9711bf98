package import Audit
package import Foundation
package import Keys
package import Logging
package import Tenancy

/// Proves which admin key speaks, and writes down who was refused.
package struct AdminAuthentication: Sendable {
    private let organizations: OrganizationStore
    private let keys: AdminKeyStore
    private let refusals: RefusalLog
    private let random: RandomBytes
    private let logger: Logger

    package init(database: TenantDatabase, refusals: RefusalLog, random: RandomBytes = .system, logger: Logger) {
        organizations = OrganizationStore(database: database)
        keys = AdminKeyStore(database: database)
        self.refusals = refusals
        self.random = random
        self.logger = logger
    }

    /// Times of use are kept by the minute.
    private static let useInterval: TimeInterval = 60

    /// - Throws: ``AdminError/invalidCredential``, the same for every reason; the log knows which.
    package func authenticate(
        _ presented: String, request: AuditEvent.RequestInfo, at now: Date
    ) async throws -> Administrator {
        guard let credential = AdminCredential(presented) else {
            throw try await refusal("malformed", in: .platform, request, now)
        }
        guard let key = try await keys.find(credential.key, in: credential.organization) else {
            throw try await refusal("unknown", in: .platform, request, now)
        }
        // From here on the organization is known to be one of ours, so the event belongs to its log.
        let home = key.organization
        guard key.secretDigest == credential.digest else {
            throw try await refusal("wrong_secret", in: home, request, now, key: key.id)
        }
        guard key.isLive(at: now) else {
            throw try await refusal(key.revokedAt == nil ? "expired" : "revoked", in: home, request, now, key: key.id)
        }
        guard key.admits(request.ip) else {
            throw try await refusal("address", in: home, request, now, key: key.id)
        }
        if home != .platform {
            guard try await organizations.find(home)?.status == .active else {
                throw try await refusal("organization_inactive", in: home, request, now, key: key.id)
            }
        }
        await noteUse(of: key, at: now)
        return Administrator(key: key, provenBy: credential.secret, request: request, now: now)
    }

    /// Writes down a refusal by which an authenticated key was kept from what it may not do; other errors are no denials.
    package func recordDenial(of administrator: Administrator, _ error: AdminError) async throws {
        switch error {
        case .platformOnly: try await recordDenial(of: administrator, reason: "platform_key_required")
        case .exceedsMaker: try await recordDenial(of: administrator, reason: FieldError.exceedsMaker)
        case .forbidden(let scope):
            try await recordDenial(of: administrator, reason: "missing_scope", missing: scope)
        default: break
        }
    }

    /// Writes down that an authenticated caller asked for more than it may.
    ///
    /// The event goes to the log of the caller's own organization: it is that organization's key that misbehaves.
    package func recordDenial(of administrator: Administrator, reason: String, missing: AdminScope? = nil) async throws
    {
        try await refusals.refuse(
            AuditEvent(
                .adminAccessDenied, organization: administrator.organization,
                id: EventID.make(at: administrator.now, random),
                time: administrator.now, outcome: .denied, reason: reason, actor: administrator.actor, targets: [],
                client: administrator.clientID, request: administrator.request,
                metadata: missing.map { ["missing_scope": $0.rawValue] } ?? [:]))
    }

    private func refusal(
        _ reason: String, in organization: OrganizationID, _ request: AuditEvent.RequestInfo, _ now: Date,
        key: AdminKeyID? = nil
    ) async throws -> AdminError {
        // Nobody proved anything: the actor is anonymous even where the key's id is known.
        try await refusals.refuse(
            AuditEvent(
                .adminKeyAuthFailed, organization: organization, id: EventID.make(at: now, random), time: now,
                outcome: .denied, reason: reason, actor: .anonymous,
                targets: key.map { [AuditEvent.Target(type: "admin_key", id: $0.description)] } ?? [], request: request)
        )
        return .invalidCredential
    }

    /// Best effort: a key works whether or not its use could be noted.
    private func noteUse(of key: AdminKey, at now: Date) async {
        if let last = key.lastUsedAt, now.timeIntervalSince(last) < Self.useInterval { return }
        do {
            try await keys.noteUse(of: key.id, in: key.organization, at: now, every: Self.useInterval)
        } catch {
            logger.warning("use of an admin key not noted", metadata: ["error": .string(String(reflecting: error))])
        }
    }
}

extension AdminKey {
    /// Whether it may be used from this address. A key with ranges never works from an unknown one.
    fileprivate func admits(_ address: String?) -> Bool {
        guard !cidrs.isEmpty else { return true }
        guard let address else { return false }
        return cidrs.contains { AddressRange($0)?.contains(address) ?? false }
    }
}
