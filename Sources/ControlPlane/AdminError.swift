/// What is wrong with one member of an administrator's request.
package struct FieldError: Sendable, Equatable {
    /// JSON Pointer to the member (RFC 6901).
    package let pointer: String
    /// A word for programs, such as `required`.
    package let code: String
    /// For people; never a stored value.
    package let detail: String

    package init(_ pointer: String, _ code: String, _ detail: String) {
        self.pointer = pointer
        self.code = code
        self.detail = detail
    }

    /// The ``code`` of a member by which a key would be stronger than the key that makes it.
    package static let exceedsMaker = "exceeds_maker"

    /// The same for an id that nobody has and for one of another organization (T-12); says which list has those there are.
    package static func unknown(_ pointer: String) -> FieldError {
        let fact = "There is no such thing in this organization"
        guard let list = list(of: pointer) else { return FieldError(pointer, "unknown", fact + ".") }
        return FieldError(pointer, "unknown", "\(fact); its \(list) are those there are.")
    }

    /// The collection that a member's value is taken from, by the member's name.
    private static func list(of pointer: String) -> String? {
        switch pointer.split(separator: "/").last(where: { Int($0) == nil }) {
        case "user", "users", "members": "users"
        case "client", "client_id", "client_ids", "ids", "service", "services": "clients"
        case "resource", "resources", "default_resource", "exchanged_from": "resources"
        case "scopes": "resources' scopes"
        case "group", "groups": "groups"
        case "roles": "roles"
        case "identity_provider_id": "identity-providers"
        case "remove": "scope-policies"
        default: nil
        }
    }
}

/// Why administration refused: facts, which the HTTP room alone turns into status codes and words.
package enum AdminError: Error, Sendable, Equatable {
    /// There is no such thing, or none that this administrator may know of; nobody can tell which.
    case notFound
    /// No credential came.
    case unauthenticated
    /// The credential is not one of ours, has ended, or may not be used from there.
    case invalidCredential
    /// The access token was right, and whoever got it has to sign in again (RFC 9470 §3).
    case authenticationTooOld
    /// The proof that goes with an access token is missing or does not do (RFC 9449 §7.1).
    case proofRefused(code: String, nonce: String?)
    /// The request cannot be read as one.
    case malformed(String)
    /// The thing may be known, but the key lacks this scope for it.
    case forbidden(missingScope: AdminScope)
    /// The organization's own keys may not do this, whatever their scopes.
    case platformOnly
    /// A key was to get what the key that makes it does not have.
    case exceedsMaker([FieldError])
    /// The request is right by itself and contradicts what is stored. The text is sent.
    case conflict(String)
    case invalid([FieldError])
    /// A condition on the version is required (RFC 6585 §3).
    case preconditionRequired
    /// The version is another one by now (RFC 9110 §13.1.1).
    case preconditionFailed
    /// Another request with this `Idempotency-Key` is being worked on.
    case idempotencyKeyInFlight
    /// This `Idempotency-Key` came with another request before.
    case idempotencyKeyReused
    case unsupportedMediaType
    /// Whether a domain is the organization's could not be looked up.
    case nameServersFailed
    case tooLarge
    case unavailable(retryAfter: Duration)
    /// The key, its organization or the source asked too often.
    case rateLimited(RateLimitState)
}

extension AdminError {
    /// The refusal in words, for commands; the HTTP room has its own.
    package var explanation: String {
        switch self {
        case .conflict(let detail), .malformed(let detail): detail
        case .invalid(let errors), .exceedsMaker(let errors):
            errors.map { "\($0.pointer.dropFirst()): \($0.detail)" }.joined(separator: "\n")
        case .notFound: "There is no such thing."
        case .unavailable: "The database cannot answer right now; nothing was changed."
        default: "Refused: \(self)."
        }
    }
}

/// Which versions of a thing its change is meant for (RFC 9110 §13.1.1).
package enum VersionCondition: Sendable, Equatable {
    case any
    case oneOf([Int64])

    func check(_ version: Int64) throws(AdminError) {
        if case .oneOf(let versions) = self, !versions.contains(version) { throw .preconditionFailed }
    }
}

/// What a merge patch says about a member that may be absent (RFC 7396).
package enum Patch<Value: Sendable & Equatable>: Sendable, Equatable {
    case keep
    case clear
    case set(Value)

    func applied(to old: Value?) -> Value? {
        switch self {
        case .keep: old
        case .clear: nil
        case .set(let value): value
        }
    }
}
