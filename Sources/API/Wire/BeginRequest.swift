import Audit
package import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import Keys
import Logging
import Tenancy

/// What an operator says about the way requests come in.
package struct EdgeSettings: Sendable {
    /// The public URL `P`, without a trailing slash. The only source of names and links; `Host` and `Forwarded` are not
    /// believed (RFC 8414 §6.2).
    package var publicURL: String
    /// Proxies whose `X-Forwarded-For` is believed. Nobody else's is.
    package var trustedProxies: [AddressRange]

    package init(publicURL: String, trustedProxies: [AddressRange] = []) {
        self.publicURL = publicURL
        self.trustedProxies = trustedProxies
    }

    /// Whether browsers reach us over TLS; else the public URL is on loopback.
    var isSecure: Bool { publicURL.hasPrefix("https://") }

    /// Path of the public URL: empty, or `/` and more without a trailing slash.
    var basePath: String {
        guard let mark = publicURL.range(of: "://") else { return "" }
        let rest = publicURL[mark.upperBound...]
        return rest.firstIndex(of: "/").map { String(rest[$0...]) } ?? ""
    }

    /// Origin of the public URL as browsers send it (RFC 6454 §6.2).
    var origin: String { String(publicURL.dropLast(basePath.count)) }
}

/// The outermost layer: gives a request its id, moment and description, and its reply the headers every reply has.
struct BeginRequest: RouterMiddleware {
    let settings: EdgeSettings
    let clock: WallClock
    let random: RandomBytes

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        let started = ContinuousClock.now
        var context = context
        context.now = clock.now()
        context.request = AuditEvent.RequestInfo(
            id: Tenancy.RequestID.make(at: context.now, random), method: request.method.rawValue,
            route: context.endpointPath ?? "unmatched",
            traceID: request.headers[.traceparent].flatMap(TraceParent.traceID(in:)),
            ip: clientAddress(of: request, peer: context.peer),
            userAgent: request.headers[.userAgent].map { String($0.prefix(512)) })
        context.logger[metadataKey: "hb.request.id"] = nil
        context.logger[metadataKey: "request_id"] = .string(context.request.id.description)
        if let traceID = context.request.traceID { context.logger[metadataKey: "trace_id"] = .string(traceID) }
        var response = try await next(request, context)
        // RFC 9110 §9.3.2: never a body, errors included.
        if request.method == .head { response = response.createHeadResponse() }
        response.headers[.requestID] = context.request.id.description
        response.headers[.xContentTypeOptions] = "nosniff"
        if settings.isSecure { response.headers[.strictTransportSecurity] = "max-age=31536000" }
        observe(response, context, ContinuousClock.now - started)
        return response
    }

    /// Anything can be sent as a method, and each label is a series for ever.
    private static let methods: Set<String> = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]

    private func observe(_ response: Response, _ context: AppContext, _ duration: Duration) {
        RequestLabels(
            route: context.request.route,
            method: Self.methods.contains(context.request.method) ? context.request.method : "other",
            status: response.status.code
        ).record(duration)
        guard context.logger.logLevel <= .info else { return }
        context.logger.info(
            "request",
            metadata: [
                "route": .string(context.request.route), "method": .string(context.request.method),
                "status": .stringConvertible(response.status.code),
                "milliseconds": .stringConvertible((duration.seconds * 1e5).rounded() / 100),
            ])
    }

    /// The nearest address that is not one of our proxies.
    func clientAddress(of request: Request, peer: String?) -> String? {
        func isTrusted(_ address: String) -> Bool { settings.trustedProxies.contains { $0.contains(address) } }
        guard let peer, isTrusted(peer) else { return peer }
        var address = peer
        for hop in request.headers[values: .xForwardedFor].joined(separator: ",").split(separator: ",").reversed() {
            let hop = hop.trimmingCharacters(in: .whitespaces)
            guard AddressRange(hop) != nil, !hop.contains("/") else { break }
            address = hop
            guard isTrusted(hop) else { break }
        }
        return address
    }
}

/// W3C Trace Context, `traceparent` (§3.2).
enum TraceParent {
    /// The trace id: 32 lower-case hexadecimal digits, not all zero; nil for anything else.
    static func traceID(in header: String) -> String? {
        let parts = header.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count >= 4, parts[0].utf8.count == 2, parts[0] != "ff", parts[1].utf8.count == 32,
            parts[2].utf8.count == 16, parts[3].utf8.count == 2, parts[0] != "00" || parts.count == 4,
            parts[..<4].allSatisfy({ $0.utf8.allSatisfy(isHexadecimal) }),
            parts[1].contains(where: { $0 != "0" }), parts[2].contains(where: { $0 != "0" })
        else { return nil }
        return String(parts[1])
    }

    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte)
    }
}

/// Lets only the plain spelling of a path through; every other answers 404.
///
/// The router would find `/oauth/token` also for `//oauth//token/`, and a proxy in front may read `%2e%2e`, `;` or `\`
/// in its own way. No path of ours needs any of these, so two readers can never disagree about one.
struct PlainPaths: RouterMiddleware {
    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        guard let target = request.head.path, Self.isPlain(target.utf8.prefix { $0 != UInt8(ascii: "?") }) else {
            throw HTTPError(.notFound)
        }
        return try await next(request, context)
    }

    static func isPlain(_ path: some Sequence<UInt8>) -> Bool {
        var length = 0
        /// Length of the segment so far, and whether it is all dots.
        var segment = 0
        var isDots = true
        for byte in path {
            if length == 0 {
                guard byte == UInt8(ascii: "/") else { return false }
            } else if byte == UInt8(ascii: "/") {
                guard segment > 0, !(isDots && segment <= 2) else { return false }
                segment = 0
                isDots = true
            } else {
                guard allowed[Int(byte)] else { return false }
                segment += 1
                isDots = isDots && byte == UInt8(ascii: ".")
            }
            length += 1
        }
        // The root, or a last segment that is neither empty nor dots.
        return length == 1 || (segment > 0 && !(isDots && segment <= 2))
    }

    /// RFC 3986's path characters without `%` and `;`.
    private static let allowed: [Bool] = (0...255).map { byte in
        switch UInt8(byte) {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        default: "-._~:@!$&'()*+,=".utf8.contains(UInt8(byte))
        }
    }
}

extension HTTPField.Name {
    static func named(_ name: String) -> HTTPField.Name {
        guard let field = HTTPField.Name(name) else { preconditionFailure("\(name) is no header name") }
        return field
    }

    static let requestID = named("Request-Id")
    static let xForwardedFor = named("X-Forwarded-For")
    static let referrerPolicy = named("Referrer-Policy")
    static let xFrameOptions = named("X-Frame-Options")
    static let crossOriginOpenerPolicy = named("Cross-Origin-Opener-Policy")
    static let secFetchSite = named("Sec-Fetch-Site")
}
