import ControlPlane
import HTTPTypes
import Hummingbird
import Keys
import Tenancy

/// One route of the admin API with what is said about it.
struct DescribedRoute: Sendable {
    let method: HTTPRequest.Method
    /// With the leading slash, such as `/v1/organizations/{org}/users`.
    let path: String
    let place: AdminPlace
    let scope: AdminScope
    let operation: Operation
    /// `operation.id`, made unique among an operation's places.
    let id: String

    /// The collection, which is the first word behind the organization.
    var collection: String {
        var words = path.split(separator: "/").dropFirst().map { $0.prefix { $0 != ":" } }
        if words.starts(with: ["organizations", "{org}"]) { words.removeFirst(2) }
        let first = words.first.map(String.init) ?? "organizations"
        // An organization's own document, and the platform's.
        return first == "settings" ? "organizations" : first
    }

    /// Names of the path's parameters, in their order.
    var parameters: [String] {
        path.split(separator: "{").dropFirst().map { String($0.prefix { $0 != "}" }) }
    }
}

/// The OpenAPI 3.1 document of the admin API, made from the routes themselves: it cannot forget one.
struct OpenAPIDocument {
    let routes: [DescribedRoute]
    /// The public URL `P`.
    let url: String

    private static let introduction = """
        Organizations and everything in them, for administrators and their programs. Every call carries an admin key \
        (`Authorization: Bearer gh_…`), or the access token of somebody with a role in the organization; the scope it \
        needs stands at the call. Keys and people of an organization reach that organization alone, and anything else \
        answers 404, as if it were not there.

        OAuth and OpenID Connect endpoints and SCIM are not described here: their standards do, and the metadata at \
        `/.well-known/oauth-authorization-server` and SCIM's `ServiceProviderConfig` say what this server makes of them.
        """

    func json() -> [UInt8] {
        var schemas = SchemaComponents()
        let paths = paths(&schemas)
        let components = components(&schemas)
        return JSONWriter.object(capacity: 256 * 1024) { json in
            json.string("openapi", "3.1.0")
            json.object("info") { json in
                json.string("title", "Gatehouse admin API")
                json.string("version", "1")
                json.string("description", Self.introduction)
            }
            json.raws("servers", [JSONWriter.object { $0.string("url", url) }])
            json.raws(
                "tags", collections.map { name in JSONWriter.object { $0.string("name", name) } })
            json.raw("paths", paths)
            json.raw("components", components)
        }
    }

    /// Collections, in the order of their first routes.
    var collections: [String] {
        var names: [String] = []
        for route in routes where !names.contains(route.collection) { names.append(route.collection) }
        return names
    }

    // MARK: Paths

    private func paths(_ schemas: inout SchemaComponents) -> [UInt8] {
        var order: [String] = []
        var byPath: [String: [DescribedRoute]] = [:]
        for route in routes {
            if byPath[route.path] == nil { order.append(route.path) }
            byPath[route.path, default: []].append(route)
        }
        return JSONWriter.object { json in
            for path in order {
                json.object(path) { json in
                    for route in byPath[path] ?? [] {
                        json.raw(route.method.rawValue.lowercased(), operation(route, &schemas))
                    }
                }
            }
        }
    }

    private func operation(_ route: DescribedRoute, _ schemas: inout SchemaComponents) -> [UInt8] {
        let operation = route.operation
        return JSONWriter.object { json in
            json.string("operationId", route.id)
            json.strings("tags", [route.collection])
            json.string("summary", operation.summary)
            let details = operation.details.map { "\($0)\n\n" } ?? ""
            json.string("description", "\(details)Needs the scope `\(route.scope.rawValue)`.")
            json.raws("security", Self.security(of: route))
            let parameters = parameters(of: route, &schemas)
            if !parameters.isEmpty { json.raws("parameters", parameters) }
            if let body = operation.request { json.raw("requestBody", request(body, operation, route, &schemas)) }
            json.raw("responses", responses(to: route, &schemas))
        }
    }

    /// People reach their own organization, and no call of the platform.
    private static func security(of route: DescribedRoute) -> [[UInt8]] {
        let schemes = route.place == .organization ? ["admin_key", "access_token"] : ["admin_key"]
        return schemes.map { scheme in JSONWriter.object { $0.strings(scheme, [route.scope.rawValue]) } }
    }

