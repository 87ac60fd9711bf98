import Postgres
import Redis

extension Error {
    /// A store was away or too busy: trying again later is right, and nothing is wrong with the request.
    package var isStoreFailure: Bool {
        if let error = self as? PostgresError {
            return switch error.kind {
            case .unavailable, .overloaded, .timedOut, .outcomeUnknown, .cancelled: true
            // 57014 is a statement over its time, 55P03 a lock not had in time, class 53 and 57P a server short of something.
            case .server(let state):
                state == "57014" || state == "55P03" || state.hasPrefix("53") || state.hasPrefix("57P")
            case .decoding, .invalidParameter: false
            }
        }
        return self is RedisError
    }
}
