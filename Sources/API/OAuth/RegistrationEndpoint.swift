import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import Keys
import NIOCore
import Tenancy

/// `POST I/oauth/register`: dynamic client registration (RFC 7591 §3).
struct RegistrationEndpoint: Sendable {
    let registration: ClientRegistration

    @Sendable func post(_ request: Request, _ context: IssuerContext) async throws -> Response {
        let registered = try await registration.register(
            Self.metadata(in: request), at: context.issuer, request: context.request, at: context.now)
        return Self.response(to: registered)
    }

    /// - Throws: ``OAuthError`` `invalid_client_metadata` (RFC 7591 §3.2.2), or 413.
    private static func metadata(in request: Request) async throws -> ClientMetadata {
        do {
            return try ClientMetadata(try await JSONBody(request).value)
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
    private static func response(to registered: ClientRegistration.Registered) -> Response {
        let client = registered.client
        let body = JSONWriter.object(capacity: 1024) { json in
            json.string("client_id", client.wireID)
            json.int("client_id_issued_at", Int(client.createdAt.timeIntervalSince1970))
            if let secret = registered.secret {
                json.string("client_secret", secret.revealed)
                // A client in use never expires, nor does its secret; zero says so.
                json.int("client_secret_expires_at", 0)
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
        return Response(
            status: .created,
            headers: [.contentType: "application/json", .cacheControl: "no-store"],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
    }
}
