import Foundation
package import Outbound
import Synchronization
import Tenancy

/// Reads what clients publish about themselves at URLs of their own choice: metadata documents and key sets.
///
/// What a stranger may have asked for is bounded here: one fetch of a URL at a time, so many a minute for each host, each
/// registry and each source, and an error is never remembered as if it were the document (CIMD §5, §8.6, §8.7). Addresses
/// are the business of ``OutboundClient``.
package final class DocumentFetcher: Sendable {
    /// What came, and for how many seconds it may be believed.
    struct Fetched: Sendable {
        let body: [UInt8]
        let lifetime: TimeInterval
    }

    package enum Failure: Error, Sendable, Equatable {
        /// The URL, or an address behind it, is not one we connect to.
        case refused
        /// No answer, or none that says anything about the document.
        case unreachable
        /// Any status but 200; redirects are not followed.
        case status(Int)
        case mediaType
        case tooLarge
        /// Too many were asked for in this minute.
        case throttled

        /// A word for the log.
        package var reason: String {
            switch self {
            case .refused: "document_address_refused"
            case .unreachable: "document_unreachable"
            case .status: "document_status"
            case .mediaType: "document_media_type"
            case .tooLarge: "document_too_large"
            case .throttled: "document_throttled"
            }
        }

        /// It may pass by itself, so an older copy may stand in for a while.
        package var isTemporary: Bool {
            switch self {
            case .unreachable, .throttled: true
            case .status(let status): status >= 500 || status == 429 || status == 403
            case .refused, .mediaType, .tooLarge: false
            }
        }
    }

    /// Who made us ask.
    package struct Caller: Sendable {
        let registry: OrganizationID
        /// The address of somebody unknown; nil where the document is of a client that is known here.
        let source: String?

        static func known(in registry: OrganizationID) -> Caller { Caller(registry: registry, source: nil) }
        static func stranger(in registry: OrganizationID, from source: String?) -> Caller {
            Caller(registry: registry, source: source ?? "-")
        }
    }

    /// From the call to the last byte.
    private static let deadline: Duration = .seconds(3)

    private let outbound: OutboundClient
    private struct Flight: Hashable {
        let url: String
        let limit: Int
    }
    private let flights = Mutex<[Flight: Task<Result<Fetched, Failure>, Never>]>([:])
    private let budget = FetchBudget()

    /// - Parameter outbound: a client of its own, under ``outboundPolicy(allowLoopback:trustRoots:)``.
    package init(outbound: OutboundClient) {
        self.outbound = outbound
    }

    /// The policy for what strangers may make us read: small, soon over, few at a time.
    ///
    /// - Parameter allowLoopback: in development only (CIMD §8.6).
    package static func outboundPolicy(allowLoopback: Bool, trustRoots: String?) -> OutboundPolicy {
        var policy = OutboundPolicy()
        policy.allowLoopback = allowLoopback
        policy.additionalTrustRoots = trustRoots
        policy.connectTimeout = .seconds(2)
        policy.totalTimeout = deadline
        policy.perHostConcurrency = 8
        policy.totalConcurrency = 64
        // Headers, and the longest body with TLS around it.
        policy.wireBytesLimit = 96 << 10
        return policy
    }

    /// - Parameter limit: a longer body is a failure, and nothing of it is kept.
    func fetch(
        _ url: String, atMost limit: Int, for caller: Caller, at now: Date
    ) async throws(Failure) -> Fetched {
        let flight = Flight(url: url, limit: limit)
        guard let parsed = try? OutboundURL(url), parsed.scheme == .https else { throw .refused }
        let (task, isOurs) = try join(flight, host: parsed.authority, for: caller, at: now)
        let result = await task.value
        if isOurs {
            flights.withLock { $0[flight] = nil }
            if case .failure(let failure) = result { budget.note(failure, of: url, at: now) }
        }
        return try result.get()
    }

    /// The fetch of this URL that is under way, or a new one if there is room for it.
    private func join(
        _ flight: Flight, host: String, for caller: Caller, at now: Date
    ) throws(Failure) -> (Task<Result<Fetched, Failure>, Never>, isOurs: Bool) {
        try flights.withLock { flights throws(Failure) in
            if let task = flights[flight] { return (task, false) }
            try budget.take(url: flight.url, host: host, for: caller, at: now)
            let task = Task { [outbound] in await Self.fetch(flight, over: outbound, at: now) }
            flights[flight] = task
            return (task, true)
        }
    }

    private static func fetch(_ flight: Flight, over outbound: OutboundClient, at now: Date) async
        -> Result<Fetched, Failure>
    {
        let request = OutboundRequest(
            url: flight.url, headers: [("Accept", "application/json")], maxResponseBytes: flight.limit,
            deadline: deadline)
        do throws(OutboundError) {
            let response = try await outbound.send(request)
            guard response.status == 200 else { return .failure(.status(response.status)) }
            // Asked for none; what came compressed is not what we would read.
            guard response.values(of: "content-encoding").allSatisfy({ $0.lowercased() == "identity" }),
                isJSON(response.values(of: "content-type"))
            else { return .failure(.mediaType) }
            return .success(Fetched(body: response.body, lifetime: Freshness.lifetime(of: response, at: now)))
        } catch {
            return .failure(Failure(error))
        }
    }

    /// `application/json` or `application/…+json` in UTF-8 (CIMD §4).
    private static func isJSON(_ values: [String]) -> Bool {
        guard values.count == 1, let value = values.first?.lowercased() else { return false }
        let parts = value.split(separator: ";").map { $0.trimmingCharacters(in: .whitespaces) }
        guard let type = parts.first, type == "application/json" || isJSONSuffixed(type) else { return false }
        return parts.dropFirst().allSatisfy { parameter in
            !parameter.hasPrefix("charset=") || ["charset=utf-8", "charset=\"utf-8\""].contains(parameter)
        }
    }

    private static func isJSONSuffixed(_ type: String) -> Bool {
        type.hasPrefix("application/") && type.hasSuffix("+json") && type.utf8.count > "application/+json".utf8.count
    }
}

