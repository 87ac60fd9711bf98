import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/organizations/{org}/operations`
struct OperationsEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "operations", .operationsRead, in: .organization, use: list,
            as: .list("listOperations", "Long work and how far it is", of: Self.schema))
        table.get(
            "operations/{operation}", .operationsRead, in: .organization, use: get,
            as: .read("getOperation", "One operation", Self.schema))
        table.get(
            "operations/{operation}/rows", .operationsRead, in: .organization, use: rows,
            as: .list(
                "listOperationRows", "What became of each row, in the order of the body", of: Self.rowSchema,
                filters: ["outcome": .words(OperationRow.Outcome.self)]))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "operations")
        let rows = try await administration.operations.list(request.page, of: call.organization.id)
        return request.reply(rows, id: \.id.uuid, Self.json)
    }

    private func get(_ call: AdminCall) async throws -> Response {
        call.reply(
            unversioned: Self.json(try await administration.operation(call.id("operation"), of: call.organization.id)))
    }

    private func rows(_ call: AdminCall) async throws -> Response {
        let operation = try await administration.operation(call.id("operation"), of: call.organization.id)
        let request = try ListRequest(call, of: "operations/\(operation.id)/rows", filters: ["outcome"])
        let rows = try await administration.operations.rows(
            of: operation.id, after: request.position.flatMap { Int($0) } ?? 0, limit: request.limit + 1,
            outcome: request.word("outcome"), in: call.organization.id)
        return request.reply(rows, position: { "\($0.row)" }, Self.json)
    }

    static let schema = Schema.named(
        "Operation",
        .object([
            "id": .id(OperationID.self), "kind": .words(LongOperation.Kind.self),
            "status": .words(LongOperation.Status.self),
            "progress": .object(["done": .integer, "total": .integer]),
            "outcomes": .map(of: .integer).said("How often each outcome came."), "created_by": .string,
            "created_at": .time, "started_at": .time.nullable, "finished_at": .time.nullable,
        ]))

    static let rowSchema = Schema.named(
        "OperationRow",
        .object([
            "row": .integer.said("The line of the body, from 1."), "outcome": .words(OperationRow.Outcome.self),
            "user": .id(UserID.self).nullable, "code": .string.nullable, "pointer": .string.nullable,
            "detail": .string.nullable,
        ]))

    static func json(_ operation: LongOperation) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", operation.id.description)
            json.string("kind", operation.kind.rawValue)
            json.string("status", operation.status.rawValue)
            json.raw(
                "progress",
                JSONWriter.object { json in
                    json.int("done", operation.done)
                    json.int("total", operation.total)
                })
            json.raw("outcomes", outcomes(operation.outcomes))
            json.string("created_by", operation.createdBy)
            json.time("created_at", operation.createdAt)
            json.optional("started_at", time: operation.startedAt)
            json.optional("finished_at", time: operation.finishedAt)
        }
    }

    static func outcomes(_ outcomes: [String: Int]) -> [UInt8] {
        JSONWriter.object { json in
            for (name, count) in outcomes.sorted(by: { $0.key < $1.key }) { json.int(name, count) }
        }
    }

    static func json(_ row: OperationRow) -> [UInt8] {
        JSONWriter.object { json in
            json.int("row", row.row)
            json.string("outcome", row.outcome.rawValue)
            json.optional("user", row.user?.description)
            json.optional("code", row.code)
            json.optional("pointer", row.pointer)
            json.optional("detail", row.detail)
        }
    }
}
