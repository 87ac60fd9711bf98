import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/organizations/{org}/domains`
struct DomainsEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get(
            "domains", .organizationsRead, in: .organization, use: list,
            as: .list("listDomains", "Mail domains that the organization names as its own", of: Self.schema))
        table.post(
            "domains", .organizationsWrite, in: .organization, use: add,
            as: .create(
                "addDomain", "Name a mail domain; it counts once it is verified", from: Self.draft, to: Self.schema))
        table.get(
            "domains/{domain}", .organizationsRead, in: .organization, use: get,
            as: .read("getDomain", "One domain, and what proves it", Self.schema))
        table.delete(
            "domains/{domain}", .organizationsWrite, in: .organization, use: remove,
            as: .remove("removeDomain", "Give a domain up"))
        table.post(
            "domains/{domain}:verify", .organizationsWrite, in: .organization, use: verify,
            as: .act("verifyDomain", "Prove that a domain is the organization's own", to: Self.schema)
                .said(
                    "Looks the record in dns_record up. A key of the platform that holds domains:verify says so without one."
                ))
    }

    private func list(_ call: AdminCall) async throws -> Response {
        let request = try ListRequest(call, of: "domains")
        let all = try await administration.organizations.domains(of: call.organization.id).sorted { $0.name < $1.name }
        let rest = request.position.map { last in all.drop { $0.name <= last } } ?? all[...]
        return request.reply(Array(rest.prefix(request.limit + 1)), position: \.name, Self.json)
    }

    private func add(_ call: AdminCall) async throws -> Response {
        var members = try await call.body()
        let name = members.requiredString("domain")
        try members.finish()
        return try await call.write { administrator in
            try await administration.addDomain(name, to: call.organization.id, by: administrator)
        } reply: { made in
            .created(made.value.name, Self.json(made.value))
        }
    }

    private func get(_ call: AdminCall) async throws -> Response {
        call.reply(unversioned: Self.json(try await administration.domain(name(call), of: call.organization.id)))
    }

    private func remove(_ call: AdminCall) async throws -> Response {
        return try await call.write { administrator in
            try await administration.removeDomain(
                name(call), from: call.organization.id, by: administrator)
        } reply: { _ in
            .deleted
        }
    }

    private func verify(_ call: AdminCall) async throws -> Response {
        try await call.noBody()
        return try await call.write { administrator in
            try await administration.verifyDomain(name(call), of: call.organization.id, by: administrator)
        } reply: { done in
            .ok(Self.json(done.value))
        }
    }

    private func name(_ call: AdminCall) -> String { call.parameters.get("domain") ?? "" }

    private static let schema = Schema.named(
        "Domain",
        .object([
            "domain": .string, "status": .words(Domain.Status.self), "verification_token": .string,
            "dns_record": .object(["type": .words("TXT"), "name": .string, "value": .string]),
            "verified_at": .time.nullable, "created_at": .time,
        ]))

    private static let draft = Schema.named("NewDomain", .draft(["domain": .string(3...253, pattern: "[.]")]))

    private static func json(_ domain: Domain) -> [UInt8] {
        JSONWriter.object { json in
            json.string("domain", domain.name)
            json.string("status", domain.status.rawValue)
            json.string("verification_token", domain.verificationToken)
            json.object("dns_record") { json in
                json.string("type", "TXT")
                json.string("name", domain.recordName)
                json.string("value", domain.verificationToken)
            }
            json.optional("verified_at", time: domain.verifiedAt)
            json.time("created_at", domain.createdAt)
        }
    }
}
