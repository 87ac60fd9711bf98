import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/organizations/{org}/domains`
struct DomainsEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.get("domains", .organizationsRead, in: .organization, use: list)
        table.post("domains", .organizationsWrite, in: .organization, use: add)
        table.get("domains/{domain}", .organizationsRead, in: .organization, use: get)
        table.delete("domains/{domain}", .organizationsWrite, in: .organization, use: remove)
        table.post("domains/{domain}:verify", .domainsVerify, in: .organization, use: verify)
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
        call.reply(.ok, Self.json(try await administration.domain(name(call), of: call.organization.id)))
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

    private static func json(_ domain: Domain) -> [UInt8] {
        JSONWriter.object { json in
            json.string("domain", domain.name)
            json.string("status", domain.status.rawValue)
            json.string("verification_token", domain.verificationToken)
            json.optional("verified_at", time: domain.verifiedAt)
            json.time("created_at", domain.createdAt)
        }
    }
}
