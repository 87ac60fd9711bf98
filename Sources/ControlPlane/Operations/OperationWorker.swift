import Audit
import Foundation
package import Keys
package import Logging
import Postgres
import ServiceLifecycle
package import Tenancy

/// Goes on with operations, step by step, wherever they were begun.
///
/// Each node takes one at a time for as long as its lease lasts, and renews that with every step. When a node dies the
/// others take over from the last step that was committed; what a step changes, its events and how far the operation is
/// are one transaction, so that no row is done twice and none is lost.
package final class OperationWorker: Service {
    private static let pause: Duration = .milliseconds(500)
    /// After so long the next operation gets its turn.
    private static let turn: Duration = .seconds(2)
    /// So many steps in a row may fail by no fault of a store.
    private static let mostFailures = 5

    private let operations: OperationStore
    private let imports: UserImportStep
    private let erasures: UserErasureStep
    private let database: TenantDatabase
    private let clock: WallClock
    private let random: RandomBytes
    private let logger: Logger

    package init(database: TenantDatabase, clock: WallClock, random: RandomBytes = .system, logger: Logger) {
        operations = OperationStore(database: database)
        imports = UserImportStep(
            users: UserStore(database: database), roles: RoleStore(database: database),
            groups: GroupStore(database: database), organizations: OrganizationStore(database: database),
            operations: operations, random: random)
        erasures = UserErasureStep(auditLog: AuditLog(database: database), operations: operations)
        self.database = database
        self.clock = clock
        self.random = random
        self.logger = logger
    }

    package func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    while try await self.workOnce(), !Task.isCancelled {}
                } catch {
                    if Task.isCancelled { break }
                    self.logger.warning(
                        "an operation will be tried again", metadata: ["error": "\(String(reflecting: error))"])
                }
                try? await Task.sleep(for: Self.pause)
            }
        }
    }

    /// Takes one operation and goes on with it for one turn.
    ///
    /// - Returns: false when none was due.
    package func workOnce() async throws -> Bool {
        guard try await operations.isDue() else { return false }
        let holder = UUID.version7(at: clock.now(), random)
        guard let (organization, id) = try await operations.lease(as: holder) else { return false }
        let end = ContinuousClock.now + Self.turn
        while !Task.isCancelled, ContinuousClock.now < end {
            switch try await step(id, in: organization, as: holder) {
            case .more: continue
            case .over, .lost: return true
            }
        }
        try await operations.yield(id, in: organization, as: holder)
        return true
    }

    private enum Progress: Sendable { case more, over, lost }

    private func step(
        _ id: OperationID, in organization: OrganizationID, as holder: UUID
    ) async throws -> Progress {
        let now = clock.now()
        do {
            return try await database.transaction(organization) { transaction in
                guard let work = try await operations.hold(id, in: organization, as: holder, transaction) else {
                    return .lost
                }
                let isDone =
                    switch work.operation.kind {
                    case .importOfUsers: try await imports.run(work, at: now, transaction)
                    case .erasureOfUser: try await erasures.run(work, at: now, transaction)
                    }
                guard isDone else { return .more }
                try await finish(work, as: .succeeded, at: now, transaction)
                return .over
            }
        } catch  where !error.isStoreFailure && !(error is CancellationError) {
            try await noteFailure(of: id, in: organization, as: holder, error)
            throw error
        }
    }

    /// Ends an operation, and writes down how.
    private func finish(
        _ work: OperationStore.Work, as status: LongOperation.Status, at now: Date, _ transaction: PostgresTransaction
    ) async throws {
        let operation = work.operation
        let request = try work.request(OperationRequest.self)
        try await operations.finish(operation, as: status, at: now, transaction)
        var metadata = operation.outcomes.mapValues { "\($0)" }
        metadata["kind"] = operation.kind.rawValue
        let event = AuditEvent(
            .operationFinished, organization: operation.organization, id: EventID.make(at: now, random), time: now,
            outcome: status == .succeeded ? .success : .failure, actor: request.actor,
            targets: [operation.auditTarget], request: request.info, metadata: metadata)
        try await transaction.query(event.outboxEvent(random).insertion)
    }

    /// Work that always fails must not be tried for ever.
    private func noteFailure(
        of id: OperationID, in organization: OrganizationID, as holder: UUID, _ error: any Error
    ) async throws {
        let now = clock.now()
        let isOver = try await database.transaction(organization) { transaction in
            guard let work = try await operations.hold(id, in: organization, as: holder, transaction) else {
                return false
            }
            guard try await operations.noteFailure(of: work.operation, transaction) >= Self.mostFailures else {
                return false
            }
            try await finish(work, as: .failed, at: now, transaction)
            return true
        }
        if isOver {
            logger.error(
                "an operation failed",
                metadata: ["operation": "\(id)", "error": "\(String(reflecting: error))"])
        }
    }
}
