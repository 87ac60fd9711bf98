import ControlPlane
import HTTPTypes
import Hummingbird
import Keys

/// `POST /Bulk` (RFC 7644 §3.7): many changes in one request, each done by itself as if it had come alone.
struct SCIMBulkEndpoint: Sendable {
    static let mostOperations = 100
    private static let requestSchema = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
    private static let responseSchema = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"

    let users: SCIMUsersEndpoint
    let groups: SCIMGroupsEndpoint
    let limits: EndpointLimits

    func run(_ call: SCIMCall) async throws -> Response {
        let body = try await call.body()
        try body.check(schema: Self.requestSchema)
        let elements = try body.objects("Operations")
        guard elements.count <= Self.mostOperations else {
            throw SCIMError(.contentTooLarge, nil, "A bulk request has at most \(Self.mostOperations) operations.")
        }
        let mostErrors = try body.integer("failOnErrors")
        guard mostErrors ?? 1 > 0 else { throw SCIMObject.wrong("failOnErrors", "a positive integer") }
        var job = Job(call: call, endpoint: self, mostErrors: mostErrors)
        for element in elements { try job.add(BulkOperation(element)) }
        let state = try await admit(elements.count, call)
        try await job.run()
        var response = call.reply(
            JSONWriter.object(capacity: 256 * elements.count + 128) { json in
                json.strings("schemas", [Self.responseSchema])
                json.raws("Operations", job.answers)
            })
        if let state { response.headers.tell(state) }
        return response
    }

    /// Each operation counts as the request it would be alone; the first was counted when this one came.
    ///
    /// - Throws: ``AdminError/rateLimited(_:)`` before anything is done.
    private func admit(_ count: Int, _ call: SCIMCall) async throws -> RateLimitState? {
        guard count > 1, let request = call.administrator.request else { return nil }
        return try await limits.admit(
            EndpointLimits.AdminCall(
                directory: AuthenticateAdministrator.presented(in: call.request), request: request,
                at: call.administrator.now), taking: count - 1)
    }

    /// What one operation does, by the endpoint that would have done it alone.
    fileprivate func perform(_ operation: BulkOperation, _ call: SCIMCall) async throws -> Response {
        switch (operation.kind, operation.method, operation.id == nil) {
        case (.users, .post, true): try await users.create(call)
        case (.users, .put, false): try await users.replace(call)
        case (.users, .patch, false): try await users.patch(call)
        case (.users, .delete, false): try await users.delete(call)
        case (.groups, .post, true): try await groups.create(call)
        case (.groups, .put, false): try await groups.replace(call)
        case (.groups, .patch, false): try await groups.patch(call)
        case (.groups, .delete, false): try await groups.delete(call)
        default: throw SCIMError(.methodNotAllowed, nil, "This method is not allowed at this path.")
        }
    }
}

/// One operation of a bulk request, as it came.
private struct BulkOperation: Sendable {
    enum Kind: String { case users = "/Users", groups = "/Groups" }

    static let mark = "bulkId:"

    let method: HTTPRequest.Method
    let bulkID: String?
    /// nil where the path is none of ours.
    let kind: Kind?
    let path: String
    let id: String?
    let data: JSONValue?
    let version: String?

    /// - Throws: for what could not even be answered by itself.
    init(_ object: SCIMObject) throws(SCIMError) {
        guard let name = try object.string("method")?.uppercased(), let method = HTTPRequest.Method(name),
            [.post, .put, .patch, .delete].contains(method)
        else { throw SCIMError(.invalidSyntax, "The method of an operation is POST, PUT, PATCH or DELETE.") }
        self.method = method
        bulkID = try object.string("bulkId")
        guard method != .post || bulkID != nil else {
            throw SCIMError(.invalidSyntax, "An operation that makes something has a bulkId.")
        }
        guard let path = try object.string("path") else {
            throw SCIMError(.invalidSyntax, "An operation has a path.")
        }
        self.path = path
        let end = path.dropFirst().firstIndex(of: "/") ?? path.endIndex
        kind = Kind(rawValue: String(path[..<end]))
        id = end == path.endIndex ? nil : String(path[path.index(after: end)...])
        version = try object.string("version")
        data = object["data"]
    }

    /// Other operations whose outcome this one names.
    var references: Set<String> {
        var found: Set<String> = []
        if let id, id.hasPrefix(Self.mark) { found.insert(String(id.dropFirst(Self.mark.count))) }
        data?.collectReferences(into: &found)
        return found
    }
}

/// A bulk request at work. What others refer to is done before them, whatever the order they came in.
private struct Job {
    let call: SCIMCall
    let endpoint: SCIMBulkEndpoint
    let mostErrors: Int?

