import Audit
import Foundation
import Keys
import Tenancy

/// Writes down who could not prove to be a client, at endpoints where nothing else is refused for the record.
struct ClientRefusals: Sendable {
    let log: RefusalLog
    let random: RandomBytes

    /// - Throws: ``OAuthError`` when it cannot be written; the caller is then told to come back.
    func record(
        _ error: OAuthError, of credentials: ClientCredentials, at issuer: OrganizationID,
        _ request: AuditEvent.RequestInfo, _ now: Date
    ) async throws {
        guard error.code == .invalidClient else { return }
        let event = AuditEvent(
            .clientAuthFailed, organization: issuer, id: EventID.make(at: now, random), time: now, outcome: .denied,
            reason: error.reason, actor: .anonymous,
            targets: [AuditEvent.Target(type: "organization", id: issuer.description)],
            // Nobody proved it, but what was claimed helps to find out why a server cannot ask.
            client: ClientID(credentials.clientID)?.description, request: request)
        do {
            try await log.refuse(event, source: request.ip)
        } catch  where error.isStoreFailure {
            throw OAuthError.unavailable(error)
        }
    }
}
