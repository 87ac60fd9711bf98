import ControlPlane
import Foundation
import Logging
import Postgres
import Tenancy
import TestSupport

/// The same numbers for the same seed.
struct SeededNumbers: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    /// SplitMix64.
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

/// An organization to which anything that decides access happens at random, and what is true of it at present.
///
/// What is true at present comes from the tables themselves; history has no part in it.
struct AccessWorld {
    struct NoTime: Error {}

    let organization: OrganizationID
    let administration: Administration
    let database: TenantDatabase
    /// Also changes what belongs to the platform.
    let touchesPlatform: Bool
    /// Whether there are roles at all.
    let keepsRoles: Bool
    var numbers: SeededNumbers
    var users: [UserID] = []
    var groups: [GroupID] = []
    var roles: [RoleID] = []
    var clients: [Client] = []
    var resources: [Resource] = []
    var policies: [ScopePolicyID] = []
    var grants: [GrantID] = []
    private var counter = 0

    static let scopes = ["read", "write", "admin", "files.read", "files.write"]

    init(seed: UInt64, touchesPlatform: Bool = false) async throws {
        numbers = SeededNumbers(seed: seed)
        self.touchesPlatform = touchesPlatform
        database = try TestDatabase.open()
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        var settings = AdministrationSettings(publicURL: "https://as.example")
        settings.accessReviewSettling = .zero
        administration = Administration(
            database: database,
            catalog: TenantCatalog(database: database, secrets: TestDatabase.secrets, logger: logger),
            secrets: TestDatabase.secrets, settings: settings, logger: logger)
        organization = try await TestDatabase.freshOrganization().id
        keepsRoles =
            try await database.read(organization, "SELECT to_regclass('role_binding') IS NOT NULL AS kept") {
                try $0.decode("kept", as: Bool.self)
            }.first ?? false
    }

    var administrator: Administrator { Administrator(system: "tests", now: Date()) }

    /// Something that is not used again soon.
    mutating func name() -> String {
        counter += 1
        return "n\(counter)-\(organization.description.suffix(12))"
    }

    mutating func some<Element>(_ elements: [Element], atMost: Int = 3) -> [Element] {
        Array(elements.shuffled(using: &numbers).prefix(Int.random(in: 0...atMost, using: &numbers)))
    }

    // MARK: The present

    /// The moment the database says it is.
    func moment() async throws -> Date {
        guard let now = try await database.databaseTime() else { throw NoTime() }
        return now
    }

    /// Who can do what now.
    func rows(_ filter: AccessReview.Filter = .init(), at moment: Date) async throws -> [AccessRow] {
        var matrix = AccessMatrix(try await rules(), at: moment, of: organization, filter)
        var rows: [AccessRow] = []
        for person in try await people() { rows += matrix.rows(of: person) }
        return rows + matrix.rowsOfServices()
    }

    private func rules() async throws -> AccessRules {
        let all = Page(limit: 10_000)
        let home = try await administration.organization(organization)
        let admissions = try await administration.clients.admissions(all, of: organization)
        var clients = try await administration.clients.list(all, of: organization).filter { $0.expiresAt == nil }
        for admission in admissions where admission.registry == .platform {
            clients += [try await administration.clients.find(admission.client, in: .platform)].compactMap { $0 }
        }
        return AccessRules(
            status: home.status, settings: home.settings, clients: clients,
            admissions: Dictionary(uniqueKeysWithValues: admissions.map { ($0.client, $0.status) }),
            resources: try await administration.resources.all(of: organization)
                + administration.resources.all(of: .platform),
            admittedResources: Set(try await administration.resources.admitted(by: organization)),
            policy: try await administration.policies.all(of: organization))
    }

    private func people() async throws -> [PastUser] {
        let all = Page(limit: 10_000)
        let members = try await pairs("SELECT user_id AS one, group_id AS other FROM group_member")
        let bindings =
            keepsRoles ? try await pairs("SELECT principal_id AS one, role_id AS other FROM role_binding") : []
        let grants = try await administration.grants.list(all, of: organization)
        return try await administration.users.list(all, of: organization).map { user in
            let groups = members.filter { $0.0 == user.id.uuid }.map(\.1)
            let roles = bindings.filter { $0.0 == user.id.uuid || groups.contains($0.0) }.map(\.1)
            return PastUser(
                id: user.id, status: user.status,
                membership: Membership(groups: groups.map { GroupID($0) }, roles: roles.map { RoleID($0) }),
                grants: grants.filter { $0.user == user.id && $0.status == .active }.map { grant in
                    PastGrant(
                        id: grant.id, user: grant.user, client: grant.client, resource: grant.resource,
                        scope: grant.scope, createdAt: grant.createdAt, lastUsedAt: grant.lastUsedAt,
                        idleExpiresAt: grant.idleExpiresAt, expiresAt: grant.expiresAt)
                })
        }
    }

    private func pairs(_ statement: SQL) async throws -> [(UUID, UUID)] {
        try await database.read(
            organization, "SELECT * FROM (\(statement) WHERE organization_id = \(organization)) x ORDER BY one, other"
        ) { (try $0.decode("one", as: UUID.self), try $0.decode("other", as: UUID.self)) }
    }

    func execute(_ statement: SQL) async throws {
        try await database.transaction(organization) { transaction in _ = try await transaction.query(statement) }
    }
}

extension AccessRow {
    /// What could be had at best.
    var widest: Set<String> { Set(scopes + conditionalScopes) }
}
