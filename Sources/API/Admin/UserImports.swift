import ControlPlane
import Hummingbird
import Keys
import Tenancy

/// `/v1/organizations/{org}/users:batch`
struct UserImportsEndpoint: Sendable {
    let administration: Administration

    func addRoutes(to table: AdminRouteTable) {
        table.post(
            "users:batch", .usersWrite, in: .organization, use: create,
            as: .begin(
                "importUsers", "Bring in up to 10,000 people, one JSON object on each line",
                from: Operation.Body(schema: .string, mediaType: NDJSONBody.mediaType)
            ).said(
                "A line has `email`, and where it says so `name`, `groups` and `roles`. People whose address nobody has are "
                    + "made; others get the name, and groups and roles besides those they have. Who could not give all that any "
                    + "line gives is refused. A dry run answers 200 with what would become of each row."
            ).rehearsing(Self.forecast),
            largestBody: NDJSONBody.largest)
    }

    private func create(_ call: AdminCall) async throws -> Response {
        let lines = try await call.lines(most: Administration.mostImportLines, Self.line)
        if call.isDryRun {
            // Told at once and row by row, since there will be no operation to look at.
            return try await call.write { administrator in
                try await administration.forecast(lines, in: call.organization.id, by: administrator)
            } reply: { forecast in
                .ok(Self.json(forecast.value))
            }
        }
        return try await call.write { administrator in
            try await administration.importUsers(lines, in: call.organization.id, by: administrator)
        } reply: { made in
            .accepted(made.value)
        }
    }

    private static let forecast = Schema.named(
        "ImportForecast",
        .object(["outcomes": .map(of: .integer), "data": .array(of: OperationsEndpoint.rowSchema)]))

    private static func json(_ forecast: ImportForecast) -> [UInt8] {
        JSONWriter.object(capacity: 64 * forecast.rows.count + 256) { json in
            json.raw("outcomes", OperationsEndpoint.outcomes(forecast.outcomes))
            json.raws("data", forecast.rows.map(OperationsEndpoint.json))
        }
    }

    /// One line: an object with `email`, and `name`, `groups` and `roles` where it says so.
    private static func line(_ number: Int, _ bytes: [UInt8]) -> ImportLine {
        let value: JSONValue
        do {
            value = try JSONBody(bytes: bytes).value
        } catch {
            return .broken(row: number, FieldError("", "malformed", "This line is not one JSON text in UTF-8."))
        }
        var members = Members(value, isPatch: false)
        let email = members.requiredString("email")
        let name = members.string("name")
        let groups = members.ids("groups", of: GroupID.self) ?? []
        let roles = members.ids("roles", of: RoleID.self) ?? []
        do throws(AdminError) {
            try members.finish()
        } catch {
            guard case .invalid(let errors) = error, let first = errors.first else {
                return .broken(row: number, FieldError("", "invalid", "This line is not a user."))
            }
            return .broken(row: number, first)
        }
        return .person(row: number, ImportPerson(email: email, name: name, groups: groups, roles: roles))
    }
}
