import Foundation
import Logging

/// How many connections and files this process may have open.
enum OpenFiles {
    /// Takes as many as the system allows; by default a process often starts with 1,024. Warns if that is too few.
    static func makeRoom(forConnections connections: Int, _ logger: Logger) {
        var limits = rlimit()
        guard getrlimit(.init(RLIMIT_NOFILE.rawValue), &limits) == 0 else { return }
        limits.rlim_cur = limits.rlim_max
        _ = setrlimit(.init(RLIMIT_NOFILE.rawValue), &limits)
        // Stores, logs and the rest need some too.
        if limits.rlim_max < UInt(connections) + 100 {
            logger.warning(
                "more connections are allowed than open files: raise the limit of files (ulimit -n)",
                metadata: ["connections": "\(connections)", "files": "\(limits.rlim_max)"])
        }
    }
}
