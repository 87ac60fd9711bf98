import ControlPlane
import HTTPTypes
import Hummingbird
import Keys
import Logging
import Tenancy

/// A refusal as SCIM tells it (RFC 7644 §3.12).
struct SCIMError: Error {
    /// The protocol's words for what is wrong (RFC 7644 table 9).
    enum Kind: String {
        case invalidFilter, tooMany, uniqueness, mutability, invalidSyntax, invalidPath, noTarget, invalidValue
    }

    static let schema = "urn:ietf:params:scim:api:messages:2.0:Error"

    var status: HTTPResponse.Status
    var kind: Kind?
    /// For people; fixed text, never a stored value.
    var detail: String
    var headers: HTTPFields = [:]

    init(_ status: HTTPResponse.Status, _ kind: Kind? = nil, _ detail: String, headers: HTTPFields = [:]) {
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = headers
    }

    /// 400 with its word.
    init(_ kind: Kind, _ detail: String) {
        self.init(.badRequest, kind, detail)
    }

    static let notFound = SCIMError(.notFound, nil, "There is nothing here.")

    var response: Response {
        let body = JSONWriter.object { json in
            json.strings("schemas", [Self.schema])
            json.string("status", String(status.code))
            if let kind { json.string("scimType", kind.rawValue) }
            json.string("detail", detail)
        }
        var response = Response.json(body, status, type: SCIM.mediaType)
        response.headers.append(contentsOf: headers)
        return response
    }
}

extension SCIMError {
    /// What administration refused, in SCIM's words.
    init(_ error: AdminError) {
        switch error {
        case .notFound: self = .notFound
        case .unauthenticated:
            self.init(
                .unauthorized, nil, "Send Authorization: Bearer and a SCIM token.",
                headers: [.wwwAuthenticate: Self.challenge])
        case .invalidCredential, .authenticationTooOld, .proofRefused:
            self.init(
                .unauthorized, nil, "This SCIM token is not valid here.",
                headers: [.wwwAuthenticate: Self.challenge + #", error="invalid_token""#])
        case .malformed(let detail): self.init(.invalidSyntax, detail)
        case .invalid(let errors):
            let isTooMany = errors.contains { $0.code == "too_many" }
            let detail = errors.prefix(5).map { "\($0.pointer): \($0.detail)" }.joined(separator: " ")
            self.init(isTooMany ? .tooMany : .invalidValue, detail)
        case .conflict(let detail):
            let names: [AdminError] = [.userNameTaken, .emailTaken, .groupNameTaken]
            self.init(.conflict, names.contains(error) ? .uniqueness : nil, detail)
        case .preconditionRequired, .preconditionFailed:
            self.init(.preconditionFailed, nil, "It has changed meanwhile; read it again.")
        case .unsupportedMediaType:
            self.init(.unsupportedMediaType, nil, "Send Content-Type: \(SCIM.mediaType).")
        case .tooLarge:
            self.init(.contentTooLarge, nil, "The request is too large.", headers: [.connection: "close"])
        case .unavailable(let retryAfter):
            self = .unavailable(seconds: Int(max(1, retryAfter.components.seconds)))
        case .nameServersFailed:
            self = .unavailable(seconds: 10)
        case .rateLimited(let state):
            self.init(.tooManyRequests, nil, "Too many requests; try again after the time in Retry-After.")
            headers.refuse(until: state)
        case .forbidden, .platformOnly, .exceedsMaker, .idempotencyKeyInFlight, .idempotencyKeyReused:
            self.init(.forbidden, nil, "A SCIM token may not do this.")
        }
    }

    static func unavailable(seconds: Int) -> SCIMError {
        SCIMError(
            .serviceUnavailable, nil, "The service cannot answer right now; nothing was changed.",
            headers: [.retryAfter: String(seconds)])
    }

    private static let challenge = #"Bearer realm="gatehouse""#
}

/// Renders every refusal below it as SCIM does, so that no other protocol's errors get out (PD-02).
struct SCIMErrorMiddleware: RouterMiddleware {
    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch let error as SCIMError {
            return error.response
        } catch let error as AdminError {
            return SCIMError(error).response
        } catch let error as HTTPError {
            var refusal =
                switch error.status {
                case .notFound: SCIMError.notFound
                case .methodNotAllowed: SCIMError(.methodNotAllowed, nil, "This method is not allowed here.")
                case .contentTooLarge: SCIMError(AdminError.tooLarge)
                default: SCIMError(error.status, nil, "The request cannot be answered.")
                }
            refusal.headers.append(contentsOf: error.headers)
            return refusal.response
        } catch  where error.isStoreFailure {
            context.logger.warning("a store is away", metadata: ["error": .string(String(reflecting: error))])
            return SCIMError.unavailable(seconds: 2).response
        } catch {
            context.logger.error("request failed", metadata: ["error": .string(String(reflecting: error))])
            return SCIMError(.internalServerError, nil, "Something went wrong on our side.").response
        }
    }
}
