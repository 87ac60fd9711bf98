import Audit
import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import Keys
import NIOCore
import Tenancy

/// A request by a proven directory, about its own organization.
struct SCIMContext: ChildRequestContext {
    var coreContext: CoreRequestContextStorage
    let administrator: Administrator
    let organization: OrganizationID
    /// The organization as the path names it; addresses in answers name it so too.
    let place: String

    /// - Throws: ``AdminError/unauthenticated`` where nobody was proven.
    init(context: AppContext) throws {
        guard let administrator = context.administrator, let organization = administrator.directory else {
            throw AdminError.unauthenticated
        }
        coreContext = context.coreContext
        self.administrator = administrator
        self.organization = organization
        place = context.parameters.get("org") ?? organization.description
    }
}

/// Limits how often a directory may call, and proves its token (RFC 7644 §2, RFC 6750 §2.1).
struct AuthenticateDirectory: RouterMiddleware {
    let authentication: DirectoryAuthentication
    let limits: EndpointLimits

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        let presented = AuthenticateAdministrator.presented(in: request)
        let call = EndpointLimits.AdminCall(
            directory: presented, request: context.request, at: context.now)
        let state = try await limits.admit(call)
        var context = context
        do {
            guard let presented = try AuthenticateAdministrator.credential(of: request), presented.scheme == .bearer
            else {
                throw AdminError.unauthenticated
            }
            context.administrator = try await authentication.authenticate(
                presented.text, at: context.parameters.get("org") ?? "", request: context.request, at: context.now)
        } catch let error as AdminError {
            try await limits.refused(call, because: error)
            throw error
        }
        var response = try await next(request, context)
        if let state, response.headers[.rateLimit] == nil { response.headers.tell(state) }
        return response
    }
}

/// One call of SCIM: what was sent, and how it is answered.
struct SCIMCall: Sendable {
    let request: Request
    let context: SCIMContext
    /// The base of everything of this organization (RFC 7644 §1.3).
    let base: String
    /// Set where it is one operation of a bulk request, whose members stand for the request's own.
    private let part: Part?

    struct Part {
        /// The last segment of its path.
        var id: String?
        var data: JSONValue?
        var version: String?
    }

    init(_ request: Request, _ context: SCIMContext, publicURL: String) {
        self.request = request
        self.context = context
        base = "\(publicURL)/scim/v2/\(context.place)"
        part = nil
    }

    /// One operation of a bulk request.
    init(_ part: Part, of whole: SCIMCall) {
        request = whole.request
        context = whole.context
        base = whole.base
        self.part = part
    }

    var organization: OrganizationID { context.organization }
    var administrator: Administrator { context.administrator }

    /// - Throws: 404 for what nobody can have.
    func id<Kind>(of kind: Identifier<Kind>.Type = Identifier<Kind>.self) throws(SCIMError) -> Identifier<Kind> {
        let name = part.map { $0.id } ?? context.parameters.get("id")
        guard let text = name, let id = Identifier<Kind>(text) else { throw .notFound }
        return id
    }

    /// The parameters of the URL.
    func query() throws(SCIMError) -> SCIMQuery {
        guard part == nil else { return try SCIMQuery([:]) }
        let form: OAuthForm
        do {
            form = try OAuthForm(query: request.uri.query ?? "")
        } catch {
            throw SCIMError(.invalidSyntax, "The query cannot be read.")
        }
        guard form.repeated.isEmpty else { throw SCIMError(.invalidSyntax, "A parameter is there twice.") }
        return try SCIMQuery(form.values)
    }

    func body() async throws -> SCIMObject {
        if let part {
            guard let data = part.data else { throw SCIMError(.invalidSyntax, "The operation has no data.") }
            return try SCIMObject(data)
        }
        do {
            let body = try await JSONBody(request, mediaTypes: [SCIM.mediaType, "application/json"])
            return try SCIMObject(body.value)
        } catch JSONBody.Refusal.mediaType {
            throw AdminError.unsupportedMediaType
        } catch JSONBody.Refusal.tooLarge {
            throw AdminError.tooLarge
        } catch JSONBody.Refusal.malformed {
            throw SCIMError(.invalidSyntax, "The body is not valid JSON in UTF-8, or ended early.")
        }
    }

    /// What `If-Match` says; absent means any version. Versions are weak (RFC 7644 §3.14), and here as good as strong ones.
    func condition() -> VersionCondition {
        let header = part.map { $0.version ?? "" } ?? request.headers[values: .ifMatch].joined(separator: ",")
        guard !header.isEmpty else { return .any }
        let versions = Self.versions(in: header)
        return versions == nil ? .any : .oneOf(versions ?? [])
    }

    /// Whether the client has this version already.
    func has(version: Int64) -> Bool {
        let header = request.headers[values: .ifNoneMatch].joined(separator: ",")
        guard !header.isEmpty else { return false }
        return Self.versions(in: header)?.contains(version) ?? true
    }

    /// - Returns: nil for `*`.
    private static func versions(in header: String) -> [Int64]? {
        let tags = header.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
        guard tags != ["*"] else { return nil }
        return tags.compactMap { tag in
            let tag = tag.hasPrefix("W/") ? tag.dropFirst(2) : tag[...]
            guard tag.hasPrefix("\"v"), tag.hasSuffix("\""), tag.utf8.count > 3 else { return nil }
            return Int64(tag.dropFirst(2).dropLast())
        }
    }

    // MARK: Answers

    static func tag(_ version: Int64) -> String { "W/\"v\(version)\"" }

    func reply(
        _ body: [UInt8], _ status: HTTPResponse.Status = .ok, version: Int64? = nil, location: String? = nil,
        event: EventID? = nil
    ) -> Response {
        var response = Response.json(body, status, type: SCIM.mediaType)
        response.headers[.eTag] = version.map(Self.tag)
        response.headers[.location] = location
        response.headers[.auditEvent] = event?.description
        return response
    }

    func deleted(_ event: EventID?) -> Response {
        var response = Response(status: .noContent, headers: [.cacheControl: "no-store"])
        response.headers[.auditEvent] = event?.description
        return response
    }

    /// A list (RFC 7644 §3.4.2).
    func list(_ resources: [[UInt8]], total: Int, startIndex: Int) -> Response {
        reply(
            JSONWriter.object(capacity: 4096) { json in
                json.strings("schemas", [SCIM.listSchema])
                json.int("totalResults", total)
                json.int("startIndex", startIndex)
                json.int("itemsPerPage", resources.count)
                json.raws("Resources", resources)
            })
    }
}

extension JSONWriter {
    /// `meta` of a resource (RFC 7643 §3.1).
    mutating func meta(_ type: String, created: Date, modified: Date, version: Int64, location: String) {
        object("meta") { json in
            json.string("resourceType", type)
            json.time("created", created)
            json.time("lastModified", modified)
            json.string("version", SCIMCall.tag(version))
            json.string("location", location)
        }
    }
}
