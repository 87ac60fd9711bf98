import Audit
import Foundation
import Identity
import Keys
import Postgres
package import Tenancy

/// One line of an import as it was read.
package enum ImportLine: Sendable {
    case person(row: Int, ImportPerson)
    /// It could not be read as one.
    case broken(row: Int, FieldError)

    package var row: Int {
        switch self {
        case .person(let row, _), .broken(let row, _): row
        }
    }
}

/// What one line says.
package struct ImportPerson: Sendable {
    package var email: String
    package var name: String?
    /// What they get besides what they have.
    package var groups: [GroupID]
    package var roles: [RoleID]

    package init(email: String, name: String?, groups: [GroupID] = [], roles: [RoleID] = []) {
        self.email = email
        self.name = name
        self.groups = groups
        self.roles = roles
    }
}

/// What an import would do, row by row.
package struct ImportForecast: Sendable {
    package let rows: [OperationRow]

    /// How often each outcome would come.
    package var outcomes: [String: Int] {
        rows.reduce(into: [:]) { $0[$1.outcome.rawValue, default: 0] += 1 }
    }
}

extension Administration {
    /// Lines of one import.
    package static let mostImportLines = 10_000

    /// Takes an import of users: those whose address nobody has are made, others get the name that the line says.
    ///
    /// What a line says wrongly is said in its row of the operation; the others are done all the same.
    ///
    /// - Throws: ``AdminError/exceedsMaker(_:)`` where any line gives more than the administrator could; then nothing is done.
    package func importUsers(
        _ lines: [ImportLine], in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<LongOperation> {
        let rows = try await checked(lines, in: organization, by: administrator)
        let failed = rows.filter { $0.person == nil }.count
        let operation = LongOperation(
            id: OperationID.make(at: administrator.now, random), organization: organization, kind: .importOfUsers,
            status: .queued, total: rows.count, done: failed,
            outcomes: failed > 0 ? [OperationRow.Outcome.failed.rawValue: failed] : [:],
            createdBy: administrator.actor.id, createdAt: administrator.now)
        return try await administer(organization, by: administrator) { transaction in
            try checkRoom(
                try await operations.unfinished(.importOfUsers, in: organization, transaction),
                below: Self.mostImports, for: "imports under way")
            try await operations.insert(
                operation, input: OperationInput.none, request: OperationRequest(administrator), in: transaction)
            try await operations.insert(rows.map(\.stored), of: operation, in: transaction)
            return AdminChange(
                value: operation, type: .adminApiCalled, target: operation.auditTarget,
                metadata: ["rows": "\(rows.count)"], isCached: false)
        }
    }

    private func checked(
        _ lines: [ImportLine], in organization: OrganizationID, by administrator: Administrator
    ) async throws -> [CheckedLine] {
        guard !lines.isEmpty else {
            throw AdminError.invalid([FieldError("", "required", "There is no line in the body.")])
        }
        let gifts = try await ImportGifts(of: lines, in: organization, givenBy: administrator, groups, roles)
        var excesses = FieldChecks()
        let rows = lines.map { line in
            // So many say enough.
            if excesses.errors.count < 20 { gifts.check(line, &excesses) }
            return line.checked(gifts)
        }
        try excesses.finish()
        return rows
    }

    /// What an import of these lines would do now; nothing is changed and nothing recorded.
    package func forecast(
        _ lines: [ImportLine], in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<ImportForecast> {
        let rows = try await checked(lines, in: organization, by: administrator)
        var known: [String: User] = [:]
        for user in try await users.find(emails: rows.compactMap { $0.person?.key }, in: organization) {
            if let key = user.email?.lowercased() { known[key] = user }
        }
        let holdings = try await users.holdings(of: known.values.map(\.id), in: organization)
        var held = known.mapValues { holdings[$0.id] ?? [] }
        var names: [String: String?] = known.mapValues(\.name)
        let forecast = ImportForecast(
            rows: rows.map { row in
                guard let person = row.person else { return row.failure }
                let gifts = Set(person.groups.map(\.uuid) + person.roles.map(\.uuid))
                let getsMore = !gifts.isSubset(of: held[person.key] ?? [])
                held[person.key, default: []].formUnion(gifts)
                guard let name = names[person.key] else {
                    names[person.key] = .some(person.name)
                    return OperationRow(row: row.row, outcome: .created)
                }
                let user = known[person.key]?.id
                let isRenamed = person.name.map { $0 != name } ?? false
                if isRenamed { names[person.key] = .some(person.name) }
                return OperationRow(
                    row: row.row, outcome: isRenamed || getsMore ? .updated : .unchanged, user: user)
            })
        return Administered(value: forecast, event: nil)
    }
}

/// A line that was looked at: a person, or what is wrong.
private struct CheckedLine {
    let row: Int
    let person: OperationStore.Person?
    let failure: OperationRow

    var stored: OperationStore.NewRow {
        person.map { OperationStore.NewRow(row, $0) } ?? OperationStore.NewRow(failed: failure)
    }
}

/// What lines may give: the groups and roles there are, and what comes with each.
private struct ImportGifts {
    private let administrator: Administrator
    private let groups: Set<GroupID>
    private let rolesOfGroups: [GroupID: [RoleID]]
    private let roles: [RoleID: Role]

    init(
        of lines: [ImportLine], in organization: OrganizationID, givenBy administrator: Administrator,
        _ groupStore: GroupStore, _ roleStore: RoleStore
    ) async throws {
        self.administrator = administrator
        var (groupIDs, roleIDs): (Set<GroupID>, Set<RoleID>) = ([], [])
        for case .person(_, let person) in lines {
            groupIDs.formUnion(person.groups)
            roleIDs.formUnion(person.roles)
        }
        groups = try await groupStore.existing(Array(groupIDs), in: organization)
        rolesOfGroups = try await roleStore.rolesByGroup(Array(groups), in: organization)
        roleIDs.formUnion(rolesOfGroups.values.joined())
        let found = try await roleStore.find(Array(roleIDs), in: organization)
        roles = Dictionary(uniqueKeysWithValues: found.map { ($0.id, $0) })
    }

    /// What a line gives that its sender could not give.
    func check(_ line: ImportLine, _ checks: inout FieldChecks) {
        guard case .person(let row, let person) = line else { return }
        var limits = FieldChecks()
        if !person.groups.isEmpty {
            limits.require(
                administrator.holds(.groupsWrite), "/\(row)/groups", FieldError.exceedsMaker,
                "Only a key with the scope groups:write can put people into groups.")
        }
        if !person.roles.isEmpty {
            limits.require(
                administrator.holds(.rolesWrite), "/\(row)/roles", FieldError.exceedsMaker,
                "Only a key with the scope roles:write can give roles.")
        }
        for (index, group) in person.groups.enumerated() {
            for role in rolesOfGroups[group, default: []].compactMap({ roles[$0] }) {
                limits.role(role, "/\(row)/groups/\(index)", givenBy: administrator)
            }
        }
        for (index, id) in person.roles.enumerated() {
            if let role = roles[id] { limits.role(role, "/\(row)/roles/\(index)", givenBy: administrator) }
        }
        for error in limits.errors { checks.add(error) }
    }

    /// What a line gives that is not there.
    func checkKnown(_ person: ImportPerson, _ checks: inout FieldChecks) {
        for (pointer, count) in [("/groups", person.groups.count), ("/roles", person.roles.count)] {
            checks.require(count <= 50, pointer, "too_many", "Name at most 50.")
        }
        for (index, group) in person.groups.enumerated() where !groups.contains(group) {
            checks.add(.unknown("/groups/\(index)"))
        }
        for (index, role) in person.roles.enumerated() where roles[role] == nil {
            checks.add(.unknown("/roles/\(index)"))
        }
    }
}

extension ImportLine {
    fileprivate func checked(_ gifts: ImportGifts) -> CheckedLine {
        switch self {
        case .broken(let row, let error):
            return CheckedLine(row: row, person: nil, failure: OperationRow(row: row, error))
        case .person(let row, let person):
            var checks = FieldChecks()
            let address = checks.email(person.email, "/email")
            if let name = person.name { checks.name(name, "/name") }
            gifts.checkKnown(person, &checks)
            if let error = checks.errors.first {
                return CheckedLine(row: row, person: nil, failure: OperationRow(row: row, error))
            }
            return CheckedLine(
                row: row,
                person: OperationStore.Person(
                    email: address, name: person.name, groups: Set(person.groups).sorted(),
                    roles: Set(person.roles).sorted()),
                failure: OperationRow(row: row, outcome: .failed))
        }
    }
}

extension OperationRow {
    fileprivate init(row: Int, _ error: FieldError) {
        self.init(row: row, outcome: .failed, code: error.code, pointer: error.pointer, detail: error.detail)
    }
}
