import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import Keys
import NIOCore
import Tenancy

/// `/v1/organizations/{org}/access-reviews`: who could do what through which client at a moment.
struct AccessReviewsEndpoint: Sendable {
    let administration: Administration
    private static let linesAtOnce = 1_000

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "access-reviews", .accessReviewsRead, in: .organization, use: list,
            as: .list("listAccessReviews", "Reviews that were asked for", of: Self.schema))
        table.post(
            "access-reviews", .accessReviewsWrite, in: .organization, use: create,
            as: .create(
                "createAccessReview", "Ask who could do what through which client at a moment", from: Self.draft,
                to: Self.schema))
        table.get(
            "access-reviews/{review}", .accessReviewsRead, in: .organization, use: get,
            as: .read("getAccessReview", "One review", Self.schema))
        table.get(
            "access-reviews/{review}/rows", .accessReviewsRead, in: .organization, use: rows,
            as: .list(
                "listAccessReviewRows", "Who could do what: one row for each principal, client and resource",
                of: Self.row
            )
            .alsoGiving("text/csv")
            .said(
                "With `Accept: text/csv` all rows come as one file (RFC 4180); `limit` and `cursor` are refused then. A "
                    + "cell that begins like a formula has an apostrophe before it."))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "access-reviews")
        let rows = try await administration.accessReviews.list(request.page, of: call.organization.id)
        return request.reply(rows, id: \.id.uuid, Self.json)
    }

    private func create(_ call: AdminCall) async throws -> Response {
        var members = try await call.body()
        let moment = members.time("at")
        let filter = AccessReview.Filter(
            user: members.id("user"), client: members.id("client"), resource: members.id("resource"),
            group: members.id("group"))
        try members.finish()
        return try await call.write { administrator in
            try await administration.createAccessReview(
                at: moment, filter, in: call.organization.id, by: administrator)
        } reply: { made in
            .created(made.value.id.description, Self.json(made.value))
        }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        call.reply(
            unversioned: Self.json(try await administration.accessReview(call.id("review"), of: call.organization.id)))
    }

    /// JSON in pages, or all rows as one CSV file.
    private func rows(_ call: AdminCall) async throws -> Response {
        let id = try call.id("review", of: AccessReviewID.self)
        guard call.prefersCSV else {
            let request = try ListRequest(call, of: "access-reviews/\(id)/rows")
            let review = try await administration.accessReview(id, of: call.organization.id)
            var reader = try await administration.read(review)
            let lines = try await reader.lines(
                after: request.position.flatMap(AccessRow.Position.init), limit: request.limit + 1)
            return request.reply(lines, position: { $0.row.position.description }, Self.json)
        }
        guard call.request.rawQuery.isEmpty else {
            throw AdminError.malformed("As CSV the rows come all at once: leave limit and cursor out.")
        }
        let review = try await administration.accessReview(id, of: call.organization.id)
        let reader = try await administration.read(review)
        let body = ResponseBody { writer in
            var reader = reader
            var position: AccessRow.Position?
            try await writer.write(ByteBuffer(string: CSV.record(Self.columns)))
            repeat {
                let lines = try await reader.lines(after: position, limit: Self.linesAtOnce)
                try await writer.write(ByteBuffer(string: lines.map { CSV.record(Self.cells($0)) }.joined()))
                position = lines.count == Self.linesAtOnce ? lines.last?.row.position : nil
            } while position != nil
            try await writer.finish(nil)
        }
        return Response(
            status: .ok,
            headers: [
                .contentType: "text/csv; charset=utf-8; header=present", .cacheControl: "no-store",
                .contentDisposition: "attachment; filename=\"access-review-\(id).csv\"",
            ], body: body)
    }

    // MARK: Rendering

    private static let draft = Schema.named(
        "NewAccessReview",
        .draft([
            "at": .time.optional.said("Left out: now."), "user": .id(UserID.self).optional,
            "client": .id(ClientID.self).optional, "resource": .id(ResourceID.self).optional,
            "group": .id(GroupID.self).optional,
        ]))

    private static let schema = Schema.named(
        "AccessReview",
        .object([
            "id": .id(AccessReviewID.self), "at": .time, "user": .id(UserID.self).nullable,
            "client": .id(ClientID.self).nullable, "resource": .id(ResourceID.self).nullable,
            "group": .id(GroupID.self).nullable,
            "combinations": .integer.said("How many combinations of principal, client and resource it looks at."),
            "created_by": .string, "created_at": .time,
        ]))

    private static let finding = Schema.named(
        "AccessFinding",
        .object([
            "scope": .string, "result": .words("allowed", "denied"),
            "rule": .string.said("The statement that decided, or what else did."),
        ]))

    private static let row = Schema.named(
        "AccessRow",
        .object([
            "principal": .object([
                "kind": .words("user", "service"), "id": .string, "email": .string.nullable, "name": .string.nullable,
            ]),
            "client": .object([
                "id": .id(ClientID.self), "client_id": .string.nullable, "kind": .words(Client.Kind.self).nullable,
                "name": .string.nullable,
            ]),
            "resource": .object([
                "id": .id(ResourceID.self), "uri": .string.nullable, "name": .string.nullable,
            ]),
            "scopes": .array(of: .string).said("What a token could carry in any circumstances."),
            "conditional_scopes": .array(of: .string).said("What it could carry besides in the best ones."),
            "trace": .array(of: finding), "conditional_trace": .array(of: finding),
            "closed": .words(AccessRow.Closure.self).nullable.said("Why a connection could not be used."),
            "connections": .array(
                of: .object([
                    "id": .id(GrantID.self), "scopes": .array(of: .string), "created_at": .time, "expires_at": .time,
                ])),
        ]))

    private static func json(_ review: AccessReview) -> [UInt8] {
        JSONWriter.object { json in
            json.string("id", review.id.description)
            json.time("at", review.moment)
            json.optional("user", review.filter.user?.description)
            json.optional("client", review.filter.client?.description)
            json.optional("resource", review.filter.resource?.description)
            json.optional("group", review.filter.group?.description)
            json.int("combinations", review.combinations)
            json.string("created_by", review.createdBy)
            json.time("created_at", review.createdAt)
        }
    }

    private static func json(_ line: AccessReviewReader.Line) -> [UInt8] {
        let row = line.row
        return JSONWriter.object(capacity: 1024) { json in
            json.object("principal") { json in
                json.string("kind", line.principalKind)
                json.string("id", line.principalID)
                json.optional("email", line.user?.email)
                json.optional("name", line.user?.name)
            }
            json.object("client") { json in
                json.string("id", row.client.description)
                json.optional("client_id", line.client?.wireID)
                json.optional("kind", line.client?.kind.rawValue)
                json.optional("name", line.clientName)
            }
            json.object("resource") { json in
                json.string("id", row.resource.description)
                json.optional("uri", line.resource?.uri)
                json.optional("name", line.resourceName)
            }
            json.strings("scopes", row.scopes)
            json.strings("conditional_scopes", row.conditionalScopes)
            json.raws("trace", row.findings.map(trace))
            json.raws("conditional_trace", row.conditionalFindings.map(trace))
            json.optional("closed", row.closure?.rawValue)
            json.raws(
                "connections",
                row.grants.map { grant in
                    JSONWriter.object { json in
                        json.string("id", grant.id.description)
                        json.strings("scopes", grant.scope)
                        json.time("created_at", grant.createdAt)
                        json.time("expires_at", grant.expiresAt)
                    }
                })
        }
    }

    private static func trace(_ finding: ScopeDecision.Finding) -> [UInt8] {
        JSONWriter.object { json in
            json.string("scope", finding.scope)
            json.string("result", finding.result.rawValue)
            json.string("rule", finding.rule)
        }
    }

    private static let columns = [
        "principal_kind", "principal_id", "user_email", "user_name", "client_id", "client_kind", "client_name",
        "resource_uri", "resource_name", "scopes", "conditional_scopes", "statements", "conditional_statements",
        "closed",
        "connections", "connection_scopes", "connected_since",
    ]

    private static func cells(_ line: AccessReviewReader.Line) -> [String] {
        let row = line.row
        return [
            line.principalKind, line.principalID, line.user?.email ?? "", line.user?.name ?? "",
            line.client?.wireID ?? row.client.description, line.client?.kind.rawValue ?? "", line.clientName ?? "",
            line.resource?.uri ?? row.resource.description, line.resourceName ?? "",
            row.scopes.joined(separator: " "), row.conditionalScopes.joined(separator: " "),
            statements(row.findings.filter { $0.result == .allowed }), statements(row.conditionalFindings),
            row.closure?.rawValue ?? "", row.grants.map(\.id.description).joined(separator: " "),
            Set(row.grants.flatMap(\.scope)).sorted().joined(separator: " "),
            row.grants.map(\.createdAt).min().map(WireTime.text) ?? "",
        ]
    }

    private static func statements(_ findings: [ScopeDecision.Finding]) -> String {
        findings.map { "\($0.scope): \($0.rule)" }.joined(separator: "; ")
    }
}

extension AccessReviewReader.Line {
    fileprivate var principalKind: String { if case .user = row.principal { "user" } else { "service" } }

    fileprivate var principalID: String {
        switch row.principal {
        case .user(let user): user.description
        case .service(let client): client.description
        }
    }
}

extension AdminCall {
    /// Whether the caller named CSV, and JSON not before it (RFC 9110 §12.5.1, without weights).
    fileprivate var prefersCSV: Bool {
        request.headers[values: .accept].flatMap { $0.split(separator: ",") }.lazy
            .map { $0.prefix { $0 != ";" }.trimmingCharacters(in: .whitespaces).lowercased() }
            .first { ["text/csv", "application/json", "*/*"].contains($0) } == "text/csv"
    }
}
