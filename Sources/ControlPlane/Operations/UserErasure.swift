import Audit
import Foundation
import Postgres
package import Tenancy

extension Administration {
    /// Forgets a person: every way in ends now and the user is gone; an operation then erases what the log says of them.
    ///
    /// The id stays in the log alone, with what was done, by nobody in particular.
    ///
    /// - Throws: ``AdminError/lastOwner``.
    package func eraseUser(
        _ id: UserID, if condition: VersionCondition, in organization: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<LongOperation> {
        let size = try await auditLog.size(of: organization)
        let operation = LongOperation(
            id: OperationID.make(at: administrator.now, random), organization: organization, kind: .erasureOfUser,
            status: .queued, total: size, done: 0, outcomes: [:], createdBy: administrator.actor.id,
            createdAt: administrator.now)
        return try await administer(organization, by: administrator) { transaction in
            try await keepingAnOwner(of: organization, transaction) {
                try await erase(id, if: condition, by: administrator, as: operation, transaction)
            }
        }
    }

    private func erase(
        _ id: UserID, if condition: VersionCondition, by administrator: Administrator, as operation: LongOperation,
        _ transaction: PostgresTransaction
    ) async throws -> AdminChange<LongOperation> {
        let organization = operation.organization
        guard let user = try await users.find(id, in: organization, locking: transaction) else {
            throw AdminError.notFound
        }
        try condition.check(user.version)
        let ended = try await grants.revokeAll(
            of: id, in: organization, because: AuditEventType.userErased.rawValue, transaction)
        let tokens = try await programmaticTokens.revokeAll(
            of: id, in: organization, at: administrator.now, transaction)
        let address = user.email?.lowercased()
        let invitations = try await users.forgetTraces(of: id, address: address, in: organization, transaction)
        try await users.delete(id, of: organization, at: administrator.now, in: transaction)
        let person = AuditLog.Person(
            id: id.description, address: address, also: invitations.map(\.description))
        // By then everything that began before has its events.
        try await operations.insert(
            operation, input: OperationInput(person: person), request: OperationRequest(administrator), after: 3,
            in: transaction)
        return AdminChange(
            value: operation, type: .userErased, target: AuditEvent.Target(type: "user", id: id.description),
            metadata: [
                "grants_ended": "\(ended.count)", "access_tokens_ended": "\(tokens)",
                "operation": operation.id.description,
            ], isCached: true)
    }
}

/// One step of an erasure: a stretch of the organization's log.
struct UserErasureStep {
    let auditLog: AuditLog
    let operations: OperationStore

    /// - Returns: whether there was nothing left to do.
    func run(
        _ work: OperationStore.Work, at now: Date, _ transaction: PostgresTransaction
    ) async throws -> Bool {
        let operation = work.operation
        guard let person = try work.input(OperationInput.self).person else { return true }
        let step = try await auditLog.erase(
            person, in: operation.organization, from: operation.done, transaction)
        var outcomes = operation.outcomes
        outcomes["disclosures_erased", default: 0] += step.erased
        try await operations.advance(
            operation, to: step.next, of: step.size, outcomes: outcomes, at: now, transaction)
        return step.next == step.size
    }
}
