internal import AsyncHTTPClient
internal import Glibc
internal import NIOCore
internal import NIOHTTP1
internal import NIOSSL

/// Connections to one address, made and verified for one host name.
///
/// The pool behind it is closed when the last request and the table of hosts have let go of it.
final class PinnedClient: Sendable {
    private let client: HTTPClient
    private let address: IPAddress

    /// What is the same for all hosts.
    struct Template: Sendable {
        let policy: OutboundPolicy
        let tls: TLSConfiguration

        /// Reads the trusted certificates once; every host's TLS context then shares them.
        init(policy: OutboundPolicy) throws {
            self.policy = policy
            var tls = TLSConfiguration.makeClientConfiguration()
            let bundles = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"]
            for bundle in bundles {
                guard let certificates = try? NIOSSLCertificate.fromPEMFile(bundle) else { continue }
                tls.trustRoots = .certificates(certificates)
                break
            }
            if let file = policy.additionalTrustRoots {
                tls.additionalTrustRoots = [.certificates(try NIOSSLCertificate.fromPEMFile(file))]
            }
            self.tls = tls
        }
    }

    init(host: OutboundURL.Host, address: IPAddress, template: Template) {
        let policy = template.policy
        // No proxy, no redirect, no decompression, no HTTP/2; a failed connection is not tried again.
        var configuration = HTTPClient.Configuration(
            tlsConfiguration: template.tls, redirectConfiguration: .disallow,
            timeout: .init(connect: TimeAmount(policy.connectTimeout)), decompression: .disabled)
        configuration.httpVersion = .http1Only
        configuration.tracing.tracer = nil  // would send headers of its own and record URLs
        configuration.connectionPool.idleTimeout = TimeAmount(policy.idleConnectionTime)
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = policy.perHostConcurrency
        configuration.connectionPool.retryConnectionEstablishment = false
        // The name stays in the URL, so SNI, certificate check and `Host` are the name's; the peer is the address.
        if case .name(let name) = host { configuration.dnsOverride = [name: address.description] }
        let limit = policy.wireBytesLimit
        configuration.http1_1ConnectionDebugInitializer = { channel in
            channel.eventLoop.submit {
                guard channel.remoteAddress?.ipAddress.flatMap(IPAddress.init) == address else {
                    channel.close(promise: nil)
                    throw OutboundError.refused(.address)
                }
                try channel.pipeline.syncOperations.addHandler(WireMeter(limit: limit), position: .first)
            }
        }
        self.address = address
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    deinit { client.shutdown { _ in } }

    /// Sends the request and gathers the whole body.
    ///
    /// - Throws: ``OutboundError``, or ``Unreached`` when no byte of the request was sent to the host.
    func exchange(_ request: OutboundRequest, to url: OutboundURL, deadline: NIODeadline) async throws
        -> OutboundResponse
    {
        var outgoing = HTTPClientRequest(url: url.text)
        outgoing.method = HTTPMethod(rawValue: request.method)
        outgoing.headers = HTTPHeaders(request.headers)
        if !outgoing.headers.contains(name: "user-agent") {
            outgoing.headers.add(name: "user-agent", value: "gatehouse")
        }
        if let body = request.body { outgoing.body = .bytes(body) }
        do {
            let response = try await client.execute(outgoing, deadline: deadline)
            let announced = response.headers.first(name: "content-length").flatMap { Int($0) }
            if let announced, announced > request.maxResponseBytes, request.method != "HEAD" {
                throw OutboundError.tooLarge
            }
            var body: [UInt8] = []
            for try await part in response.body {
                guard part.readableBytes <= request.maxResponseBytes - body.count else { throw OutboundError.tooLarge }
                body.append(contentsOf: part.readableBytesView)
            }
            return OutboundResponse(
                status: Int(response.status.code), headers: response.headers.map { ($0.name, $0.value) }, body: body)
        } catch {
            throw Self.fact(error)
        }
    }

    /// The connection was never made; another address may be tried even for a `POST`.
    struct Unreached: Error { let fact: OutboundError }

    private static func fact(_ error: any Error) -> any Error {
        switch error {
        case let error as OutboundError: error
        case is CancellationError: OutboundError.cancelled
        case is WireMeter.Exceeded, HTTPParserError.headerOverflow: OutboundError.tooLarge
        case is HTTPParserError: OutboundError.connectionFailed("not HTTP")
        case let error as HTTPClientError:
            switch error {
            case .connectTimeout: Unreached(fact: .timedOut)
            case .tlsHandshakeTimeout, .getConnectionFromPoolTimeout, .deadlineExceeded, .readTimeout, .writeTimeout:
                OutboundError.timedOut
            case .cancelled: OutboundError.cancelled
            default: OutboundError.connectionFailed(error.shortDescription)
            }
        case let error as IOError:
            switch error.errnoCode {
            case ECONNREFUSED, ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL, EAFNOSUPPORT:
                Unreached(fact: .connectionFailed("unreachable"))
            default: OutboundError.connectionFailed("broken off")
            }
        case is NIOSSLError, is BoringSSLError, is NIOSSLExtraError: OutboundError.connectionFailed("TLS")
        default: OutboundError.connectionFailed("\(type(of: error))")
        }
    }
}

/// Ends a connection whose peer sends more than the limit after one request, be it in headers or body.
private final class WireMeter: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    struct Exceeded: Error {}

    private let limit: Int
    private var received = 0

    init(limit: Int) { self.limit = limit }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        received = 0
        context.write(data, promise: promise)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        received += unwrapInboundIn(data).readableBytes
        guard received <= limit else {
            context.fireErrorCaught(Exceeded())
            return context.close(promise: nil)
        }
        context.fireChannelRead(data)
    }
}
