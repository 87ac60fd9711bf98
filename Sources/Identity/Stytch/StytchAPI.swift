import Foundation
import Keys
import Outbound
import Tenancy

/// Calls to one Stytch project, each sent at most once.
///
/// Neither the project's secret nor anything Stytch answers reaches a log or an error's text.
struct StytchAPI: Sendable {
    /// Why a call has no answer to read.
    enum Failure: Error, Equatable {
        case unavailable(retryAfter: Duration?)
        /// The base URL is none that may be asked.
        case unusableURL
        /// What Stytch calls the error. Its names are the contract, of the status only the class is.
        case error(type: String, status: Int, retryAfter: Duration?)
    }

    let record: IdentityProviderRecord
    private let authorization: Secret
    private let baseURL: String
    private let outbound: OutboundClient
    private let breaker: CircuitBreaker
    private let clock: WallClock

    init(
        record: IdentityProviderRecord, secret: Secret, baseURL: String, outbound: OutboundClient,
        breaker: CircuitBreaker, clock: WallClock
    ) {
        self.record = record
        let credentials = Data("\(record.configuration.projectID):\(secret.revealed)".utf8)
        authorization = Secret("Basic \(credentials.base64EncodedString())")
        self.baseURL = baseURL
        self.outbound = outbound
        self.breaker = breaker
        self.clock = clock
    }

    // MARK: Where to ask

    /// Where a project's API stands, without a slash at the end.
    ///
    /// - Throws: `misconfigured`.
    static func baseURL(
        of configuration: IdentityProviderRecord.Configuration, _ settings: IdentitySettings
    ) throws(SignInError) -> String {
        let project = configuration.projectID
        let isTest = project.hasPrefix("project-test-")
        guard isTest || project.hasPrefix("project-live-"), isPlain(project) else {
            throw .misconfigured(.projectID)
        }
        guard !isTest || settings.allowTestProjects else {
            // Stytch publishes an address and a code that open every test project.
            throw .misconfigured(.testProject)
        }
        if let replacement = settings.stytchBaseURL {
            guard let url = url(replacement), url.isLoopback else {
                throw .misconfigured(.baseURL)
            }
            return withoutSlash(replacement)
        }
        if let own = configuration.baseURL {
            guard let url = url(own), url.scheme == .https || url.isLoopback && settings.allowTestProjects else {
                throw .misconfigured(.baseURL)
            }
            return withoutSlash(own)
        }
        return isTest ? "https://test.stytch.com" : "https://api.stytch.com"
    }

    private static func url(_ text: String) -> OutboundURL? {
        guard let url = try? OutboundURL(text), url.target == "/" else { return nil }
        return url
    }

    private static func withoutSlash(_ text: String) -> String {
        text.hasSuffix("/") ? String(text.dropLast()) : text
    }

    /// Whether `text` is an id as Stytch makes them; such a text can stand in any header, log or column.
    static func isPlain(_ text: String) -> Bool {
        (1...200).contains(text.utf8.count) && text.utf8.allSatisfy(idCharacters.contains)
    }

    private static let idCharacters = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.".utf8)

    // MARK: Asking

    /// Posts a JSON object and returns the one that answers it.
    func post(_ path: String, _ body: (inout JSONWriter) -> Void) async throws(Failure) -> StytchObject {
        try await ask("POST", path, JSONWriter.object(body))
    }

    /// Gets a JSON object.
    func get(_ path: String) async throws(Failure) -> StytchObject {
        try await ask("GET", path, nil)
    }

    private func ask(_ method: String, _ path: String, _ body: [UInt8]?) async throws(Failure) -> StytchObject {
        let permit: CircuitBreaker.Permit
        do {
            permit = try breaker.admit(record.id, version: record.version)
        } catch {
            throw .unavailable(retryAfter: error.retryAfter)
        }
        let (result, health) = await send(method, path, body)
        breaker.settle(permit, health)
        return try result.get()
    }