extension DocumentFetcher.Failure {
    fileprivate init(_ error: OutboundError) {
        switch error {
        case .invalidURL, .invalidRequest, .refused: self = .refused
        case .tooLarge: self = .tooLarge
        case .overloaded, .circuitOpen: self = .throttled
        case .unresolvable, .timedOut, .connectionFailed, .cancelled: self = .unreachable
        }
    }
}

/// How long a response may be believed (RFC 9111 §4.2), within bounds of our own.
enum Freshness {
    /// A document is not asked for more often, whatever it says of itself, nor believed for longer (CIMD §5.2, §9.1).
    private static let bounds: ClosedRange<TimeInterval> = 60...86_400
    private static let unsaid: TimeInterval = 3_600

    static func lifetime(of response: OutboundResponse, at now: Date) -> TimeInterval {
        var seconds: TimeInterval?
        for directive in response.values(of: "cache-control").flatMap({ $0.lowercased().split(separator: ",") }) {
            let parts = directive.split(separator: "=", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
            switch parts.first {
            case "no-store", "no-cache": return bounds.lowerBound
            case "max-age":
                // What cannot be read counts as stale (RFC 9111 §4.2.1).
                seconds = parts.count == 2 ? number(parts[1]) ?? 0 : 0
            default: continue
            }
        }
        if seconds == nil, let expires = response.values(of: "expires").first {
            seconds = httpDate(expires).map { $0.timeIntervalSince(now) } ?? 0
        }
        guard let seconds else { return unsaid }
        let age = response.values(of: "age").first.flatMap(number) ?? 0
        return min(max(seconds - age, bounds.lowerBound), bounds.upperBound)
    }

    private static func number(_ text: some StringProtocol) -> TimeInterval? {
        let digits = text.trimmingCharacters(in: CharacterSet(charactersIn: "\" "))
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return min(TimeInterval(digits) ?? 0, 1e9)
    }

    /// IMF-fixdate, the one form that servers send (RFC 9110 §5.6.7).
    private static func httpDate(_ text: String) -> Date? {
        let parser = DateFormatter()
        parser.locale = Locale(identifier: "en_US_POSIX")
        parser.timeZone = TimeZone(secondsFromGMT: 0)
        parser.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
        return parser.date(from: text)
    }
}
