import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `GET P/.well-known/oauth-protected-resource/v1`: metadata of the one resource this server serves itself, its admin API
/// (RFC 9728 §3).
///
/// No authorization server is named: the admin API takes admin keys, and no issuer's tokens open it.
struct ProtectedResourceEndpoint: Sendable {
    /// `P/v1`.
    let resource: String
    private let document: ReadyDocument

    init(publicURL: String) {
        resource = publicURL + "/v1"
        let scopes = AdminScope.allCases.filter { $0 != .all }.map(\.rawValue)
        document = ReadyDocument(
            JSONWriter.object { [resource] json in
                json.string("resource", resource)
                json.string("resource_name", "Gatehouse admin API")
                json.strings("scopes_supported", scopes)
                json.strings("bearer_methods_supported", ["header"])
            })
    }

    /// Where the metadata lies: the well-known name goes between host and path (RFC 9728 §3.1).
    var metadataURL: String { ResourceListEndpoint.metadataURL(of: resource) ?? resource }

    @Sendable func get(_ request: Request, _ context: AppContext) async throws -> Response {
        document.response(to: request)
    }
}
