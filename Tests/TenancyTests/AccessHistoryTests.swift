import Foundation
import Keys
import Postgres
import Tenancy
import TestSupport
import Testing

/// The triggers of migration 0015.
@Suite("Access history", .tags(.admin, .isolation))
struct AccessHistoryTests {
    private struct Entry: Equatable {
        let kind: String
        let id: UUID
        let from: Date
        let until: Date?
        let state: String
    }

    private let database: TenantDatabase
    private let organization: OrganizationID
    private let user = User(
        id: .make(at: Date(), .system), email: "ada@history.example", emailVerified: false, name: "Ada",
        status: .active,
        version: 1, createdAt: Date(), updatedAt: Date())

    init() async throws {
        database = try TestDatabase.open()
        organization = try await TestDatabase.freshOrganization().id
    }

    private func entries(_ kind: String) async throws -> [Entry] {
        try await database.read(
            organization,
            """
            SELECT kind, id::uuid AS id, valid_from, nullif(valid_until, 'infinity') AS valid_until, state::text AS state
              FROM access_history WHERE organization_id = \(organization) AND kind = \(kind) ORDER BY kind, id, valid_from
            """
        ) { row in
            Entry(
                kind: try row.decode("kind"), id: try row.decode("id"), from: try row.decode("valid_from"),
                until: try row.decode("valid_until"), state: try row.decode("state"))
        }
    }

    private func addUser() async throws {
        let users = UserStore(database: database)
        let isNew = try await database.transaction(organization) { [user, organization] transaction in
            try await users.insert(user, of: organization, in: transaction)
        }
        #expect(isNew)
    }

    private func execute(_ statements: SQL...) async throws {
        try await database.transaction(organization) { transaction in
            for statement in statements { _ = try await transaction.query(statement) }
        }
    }

    private func update(_ assignment: SQL) -> SQL {
        "UPDATE \"user\" SET \(assignment) WHERE organization_id = \(organization) AND id = \(user.id)"
    }

    @Test("Design 4 states follow one another without a gap, and what decides nothing makes none")
    func states() async throws {
        try await addUser()
        try await execute(update("email = 'b@history.example', name = 'Bea', version = version + 1"))
        #expect(try await entries("user").count == 1)
        try await execute(update("status = 'disabled'"))
        try await execute("DELETE FROM \"user\" WHERE organization_id = \(organization) AND id = \(user.id)")
        let found = try await entries("user")
        #expect(found.map(\.state) == [#"{"status": "active"}"#, #"{"status": "disabled"}"#])
        #expect(found.first?.until == found.last?.from)
        #expect(found.last?.until != nil)
        #expect(found.allSatisfy { $0.id == user.id.uuid })
    }

    @Test("Design 4 what one transaction changes has one moment, and only the last state of a row counts")
    func transactions() async throws {
        try await addUser()
        let policy = ScopePolicyID.make(at: Date(), .system)
        try await execute(
            update("status = 'disabled'"),
            """
            INSERT INTO scope_policy (organization_id, id, name, effect, principals, clients, resources, scopes, conditions,
                                      created_at, updated_at)
            VALUES (\(organization), \(policy), 'p', 'allow', '{}', '{}', '{}', '{read}', '{}', now(), now())
            """,
            "UPDATE scope_policy SET effect = 'deny' WHERE organization_id = \(organization) AND id = \(policy)")
        let (users, policies) = (try await entries("user"), try await entries("scope_policy"))
        #expect(policies.count == 1)
        #expect(policies.first?.state.contains(#""effect": "deny""#) == true)
        #expect(users.last?.from == policies.first?.from)
        await #expect(throws: (any Error).self) { try await execute(update("status = 'active'"), "SELECT 1 / 0") }
        #expect(try await entries("user") == users)
        try await execute(update("status = 'active'"), update("status = 'disabled'"))
        #expect(try await entries("user").last?.state == users.last?.state)
    }

