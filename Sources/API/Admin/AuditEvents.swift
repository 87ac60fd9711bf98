import Audit
import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/audit/events` and `/v1/organizations/{org}/audit/events`
struct AuditEventsEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "audit/events", .auditRead, in: .platform, .organization, evenDeleted: true, use: list,
            as: .list("listAuditEvents", "What happened", of: Self.schema, filters: Self.filters).said(
                "The log outlives its organization: keys of the platform read that of a deleted one too."))
        table.get(
            "audit/events/{event}", .auditRead, in: .platform, .organization, evenDeleted: true, use: get,
            as: .read("getAuditEvent", "One event", Self.schema))
    }

    private static let filters: KeyValuePairs<String, Schema> = [
        "type": .string.said("Event types, separated by commas."), "outcome": .words(AuditEvent.Outcome.self),
        "actor": .string, "client": .string, "target": .string, "from": .time, "until": .time,
        "order": .words("oldest_first", "newest_first"),
    ]

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "audit/events", filters: Set(Self.filters.map(\.key)))
        let order = try Self.order(request)
        let rows = try await administration.auditLog.events(
            of: call.organization.id, after: request.position.flatMap { Int($0) }, limit: request.limit + 1,
            filter: Self.filter(request), order: order)
        return request.reply(rows, position: { "\($0.seq)" }, Self.json)
    }

    private func get(_ call: AdminCall) async throws -> Response {
        guard let entry = try await administration.auditLog.event(call.id("event"), of: call.organization.id) else {
            throw AdminError.notFound
        }
        return call.reply(unversioned: Self.json(entry))
    }

    private static func order(_ request: ListRequest) throws(AdminError) -> AuditLog.Order {
        switch request.filters["order"] {
        case nil, "oldest_first"?: .oldestFirst
        case "newest_first"?: .newestFirst
        case _?: throw .malformed("order is oldest_first or newest_first.")
        }
    }

    private static func filter(_ request: ListRequest) throws(AdminError) -> AuditLog.Filter {
        var filter = AuditLog.Filter()
        for name in (request.filters["type"] ?? "").split(separator: ",") {
            guard let type = AuditEventType(rawValue: String(name)) else {
                throw .malformed("There is no such event type; types are words such as token.issued.")
            }
            filter.types.append(type)
        }
        filter.outcome = try request.word("outcome")
        filter.actor = request.filters["actor"]
        filter.client = request.filters["client"]
        filter.target = request.filters["target"]
        if let text = request.filters["from"] {
            guard let time = WireTime.parse(text) else { throw .malformed("from is a time as RFC 3339 writes it.") }
            filter.from = time
        }
        if let text = request.filters["until"] {
            guard let time = WireTime.parse(text) else { throw .malformed("until is a time as RFC 3339 writes it.") }
            filter.until = time
        }
        return filter
    }

    private static let schema = Schema.named(
        "AuditEntry",
        .object([
            "id": .id(EventID.self), "seq": .integer, "logged_at": .time,
            "event": .map(of: .any).said("The very bytes whose hash the log proves."),
            "disclosures": .array(of: .string),
        ]))

    /// The event is the very bytes whose hash the log proves; the disclosures are what opens its sealed fields.
    private static func json(_ entry: AuditLog.Entry) -> [UInt8] {
        JSONWriter.object(capacity: entry.leaf.count + 512) { json in
            json.string("id", entry.id.description)
            json.int("seq", entry.seq)
            json.time("logged_at", entry.loggedTime)
            json.raw("event", entry.leaf)
            json.strings("disclosures", entry.disclosures)
        }
    }
}
