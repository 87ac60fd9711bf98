/// What the outside may be asked, and how long it may take. Chosen by an operator, one per kind of caller.
package struct OutboundPolicy: Sendable {
    /// Ports of `https` URLs.
    package var allowedPorts: Set<Int> = [443]
    /// Development only: `http` and `https` to `localhost`, `*.localhost`, 127.0.0.0/8 and ::1, on any port.
    package var allowLoopback = false
    /// Special-use networks that the operator's own upstreams live in. Empty for anything a stranger may name.
    package var allowedNetworks: [IPNetwork] = []
    /// For connecting and TLS, per address.
    package var connectTimeout: Duration = .seconds(3)
    /// For everything, resolving included.
    package var totalTimeout: Duration = .seconds(10)
    /// Requests under way to one scheme, host and port (per partition).
    package var perHostConcurrency = 64
    /// Requests under way altogether.
    package var totalConcurrency = 256
    /// Failures in a row (no connection, time-out, status 502 to 504) after which a host is left alone …
    package var breakerThreshold = 5
    /// … for this long; then one request at a time may try, and its success lets all pass again.
    package var breakerOpenTime: Duration = .seconds(10)
    /// How long checked addresses of a name are used without resolving again.
    package var resolutionLifetime: Duration = .seconds(30)
    /// How long an unused connection is kept.
    package var idleConnectionTime: Duration = .seconds(30)
    /// Bytes a server may send for one request, headers and TLS framing included.
    package var wireBytesLimit = 16 << 20
    /// PEM file of certificates trusted beside the system's.
    package var additionalTrustRoots: String?
    /// Turns a host name into its addresses; the guard checks every one of them.
    package var resolve: AddressResolver = systemAddressResolver

    package init() {}
}

/// All addresses of a host name. Throwing and answering nothing both mean unresolvable.
package typealias AddressResolver = @Sendable (_ host: String) async throws -> [IPAddress]
