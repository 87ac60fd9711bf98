import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// Metadata of the one kind of resource this server serves itself, its admin API (RFC 9728 §3).
///
/// `P/v1/organizations/{org}` takes admin keys and access tokens, which that organization's issuer alone gives. `P/v1`
/// names no authorization server: the platform's own calls take admin keys, and no issuer's tokens open them.
struct ProtectedResourceEndpoint: Sendable {
    private let issuers: IssuerDirectory
    private let platform: ReadyDocument

    init(issuers: IssuerDirectory) {
        self.issuers = issuers
        platform = ReadyDocument(Self.render(issuers.publicURL + "/v1", server: nil))
    }

    /// Where the metadata lies: the well-known name goes between host and path (RFC 9728 §3.1).
    ///
    /// - Parameter name: the organization as a path names it; whether there is one makes no difference.
    func metadataURL(organization name: String?) -> String {
        var resource = issuers.publicURL + "/v1"
        if let name, OrganizationID(name) != nil || Organization.isValid(slug: name) {
            resource = AdminAPI.uri(of: name, at: issuers.publicURL)
        }
        return ResourceListEndpoint.metadataURL(of: resource) ?? resource
    }

    @Sendable func get(_ request: Request, _ context: AppContext) async throws -> Response {
        platform.response(to: request)
    }

    /// Of one organization, as the path spells it: "identical to the protected resource's resource identifier value into
    /// which the well-known URI path suffix was inserted" (RFC 9728 §3.3).
    @Sendable func getOrganization(_ request: Request, _ context: AppContext) async throws -> Response {
        let name = context.parameters.get("org") ?? ""
        let found =
            if let id = OrganizationID(name) { try await issuers.issuer(id) } else {
                try await issuers.organization(slug: name)
            }
        guard let issuer = found, issuer.kind == .organization, issuer.home.organization.status == .active else {
            throw HTTPError(.notFound)
        }
        let resource = AdminAPI.uri(of: name, at: issuers.publicURL)
        return ReadyDocument(Self.render(resource, server: issuer.url)).response(to: request)
    }

    private static func render(_ resource: String, server: String?) -> [UInt8] {
        JSONWriter.object { json in
            json.string("resource", resource)
            json.string("resource_name", "Gatehouse admin API")
            if let server { json.strings("authorization_servers", [server]) }
            json.strings("scopes_supported", AdminAPI.scopeNames)
            json.strings("bearer_methods_supported", ["header"])
            if server != nil { json.strings("dpop_signing_alg_values_supported", DPoPProofs.algorithms) }
        }
    }
}