    private func parameters(of route: DescribedRoute, _ schemas: inout SchemaComponents) -> [[UInt8]] {
        let operation = route.operation
        var parameters: [[UInt8]] = []
        for name in route.parameters {
            let schema = schemas.json(PathParameters.schema(of: name))
            parameters.append(
                JSONWriter.object { json in
                    json.string("name", name)
                    json.string("in", "path")
                    json.bool("required", true)
                    json.raw("schema", schema)
                })
        }
        for filter in operation.filters {
            let schema = schemas.json(filter.schema)
            parameters.append(
                JSONWriter.object { json in
                    json.string("name", filter.name)
                    json.string("in", "query")
                    json.raw("schema", schema)
                })
        }
        var common: [String] = []
        if operation.isList { common += ["limit", "cursor"] }
        switch operation.condition {
        case .none: break
        case .optional: common.append("if_match")
        case .required: common.append("if_match_required")
        }
        if route.method != .get { common += ["dry_run", "idempotency_key"] }
        return parameters + common.map { Self.reference("parameters", $0) }
    }

    private func request(
        _ body: Operation.Body, _ operation: Operation, _ route: DescribedRoute, _ schemas: inout SchemaComponents
    ) -> [UInt8] {
        let schema = schemas.json(body.schema)
        let isPatch = route.method == .patch
        return JSONWriter.object { json in
            json.bool("required", !body.mayBeMissing)
            json.object("content") { json in
                for type in isPatch ? ["application/merge-patch+json", body.mediaType] : [body.mediaType] {
                    json.object(type) { $0.raw("schema", schema) }
                }
            }
        }
    }

    // MARK: Responses

    private func responses(to route: DescribedRoute, _ schemas: inout SchemaComponents) -> [UInt8] {
        let operation = route.operation
        let replies = operation.replies.map { ($0.mediaType, schemas.json($0.schema)) }
        let rehearsal = operation.rehearsal.map { schemas.json($0) }
        var headers = ["Request-Id", "RateLimit", "RateLimit-Policy"]
        if route.writes { headers += ["Audit-Event", "Dry-Run", "Idempotency-Replayed"] }
        if operation.isList { headers.append("Link") } else if !replies.isEmpty { headers.append("ETag") }
        if operation.status == .created || operation.status == .accepted { headers.append("Location") }
        return JSONWriter.object { json in
            json.object(String(operation.status.code)) { json in
                json.string("description", operation.status.reasonPhrase)
                json.object("headers") { json in
                    for name in headers { json.raw(name, Self.reference("headers", name)) }
                }
                if !replies.isEmpty {
                    json.object("content") { json in
                        for (type, schema) in replies { json.object(type) { $0.raw("schema", schema) } }
                    }
                }
            }
            if let rehearsal {
                json.object("200") { json in
                    json.string("description", "What would come of it (dry_run).")
                    json.object("headers") { $0.raw("Request-Id", Self.reference("headers", "Request-Id")) }
                    json.object("content") { $0.object("application/json") { $0.raw("schema", rehearsal) } }
                }
            }
            for refusal in Refusal.all where refusal.concerns(route) {
                json.raw(String(refusal.status.code), Self.reference("responses", refusal.name))
            }
        }
    }

    static func reference(_ kind: String, _ name: String) -> [UInt8] {
        JSONWriter.object { $0.string("$ref", "#/components/\(kind)/\(name)") }
    }
}

extension DescribedRoute {
    /// Whether a call changes anything, and is recorded.
    var writes: Bool { method != .get && operation.writes }
}

/// What stands between braces in paths.
enum PathParameters {
    private static let schemas: [String: Schema] = [
        "org": Schema.string(
            pattern: "^(org_[0-7][0-9a-hjkmnp-tv-z]{25}|[a-z0-9][a-z0-9-]{0,61}[a-z0-9])$"
        ).said("The organization's id or slug."),
        "user": .id(UserID.self), "client": .id(ClientID.self), "resource": .id(ResourceID.self),
        "policy": .id(ScopePolicyID.self), "provider": .id(IdentityProviderID.self), "grant": .id(GrantID.self),
        "key": .id(AdminKeyID.self), "signing_key": .id(SigningKeyID.self), "invitation": .id(InvitationID.self),
        "event": .id(EventID.self), "credential": .id(ResourceCredentialID.self), "token": .id(TokenID.self),
        "initial": .id(InitialAccessTokenID.self), "issuer": .id(IdentityProviderID.self),
        "group": .id(GroupID.self), "scim": .id(SCIMTokenID.self), "role": .id(RoleID.self),
        "review": .id(AccessReviewID.self), "operation": .id(OperationID.self), "session": .id(SessionID.self),
        "principal": .string(pattern: "^(usr|grp)_[0-7][0-9a-hjkmnp-tv-z]{25}$").said("A user or a group."),
        "identity": .string(pattern: "^[A-Za-z0-9_-]{43}$"),
        "domain": .string(1...253, pattern: #"^[^/?#:%\s]+$"#),
    ]

    static func schema(of name: String) -> Schema { schemas[name] ?? .string }
}
