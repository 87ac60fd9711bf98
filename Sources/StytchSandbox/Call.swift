import Foundation
import Hummingbird
import Logging
import NIOCore

/// A request before its project is known.
struct SandboxContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel
    /// Set by ``AuthenticateProject``.
    var project: Project?

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        channel = source.channel
    }
}

/// A request that showed the credentials of `project`.
struct ProjectContext: ChildRequestContext {
    var coreContext: CoreRequestContextStorage
    let project: Project

    init(context: SandboxContext) throws {
        guard let project = context.project else { throw StytchError.unauthorizedCredentials }
        coreContext = context.coreContext
        self.project = project
    }
}

/// Finds the project whose id and secret came as Basic credentials, and refuses the other vertical's endpoints.
struct AuthenticateProject: RouterMiddleware {
    let sandbox: Sandbox
    let vertical: ProjectSettings.Vertical

    func handle(
        _ request: Request, context: SandboxContext, next: (Request, SandboxContext) async throws -> Response
    ) async throws -> Response {
        let words = (request.headers[.authorization] ?? "").split(separator: " ")
        guard words.count == 2, words[0].lowercased() == "basic", let data = Data(base64Encoded: String(words[1]))
        else { throw StytchError.unauthorizedCredentials }
        let credentials = String(decoding: data, as: UTF8.self).split(separator: ":", maxSplits: 1)
        guard let id = credentials.first.flatMap({ ProjectID(String($0)) }) else { throw StytchError.invalidProjectID }
        guard let project = sandbox.project(id), credentials.count == 2, project.settings.secret == credentials[1]
        else { throw StytchError.unauthorizedCredentials }
        var context = context
        context.project = project
        return try await sandbox.withFault(of: project, on: context.channel) {
            guard project.settings.vertical == vertical else {
                throw vertical == .b2b ? StytchError.b2bEndpoint : StytchError.consumerEndpoint
            }
            return try await next(request, context)
        }
    }
}

/// One authenticated API call, read completely.
struct Call: Sendable {
    let project: Project
    /// Of the body of a POST or PUT, of the query of a GET or DELETE.
    let arguments: Arguments
    let parameters: Parameters
    /// The sandbox's own URL as the caller knows it.
    let baseURL: String
    let now: Date

    init(_ request: Request, _ context: ProjectContext) async throws {
        project = context.project
        parameters = context.parameters
        baseURL = "http://\(request.head.authority ?? "localhost")"
        now = project.now
        switch request.method {
        case .post, .put:
            var request = request
            let body = try await request.collectBody(upTo: 1 << 20)
            arguments = try Arguments(body: Array(body.readableBytesView))
        default:
            arguments = try Arguments(query: request.uri.query)
        }
    }

    /// A path parameter, percent-decoded: SDKs encode whole segments, and the router leaves them as they came.
    func path(_ name: String) throws -> String {
        guard let value = try parameters.require(name).removingPercentEncoding else {
            throw StytchError.badRequest("The path is malformed.")
        }
        return value
    }
}

extension RouterMethods where Context == ProjectContext {
    /// Adds an endpoint: `answer` decides, and its members go out in the success envelope.
    func on(
        _ method: HTTPRequest.Method, _ path: RouterPath,
        answer: @escaping @Sendable (Call, inout ProjectState) throws -> [String: JSON]
    ) {
        on(path, method: method) { request, context in
            let call = try await Call(request, context)
            let members = try call.project.update { try answer(call, &$0) }
            return try Envelope.success(members, environment: call.project.environment)
        }
    }
}

/// The members every answer carries: `status_code`, which mirrors HTTP, and a fresh `request_id`.
enum Envelope {
    static func success(_ members: [String: JSON], environment: ProjectID.Environment) throws -> Response {
        try response(200, members, environment)
    }

    static func failure(_ error: StytchError, isB2B: Bool, environment: ProjectID.Environment) throws -> Response {
        let vertical = isB2B ? "b2b" : "consumer"
        return try response(
            error.status,
            [
                "error_type": .string(error.type), "error_message": .string(error.message),
                "error_url": .string(
                    "https://stytch.com/docs/api-reference/\(vertical)/api/errors/\(error.status)#\(error.type)"),
            ], environment)
    }

    private static func response(
        _ status: Int, _ members: [String: JSON], _ environment: ProjectID.Environment
    ) throws -> Response {
        var members = members
        members["status_code"] = .integer(status)
        members["request_id"] = .string(environment.newID("request-id"))
        return try .json(.object(members), status: .init(code: status))
    }
}

extension Response {
    static func json(_ value: JSON, status: HTTPResponse.Status = .ok) throws -> Response {
        Response(
            status: status, headers: [.contentType: "application/json; charset=utf-8"],
            body: .init(byteBuffer: ByteBuffer(bytes: try value.encoded())))
    }
}

/// Turns every error into Stytch's error envelope. On the root, so that unmatched routes have one too.
struct ErrorEnvelope: RouterMiddleware {
    func handle(
        _ request: Request, context: SandboxContext, next: (Request, SandboxContext) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch {
            let refusal: StytchError
            switch error {
            case let error as StytchError: refusal = error
            case let error as any HTTPResponseError where error.status == .notFound: refusal = .routeNotFound
            case let error as any HTTPResponseError where error.status.code < 500:
                refusal = .badRequest("The request is malformed.")
            default:
                context.logger.error("a call failed", metadata: ["error": "\(String(reflecting: error))"])
                refusal = .internalError
            }
            return try Envelope.failure(
                refusal, isB2B: request.uri.path.hasPrefix("/v1/b2b/"),
                environment: context.project?.environment ?? .test)
        }
    }
}