    private var operations: [BulkOperation] = []
    private var places: [String: Int] = [:]
    private var outcomes: [Int: Result<Done, SCIMError>] = [:]
    private var begun: Set<Int> = []
    private var errors = 0

    struct Done {
        let status: Int
        let version: String?
        /// Where the thing is, or was.
        let location: String
    }

    init(call: SCIMCall, endpoint: SCIMBulkEndpoint, mostErrors: Int?) {
        self.call = call
        self.endpoint = endpoint
        self.mostErrors = mostErrors
    }

    mutating func add(_ operation: BulkOperation) throws(SCIMError) {
        if let bulkID = operation.bulkID, places.updateValue(operations.count, forKey: bulkID) != nil {
            throw SCIMError(.invalidSyntax, "A bulkId is there twice.")
        }
        operations.append(operation)
    }

    private var isOver: Bool { mostErrors.map { errors >= $0 } ?? false }

    mutating func run() async throws {
        for place in operations.indices where !isOver { try await perform(place) }
    }

    private mutating func perform(_ place: Int) async throws {
        guard begun.insert(place).inserted else { return }
        let outcome: Result<Done, SCIMError>
        do {
            outcome = .success(try await outcomeOf(operations[place]))
        } catch let error as CancellationError {
            throw error
        } catch {
            // Those it refers to failed so often that nothing more is begun.
            if isOver { return }
            outcome = .failure(SCIMError(any: error, call.context.logger))
            errors += 1
        }
        outcomes[place] = outcome
    }

    private mutating func outcomeOf(_ operation: BulkOperation) async throws -> Done {
        var ids: [String: String] = [:]
        for reference in operation.references.sorted() {
            guard let other = places[reference] else {
                throw SCIMError(.invalidValue, "No operation of this request has this bulkId.")
            }
            try await perform(other)
            switch outcomes[other] {
            case .success(let done): ids[reference] = done.location.split(separator: "/").last.map(String.init)
            case .failure: throw SCIMError(.conflict, nil, "An operation that this one refers to failed.")
            // It was begun before and has no outcome yet: it waits for this one.
            case nil: throw SCIMError(.conflict, nil, "These operations refer to each other in a circle.")
            }
        }
        let part = SCIMCall.Part(
            id: operation.id?.resolved(ids), data: operation.data?.resolved(ids), version: operation.version)
        let response = try await endpoint.perform(operation, SCIMCall(part, of: call))
        return Done(
            status: response.status.code, version: response.headers[.eTag],
            location: response.headers[.location] ?? "\(call.base)\(operation.kind?.rawValue ?? "")/\(part.id ?? "")")
    }

    /// Those that were begun, in the order they came.
    var answers: [[UInt8]] {
        operations.indices.compactMap { place in
            guard let outcome = outcomes[place] else { return nil }
            let operation = operations[place]
            return JSONWriter.object { json in
                json.string("method", operation.method.rawValue)
                if let bulkID = operation.bulkID { json.string("bulkId", bulkID) }
                switch outcome {
                case .success(let done):
                    json.string("location", done.location)
                    if let version = done.version { json.string("version", version) }
                    json.string("status", String(done.status))
                case .failure(let error):
                    if operation.method != .post { json.string("location", call.base + operation.path) }
                    json.string("status", String(error.status.code))
                    json.raw("response", error.json)
                }
            }
        }
    }
}

extension String {
    fileprivate func resolved(_ ids: [String: String]) -> String {
        guard hasPrefix(BulkOperation.mark) else { return self }
        return ids[String(dropFirst(BulkOperation.mark.count))] ?? self
    }
}

extension JSONValue {
    /// Every `bulkId:` that is the value of something (RFC 7644 §3.7.2).
    fileprivate func collectReferences(into found: inout Set<String>) {
        switch self {
        case .array(let elements): for element in elements { element.collectReferences(into: &found) }
        case .object(let members):
            for (name, value) in members {
                if name.lowercased() == "value", let text = value.string, text.hasPrefix(BulkOperation.mark) {
                    found.insert(String(text.dropFirst(BulkOperation.mark.count)))
                } else {
                    value.collectReferences(into: &found)
                }
            }
        default: break
        }
    }

    /// The same with ids in their places.
    fileprivate func resolved(_ ids: [String: String]) -> JSONValue {
        switch self {
        case .array(let elements): .array(elements.map { $0.resolved(ids) })
        case .object(let members):
            .object(
                Dictionary(
                    uniqueKeysWithValues: members.map { name, value in
                        if name.lowercased() == "value", let text = value.string {
                            return (name, .string(text.resolved(ids)))
                        }
                        return (name, value.resolved(ids))
                    }))
        default: self
        }
    }
}
