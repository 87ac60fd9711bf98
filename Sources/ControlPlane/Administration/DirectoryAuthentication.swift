package import Audit
package import Foundation
package import Keys
package import Logging
package import Tenancy

/// Proves which directory speaks (SCIM, RFC 7644 §2), and writes down who was refused.
package struct DirectoryAuthentication: Sendable {
    private let organizations: OrganizationStore
    private let tokens: SCIMTokenStore
    private let refusals: RefusalLog
    private let random: RandomBytes
    private let logger: Logger

    package init(database: TenantDatabase, refusals: RefusalLog, random: RandomBytes = .system, logger: Logger) {
        organizations = OrganizationStore(database: database)
        tokens = SCIMTokenStore(database: database)
        self.refusals = refusals
        self.random = random
        self.logger = logger
    }

    /// Times of use are kept by the minute.
    private static let useInterval: TimeInterval = 60

    /// - Parameter place: the organization as the path names it, by id or slug.
    /// - Throws: ``AdminError/invalidCredential``, the same for every reason; ``AdminError/notFound`` for any place but the
    ///   token's own organization, whether it exists or not.
    package func authenticate(
        _ presented: String, at place: String, request: AuditEvent.RequestInfo, at now: Date
    ) async throws -> Administrator {
        guard let credential = SCIMCredential(presented) else {
            throw try await refusal("malformed", in: .platform, request, now)
        }
        guard let token = try await tokens.find(credential.id, in: credential.organization) else {
            throw try await refusal("unknown", in: .platform, request, now)
        }
        // From here on the organization is known to be one of ours, so the event belongs to its log.
        let home = token.organization
        guard token.secretDigest == credential.digest else {
            throw try await refusal("wrong_secret", in: home, request, now, token: token.id)
        }
        guard token.revokedAt == nil, token.expiresAt.map({ $0 > now }) ?? true else {
            let reason = token.revokedAt == nil ? "expired" : "revoked"
            throw try await refusal(reason, in: home, request, now, token: token.id)
        }
        guard
            token.cidrs.isEmpty
                || token.cidrs.contains(where: { range in
                    request.ip.map { AddressRange(range)?.contains($0) ?? false } ?? false
                })
        else { throw try await refusal("address", in: home, request, now, token: token.id) }
        guard let organization = try await organizations.find(home), organization.status == .active else {
            throw try await refusal("organization_inactive", in: home, request, now, token: token.id)
        }
        let administrator = Administrator(directory: token, request: request, now: now)
        guard place == home.description || place == organization.slug else {
            try await refusals.refuse(
                AuditEvent(
                    .adminAccessDenied, organization: home, id: EventID.make(at: now, random), time: now,
                    outcome: .denied, reason: "foreign_organization", actor: administrator.actor, targets: [],
                    request: request))
            throw AdminError.notFound
        }
        await noteUse(of: token, at: now)
        return administrator
    }

    private func refusal(
        _ reason: String, in organization: OrganizationID, _ request: AuditEvent.RequestInfo, _ now: Date,
        token: SCIMTokenID? = nil
    ) async throws -> AdminError {
        // Nobody proved anything: the actor is anonymous even where the token's id is known.
        try await refusals.refuse(
            AuditEvent(
                .scimTokenAuthFailed, organization: organization, id: EventID.make(at: now, random), time: now,
                outcome: .denied, reason: reason, actor: .anonymous,
                targets: token.map { [AuditEvent.Target(type: "scim_token", id: $0.description)] } ?? [],
                request: request))
        return .invalidCredential
    }

    /// Best effort: a token works whether or not its use could be noted.
    private func noteUse(of token: SCIMToken, at now: Date) async {
        if let last = token.lastUsedAt, now.timeIntervalSince(last) < Self.useInterval { return }
        do {
            try await tokens.noteUse(of: token.id, in: token.organization, at: now, every: Self.useInterval)
        } catch {
            logger.warning("use of a SCIM token not noted", metadata: ["error": .string(String(reflecting: error))])
        }
    }
}
