import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// Authorization server metadata (RFC 8414 §3), at every URL that clients try.
///
/// The same bytes answer as `oauth-authorization-server` and as `openid-configuration` (OpenID Connect Discovery §4):
/// clients ask for the second when they do not find the first, and each has the other's members. Everything advertised
/// works (RFC 8414 §6).
struct MetadataEndpoint: Sendable {
    private let documents = ReadyDocuments()

    @Sendable func get(_ request: Request, _ context: IssuerContext) async throws -> Response {
        documents.document(of: context.issuer, at: context.now, Self.render).response(to: request)
    }

    /// Arrays that would be empty are left out (RFC 8414 §3.2).
    static func render(_ issuer: Issuer) -> [UInt8] {
        let confidential = ["client_secret_basic", "client_secret_post", "private_key_jwt"]
        let algorithms = SigningAlgorithm.allCases.map(\.rawValue)
        return JSONWriter.object(capacity: 1536) { json in
            json.string("issuer", issuer.url)
            json.string("authorization_endpoint", issuer.endpoint("oauth/authorize"))
            json.string("pushed_authorization_request_endpoint", issuer.endpoint("oauth/par"))
            json.string("token_endpoint", issuer.endpoint("oauth/token"))
            json.string("introspection_endpoint", issuer.endpoint("oauth/introspect"))
            json.strings("introspection_endpoint_auth_methods_supported", confidential)
            json.strings("introspection_endpoint_auth_signing_alg_values_supported", algorithms)
            json.strings("introspection_signing_alg_values_supported", ["ES256"])
            json.string("revocation_endpoint", issuer.endpoint("oauth/revoke"))
            json.strings("revocation_endpoint_auth_methods_supported", ["none"] + confidential)
            json.strings("revocation_endpoint_auth_signing_alg_values_supported", algorithms)
            if issuer.connectsDevices {
                json.string("device_authorization_endpoint", issuer.endpoint("oauth/device_authorization"))
            }
            let onboarding = issuer.home.organization.settings.onboarding
            if onboarding.registration != .off {
                json.string("registration_endpoint", issuer.endpoint("oauth/register"))
            }
            json.string("jwks_uri", issuer.endpoint("oauth/jwks"))
            json.strings("scopes_supported", issuer.scopesSupported)
            json.strings("response_types_supported", ["code"])
            json.strings("response_modes_supported", ["query"])
            json.strings("grant_types_supported", issuer.grantTypesSupported)
            if issuer.takesIdentityAssertions {
                json.strings(
                    "authorization_grant_profiles_supported", ["urn:ietf:params:oauth:grant-profile:id-jag"])
            }
            json.strings("token_endpoint_auth_methods_supported", ["none"] + confidential)
            json.strings("token_endpoint_auth_signing_alg_values_supported", algorithms)
            json.strings("code_challenge_methods_supported", ["S256"])
            json.bool("client_id_metadata_document_supported", onboarding.metadataDocuments != .off)
            json.bool("authorization_response_iss_parameter_supported", true)
            json.strings("dpop_signing_alg_values_supported", DPoPProofs.algorithms)
            json.openIDMembers(of: issuer)
        }
    }
}
