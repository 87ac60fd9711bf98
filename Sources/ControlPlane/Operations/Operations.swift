import Audit
import Foundation
import Keys
package import Tenancy

// This folder owns long work: what an administrator's request begins and any node goes on with in small steps.

extension Administration {
    package var operations: OperationStore { OperationStore(database: database) }

    package func operation(_ id: OperationID, of organization: OrganizationID) async throws -> LongOperation {
        guard let found = try await operations.find(id, in: organization) else { throw AdminError.notFound }
        return found
    }
}

extension LongOperation {
    var auditTarget: AuditEvent.Target { AuditEvent.Target(type: "operation", id: id.description) }
}

/// What work needs to know beside its rows.
struct OperationInput: Codable, Sendable {
    /// Who is erased.
    var person: AuditLog.Person?

    static let none = OperationInput()
}

/// The request that asked for an operation, as the events of its steps name it; without what is personal, which the event
/// of the request itself has.
struct OperationRequest: Codable, Sendable {
    private let actorKind: String
    private let actorID: String
    private let credential: String?
    private let request: RequestID?
    private let method: String?
    private let route: String?
    private let trace: String?

    init(_ administrator: Administrator) {
        actorKind = administrator.actor.kind.rawValue
        actorID = administrator.actor.id
        credential = administrator.actor.credential
        request = administrator.request?.id
        method = administrator.request?.method
        route = administrator.request?.route
        trace = administrator.request?.traceID
    }

    var actor: AuditEvent.Actor {
        AuditEvent.Actor(kind: .init(rawValue: actorKind) ?? .system, id: actorID, credential: credential)
    }

    var info: AuditEvent.RequestInfo? {
        guard let request, let method, let route else { return nil }
        return AuditEvent.RequestInfo(id: request, method: method, route: route, traceID: trace)
    }
}
