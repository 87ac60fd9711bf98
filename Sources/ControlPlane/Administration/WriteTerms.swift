package import Foundation
package import Keys
import Postgres
package import Tenancy

/// How a write is meant, as its request says.
package struct WriteTerms: Sendable {
    /// Do everything, tell what would come of it, and keep nothing.
    package var isDryRun = false
    /// Do it once for all requests that carry this key; nil where the request carries none.
    package var once: OnceOnly?

    package init() {}
}

/// A write under an `Idempotency-Key`: the first one is done, and whoever repeats it gets the same reply for a day.
///
/// The key counts for one credential and one organization. The reply is committed with the change, sealed so that the same
/// credential and key alone open it.
package struct OnceOnly: Sendable {
    /// How long the reply is kept.
    package static let lifetime: TimeInterval = 86_400

    /// The organization of the request's path, where the reply is kept.
    let organization: OrganizationID
    let digest: [UInt8]
    let requestDigest: [UInt8]
    let seal: ReplySeal
    /// Writes the reply down that the change will be answered with.
    let reply: @Sendable (any Sendable, EventID) throws -> [UInt8]

    /// - Parameters:
    ///   - key: what the caller chose.
    ///   - caller: what tells its credential from others (``Administrator/credentialID``).
    ///   - credential: what the caller proved itself with.
    ///   - request: method, target and body.
    package init(
        key: String, of caller: String, credential: Secret, in organization: OrganizationID, request: [UInt8]
    ) {
        self.organization = organization
        digest = sha256("\(organization)|\(caller)|\(key)")
        requestDigest = sha256(request)
        seal = ReplySeal(credential: credential, place: organization.description, idempotencyKey: key)
        reply = { _, _ in throw UnexpectedOutcome() }
    }

    private init(_ other: OnceOnly, reply: @escaping @Sendable (any Sendable, EventID) throws -> [UInt8]) {
        organization = other.organization
        digest = other.digest
        requestDigest = other.requestDigest
        seal = other.seal
        self.reply = reply
    }

    /// The same, answering by `reply` what a use case that ends with a `Value` did.
    package func answered<Value: Sendable>(
        by reply: @escaping @Sendable (Administered<Value>) -> [UInt8]
    ) -> OnceOnly {
        OnceOnly(self) { outcome, event in
            guard let value = outcome as? Value else { throw UnexpectedOutcome() }
            return reply(Administered(value: value, event: event))
        }
    }

    /// - Throws: ``AdminError/idempotencyKeyReused``.
    fileprivate func open(_ kept: KeptReply) throws -> [UInt8] {
        guard kept.requestDigest == requestDigest else { throw AdminError.idempotencyKeyReused }
        return try seal.open(kept.sealed)
    }
}

/// The request was done before; this is how it was answered.
package struct RepeatedRequest: Error {
    package let reply: [UInt8]
}

/// A use case ended its transaction with another kind of value than it returns: a defect of ours.
struct UnexpectedOutcome: Error {}

/// Ends a dry run's transaction.
struct DryRun<Value: Sendable>: Error {
    let outcome: Value
}

extension Administration {
    /// How a request was answered that was done before; nil for a new one.
    ///
    /// - Throws: ``AdminError/idempotencyKeyReused``.
    package func reply(to once: OnceOnly, at now: Date) async throws -> [UInt8]? {
        try await idempotency.find(once.digest, in: once.organization, at: now).map(once.open)
    }

    /// Makes sure that nobody else does, or did, the same.
    func begin(
        _ once: OnceOnly, for organization: OrganizationID, at now: Date, _ transaction: PostgresTransaction
    ) async throws {
        guard try await idempotency.claim(once.digest, transaction) else { throw AdminError.idempotencyKeyInFlight }
        let kept = try await inPlace(of: once, for: organization, transaction) {
            try await idempotency.find(once.digest, in: once.organization, at: now, transaction)
        }
        if let kept { throw RepeatedRequest(reply: try once.open(kept)) }
    }

    func keep(
        _ reply: [UInt8], of once: OnceOnly, for organization: OrganizationID, at now: Date,
        _ transaction: PostgresTransaction
    ) async throws {
        let kept = KeptReply(requestDigest: once.requestDigest, sealed: try once.seal.seal(reply, random: random))
        try await inPlace(of: once, for: organization, transaction) {
            try await idempotency.keep(
                kept, for: once.digest, in: once.organization, until: now + OnceOnly.lifetime, transaction)
        }
    }

    /// Calls that make or restore an organization are the platform's, and so are their replies.
    private func inPlace<Value>(
        of once: OnceOnly, for organization: OrganizationID, _ transaction: PostgresTransaction,
        _ body: () async throws -> Value
    ) async throws -> Value {
        guard once.organization != organization else { return try await body() }
        try await database.turn(transaction, to: once.organization)
        let value = try await body()
        try await database.turn(transaction, to: organization)
        return value
    }
}
