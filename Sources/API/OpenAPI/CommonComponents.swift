import ControlPlane
import HTTPTypes
import Keys

/// One way in which calls are refused: a problem document (RFC 9457), the same everywhere.
struct Refusal: Sendable {
    let status: HTTPResponse.Status
    let name: String
    let summary: String
    var headers: [String] = []
    /// Which calls can be refused so.
    var concerns: @Sendable (DescribedRoute) -> Bool = { _ in true }

    static let all = [
        Refusal(status: .badRequest, name: "Malformed", summary: "The request cannot be read."),
        Refusal(
            status: .unauthorized, name: "Unauthenticated", summary: "There is no credential, or it is not valid.",
            headers: ["WWW-Authenticate"]),
        Refusal(
            status: .forbidden, name: "Forbidden",
            summary:
                "The credential lacks the scope, the platform alone may do this, or what would be made exceeds its maker."
        ),
        Refusal(
            status: .notFound, name: "NotFound",
            summary: "There is nothing here, or nothing that this credential may know of; the two are told alike."),
        Refusal(
            status: .conflict, name: "Conflict",
            summary: "It contradicts what is there, or a request with this Idempotency-Key is in flight.",
            concerns: { $0.method != .get }),
        Refusal(
            status: .preconditionFailed, name: "Changed", summary: "If-Match names another state than the present one.",
            concerns: { $0.operation.condition != .none }),
        Refusal(
            status: .contentTooLarge, name: "TooLarge", summary: "The body is too large.",
            concerns: { $0.operation.request != nil }),
        Refusal(
            status: .unsupportedMediaType, name: "MediaType", summary: "The body is of another media type.",
            concerns: { $0.operation.request != nil }),
        Refusal(
            status: .unprocessableContent, name: "Invalid",
            summary: "Members are not valid, each named in errors; or the Idempotency-Key came with another request.",
            concerns: { $0.method != .get }),
        Refusal(
            status: .preconditionRequired, name: "ConditionMissing", summary: "If-Match has to be there.",
            concerns: { $0.operation.condition == .required }),
        Refusal(
            status: .tooManyRequests, name: "TooMany", summary: "Too many requests.", headers: ["Retry-After"]),
        Refusal(
            status: .serviceUnavailable, name: "Unavailable", summary: "A store is away; nothing was changed.",
            headers: ["Retry-After"]),
    ]
}

/// What every operation refers to: headers, parameters, problems, the credential.
extension OpenAPIDocument {
    private static let problem = Schema.object([
        "type": .string(pattern: "^urn:gatehouse:problem:[a-z_]+$"),
        "title": .string,
        "status": .integer(400...599),
        "detail": .string.optional,
        "instance": .string(pattern: "^urn:gatehouse:request:req_[0-9a-z]{26}$"),
        "code": .string(pattern: "^[a-z_]+$").said("A word for programs."),
        "request_id": .string(pattern: "^req_[0-9a-z]{26}$"),
        "errors": .array(
            of: .object([
                "pointer": .string.said("JSON Pointer to the member (RFC 6901)."),
                "code": .string(pattern: "^[a-z_]+$"),
                "detail": .string,
            ])
        ).optional,
    ])

    private static let headers: [(name: String, summary: String, schema: Schema, isRequired: Bool)] = [
        ("Request-Id", "Finds the request in logs and events.", .string(pattern: "^req_[0-9a-z]{26}$"), true),
        ("Audit-Event", "The event that the change was recorded as.", .string(pattern: "^evt_[0-9a-z]{26}$"), false),
        ("Dry-Run", "true: nothing was changed.", .words("true"), false),
        ("Idempotency-Replayed", "true: the reply to an earlier request with this key.", .words("true"), false),
        (
            "ETag", "The version, to be sent as If-Match; a digest of what has no versions.",
            .string(pattern: "^\"(v[0-9]+|[A-Za-z0-9_-]{22})\"$"), false
        ),
        ("Location", "Where the new thing is.", .uri, false),
        ("Link", "The next page (RFC 8288).", .string, false),
        ("RateLimit", "What is left, and for how many seconds.", .string, false),
        ("RateLimit-Policy", "How many calls in how many seconds.", .string, false),
        ("Retry-After", "Seconds.", .string(pattern: "^[0-9]+$"), true),
        ("WWW-Authenticate", "The challenge (RFC 6750 §3).", .string, true),
    ]

    private static let parameters:
        [(key: String, name: String, place: String, isRequired: Bool, schema: Schema, summary: String)] =
            [
                ("limit", "limit", "query", false, .integer(ListRequest.limits), "Rows of a page; 50 unless said."),
                ("cursor", "cursor", "query", false, .string(1...512), "next_cursor of the page before."),
                (
                    "dry_run", "dry_run", "query", false, .words("true", "false"),
                    "true: answers as if, and changes nothing; secrets are left out."
                ),
                (
                    "idempotency_key", "Idempotency-Key", "header", false, .string(1...255, pattern: "^[!-~]+$"),
                    "Repeats with one key are done once, for 24 hours."
                ),
                (
                    "if_match", "If-Match", "header", false, .string(pattern: #"^("v[0-9]+"|\*)$"#),
                    "The ETag of the state that is meant."
                ),
                (
                    "if_match_required", "If-Match", "header", true, .string(pattern: #"^("v[0-9]+"|\*)$"#),
                    "The ETag of the state that is meant; * for any."
                ),
            ]

    func components(_ schemas: inout SchemaComponents) -> [UInt8] {
        let problem = schemas.json(.named("Problem", Self.problem))
        let headers = Self.headers.map { ($0, schemas.json($0.schema)) }
        let parameters = Self.parameters.map { ($0, schemas.json($0.schema)) }
        let definitions = schemas.definitions.sorted { $0.key < $1.key }
        return JSONWriter.object { json in
            json.object("securitySchemes") { json in
                json.object("admin_key") { json in
                    json.string("type", "http")
                    json.string("scheme", "bearer")
                    json.string("description", "An admin key, gh_…; it is shown once, when it is made.")
                }
                json.object("access_token") { json in
                    json.string("type", "http")
                    json.string("scheme", "bearer")
                    json.string("bearerFormat", "JWT")
                    json.string(
                        "description",
                        "An access token for the resource /v1/organizations/{org}, from that organization's issuer: for people "
                            + "with a role, through a client with admin_api_access, signed in within the last "
                            + "\(AdminAPI.longestAuthenticationAge) seconds.")
                }
            }
            json.object("parameters") { json in
                for (parameter, schema) in parameters {
                    json.object(parameter.key) { json in
                        json.string("name", parameter.name)
                        json.string("in", parameter.place)
                        json.string("description", parameter.summary)
                        json.bool("required", parameter.isRequired)
                        json.raw("schema", schema)
                    }
                }
            }
            json.object("headers") { json in
                for (header, schema) in headers {
                    json.object(header.name) { json in
                        json.string("description", header.summary)
                        json.bool("required", header.isRequired)
                        json.raw("schema", schema)
                    }
                }
            }
            json.object("responses") { json in
                for refusal in Refusal.all {
                    json.object(refusal.name) { json in
                        json.string("description", refusal.summary)
                        json.object("headers") { json in
                            for name in ["Request-Id"] + refusal.headers {
                                json.raw(name, Self.reference("headers", name))
                            }
                        }
                        json.object("content") { json in
                            json.object("application/problem+json") { $0.raw("schema", problem) }
                        }
                    }
                }
            }
            json.object("schemas") { json in
                for (name, definition) in definitions { json.raw(name, definition) }
            }
        }
    }
}
