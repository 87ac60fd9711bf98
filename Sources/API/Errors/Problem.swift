import ControlPlane
import HTTPTypes
import Hummingbird
import Keys
import Tenancy

/// One failure as `application/problem+json` tells it (RFC 9457 §3).
struct Problem: Sendable {
    /// What is wrong with one member of the request.
    struct Field: Sendable, Equatable {
        /// JSON Pointer to the member (RFC 6901).
        let pointer: String
        /// A word for programs, such as `required`.
        let code: String
        let detail: String

        init(pointer: String, code: String, detail: String) {
            self.pointer = pointer
            self.code = code
            self.detail = detail
        }
    }

    var status: HTTPResponse.Status
    /// A word for programs; `type` is `urn:gatehouse:problem:` and it.
    var code: String
    /// The same for every problem of this code.
    var title: String
    /// What happened this time, for people; never another error's message.
    var detail: String?
    var fields: [Field] = []
    var headers: HTTPFields = [:]

    init(
        _ status: HTTPResponse.Status, code: String, title: String, detail: String? = nil, fields: [Field] = [],
        headers: HTTPFields = [:]
    ) {
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.fields = fields
        self.headers = headers
    }

    static let notFound = Problem(
        .notFound, code: "not_found", title: "There is nothing here",
        detail: "Check the path and every id in it. A key of one organization reaches nothing outside it.")

    static let tooLarge = Problem(
        .contentTooLarge, code: "too_large", title: "The request is too large",
        detail: "A body has at most 1 MiB; an import 8 MiB and 10,000 lines of at most 16 KiB. Send it in parts.")

    static let internalError = Problem(
        .internalServerError, code: "internal_error", title: "Something went wrong on our side",
        detail: "The request id finds it in our log.")

    static func unavailable(retryAfter: Duration) -> Problem {
        Problem(
            .serviceUnavailable, code: "unavailable", title: "The service cannot answer right now",
            detail: "Nothing was changed; try again shortly.",
            headers: [.retryAfter: String(max(1, retryAfter.components.seconds))])
    }

    /// What Hummingbird itself refused.
    init(_ error: HTTPError) {
        self =
            switch error.status {
            case .notFound: .notFound
            case .methodNotAllowed:
                Problem(
                    .methodNotAllowed, code: "method_not_allowed", title: "This method is not allowed here",
                    detail: "Use one of those that Allow names.")
            case .contentTooLarge: .tooLarge
            case .notImplemented:
                Problem(.notImplemented, code: "not_implemented", title: "This method is not known here")
            default: Problem(error.status, code: "bad_request", title: "The request cannot be answered")
            }
        headers = error.headers
    }

    /// The reply; `instance` and `request_id` name the request.
    func response(to request: Tenancy.RequestID) -> Response {
        let body = JSONWriter.object { json in
            json.string("type", "urn:gatehouse:problem:" + code)
            json.string("title", title)
            json.int("status", status.code)
            if let detail { json.string("detail", detail) }
            json.string("instance", "urn:gatehouse:request:\(request)")
            json.string("code", code)
            json.string("request_id", request.description)
            if !fields.isEmpty {
                json.raws(
                    "errors",
                    fields.map { field in
                        JSONWriter.object { json in
                            json.string("pointer", field.pointer)
                            json.string("code", field.code)
                            json.string("detail", field.detail)
                        }
                    })
            }
        }
        var response = Response.json(body, status, type: "application/problem+json")
        response.headers.append(contentsOf: headers)
        return response
    }
}
