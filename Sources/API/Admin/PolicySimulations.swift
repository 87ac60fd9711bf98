import Audit
import ControlPlane
import Foundation
import Keys
import Tenancy

/// The body and the reply of `:simulate`.
struct PolicySimulationDocument {
    let draft: PolicyDraft
    let window: SimulationWindow
    /// Names this very simulation, so that a cursor continues no other.
    private let name: String

    private static let standardLimit = 5_000

    static let schema = Schema.named(
        "PolicySimulation",
        .draft([
            "statements": .array(of: StatementDocument.draftSchema, 0...200).optional.said(
                "Statements beside the present ones."),
            "replace": .map(of: StatementDocument.draftSchema).optional.said(
                "What present statements would say instead, by their ids."),
            "remove": .array(of: .id(ScopePolicyID.self), 0...200).optional, "from": .time, "to": .time,
            "limit": .integer(SimulationWindow.limits).optional.said("Decisions to put again in one call."),
            "cursor": .string.optional.said("next_cursor of the same simulation."),
        ]))

    private static let difference = Schema.named(
        "PolicyDifference",
        .object([
            "user": .id(UserID.self).nullable, "service": .string.nullable, "client_id": .string.nullable,
            "resource": .id(ResourceID.self), "scopes": .array(of: .string), "decisions": .integer, "last": .time,
        ]))

    static let reply = Schema.named(
        "PolicySimulationResult",
        .object([
            "from": .time, "to": .time, "decisions": .integer, "unchanged": .integer,
            "undecidable": .integer.said("Their address has been erased, and the draft asks for addresses."),
            "gained": .integer, "lost": .integer, "gains": .array(of: difference), "losses": .array(of: difference),
            "has_more": .bool, "next_cursor": .string.nullable,
        ]))

    /// - Throws: ``AdminError/invalid(_:)``, ``AdminError/malformed(_:)`` for a cursor of something else.
    static func request(from call: AdminCall) async throws -> PolicySimulationDocument {
        var members = try await call.body()
        var draft = PolicyDraft()
        var drafts: [JSONValue] = []
        if let value = members.value("statements") {
            if case .array(let elements) = value, elements.count <= 200 {
                drafts = elements
            } else {
                members.add(FieldError("/statements", "type", "This must be an array of at most 200 statements."))
            }
        }
        var replacements: [String: JSONValue] = [:]
        if let value = members.value("replace") {
            if let object = value.object, object.count <= 200 {
                replacements = object
            } else {
                members.add(FieldError("/replace", "type", "This must be an object of at most 200 statements by id."))
            }
        }
        draft.removed = members.ids("remove") ?? []
        let from = members.required("from") { $0.time("from") }
        let to = members.required("to") { $0.time("to") }
        let limit = members.integer("limit") ?? standardLimit
        let cursor = members.string("cursor")
        if !SimulationWindow.limits.contains(limit) {
            members.add(FieldError("/limit", "out_of_range", "This must be from 1 to 20000."))
        }
        if let from, let to, from >= to {
            members.add(FieldError("/to", "invalid", "This must be after from."))
        }
        for (index, element) in drafts.enumerated() {
            read(element, at: "/statements/\(index)", &members) { draft.added.append($0) }
        }
        for (key, element) in replacements {
            let pointer = "/replace/\(key.inPointer)"
            guard let id = ScopePolicyID(key) else {
                members.add(.unknown(pointer))
                continue
            }
            read(element, at: pointer, &members) { draft.replaced[id] = $0 }
        }
        try members.finish()
        guard let from, let to else { throw AdminError.notFound }
        let drafted = JSONWriter.object { json in
            json.raws(
                "added", draft.added.map { draft in JSONWriter.object { StatementDocument.write(draft, to: &$0) } })
            for (id, draft) in draft.replaced.sorted(by: { $0.key < $1.key }) {
                json.object(id.description) { StatementDocument.write(draft, to: &$0) }
            }
            json.strings("removed", draft.removed.map(\.description))
            json.time("from", from)
            json.time("to", to)
        }
        let name = [
            call.organization.id.description, "scope-policies:simulate",
            call.administrator.actor.id, Base64URL.encode(sha256(drafted)),
        ].joined(separator: "|")
        var after: Int?
        if let cursor {
            guard let position = call.cursors.open(cursor, for: name).flatMap({ Int($0) }) else {
                throw AdminError.malformed(
                    "This cursor was not made for this simulation: send next_cursor as it came, with the same body, or begin "
                        + "without one.")
            }
            after = position
        }
        return PolicySimulationDocument(
            draft: draft, window: SimulationWindow(from: from, to: to, limit: limit, after: after), name: name)
    }

    private static func read(
        _ value: JSONValue, at pointer: String, _ members: inout Members, _ keep: (StatementDraft) -> Void
    ) {
        do throws(AdminError) {
            keep(try StatementDocument.draft(from: Members(value, isPatch: false, at: pointer)))
        } catch {
            if case .invalid(let errors) = error { errors.forEach { members.add($0) } }
        }
    }

    func reply(_ simulation: Simulation, _ call: AdminCall) -> [UInt8] {
        let next = simulation.next.map { call.cursors.seal("\($0)", for: name) }
        return JSONWriter.object(capacity: 4096) { json in
            json.time("from", window.from)
            json.time("to", window.to)
            json.int("decisions", simulation.decisions)
            json.int("unchanged", simulation.unchanged)
            json.int("undecidable", simulation.undecidable)
            json.int("gained", simulation.gains.values.reduce(0) { $0 + $1.decisions })
            json.int("lost", simulation.losses.values.reduce(0) { $0 + $1.decisions })
            json.raws("gains", Self.rows(simulation.gains))
            json.raws("losses", Self.rows(simulation.losses))
            json.bool("has_more", next != nil)
            json.optional("next_cursor", next)
        }
    }

    /// The most frequent ones first.
    private static func rows(_ differences: [Simulation.Difference: Simulation.Count]) -> [[UInt8]] {
        let sorted = differences.sorted {
            ($1.value.decisions, $0.key.principal, $0.key.client ?? "") < (
                $0.value.decisions, $1.key.principal, $1.key.client ?? ""
            )
        }
        return sorted.map { difference, count in
            let user = UserID(difference.principal)
            return JSONWriter.object { json in
                json.optional("user", user?.description)
                json.optional("service", user == nil ? difference.principal : nil)
                json.optional("client_id", difference.client)
                json.string("resource", difference.resource.description)
                json.strings("scopes", difference.scopes)
                json.int("decisions", count.decisions)
                json.time("last", count.last)
            }
        }
    }
}
