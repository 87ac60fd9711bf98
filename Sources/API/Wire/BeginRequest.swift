import Audit
import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import Keys
import Logging
import Tenancy

/// The outermost layer: gives a request its id, moment and description, and its reply the headers every reply has. What no
/// inner layer rendered is a problem here (RFC 9457).
///
/// One layer rather than several: each costs every request its share.
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
        var response: Response
        do {
            guard PlainPaths.isPlain(target: request.head.path) else { throw HTTPError(.notFound) }
            response = try await next(request, context)
        } catch {
            response = Problem(of: error, in: context).response(to: context.request.id)
        }
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
