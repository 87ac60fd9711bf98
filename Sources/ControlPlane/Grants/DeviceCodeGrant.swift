package import Audit
package import Foundation
import Keys
package import Tenancy

/// Answers a device that polls (RFC 8628 §3.4, §3.5), and redeems its code once somebody allowed it.
struct DeviceCodeGrant: Sendable {
    static let type = "urn:ietf:params:oauth:grant-type:device_code"

    let issuance: TokenIssuance

    func redeem(
        _ text: String, resources: [String], _ attempt: TokenIssuance.Attempt, _ call: TokenIssuance.Call
    ) async throws -> IssuedTokens {
        guard attempt.issuer.connectsDevices(of: attempt.client) else { throw OAuthError.noDevices }
        guard let code = DeviceCode(text) else { throw TokenIssuance.invalidGrant("device_code_malformed") }
        let authorization = try await authorization(of: code, attempt)
        let tokens = try await issuance.connect(
            authorization, spending: GrantStore.SpentCode(digest: code.digest, codeChallenge: ""),
            resources: resources, attempt, call
        ) { _ in
            throw Self.used
        }
        await issuance.devices.forget(code)
        return tokens
    }

    private func authorization(of code: DeviceCode, _ attempt: TokenIssuance.Attempt) async throws -> Authorization {
        switch try await issuance.devices.poll(code, by: attempt.client.id, at: attempt.issuer.id, now: attempt.now) {
        case .approved(let authorization):
            return authorization
        case .pending:
            throw OAuthError(.authorizationPending, "Nobody has answered yet; ask again after the interval.")
        case .tooFast:
            throw OAuthError(.slowDown, "Wait five seconds longer than before between two requests.")
        case .denied:
            throw OAuthError(.accessDenied, "The person did not allow it.", reason: "person_declined")
        case .expired:
            throw OAuthError(.expiredToken, "The device code has expired; start again.")
        case .unknown:
            // Without a verifier to prove it, presenting a spent code again shows no theft: nothing is revoked.
            let spent = try await issuance.grants.redeemed(code.digest, in: attempt.issuer.id)
            throw spent == nil ? TokenIssuance.invalidGrant("device_code_unknown") : Self.used
        }
    }

    private static let used = TokenIssuance.invalidGrant("device_code_used")
}

/// A device authorization response (RFC 8628 §3.2).
package struct IssuedDeviceCode: Sendable {
    package let deviceCode: DeviceCode
    package let userCode: UserCode
    package let lifetime: Duration
    package let interval: Duration
}

extension TokenIssuance {
    /// Gives a device the two codes it needs (RFC 8628 §3.1), to a client proven as at the token endpoint.
    ///
    /// - Throws: ``OAuthError``; a refusal is in the log before the client hears of it.
    package func authorizeDevice(
        scope: String?, resources: [String], for credentials: ClientCredentials, at issuer: OrganizationID,
        request info: AuditEvent.RequestInfo, at now: Date
    ) async throws -> IssuedDeviceCode {
        let call = Call(
            credentials: credentials, grantType: DeviceCodeGrant.type, issuer: issuer, boundKey: nil, request: info,
            now: now)
        return try await answering(call) { attempt in
            guard attempt.issuer.connectsDevices(of: attempt.client) else { throw OAuthError.noDevices }
            let resource = try resource(asked: resources, attempt.issuer)
            let target = try await target(of: resource.id, ownedBy: resource.owner, for: issuer, attempt)
            // Said now rather than after somebody has signed in.
            guard attempt.issuer.signingKey(for: resource, owner: target.owner) != nil else {
                throw OAuthError.noSigningKey
            }
            let scopes = try ValidRequest.known(try ValidRequest.scopes(in: scope), of: resource)
            let request = DeviceAuthorization(
                issuer: issuer, client: attempt.client.id, resourceScopes: scopes.resource,
                openIDScopes: scopes.openID, resource: resource.id, resourceOwner: resource.owner,
                expiresAt: now + DeviceAuthorizationStore.lifetime.seconds)
            let codes = try await devices.create(request, at: now)
            let client = attempt.client
            let event = AuditEvent(
                .deviceCodeIssued, organization: issuer, id: EventID.make(at: now, random), time: now,
                actor: client.isConfidential ? .client(client.wireID) : .anonymous,
                targets: [
                    AuditEvent.Target(type: "client", id: client.id.description, name: client.name),
                    AuditEvent.Target(type: "resource", id: resource.id.description),
                ],
                client: client.wireID, scopes: scopes.resource.sorted(), audience: [resource.uri],
                grant: DeviceCodeGrant.type, request: info)
            try await database.append(event.outboxEvent(random))
            return IssuedDeviceCode(
                deviceCode: codes.device, userCode: codes.user, lifetime: DeviceAuthorizationStore.lifetime,
                interval: DeviceAuthorizationStore.interval)
        }
    }
}

extension Issuer {
    /// Whether this client's devices may be connected by a user code.
    ///
    /// Only at an organization that wants it, and only clients an administrator registered: anybody can name a
    /// self-registered one after a product people trust, and then ask them to type a code (RFC 8628 §5.4).
    func connectsDevices(of client: Client) -> Bool {
        connectsDevices && client.kind == .registered && client.grantTypes.contains(DeviceCodeGrant.type)
    }

    /// Whether there is a device authorization endpoint.
    package var connectsDevices: Bool { kind == .organization && home.organization.settings.deviceAuthorization }
}

extension OAuthError {
    fileprivate static let noDevices = OAuthError(
        .unauthorizedClient, "This client may not use this grant.", reason: "device_authorization_off")
}
