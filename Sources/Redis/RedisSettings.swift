internal import FoundationEssentials

/// Where Redis is and how long to wait for it.
package struct RedisSettings: Sendable, CustomStringConvertible {
    package enum Address: Sendable, Equatable {
        case tcp(host: String, port: Int)
        case unix(path: String)
    }

    package var address: Address
    /// Whether the link is TLS (`rediss://`); the server's name or address is verified.
    package var tls: Bool
    /// ACL user; without one a password authenticates the default user.
    package var user: String?
    package var password: String?
    package var database: Int
    /// PEM file of certificates trusted beside the system's.
    package var trustRoots: String?
    /// What `CLIENT LIST` shows.
    package var clientName = "gatehouse"
    /// From the call until the answer, queueing included. Also: a link missing for longer refuses commands at once.
    package var commandTimeout: Duration = .milliseconds(500)
    /// For connecting, TLS and authenticating together.
    package var connectTimeout: Duration = .seconds(2)
    /// A link that owes its oldest reply for this long beyond the command's deadline is closed and made again.
    package var stallTimeout: Duration = .seconds(5)
    /// A link without traffic for this long is asked with `PING`, which finds half-open links.
    package var idlePing: Duration = .seconds(15)
    /// Commands waiting or under way; one more is refused as ``RedisError/Kind/overloaded``.
    package var queueLimit = 10_000

    /// Reads `redis://[user[:password]@]host[:port][/db]`, `rediss://…` (TLS), `unix:///path[?db=n]` or
    /// `redis+unix://[user[:password]@]/path[?db=n]`; user and password may be percent-encoded.
    ///
    /// - Throws: ``RedisError`` of kind `configuration`, without repeating the URL: it may hold the password.
    package init(url: String) throws(RedisError) {
        func wrong(_ detail: String) -> RedisError { RedisError(.configuration, "the URL \(detail)") }
        guard let parts = URLComponents(string: url), let scheme = parts.scheme?.lowercased() else {
            throw wrong("cannot be read")
        }
        func nonEmpty(_ text: String?) -> String? { text.flatMap { $0.isEmpty ? nil : $0 } }
        func number(_ text: String) throws(RedisError) -> Int {
            guard let value = Int(text), value >= 0 else { throw wrong("has no number as database") }
            return value
        }
        user = nonEmpty(parts.user)
        password = nonEmpty(parts.password)
        tls = scheme == "rediss"
        database = 0
        if let value = parts.queryItems?.first(where: { $0.name == "db" })?.value { database = try number(value) }
        switch scheme {
        case "redis", "rediss":
            guard let host = nonEmpty(parts.host) else { throw wrong("has no host") }
            let bare = host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
            address = .tcp(host: bare, port: parts.port ?? 6379)
            let path = parts.path.drop { $0 == "/" }
            if !path.isEmpty { database = try number(String(path)) }
        case "unix", "redis+unix":
            guard nonEmpty(parts.host) == nil, parts.path.count > 1 else { throw wrong("has no absolute socket path") }
            address = .unix(path: parts.path)
        default:
            throw wrong("has an unknown scheme")
        }
        if user != nil, password == nil { throw wrong("names a user without a password") }
    }

    /// Address and database, never the password.
    package var description: String {
        switch address {
        case .tcp(let host, let port): "\(tls ? "rediss" : "redis")://\(host):\(port)/\(database)"
        case .unix(let path): "unix://\(path)?db=\(database)"
        }
    }
}
