import Audit
import ControlPlane
import HTTPTypes
import Hummingbird
import Keys
import Logging

/// Renders every failure below it as an OAuth error (RFC 6749 §5.2): JSON, `no-store`, and nothing a client should not see.
///
/// What is neither an ``OAuthError`` nor Hummingbird's is `server_error` and is logged once, in full, under the request id
/// that the client is told.
struct OAuthErrorMiddleware: RouterMiddleware {
    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch let error as OAuthError {
            if let cause = error.cause {
                context.logger.warning(
                    "request refused",
                    metadata: ["reason": .string(error.reason), "error": .string(String(reflecting: cause))])
            }
            return Self.response(to: error, usedAuthorizationHeader: request.headers[.authorization] != nil)
        } catch let error as HTTPError {
            return Self.response(to: error)
        } catch {
            context.logger.error("request failed", metadata: ["error": .string(String(reflecting: error))])
            return Self.response(
                status: .internalServerError, code: .serverError,
                description: "Something went wrong on our side. Request \(context.request.id).")
        }
    }

    /// - Parameter usedAuthorizationHeader: then a refused client gets a challenge (RFC 6749 §5.2).
    static func response(to error: OAuthError, usedAuthorizationHeader: Bool) -> Response {
        var response = response(status: status(of: error), code: error.code, description: error.description)
        if error.code == .invalidClient, usedAuthorizationHeader {
            response.headers[.wwwAuthenticate] = #"Basic realm="gatehouse", charset="UTF-8""#
        }
        if error.code == .invalidToken {
            // RFC 6750 §3.1: without any credentials the challenge names no error.
            let detail = error.reason == OAuthError.tokenMissing.reason ? "" : #", error="invalid_token""#
            response.headers[.wwwAuthenticate] = #"Bearer realm="gatehouse""# + detail
        }
        if let nonce = error.dpopNonce { response.headers[.dpopNonce] = nonce }
        if let limit = error.limit {
            response.headers.refuse(until: limit)
        } else if let retryAfter = error.retryAfter ?? (error.code == .temporarilyUnavailable ? .seconds(2) : nil) {
            response.headers[.retryAfter] = String(max(1, retryAfter.components.seconds))
        }
        return response
    }

    private static func status(of error: OAuthError) -> HTTPResponse.Status {
        guard error.limit == nil else { return .tooManyRequests }
        return switch error.code {
        case .invalidClient, .invalidToken: .unauthorized
        case .temporarilyUnavailable: .serviceUnavailable
        case .serverError: .internalServerError
        case .invalidRequest, .invalidGrant, .unauthorizedClient, .unsupportedGrantType, .invalidScope, .invalidTarget,
            .accessDenied, .authorizationPending, .slowDown, .expiredToken, .unsupportedResponseType, .loginRequired,
            .consentRequired, .requestNotSupported, .requestURINotSupported, .invalidRedirectURI,
            .invalidClientMetadata, .unsupportedTokenType, .invalidDPoPProof, .useDPoPNonce:
            .badRequest
        }
    }

    /// What the router or a body reader refused keeps its status.
    private static func response(to error: HTTPError) -> Response {
        let description =
            switch error.status {
            case .notFound: "There is nothing here: check the path and, behind /o/, the slug of the organization."
            case .methodNotAllowed: "This endpoint does not answer this method; Allow names those it does."
            case .contentTooLarge: "The request is too large."
            default: "The request cannot be answered."
            }
        var response = response(status: error.status, code: .invalidRequest, description: description)
        response.headers.append(contentsOf: error.headers)
        return response
    }

    private static func response(
        status: HTTPResponse.Status, code: OAuthError.Code, description: String
    ) -> Response {
        let body = JSONWriter.object { json in
            json.string("error", code.rawValue)
            json.string("error_description", description.inErrorDescription)
        }
        return .json(body, status)
    }
}

extension String {
    /// The text in the characters RFC 6749 §5.2 allows: `%x20-21 / %x23-5B / %x5D-7E`.
    fileprivate var inErrorDescription: String {
        String(
            String.UnicodeScalarView(
                unicodeScalars.map { scalar in
                    switch scalar.value {
                    case 0x20...0x21, 0x23...0x5B, 0x5D...0x7E: scalar
                    case 0x22: "'"
                    default: "?"
                    }
                }))
    }
}
