import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `GET …/.well-known/mcp-resources`: the MCP servers an issuer wants found. The platform lists shared ones, an
/// organization its own, both only where marked `listed`.
struct ResourceListEndpoint: Sendable {
    let publicURL: String
    private let documents = ReadyDocuments()

    init(publicURL: String) {
        self.publicURL = publicURL
    }

    @Sendable func get(_ request: Request, _ context: IssuerContext) async throws -> Response {
        documents.document(of: context.issuer, at: context.now, render).response(to: request)
    }

    func render(_ issuer: Issuer) -> [UInt8] {
        let listed = issuer.resources.filter { $0.listed && $0.owner == issuer.id }
        return JSONWriter.object(capacity: 1024) { json in
            json.raws(
                "resources",
                listed.map { resource in
                    JSONWriter.object { json in
                        json.string("resource", resource.uri)
                        json.string("name", resource.name)
                        if !resource.scopes.isEmpty { json.strings("scopes_supported", resource.scopes.map(\.name)) }
                        json.strings("authorization_servers", servers(of: resource, seenFrom: issuer))
                        if let metadata = Self.metadataURL(of: resource.uri) {
                            json.string("resource_metadata", metadata)
                        }
                    }
                })
        }
    }

    /// The accepted issuers that may be named here: the platform and this one. Others would tell of other tenants.
    private func servers(of resource: Resource, seenFrom issuer: Issuer) -> [String] {
        resource.acceptedIssuers.compactMap { accepted in
            if accepted == issuer.id { return issuer.url }
            return accepted == .platform ? publicURL : nil
        }
    }

    /// Where the resource's own metadata lies: the well-known name goes between host and path (RFC 9728 §3.1).
    static func metadataURL(of uri: String) -> String? {
        guard let parsed = ResourceURI(uri) else { return nil }
        return parsed.origin + "/.well-known/oauth-protected-resource" + parsed.canonical.dropFirst(parsed.origin.count)
    }
}
