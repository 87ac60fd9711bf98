import ControlPlane
import HTTPTypes

/// The description of the admin API for people, in the order of its routes.
struct ReferenceView: Sendable {
    struct Collection: Sendable {
        let name: PageText
        let operations: [Operation]
    }

    struct Operation: Sendable {
        let id: PageText
        let method: PageText
        let path: PageText
        let summary: PageText
        let details: PageText?
        let scope: PageText
        let condition: PageText?
        let parameters: [Parameter]
        let hasParameters: Bool
        let request: [PageText]
        let hasRequest: Bool
        let reply: [PageText]
        let hasReply: Bool
        let status: PageText
        let curl: PageText
    }

    struct Parameter: Sendable {
        let name: PageText
        let form: PageText
    }

    let documentURL: PageText
    let base: PageText
    let collections: [Collection]

    /// - Parameter documentURL: where the description for programs is.
    init(_ document: OpenAPIDocument, documentURL: String) {
        self.documentURL = PageText(documentURL)
        base = PageText(document.url)
        collections = document.collections.map { name in
            Collection(
                name: PageText(name),
                operations: document.routes.filter { $0.collection == name }.map { Operation($0, at: document.url) })
        }
    }
}

extension ReferenceView.Operation {
    init(_ route: DescribedRoute, at url: String) {
        let operation = route.operation
        id = PageText(route.id)
        method = PageText(route.method.rawValue)
        path = PageText(route.path)
        summary = PageText(operation.summary)
        details = operation.details.map { PageText($0) }
        scope = PageText(route.scope.rawValue)
        switch operation.condition {
        case .none: condition = nil
        case .optional: condition = "Takes If-Match."
        case .required: condition = "Needs If-Match with the ETag of the state that you read."
        }
        parameters = operation.filters.map {
            ReferenceView.Parameter(name: PageText($0.name), form: PageText(SchemaOutline.phrase($0.schema)))
        }
        hasParameters = !parameters.isEmpty
        request = operation.request.map { SchemaOutline.lines(of: $0.schema).map { PageText($0) } } ?? []
        hasRequest = !request.isEmpty
        reply = operation.replies.first.map { SchemaOutline.lines(of: $0.schema).map { PageText($0) } } ?? []
        hasReply = !reply.isEmpty
        status = PageText("\(operation.status.code) \(operation.status.reasonPhrase)")
        curl = PageText(Self.curl(route, at: url))
    }

    private static func curl(_ route: DescribedRoute, at url: String) -> String {
        var parts = ["curl"]
        if ![HTTPRequest.Method.get, .post].contains(route.method)
            || (route.method == .post && route.operation.request?.mayBeMissing != false)
        {
            parts.append("-X \(route.method.rawValue)")
        }
        parts.append("-H \"Authorization: Bearer $KEY\"")
        if route.operation.condition == .required { parts.append("-H 'If-Match: \"v1\"'") }
        if let body = route.operation.request, !body.mayBeMissing {
            parts.append("-H 'Content-Type: \(body.mediaType)' -d '{…}'")
        }
        parts.append("'\(url)\(route.path)'")
        return parts.joined(separator: " ")
    }
}
