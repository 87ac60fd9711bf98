package import Audit
package import Foundation
import Keys
import Tenancy

/// `POST I/oauth/par` (RFC 9126): a client says over its own connection what it asks for, and sends the browser with a
/// reference alone. Nobody between can read or change the request, and a confidential client has proven itself before
/// anybody sees a page.
package struct PushedAuthorization: Sendable {
    private let flow: AuthorizationFlow
    private let authentication: ClientAuthentication

    package init(flow: AuthorizationFlow, authentication: ClientAuthentication) {
        self.flow = flow
        self.authentication = authentication
    }

    /// What the client is told.
    package struct Accepted: Sendable {
        package let requestURI: String
        package let lifetime: Duration
    }

    /// Judges a request as the authorization endpoint would, as far as that can be done without the person.
    ///
    /// - Parameter boundKey: the key that the push proved, which binds the code (RFC 9449 §10.1).
    /// - Throws: ``OAuthError``; a refusal is in the log before the client hears of it.
    package func push(
        _ parameters: AuthorizationParameters, by credentials: ClientCredentials, boundTo boundKey: String?,
        at issuer: Issuer, request info: AuditEvent.RequestInfo, now: Date
    ) async throws -> Accepted {
        var client: Client?
        do {
            // A client that is a document may be met here for the first time.
            _ = try await flow.directory.meet(credentials.clientID, at: issuer, request: info, now: now)
            let proven = try await authentication.authenticate(credentials, at: issuer, now: now)
            client = proven
            let request = try await check(parameters.bound(to: boundKey), of: proven, at: issuer)
            guard
                let uri = try await flow.pushedRequests.push(request.addressed.parameters, of: proven, at: issuer.id)
            else { throw OAuthError(.invalidRequest, "The request is too large.", reason: "request_too_large") }
            // Without its event nobody is told the reference.
            try await flow.database.append(event(of: request, at: issuer, info, now).outboxEvent(flow.random))
            return Accepted(requestURI: uri, lifetime: PushedRequestStore.lifetime)
        } catch let error as OAuthError {
            try await refuse(
                error, client?.wireID ?? ClientID(credentials.clientID)?.description, at: issuer, info, now)
            throw error
        } catch let error as ClientDocumentError {
            guard !error.isTemporary else { throw OAuthError.unavailable(error) }
            let refusal = OAuthError(.invalidClient, "Client authentication failed.", reason: error.reason)
            try await refuse(refusal, nil, at: issuer, info, now)
            throw refusal
        } catch  where error.isStoreFailure {
            throw OAuthError.unavailable(error)
        }
    }

    private func check(
        _ parameters: AuthorizationParameters, of client: Client, at issuer: Issuer
    ) async throws -> ValidRequest {
        // "The client MUST NOT include the request_uri parameter" (RFC 9126 §2.1).
        guard parameters["request_uri"] == nil else {
            throw OAuthError(.invalidRequest, "request_uri cannot be pushed.", reason: "request_uri_pushed")
        }
        guard let redirect = client.answerTo(parameters["redirect_uri"]) else {
            throw OAuthError(
                .invalidRequest, "redirect_uri is not registered for this client.", reason: "redirect_uri_mismatch")
        }
        let addressed = AddressedRequest(
            client: client, redirect: redirect, state: parameters["state"], parameters: parameters)
        try ValidRequest.checkForm(of: addressed, isPush: true)
        let hint = IDTokenHint(addressed, at: issuer)
        let place = try await Place.find(for: parameters, of: client, hint, at: issuer, flow)
        return try ValidRequest(addressed, resource: place.resource)
    }

    private func event(
        of request: ValidRequest, at issuer: Issuer, _ info: AuditEvent.RequestInfo, _ now: Date
    ) -> AuditEvent {
        let client = request.addressed.client
        return AuditEvent(
            .authorizeParAccepted, organization: issuer.id, id: EventID.make(at: now, flow.random), time: now,
            actor: client.isConfidential ? .client(client.wireID) : .anonymous,
            targets: [
                AuditEvent.Target(type: "client", id: client.id.description, name: client.name),
                AuditEvent.Target(type: "resource", id: request.resource.id.description),
            ],
            client: client.wireID, scopes: (request.resourceScopes + request.openIDScopes).sorted(),
            audience: [request.resource.uri], grant: "authorization_code", request: info)
    }

    private func refuse(
        _ error: OAuthError, _ client: String?, at issuer: Issuer, _ info: AuditEvent.RequestInfo, _ now: Date
    ) async throws {
        let type: AuditEventType
        switch error.code {
        case .temporarilyUnavailable, .serverError: return
        case .invalidClient: type = .clientAuthFailed
        default: type = error.reason == "redirect_uri_mismatch" ? .authorizeRedirectMismatch : .authorizeDenied
        }
        let visit = AuthorizationFlow.Visit(
            browser: BrowserContext(binding: nil, sessions: [:]), request: info, now: now)
        do {
            try await flow.refuse(
                type, in: issuer.id, reason: error.reason, actor: .anonymous, client: client, visit)
        } catch  where error.isStoreFailure {
            throw OAuthError.unavailable(error)
        }
    }
}

extension AuthorizationFlow {
    /// The request itself: what came, or what a reference of ours stands for; then nothing else that came counts
    /// (RFC 9126 §4, RFC 9101 §6.3).
    func resolved(_ parameters: AuthorizationParameters, at issuer: Issuer) async throws -> AuthorizationParameters {
        guard let reference = parameters["request_uri"], PushedRequestStore.isReference(reference) else {
            return parameters
        }
        guard parameters.repeated.isDisjoint(with: ["client_id", "request_uri"]),
            let pushed = try await pushedRequests.take(reference, of: parameters["client_id"], at: issuer.id)
        else { throw Refusal.page(.unknownRequest) }
        return pushed
    }
}

extension MessagePage {
    fileprivate static let unknownRequest = MessagePage(
        kind: .expired, title: "This sign-in link is over",
        explanation: "It was used already, it is older than a minute and a half, or it belongs to another application.",
        advice: "Go back to the application and connect again.", errorCode: "invalid_request_uri")
}
