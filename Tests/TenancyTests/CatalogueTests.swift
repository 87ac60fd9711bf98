import Foundation
import Logging
import Postgres
import TestSupport
import Testing

/// The schema's own rules, read from the database's catalogue: a table that forgets one fails here.
@Suite("Schema catalogue", .tags(.isolation))
struct CatalogueTests {
    /// Tables that belong to no organization: globally unique names, epochs, and the migrator's memory.
    private static let exceptions: Set<String> = [
        "slug_route", "domain_route", "resource_route", "provider_route", "upstream_route", "key_route",
        "credential_route", "operation_route", "epoch",
    ]

    private func ask(_ statement: SQL) async throws -> [Row] {
        let settings = PostgresSettings(conninfo: try TestEnvironment.require("DATABASE_OWNER_URL"))
        let lane = PostgresReadLane(settings: settings, logger: Logger(label: "test"))
        lane.start()
        do {
            let rows = try await lane.query(settings: [], statement)
            await lane.shutdown()
            return rows
        } catch {
            await lane.shutdown()
            throw error
        }
    }

    @Test("T-22 every tenant table forces row-level security and has a policy for each serving role")
    func rowSecurity() async throws {
        let rows = try await ask(
            """
            SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity AS forced,
                   EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid) AS has_policy
              FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
            """)
        #expect(rows.count > 20)
        for row in rows {
            let name: String = try row.decode("relname")
            guard !Self.exceptions.contains(name), !name.contains("migration") else { continue }
            #expect(try row.decode("forced", as: Bool.self), "\(name) does not force row-level security")
            #expect(try row.decode("has_policy", as: Bool.self), "\(name) has no policy")
        }
    }

    @Test("every unique key of a tenant table begins with organization_id")
    func keys() async throws {
        let rows = try await ask(
            """
            SELECT c.relname, i.relname AS index, a.attname
              FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
              JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.indkey[0]
             WHERE x.indisunique AND c.relnamespace = 'public'::regnamespace
            """)
        for row in rows {
            let table: String = try row.decode("relname")
            guard !Self.exceptions.contains(table), !table.contains("migration") else { continue }
            let index: String = try row.decode("index")
            #expect(try row.decode("attname", as: String.self) == "organization_id", "\(index)")
        }
    }

    @Test("no foreign key leaves the tenant")
    func foreignKeys() async throws {
        let rows = try await ask(
            """
            SELECT k.conname, a.attname AS own, b.attname AS other
              FROM pg_constraint k
              JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
              JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = k.confkey[1]
             WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace
            """)
        #expect(!rows.isEmpty)
        for row in rows {
            let name: String = try row.decode("conname")
            #expect(try row.decode("own", as: String.self) == "organization_id", "\(name)")
            #expect(try row.decode("other", as: String.self) == "organization_id", "\(name)")
        }
    }

    @Test("no table draws from a sequence")
    func sequences() async throws {
        let rows = try await ask(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'")
        #expect(rows.isEmpty)
    }

    @Test("the serving role owns nothing, bypasses nothing, and reaches routes through functions alone")
    func privileges() async throws {
        let roles = try await ask(
            """
            SELECT rolname, rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication AS strong,
                   EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid AND c.relnamespace = 'public'::regnamespace)
                   AS owns, EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid) AS is_member
              FROM pg_roles r WHERE rolname IN ('gatehouse_app', 'gatehouse_sequencer')
            """)
        #expect(roles.count == 2)
        for row in roles {
            let name: String = try row.decode("rolname")
            for column in ["strong", "owns", "is_member"] {
                #expect(try !row.decode(column, as: Bool.self), "\(name): \(column)")
            }
        }
        let routes = try await ask(
            """
            SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname LIKE '%\\_route'
               AND (has_table_privilege('gatehouse_app', oid, 'SELECT, INSERT, UPDATE, DELETE')
                    OR has_table_privilege('gatehouse_sequencer', oid, 'SELECT, INSERT, UPDATE, DELETE'))
            """)
        #expect(routes.isEmpty)
    }

    @Test("every function with its owner's rights pins its search path, and none is the public's to call")
    func functions() async throws {
        let rows = try await ask(
            """
            SELECT p.proname, EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%') AS pinned,
                   has_function_privilege('gatehouse_sequencer', p.oid, 'EXECUTE') AS open
              FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
            """)
        #expect(rows.count >= 10)
        for row in rows {
            let name: String = try row.decode("proname")
            #expect(try row.decode("pinned", as: Bool.self), "\(name)")
            #expect(try !row.decode("open", as: Bool.self), "\(name)")
        }
    }

    @Test("T-31 the sequencer's role reaches the audit log and nothing else")
    func sequencerReach() async throws {
        let rows = try await ask(
            """
            SELECT relname FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
               AND relname <> 'schema_migration' AND has_any_column_privilege('gatehouse_sequencer', oid, 'SELECT, INSERT, UPDATE')
             ORDER BY relname
            """)
        #expect(
            try rows.map { try $0.decode("relname", as: String.self) } == ["audit_event", "audit_head", "audit_outbox"])
    }
}
