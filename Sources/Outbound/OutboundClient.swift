package import Logging
internal import NIOCore
internal import Synchronization

/// One request to the outside. Only the headers given here are sent, besides `Host`, framing and `User-Agent`.
package struct OutboundRequest: Sendable {
    package var method: String
    /// Absolute URL; its rules: ``OutboundURL`` and ``OutboundPolicy``.
    package var url: String
    /// `Host`, framing and connection headers are the client's own and may not be given.
    package var headers: [(String, String)]
    package var body: [UInt8]?
    /// A longer body is ``OutboundError/tooLarge``.
    package var maxResponseBytes: Int
    /// From the call to the last byte of the body; the policy's `totalTimeout` bounds it.
    package var deadline: Duration
    /// Requests of different partitions share neither breaker, concurrency limit nor connections, so that trouble of
    /// one organization at a host does not become another's.
    package var partition: String

    package init(
        method: String = "GET", url: String, headers: [(String, String)] = [], body: [UInt8]? = nil,
        maxResponseBytes: Int = 1 << 20, deadline: Duration = .seconds(10), partition: String = ""
    ) {
        self.method = method
        self.url = url
        self.headers = headers
        self.body = body
        self.maxResponseBytes = maxResponseBytes
        self.deadline = deadline
        self.partition = partition
    }
}

/// A complete response, whatever its status; the body is as sent, never decompressed.
package struct OutboundResponse: Sendable {
    package let status: Int
    package let headers: [(String, String)]
    package let body: [UInt8]

    package init(status: Int, headers: [(String, String)], body: [UInt8]) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// All values of the header `name`, compared without case.
    package func values(of name: String) -> [String] {
        headers.filter { $0.0.lowercased() == name.lowercased() }.map(\.1)
    }
}

