/// Why a command gave no answer. Nothing in it comes from keys, arguments or replies beyond an error's first word.
package struct RedisError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Kind: Sendable, Equatable {
        /// No link, or the link was lost before the reply came; a command already sent may have been carried out.
        case unavailable
        /// The command's deadline passed; it may still be carried out.
        case timedOut
        /// The queue is full. Nothing was sent.
        case overloaded
        /// Redis answered an error; `prefix` is its first word (`WRONGTYPE`, `NOSCRIPT`, `OOM`, `ERR` …).
        case server(prefix: String)
        /// The reply was no RESP, or of another shape than the command promises.
        case protocolViolation
        /// The waiting task was cancelled; the command may still be carried out.
        case cancelled
        /// The connection URL or a file it needs cannot be used.
        case configuration
    }

    package let kind: Kind
    /// Fixed text for logs, without stored values or secrets.
    package let detail: String

    package init(_ kind: Kind, _ detail: String) {
        self.kind = kind
        self.detail = detail
    }

    /// A script's digest is not known there, and nothing ran.
    var isUnknownScript: Bool { kind == .server(prefix: "NOSCRIPT") }
    /// The keys of a command are on several shards; nothing was done.
    var isOfSeveralShards: Bool { kind == .server(prefix: "CROSSSLOT") }

    package var description: String {
        switch kind {
        case .server(let prefix): "Redis answered \(prefix)"
        default: "Redis: \(detail)"
        }
    }
}
