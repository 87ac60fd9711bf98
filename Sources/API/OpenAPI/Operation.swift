import HTTPTypes

/// What one call of the admin API takes and gives, said beside its route.
///
/// Everything that holds for all calls comes by rule (``OpenAPIDocument``): the scope, errors, headers, a list's `limit`,
/// `cursor` and envelope, a write's `dry_run` and `Idempotency-Key`.
struct Operation: Sendable {
    /// Whether a call takes `If-Match`.
    enum Condition: Sendable { case none, optional, required }

    /// A body and its media type.
    struct Body: Sendable {
        let schema: Schema
        var mediaType = "application/json"
        /// For calls whose arguments may all be left out.
        var mayBeMissing = false
    }

    /// Unique; the platform's twin of an organization's call has `OfPlatform` behind it.
    let id: String
    /// One line.
    let summary: String
    /// More, where one line is not enough.
    var details: String?
    /// Query parameters beside those that come by rule.
    var filters: [Schema.Member] = []
    var request: Body?
    var replies: [Body] = []
    var status = HTTPResponse.Status.ok
    /// What a dry run answers with 200, where that is another thing.
    var rehearsal: Schema?
    var condition = Condition.none
    var isList = false
    /// A POST that only computes.
    var writes = true

    /// A page of a collection.
    static func list(
        _ id: String, _ summary: String, of row: Schema, filters: KeyValuePairs<String, Schema> = [:]
    ) -> Operation {
        let page = Schema.object([
            "data": .array(of: row), "has_more": .bool,
            "next_cursor": .string.nullable.said("Send it as cursor for the next page; null on the last one."),
        ])
        var operation = Operation(id: id, summary: summary)
        operation.replies = [Body(schema: row.componentName.map { .named($0 + "Page", page) } ?? page)]
        operation.filters = filters.map { Schema.Member(name: $0.key, schema: $0.value) }
        operation.isList = true
        return operation
    }

    static func read(_ id: String, _ summary: String, _ reply: Schema) -> Operation {
        var operation = Operation(id: id, summary: summary)
        operation.replies = [Body(schema: reply)]
        return operation
    }

    /// A POST that makes something: 201, `Location`.
    static func create(_ id: String, _ summary: String, from request: Schema, to reply: Schema) -> Operation {
        var operation = Operation(id: id, summary: summary)
        operation.request = Body(schema: request)
        operation.replies = [Body(schema: reply)]
        operation.status = .created
        return operation
    }

    /// A merge patch.
    static func update(
        _ id: String, _ summary: String, from request: Schema, to reply: Schema,
        ifMatch condition: Condition = .required
    ) -> Operation {
        var operation = Operation(id: id, summary: summary)
        operation.request = Body(schema: request)
        operation.replies = [Body(schema: reply)]
        operation.condition = condition
        return operation
    }

    /// A POST that does something to a thing, such as `:disable`.
    ///
    /// - Parameter request: nil for a call without arguments.
    static func act(
        _ id: String, _ summary: String, from request: Schema? = nil, to reply: Schema,
        status: HTTPResponse.Status = .ok
    ) -> Operation {
        var operation = Operation(id: id, summary: summary)
        operation.request = Body(schema: request ?? .object([:]), mayBeMissing: request?.hasRequiredMembers != true)
        operation.replies = [Body(schema: reply)]
        operation.status = status
        return operation
    }

    /// A POST that only computes, such as `:evaluate`.
    static func compute(_ id: String, _ summary: String, from request: Schema, to reply: Schema) -> Operation {
        var operation = Operation(id: id, summary: summary)
        operation.request = Body(schema: request)
        operation.replies = [Body(schema: reply)]
        operation.writes = false
        return operation
    }

    /// A DELETE: 204, or 200 with what is left to say.
    static func remove(
        _ id: String, _ summary: String, to reply: Schema? = nil, ifMatch condition: Condition = .none
    ) -> Operation {
        var operation = Operation(id: id, summary: summary)
        operation.replies = reply.map { [Body(schema: $0)] } ?? []
        operation.status = reply == nil ? .noContent : .ok
        operation.condition = condition
        return operation
    }

    /// Begins long work: 202, `Location`.
    static func begin(
        _ id: String, _ summary: String, from request: Body? = nil, ifMatch condition: Condition = .none
    ) -> Operation {
        var operation = Operation(id: id, summary: summary)
        operation.request = request
        operation.replies = [Body(schema: OperationsEndpoint.schema)]
        operation.status = .accepted
        operation.condition = condition
        return operation
    }

    // MARK: Variations

    func said(_ details: String) -> Operation {
        var operation = self
        operation.details = details
        return operation
    }

    func rehearsing(_ reply: Schema) -> Operation {
        var operation = self
        operation.rehearsal = reply
        return operation
    }

    /// The reply may also be text of this media type.
    func alsoGiving(_ mediaType: String) -> Operation {
        var operation = self
        operation.replies.append(Body(schema: .string, mediaType: mediaType))
        return operation
    }
}

extension Schema {
    fileprivate var hasRequiredMembers: Bool {
        switch form {
        case .object(let members, _): members.contains { !$0.schema.isOptional }
        case .named(_, let schema): schema.hasRequiredMembers
        default: false
        }
    }
}