    /// Ends a session that was made only to be read. Not waited for, and not worth an error: it ends by itself within
    /// five minutes.
    func revokeLater(_ path: String, sessionToken: String) {
        Task { _ = await send("POST", path, JSONWriter.object { $0.string("session_token", sessionToken) }) }
    }

    private func send(
        _ method: String, _ path: String, _ body: [UInt8]?
    ) async -> (Result<StytchObject, Failure>, CircuitBreaker.Health) {
        let request = OutboundRequest(
            method: method, url: baseURL + path,
            headers: [("Authorization", authorization.revealed), ("Accept", "application/json")]
                + (body == nil ? [] : [("Content-Type", "application/json")]),
            body: body, maxResponseBytes: 256 << 10, deadline: .seconds(10))
        let response: OutboundResponse
        do {
            response = try await outbound.send(request)
        } catch {
            return Self.failure(error)
        }
        return Self.read(response)
    }

    private static func failure(_ error: OutboundError) -> (Result<StytchObject, Failure>, CircuitBreaker.Health) {
        switch error {
        case .invalidURL, .invalidRequest, .refused: (.failure(.unusableURL), .unknown)
        case .unresolvable, .timedOut, .tooLarge, .connectionFailed:
            (.failure(.unavailable(retryAfter: nil)), .bad)
        case .circuitOpen, .overloaded, .cancelled: (.failure(.unavailable(retryAfter: nil)), .unknown)
        }
    }

    static func read(_ response: OutboundResponse) -> (Result<StytchObject, Failure>, CircuitBreaker.Health) {
        let retryAfter = response.values(of: "retry-after").first.flatMap { Int($0) }
            .map { Duration.seconds(min(max($0, 1), 300)) }
        // Metadata of members nests freely.
        let answer = (try? JSONText.parse(response.body, maximumDepth: 32))?.object
        guard response.status < 500, let answer else {
            return (.failure(.unavailable(retryAfter: retryAfter)), .bad)
        }
        if response.status == 200 { return (.success(StytchObject(answer)), .good) }
        let type = answer["error_type"]?.string ?? answer["error"]?.string ?? ""
        return (.failure(.error(type: type, status: response.status, retryAfter: retryAfter)), .good)
    }
}

extension StytchAPI {
    /// The challenge for a code that was sent just now.
    func challenge(_ email: EmailAddress, upstream: String?) -> SignInChallenge {
        SignInChallenge(
            email: email.description, upstream: upstream, identityProvider: record.id, recordVersion: record.version,
            sentAt: clock.now())
    }

    /// What a person asks to sign in as.
    ///
    /// - Throws: `refused`.
    func address(_ text: String) throws(SignInError) -> EmailAddress {
        guard let email = EmailAddress(text) else { throw .refused("This is not an e-mail address.") }
        guard email != Self.publicAddress else { throw .refused("This address cannot sign in anywhere.") }
        return email
    }

    /// The address a challenge is about, and the digits of the code.
    ///
    /// - Throws: `refused`, `codeExpired`, `wrongCode`.
    func check(
        _ challenge: SignInChallenge, _ code: String, at now: Date
    ) throws(SignInError) -> (email: EmailAddress, code: String) {
        // An answer counts only for the provider that was asked (RFC 9700 §4.4).
        guard challenge.identityProvider == record.id else { throw .refused("The code was sent by another provider.") }
        guard challenge.recordVersion == record.version,
            now < challenge.sentAt + SignInChallenge.lifetime.seconds
        else { throw .codeExpired }
        let email = try address(challenge.email)
        let digits = code.filter { !$0.isWhitespace && $0 != "-" }
        guard digits.utf8.count == 6, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { throw .wrongCode }
        return (email, digits)
    }

    /// Stytch's published test address; in a test project its code is no secret.
    private static let publicAddress = EmailAddress("sandbox@stytch.com")
    /// The user behind it in consumer projects.
    static let publicUser = "user-test-e3795c81-f849-4167-bfda-e4a6e9c280fd"
}
