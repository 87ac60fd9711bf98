import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import Keys
import NIOCore
import Tenancy

/// One call of the admin API that may go ahead: who calls, about which organization, with what.
struct AdminCall: Sendable {
    let request: Request
    let administrator: Administrator
    /// The organization of the path; the platform's own for platform paths.
    let organization: Organization
    let parameters: Parameters
    let cursors: CursorSeal
    let publicURL: String
    /// Nothing is to be kept (`dry_run=true`).
    let isDryRun: Bool
    /// The `Idempotency-Key` the request came with.
    let once: OnceOnly?

    /// An id in the path. What cannot be one is what nobody has.
    func id<Kind>(_ name: String, of kind: Identifier<Kind>.Type = Identifier<Kind>.self) throws(AdminError)
        -> Identifier<Kind>
    {
        guard let text = parameters.get(name), let id = Identifier<Kind>(text) else { throw .notFound }
        return id
    }

    // MARK: Conditions

    /// What `If-Match` says; absent means any version, and an empty one no state at all.
    func condition() throws(AdminError) -> VersionCondition {
        guard request.headers[.ifMatch] != nil else { return .any }
        let header = request.headers[values: .ifMatch].joined(separator: ",")
        let tags = header.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
        if tags == ["*"] { return .any }
        // A tag of another form, weak ones included, matches no state (RFC 9110 §13.1.1).
        return .oneOf(
            tags.compactMap { tag in
                guard tag.hasPrefix("\"v"), tag.hasSuffix("\""), tag.utf8.count > 3 else { return nil }
                return Int64(tag.dropFirst(2).dropLast())
            })
    }

    /// What `If-Match` says, where one has to be there.
    func requiredCondition() throws(AdminError) -> VersionCondition {
        guard request.headers[.ifMatch] != nil else { throw .preconditionRequired }
        return try condition()
    }

    // MARK: Body

    /// The members of a JSON object.
    func body() async throws -> Members {
        try await Members(json(["application/json"]), isPatch: false)
    }

    /// The members of a merge patch (RFC 7396).
    func patch() async throws -> Members {
        try await Members(patchValue(), isPatch: true)
    }

    /// A merge patch as a value, for things that are patched as whole documents.
    func patchValue() async throws -> JSONValue {
        try await json(["application/json", "application/merge-patch+json"])
    }

    /// Makes sure that a call without arguments has none: no body, whatever its announced type, or an empty object.
    func noBody() async throws {
        if let members = try await optionalBody() { try members.finish() }
    }

    /// The members of a body that may be left out.
    func optionalBody() async throws -> Members? {
        let value = try await refusing { () -> JSONValue? in
            let bytes = try await JSONBody.bytes(of: request)
            guard !bytes.isEmpty else { return nil }
            guard MediaTypeName(request.headers[.contentType])?.essence == "application/json" else {
                throw JSONBody.Refusal.mediaType
            }
            return try JSONBody(bytes: bytes).value
        }
        return value.map { Members($0, isPatch: false) }
    }

    /// The lines of a body of JSON texts.
    ///
    /// - Parameter most: lines that hold something.
    func lines<Line>(most: Int, _ read: (_ number: Int, _ line: [UInt8]) -> Line) async throws -> [Line] {
        try await refusing {
            var lines: [Line] = []
            try await NDJSONBody.lines(of: request, most: most) { lines.append(read($0, $1)) }
            return lines
        }
    }

    private func json(_ mediaTypes: Set<String>) async throws -> JSONValue {
        try await refusing { try await JSONBody(request, mediaTypes: mediaTypes).value }
    }

    private func refusing<Value>(_ read: () async throws -> Value) async throws -> Value {
        do {
            return try await read()
        } catch JSONBody.Refusal.mediaType {
            throw AdminError.unsupportedMediaType
        } catch JSONBody.Refusal.tooLarge {
            throw AdminError.tooLarge
        } catch JSONBody.Refusal.malformed {
            throw AdminError.malformed(
                "The body is not valid JSON in UTF-8 (RFC 8259), names a member twice, or ended early.")
        }
    }

    // MARK: Replies

    /// One thing that has no versions: its tag follows from what is told of it.
    func reply(unversioned body: [UInt8]) -> Response {
        var response = reply(.ok, body)
        response.headers[.eTag] = "\"\(Base64URL.encode(Array(sha256(body).prefix(16))))\""
        return response
    }

    func reply(
        _ status: HTTPResponse.Status = .ok, _ body: [UInt8], version: Int64? = nil
    ) -> Response {
        var headers: HTTPFields = [.contentType: "application/json", .cacheControl: "no-store"]
        headers[.eTag] = version.map { "\"v\($0)\"" }
        return Response(status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
    }
}