    @Test("Design 4 the moment is the commit's: whoever waits for a row comes after the one who held it")
    func order() async throws {
        try await addUser()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<12 {
                group.addTask {
                    try await execute(
                        "SELECT pg_sleep(0.002)",
                        update("status = CASE status WHEN 'active' THEN 'disabled' ELSE 'active' END"))
                }
            }
            try await group.waitForAll()
        }
        let found = try await entries("user")
        #expect(found.count == 13)
        #expect(zip(found, found.dropFirst()).allSatisfy { $0.until == $1.from && $0.state != $1.state })
    }

    @Test("Design 4 unused registrations, new connections and their refreshes write no history; their end does")
    func hotPaths() async throws {
        let client = Client(
            id: .make(at: Date(), .system), registry: organization, kind: .dynamic, name: "C",
            redirectURIs: ["https://c.example/cb"], grantTypes: [], responseTypes: [], authenticationMethod: .none,
            applicationType: nil, scopeCeiling: nil, clientURI: nil, logoURI: nil, policyURI: nil, tosURI: nil,
            documentURL: nil, secretDigest: nil, registrationTokenDigest: nil, status: .active, expiresAt: Date() + 60,
            version: 1, createdAt: Date(), updatedAt: Date())
        let (clients, grant) = (ClientStore(database: database), GrantID.make(at: Date(), .system))
        try await database.transaction(organization) { try await clients.insert(client, in: $0) }
        #expect(try await entries("client").isEmpty)
        try await execute(
            """
            INSERT INTO "grant" (organization_id, id, issuer_organization_id, user_id, client_id, resource_id, scope,
                                 status, auth_time, mfa, created_at, last_used_at, idle_expires_at, expires_at)
            VALUES (\(organization), \(grant), \(organization), \(user.id), \(client.id), \(client.id), '{read}',
                    'active', now(), false, now(), now(), now(), now())
            """)
        let rotation: SQL = """
            UPDATE "grant" SET generation = generation + 1, version = version + 1, last_used_at = clock_timestamp()
             WHERE organization_id = \(organization) AND id = \(grant)
            """
        try await execute(rotation)
        #expect(try await entries("grant").isEmpty)
        try await clients.keep(client.id, in: organization)
        #expect(try await entries("client").count == 1)
        try await execute(
            "UPDATE \"grant\" SET status = 'revoked' WHERE organization_id = \(organization) AND id = \(grant)")
        let ended = try await entries("grant")
        #expect(ended.map(\.id) == [grant.uuid])
        #expect(ended.first?.until != nil)
    }

    @Test("Design 4 history holds no name, address or secret")
    func personalData() async throws {
        try await addUser()
        let secret = SecretDigest(of: Secret.random())
        let client = Client(
            id: .make(at: Date(), .system), registry: organization, kind: .registered, name: "Ada's own",
            redirectURIs: [], grantTypes: [], responseTypes: [], authenticationMethod: .clientSecretBasic,
            applicationType: nil, scopeCeiling: nil, clientURI: nil, logoURI: nil, policyURI: nil, tosURI: nil,
            documentURL: nil, secretDigest: secret, registrationTokenDigest: nil, status: .active, expiresAt: nil,
            version: 1, createdAt: Date(), updatedAt: Date())
        let clients = ClientStore(database: database)
        try await database.transaction(organization) { try await clients.insert(client, in: $0) }
        let states = try await database.read(
            organization, "SELECT state::text AS state FROM access_history WHERE organization_id = \(organization)"
        ) { try $0.decode("state", as: String.self) }
        #expect(states.count >= 3)
        for state in states {
            #expect(!state.contains("Ada") && !state.contains("history.example"))
            #expect(!state.contains("digest") && !state.contains("data_key"))
        }
    }

    @Test("Design 4 every table that decides access has its history kept; another is one line: SELECT track_access(…)")
    func tables() async throws {
        // What the history of each is kept by; those of tables that this schema does not have are left out.
        let triggers = [
            "organization": "access_changes", "user": "access_changes", "client": "access_changes",
            "client_admission": "access_changes", "resource": "access_changes", "resource_admission": "access_changes",
            "scope_policy": "access_changes", "grant": "access_changes", "group": "access_begins",
            "group_member": "access_begins",
            // SELECT track_access('role_binding', '{principal_id, role_id}', '{group_id}');
            "role_binding": "access_changes",
        ]
        let found = try await database.read(
            organization,
            """
            SELECT c.relname, coalesce(array_agg(t.tgname::text) FILTER (WHERE t.tgname IS NOT NULL), '{}') AS triggers
              FROM pg_class c LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal
             WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY(\(triggers.keys.sorted()))
             GROUP BY c.relname
            """
        ) { (try $0.decode("relname", as: String.self), try $0.decode("triggers", as: [String].self)) }
        #expect(found.count >= 10)
        for (table, names) in found {
            let wanted = try #require(triggers[table])
            #expect(names.contains(wanted) && names.contains("access_ends"), "\(table)")
        }
    }

    @Test("Design 4 who serves can read history and not change it; other organizations' is not there")
    func append() async throws {
        try await addUser()
        for statement: SQL in [
            "UPDATE access_history SET kind = 'x'", "DELETE FROM access_history", "TRUNCATE access_history",
            "INSERT INTO access_history VALUES (\(organization), 'user', 'x', now(), 'infinity', '{}')",
        ] {
            await #expect(throws: PostgresError.self) { try await execute(statement) }
        }
        let other = try await TestDatabase.freshOrganization().id
        let seen = try await database.read(
            other, "SELECT count(*) AS count FROM access_history WHERE organization_id <> \(other)"
        ) { try $0.decode("count", as: Int.self) }
        #expect(seen == [0])
    }
}
