import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import Keys
import Tenancy

/// `POST I/oauth/register`: dynamic client registration (RFC 7591 §3); and below it each client's own place, where it
/// manages its registration (RFC 7592 §2).
struct RegistrationEndpoint: Sendable {
    let registration: ClientRegistration
    let management: ClientManagement

    @Sendable func post(_ request: Request, _ context: IssuerContext) async throws -> Response {
        let registered = try await registration.register(
            ClientMetadata(Self.body(of: request)), with: Self.token(in: request), at: context.issuer,
            request: context.request, at: context.now)
        return Self.response(to: registered, .created, context.issuer, token: registered.registrationToken)
    }

    @Sendable func get(_ request: Request, _ context: IssuerContext) async throws -> Response {
        let call = try Self.call(request, context)
        return Self.response(
            to: try await management.read(call), .ok, context.issuer, token: try Self.token(in: request))
    }

    @Sendable func put(_ request: Request, _ context: IssuerContext) async throws -> Response {
        let call = try Self.call(request, context)
        let value = try await Self.body(of: request)
        let registered = try await management.replace(ClientMetadata(value), RepeatedMembers(value), call)
        return Self.response(to: registered, .ok, context.issuer, token: try Self.token(in: request))
    }

    @Sendable func delete(_ request: Request, _ context: IssuerContext) async throws -> Response {
        try await management.delete(Self.call(request, context))
        return Response(status: .noContent, headers: [.cacheControl: "no-store"])
    }

    private static func call(_ request: Request, _ context: IssuerContext) throws -> ClientManagement.Call {
        ClientManagement.Call(
            clientID: context.parameters.get("client") ?? "", token: try token(in: request), issuer: context.issuer,
            request: context.request, now: context.now)
    }

    /// The bearer token of the request (RFC 6750 §2.1); nil when there is none.
    private static func token(in request: Request) throws(OAuthError) -> Secret? {
        let values = request.headers[values: .authorization]
        guard values.count <= 1 else {
            throw OAuthError(
                .invalidRequest, "There is more than one Authorization header.", reason: "two_authorizations")
        }
        let words = values.first?.split(separator: " ", omittingEmptySubsequences: true) ?? []
        guard words.count == 2, words[0].lowercased() == "bearer" else { return nil }
        return Secret(String(words[1]))
    }

    /// - Throws: ``OAuthError`` `invalid_client_metadata` (RFC 7591 §3.2.2), or 413.
    private static func body(of request: Request) async throws -> JSONValue {
        do {
            return try await JSONBody(request).value
        } catch JSONBody.Refusal.mediaType {
            throw OAuthError(
                .invalidClientMetadata, "The body must be application/json in UTF-8.", reason: "media_type")
        } catch JSONBody.Refusal.malformed {
            throw OAuthError(.invalidClientMetadata, "The body is not valid JSON.", reason: "json_malformed")
        } catch JSONBody.Refusal.tooLarge {
            throw HTTPError(.contentTooLarge, headers: [.connection: "close"])
        }
    }

    /// Everything that was registered, defaults included (RFC 7591 §3.2.1).
    ///
    /// - Parameter token: the registration access token: a new one, or the one that came, since only its digest is kept.
    private static func response(
        to registered: ClientRegistration.Registered, _ status: HTTPResponse.Status, _ issuer: Issuer, token: Secret?
    ) -> Response {
        let client = registered.client
        let body = JSONWriter.object(capacity: 1024) { json in
            json.string("client_id", client.wireID)
            json.int("client_id_issued_at", Int(client.createdAt.timeIntervalSince1970))
            if let secret = registered.secret {
                json.string("client_secret", secret.revealed)
                // A client in use never expires, nor does its secret; zero says so.
                json.int("client_secret_expires_at", 0)
            }
            if let token {
                json.string("registration_access_token", token.revealed)
                json.string("registration_client_uri", issuer.endpoint("oauth/register/\(client.wireID)"))
            }
            json.string("client_name", client.name)
            if !client.redirectURIs.isEmpty { json.strings("redirect_uris", client.redirectURIs) }
            json.strings("grant_types", client.grantTypes)
            json.strings("response_types", client.responseTypes)
            json.string("token_endpoint_auth_method", client.authenticationMethod.rawValue)
            if !client.otherMethods.isEmpty {
                json.strings("token_endpoint_auth_methods_supported", client.authenticationMethods.map(\.rawValue))
            }
            switch client.keys {
            case nil: break
            case .given(let set): json.raw("jwks", set.json)
            case .published(let url): json.string("jwks_uri", url)
            }
            if client.demands.proofOfPossession { json.bool("dpop_bound_access_tokens", true) }
            if client.demands.pushedRequests { json.bool("require_pushed_authorization_requests", true) }
            if let algorithm = client.assertionAlgorithm {
                json.string("token_endpoint_auth_signing_alg", algorithm.rawValue)
            }
            if let type = client.applicationType { json.string("application_type", type.rawValue) }
            if let scopes = client.scopeCeiling { json.string("scope", scopes.joined(separator: " ")) }
            if let uri = client.clientURI { json.string("client_uri", uri) }
            if let uri = client.logoURI { json.string("logo_uri", uri) }
            if let uri = client.policyURI { json.string("policy_uri", uri) }
            if let uri = client.tosURI { json.string("tos_uri", uri) }
        }
        return .json(body, status)
    }
}