/// The only door to the outside: requests to URLs that strangers may have chosen cannot reach the inside.
///
/// The room owns the guard against server-side request forgery: URL rules before anything is resolved; every address
/// of the name checked against special-use blocks (RFC 6890); the connection made to a checked address and its peer
/// compared again; no redirects, no proxies, no decompression; limits on size, time and concurrency, and a breaker per
/// origin and partition. Connections are kept and used again.
package final class OutboundClient: Sendable {
    private struct Origin: Hashable {
        let partition: String
        let scheme: OutboundURL.Scheme
        let host: OutboundURL.Host
        let port: Int
    }

    private struct Resolution {
        let answer: Task<[IPAddress], any Error>
        let expiry: ContinuousClock.Instant
    }

    /// What is remembered of one origin.
    private struct Known {
        var inFlight = 0
        var failures = 0
        var openUntil: ContinuousClock.Instant?
        var isProbing = false
        var resolution: Resolution?
        var clients: [IPAddress: PinnedClient] = [:]
        var lastUse: ContinuousClock.Instant
    }

    private struct State {
        var origins: [Origin: Known] = [:]
        var inFlight = 0
        var isShutDown = false
    }

    private static let knownLimit = 512

    private let policy: OutboundPolicy
    private let template: PinnedClient.Template
    private let logger: Logger
    private let state = Mutex(State())

    /// - Throws: when the file of additional trust roots cannot be read.
    package init(policy: OutboundPolicy, logger: Logger) throws {
        self.policy = policy
        self.logger = logger
        template = try PinnedClient.Template(policy: policy)
    }

    /// Sends one request and returns its complete response, whatever the status.
    ///
    /// Sent at most once: another address is tried only when a connection could not be made.
    package func send(_ request: OutboundRequest) async throws(OutboundError) -> OutboundResponse {
        let url = try OutboundURL(request.url)
        try Self.check(request)
        try permit(url)
        let origin = Origin(
            partition: request.partition, scheme: url.scheme, host: url.host, port: url.port)
        try admit(origin)
        let start = ContinuousClock.now
        let result: Result<OutboundResponse, OutboundError>
        do {
            let limit = min(request.deadline, policy.totalTimeout)
            result = .success(
                try await Self.within(limit) {
                    try await self.exchange(request, to: url, of: origin, by: .now() + TimeAmount(limit))
                })
        } catch let error as OutboundError {
            result = .failure(error)
        } catch {
            result = .failure(.cancelled)
        }
        settle(origin, result)
        log(url, result, since: start)
        return try result.get()
    }

    /// Refuses new requests and closes connections as their requests end.
    package func shutdown() {
        state.withLock { state in
            state.isShutDown = true
            state.origins.removeAll()
        }
    }

    // MARK: Rules before anything is resolved

    private func permit(_ url: OutboundURL) throws(OutboundError) {
        if policy.allowLoopback, url.isLoopback { return }
        guard url.scheme == .https else { throw .refused(.scheme) }
        // Such a name is this machine whatever a resolver says (RFC 6761 §6.3).
        if case .name = url.host, url.isLoopback { throw .refused(.address) }
        guard policy.allowedPorts.contains(url.port) else { throw .refused(.port) }
        if case .address(let address) = url.host, !mayConnect(to: address) { throw .refused(.address) }
    }

    private static func check(_ request: OutboundRequest) throws(OutboundError) {
        let own: Set = [
            "host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect",
        ]
        let token = Set("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)
        guard !request.method.isEmpty, request.method.utf8.allSatisfy(token.contains), request.method != "CONNECT"
        else {
            throw .invalidRequest("the method cannot be sent")
        }
        for (name, value) in request.headers {
            guard !name.isEmpty, name.utf8.allSatisfy(token.contains), !own.contains(name.lowercased()) else {
                throw .invalidRequest("a header name cannot be sent")
            }
            guard value.utf8.allSatisfy({ $0 == 0x09 || ($0 >= 0x20 && $0 != 0x7f) }) else {
                throw .invalidRequest("a header value cannot be sent")
            }
        }
    }

    private func mayConnect(to address: IPAddress) -> Bool {
        !address.isSpecialUse || policy.allowedNetworks.contains { $0.contains(address) }
    }

    // MARK: Admission, breaker, concurrency

    private func admit(_ origin: Origin) throws(OutboundError) {
        let now = ContinuousClock.now
        let refusal = state.withLock { state -> OutboundError? in
            if state.isShutDown { return .connectionFailed("shut down") }
            if state.inFlight >= policy.totalConcurrency { return .overloaded }
            var known = state.origins[origin] ?? Known(lastUse: now)
            if known.inFlight >= policy.perHostConcurrency { return .overloaded }
            if let openUntil = known.openUntil {
                if now < openUntil || known.isProbing { return .circuitOpen }
                known.isProbing = true
            }
            known.inFlight += 1
            known.lastUse = now
            state.inFlight += 1
            state.origins[origin] = known
            if state.origins.count > Self.knownLimit { Self.forgetOldest(in: &state) }
            return nil
        }
        if let refusal { throw refusal }
    }

    private static func forgetOldest(in state: inout State) {
        let idle = state.origins.filter { $0.value.inFlight == 0 }
        if let oldest = idle.min(by: { $0.value.lastUse < $1.value.lastUse }) { state.origins[oldest.key] = nil }
    }

    private func settle(_ origin: Origin, _ result: Result<OutboundResponse, OutboundError>) {
        let isFailure: Bool? =
            switch result {
            case .success(let response): (502...504).contains(response.status)
            case .failure(.timedOut), .failure(.connectionFailed), .failure(.unresolvable): true
            case .failure(.tooLarge): false
            case .failure: nil
            }
        state.withLock { state in
            state.inFlight -= 1
            guard var known = state.origins[origin] else { return }
            known.inFlight -= 1
            let wasProbing = known.isProbing
            known.isProbing = false
            if isFailure == true {
                known.failures += 1
                if known.failures >= policy.breakerThreshold || wasProbing {
                    known.openUntil = .now + policy.breakerOpenTime
                }
            } else if isFailure == false {
                known.failures = 0
                known.openUntil = nil
            }
            state.origins[origin] = known
        }
    }

    // MARK: Resolving and connecting

    private func exchange(
        _ request: OutboundRequest, to url: OutboundURL, of origin: Origin, by deadline: NIODeadline
    ) async throws -> OutboundResponse {
        var last = OutboundError.unresolvable
        for address in try await checkedAddresses(of: url, origin).prefix(3) {
            do {
                return try await client(for: origin, at: address).exchange(request, to: url, deadline: deadline)
            } catch let unreached as PinnedClient.Unreached {
                last = unreached.fact
                state.withLock { _ = $0.origins[origin]?.clients.removeValue(forKey: address) }
            }
        }
        throw last
    }

    /// The addresses that may be connected to, those with kept connections first.
    ///
    /// - Throws: `refused(.address)` if **any** address of the name is special-use: a name with a public and a private
    ///   address is an attack or a mistake.
    private func checkedAddresses(of url: OutboundURL, _ origin: Origin) async throws -> [IPAddress] {
        let addresses: [IPAddress]
        switch url.host {
        case .address(let address): addresses = [address]
        case .name where url.isLoopback:
            addresses = [IPAddress(bytes: [127, 0, 0, 1]), IPAddress(bytes: [UInt8](repeating: 0, count: 15) + [1])]
        case .name(let name): addresses = try await resolve(name, for: origin)
        }
        guard !addresses.isEmpty else { throw OutboundError.unresolvable }
        guard url.isLoopback || addresses.allSatisfy(mayConnect) else { throw OutboundError.refused(.address) }
        return state.withLock { state in
            guard var known = state.origins[origin] else { return addresses }
            known.clients = known.clients.filter { addresses.contains($0.key) }
            state.origins[origin] = known
            return addresses.filter { known.clients[$0] != nil } + addresses.filter { known.clients[$0] == nil }
        }
    }

    private func resolve(_ name: String, for origin: Origin) async throws -> [IPAddress] {
        let now = ContinuousClock.now
        let answer = state.withLock { state in
            if let kept = state.origins[origin]?.resolution, now < kept.expiry { return kept.answer }
            let resolve = policy.resolve
            let answer = Task { try await resolve(name) }
            state.origins[origin]?.resolution = Resolution(answer: answer, expiry: now + policy.resolutionLifetime)
            return answer
        }
        if let addresses = try? await answer.value, !addresses.isEmpty { return addresses }
        state.withLock { state in
            // Only answers are kept; a failure is asked again by the next request.
            if state.origins[origin]?.resolution?.answer == answer { state.origins[origin]?.resolution = nil }
        }
        throw OutboundError.unresolvable
    }

    private func client(for origin: Origin, at address: IPAddress) -> PinnedClient {
        state.withLock { state in
            if let client = state.origins[origin]?.clients[address] { return client }
            let client = PinnedClient(host: origin.host, address: address, template: template)
            state.origins[origin]?.clients[address] = client
            return client
        }
    }

    /// Runs `work` and stops waiting for it at the deadline, even if it cannot be cancelled (a name server's silence).
    private static func within<T: Sendable>(
        _ limit: Duration, _ work: @escaping @Sendable () async throws -> T
    ) async throws -> T {
        let (results, continuation) = AsyncThrowingStream<T, any Error>.makeStream()
        let worker = Task {
            do {
                continuation.yield(try await work())
                continuation.finish()
            } catch {
                continuation.finish(throwing: error)
            }
        }
        let timer = Task {
            try await Task.sleep(for: limit)
            continuation.finish(throwing: OutboundError.timedOut)
        }
        defer {
            worker.cancel()
            timer.cancel()
        }
        for try await result in results { return result }
        throw OutboundError.cancelled
    }

    private func log(
        _ url: OutboundURL, _ result: Result<OutboundResponse, OutboundError>, since start: ContinuousClock.Instant
    ) {
        let outcome =
            switch result {
            case .success(let response): "\(response.status)"
            case .failure(let error): "\(error)"
            }
        logger.debug(
            "outbound request",
            metadata: [
                "host": "\(url.authority)", "outcome": "\(outcome)",
                "milliseconds": "\(Int((.now - start) / .milliseconds(1)))",
            ])
    }
}
