import Audit
import ControlPlane
import Hummingbird
import Logging

extension Problem {
    /// What no layer rendered: unmatched routes, stores that are away, surprises.
    ///
    /// A surprise is logged once, in full, under the request id that the caller is told; the caller learns nothing else.
    init(of error: any Error, in context: AppContext) {
        switch error {
        case let error as HTTPError:
            self = Problem(error)
        case let error as OAuthError where error.code == .temporarilyUnavailable:
            self = .unavailable(retryAfter: error.retryAfter ?? .seconds(2))
        case _ where error.isStoreFailure:
            context.logger.warning("a store is away", metadata: ["error": .string(String(reflecting: error))])
            self = .unavailable(retryAfter: .seconds(2))
        default:
            context.logger.error("request failed", metadata: ["error": .string(String(reflecting: error))])
            self = .internalError
        }
    }
}
