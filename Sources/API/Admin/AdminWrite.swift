import ControlPlane
import HTTPTypes
import Hummingbird
import Keys
import NIOCore
import Tenancy

/// What a write is answered with, so plain that it can be kept for who repeats the request.
struct AdminReply: Sendable, Equatable {
    let status: Int
    var body: [UInt8]?
    /// Becomes the `ETag`.
    var version: Int64?
    /// The new thing's place below the collection that was posted to; one that begins with `/` is a whole path.
    var place: String?
    /// The event the write was recorded as; nil after a dry run.
    var event: EventID?

    static func ok(_ body: [UInt8], version: Int64? = nil) -> AdminReply {
        AdminReply(status: 200, body: body, version: version)
    }

    /// 201 with the place of the new thing below this collection; without one where it has none of its own.
    static func created(_ id: String?, _ body: [UInt8], version: Int64? = nil) -> AdminReply {
        AdminReply(status: 201, body: body, version: version, place: id)
    }

    static let deleted = AdminReply(status: 204)

    /// 202 with the operation that goes on with it.
    static func accepted(_ operation: LongOperation) -> AdminReply {
        AdminReply(
            status: 202, body: OperationsEndpoint.json(operation),
            place: "/v1/organizations/\(operation.organization)/operations/\(operation.id)")
    }
}

extension AdminReply {
    /// As it is kept.
    var kept: [UInt8] {
        JSONWriter.object { json in
            json.int("status", status)
            if let body { json.string("body", Base64URL.encode(body)) }
            if let version { json.int("version", Int(version)) }
            json.optional("place", place)
            json.optional("event", event?.description)
        }
    }

    /// - Returns: nil for what ``kept`` did not write.
    init?(kept bytes: [UInt8]) {
        guard let members = try? JSONText.parse(bytes, maximumDepth: 2).object,
            case .integer(let status)? = members["status"]
        else { return nil }
        self.status = status
        if case .string(let text)? = members["body"] { body = Base64URL.decode(text) }
        if case .integer(let version)? = members["version"] { self.version = Int64(version) }
        if case .string(let place)? = members["place"] { self.place = place }
        if case .string(let event)? = members["event"] { self.event = EventID(event) }
    }
}

extension AdminCall {
    /// Does a write as the request means it: once per `Idempotency-Key`, and not at all where it says `dry_run=true`.
    ///
    /// - Parameters:
    ///   - act: the use case, by the administrator it is given.
    ///   - reply: the answer. Made inside the transaction too, to be kept with the change, so it looks at its argument
    ///     alone; what may be seen once goes through ``Administered/shown(_:)``.
    func write<Value: Sendable>(
        _ act: (Administrator) async throws -> Administered<Value>,
        reply: @escaping @Sendable (Administered<Value>) -> AdminReply
    ) async throws -> Response {
        @Sendable func answer(_ done: Administered<Value>) -> AdminReply {
            var answer = reply(done)
            answer.event = done.event
            return answer
        }
        var administrator = administrator
        administrator.terms.isDryRun = isDryRun
        administrator.terms.once = once?.answered { (done: Administered<Value>) in answer(done).kept }
        do {
            return response(answer(try await act(administrator)))
        } catch let repeated as RepeatedRequest {
            return try again(repeated.reply)
        }
    }

    /// The reply that an earlier request with the same `Idempotency-Key` got.
    func again(_ kept: [UInt8]) throws -> Response {
        guard let reply = AdminReply(kept: kept) else { throw UnreadableReply() }
        var response = response(reply)
        response.headers[.idempotencyReplayed] = "true"
        return response
    }

    private func response(_ reply: AdminReply) -> Response {
        var headers: HTTPFields = [.cacheControl: "no-store"]
        if reply.body != nil { headers[.contentType] = "application/json" }
        if isDryRun {
            headers[.dryRun] = "true"
        } else {
            headers[.eTag] = reply.version.map { "\"v\($0)\"" }
            headers[.location] = reply.place.map { place in
                publicURL + (place.hasPrefix("/") ? place : "\(request.uri.path)/\(place)")
            }
            headers[.auditEvent] = reply.event?.description
        }
        return Response(
            status: HTTPResponse.Status(code: reply.status), headers: headers,
            body: reply.body.map { ResponseBody(byteBuffer: ByteBuffer(bytes: $0)) } ?? ResponseBody())
    }
}

/// A reply that was kept and cannot be read: a defect of ours.
private struct UnreadableReply: Error {}

/// What the request of a write says about the write as a whole.
struct WriteRequest {
    let request: Request
    let isDryRun: Bool
    let once: OnceOnly?

    /// Reads `dry_run` and `Idempotency-Key`. The body is read here where the key has to be tied to it.
    ///
    /// - Parameter largestBody: in bytes.
    /// - Throws: ``AdminError/malformed(_:)`` for any other parameter in the URL: one that were ignored might do harm.
    init(
        _ request: Request, by administrator: Administrator, in organization: OrganizationID, largestBody: Int
    ) async throws {
        isDryRun =
            switch request.rawQuery {
            case "", "dry_run=false": false
            case "dry_run=true": true
            default: throw AdminError.malformed("The only parameter that a write knows is dry_run, true or false.")
            }
        let keys = request.headers[values: .idempotencyKey]
        guard let key = keys.first, let caller = administrator.credentialID, let credential = administrator.credential
        else {
            self.request = request
            once = nil
            return
        }
        guard keys.count == 1, (1...255).contains(key.utf8.count), key.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
        else {
            throw AdminError.malformed("An Idempotency-Key has 1 to 255 visible ASCII characters, and there is one.")
        }
        var buffered = request
        let body = try await request.wholeBody(upTo: largestBody)
        buffered.body = RequestBody(buffer: body)
        self.request = buffered
        let type = request.headers[.contentType] ?? ""
        let line = "\(request.method) \(request.uri.path)?\(request.rawQuery)\n\(type)\n"
        once = OnceOnly(
            key: key, of: caller, credential: credential, in: organization,
            request: Array(line.utf8) + Array(body.readableBytesView))
    }
}

extension HTTPField.Name {
    static let dryRun: HTTPField.Name = named("Dry-Run")
    static let idempotencyKey: HTTPField.Name = named("Idempotency-Key")
    static let idempotencyReplayed: HTTPField.Name = named("Idempotency-Replayed")
    /// The event that a write was recorded as.
    static let auditEvent: HTTPField.Name = named("Audit-Event")
    static let link: HTTPField.Name = named("Link")
}
