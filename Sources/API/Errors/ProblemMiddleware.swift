import Audit
import ControlPlane
import Hummingbird
import Logging

/// Renders what no inner layer rendered as a problem (RFC 9457): unmatched routes, stores that are away, surprises.
///
/// A surprise is logged once, in full, under the request id that the caller is told; the caller learns nothing else.
struct ProblemMiddleware: RouterMiddleware {
    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch {
            return problem(of: error, context).response(to: context.request.id)
        }
    }

    private func problem(of error: any Error, _ context: AppContext) -> Problem {
        switch error {
        case let error as HTTPError:
            return Problem(error)
        case let error as OAuthError where error.code == .temporarilyUnavailable:
            return .unavailable(retryAfter: error.retryAfter ?? .seconds(2))
        case _ where error.isStoreFailure:
            context.logger.warning("a store is away", metadata: ["error": .string(String(reflecting: error))])
            return .unavailable(retryAfter: .seconds(2))
        default:
            context.logger.error("request failed", metadata: ["error": .string(String(reflecting: error))])
            return .internalError
        }
    }
}
