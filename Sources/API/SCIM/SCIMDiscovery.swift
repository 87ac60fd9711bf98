import HTTPTypes
import Hummingbird
import Keys

/// What this service provider can do (RFC 7644 §4): fixed, and so never filtered.
struct SCIMDiscoveryEndpoint: Sendable {
    func configuration(_ call: SCIMCall) async throws -> Response {
        try refuseFilter(call)
        return call.reply(
            JSONWriter.object { json in
                json.strings("schemas", ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"])
                json.object("patch") { $0.bool("supported", true) }
                json.object("bulk") { json in
                    json.bool("supported", true)
                    json.int("maxOperations", SCIMBulkEndpoint.mostOperations)
                    json.int("maxPayloadSize", JSONBody.largest)
                }
                json.object("filter") { json in
                    json.bool("supported", true)
                    json.int("maxResults", SCIM.mostCount)
                }
                json.object("changePassword") { $0.bool("supported", false) }
                json.object("sort") { $0.bool("supported", true) }
                json.object("etag") { $0.bool("supported", true) }
                json.raws(
                    "authenticationSchemes",
                    [
                        JSONWriter.object { json in
                            json.string("type", "oauthbearertoken")
                            json.string("name", "SCIM token")
                            json.string("description", "A bearer token of this organization (RFC 6750)")
                            json.string("specUri", "https://www.rfc-editor.org/info/rfc6750")
                            json.bool("primary", true)
                        }
                    ])
                json.object("meta") { json in
                    json.string("resourceType", "ServiceProviderConfig")
                    json.string("location", "\(call.base)/ServiceProviderConfig")
                }
            })
    }

    func schemas(_ call: SCIMCall) async throws -> Response {
        try refuseFilter(call)
        let all = SCIMSchema.all.map { $0.json(location: "\(call.base)/Schemas/\($0.id)") }
        return call.list(all, total: all.count, startIndex: 1)
    }

    func schema(_ call: SCIMCall) async throws -> Response {
        let name = call.context.parameters.get("id")?.lowercased()
        guard let found = SCIMSchema.all.first(where: { $0.id.lowercased() == name }) else { throw SCIMError.notFound }
        return call.reply(found.json(location: "\(call.base)/Schemas/\(found.id)"))
    }

    func resourceTypes(_ call: SCIMCall) async throws -> Response {
        try refuseFilter(call)
        let all = SCIMSchema.all.map { Self.resourceType($0, call) }
        return call.list(all, total: all.count, startIndex: 1)
    }

    func resourceType(_ call: SCIMCall) async throws -> Response {
        let name = call.context.parameters.get("id")
        guard let found = SCIMSchema.all.first(where: { $0.name == name }) else { throw SCIMError.notFound }
        return call.reply(Self.resourceType(found, call))
    }

    private static func resourceType(_ schema: SCIMSchema, _ call: SCIMCall) -> [UInt8] {
        JSONWriter.object { json in
            json.strings("schemas", ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"])
            json.string("id", schema.name)
            json.string("name", schema.name)
            json.string("endpoint", "/\(schema.name)s")
            json.string("description", schema.description)
            json.string("schema", schema.id)
            json.object("meta") { json in
                json.string("resourceType", "ResourceType")
                json.string("location", "\(call.base)/ResourceTypes/\(schema.name)")
            }
        }
    }

    /// "If a 'filter' is provided, the service provider SHOULD respond with HTTP status code 403" (RFC 7644 §4).
    private func refuseFilter(_ call: SCIMCall) throws(SCIMError) {
        guard try call.query().filter == nil else {
            throw SCIMError(.forbidden, nil, "What the server can do is not filtered.")
        }
    }
}
