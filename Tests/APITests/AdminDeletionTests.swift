import ControlPlane
import Foundation
import HTTPTypes
import Keys
import Logging
import Postgres
import Tenancy
import TestSupport
import Testing

@testable import API

/// The second step of a deletion; the first one, at every node, is in Tests/Clients/test_organizations.py.
@Suite("Erasing deleted organizations", .tags(.admin))
struct AdminDeletionTests {
    private static let grace: TimeInterval = 30 * 86_400
    private static let any: HTTPFields = [.ifMatch: "*"]

    /// Tables with an organization's rows that the serving role sees, and how many are left in each.
    private static func rows(of organization: OrganizationID, in database: TenantDatabase) async throws -> [String: Int]
    {
        let tables = try await database.read(
            organization,
            """
            SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'organization_id'
             WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
               AND has_table_privilege(c.oid, 'SELECT') AND c.relname NOT LIKE 'audit\\_%'
               AND c.relname NOT IN ('organization', 'epoch')
            """
        ) { try $0.decode("relname", as: String.self) }
        var found: [String: Int] = [:]
        for table in tables {
            let counted = try await database.read(
                organization,
                """
                SELECT count(*) AS rows FROM \(.identifier(table)) t WHERE t.organization_id = \(organization)
                   AND NOT coalesce(to_jsonb(t) ->> 'kind' = 'organization', false)
                """
            ) { try $0.decode("rows", as: Int64.self) }.first
            if let counted, counted > 0 { found[table] = Int(counted) }
        }
        return found
    }

    @Test(
        "T-20 what is deleted can be restored until its time is over, and is then erased but for log and slug (design §2)"
    )
    func erasure() async throws {
        try await AdminServer.run { server in
            let database = server.administration.database
            let tenant = try await server.organization()
            let other = try await server.organization()
            _ = try await server.furnish(tenant)
            let domain = "\(tenant.slug).example"
            try await server.done(.post, "\(tenant.path)/domains/\(domain):verify")
            try await server.done(.post, "\(other.path)/domains", #"{"domain":"\#(domain)"}"#)
            guard let id = OrganizationID(tenant.id) else { throw AdminServer.Unexpected("no id") }
            #expect(try await Self.rows(of: id, in: database).count > 10)
            let resource = "https://\(tenant.slug).example/mcp"

            let now = Date()
            let erasure = OrganizationErasure(
                database: database, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            #expect(try await !erasure.run(on: id, at: now + 2 * Self.grace), "it is not deleted")
            #expect(try await server.call(.delete, tenant.path, headers: Self.any).status == 200)
            let before = try await Self.rows(of: id, in: database)
            #expect(try await !erasure.run(on: id, at: now + Self.grace - 60), "its time lasts")
            #expect(try await Self.rows(of: id, in: database) == before)
            #expect(try await server.done(.post, "\(tenant.path):restore")["status"] == "active")
            #expect(try await server.call(.get, tenant.path, key: tenant.key).status == 200)

            // Suspended before, suspended after.
            try await server.done(.post, "\(tenant.path):suspend")
            #expect(try await server.call(.delete, tenant.path, headers: Self.any).status == 200)
            #expect(try await server.done(.post, "\(tenant.path):restore")["status"] == "suspended")
            #expect(try await server.call(.delete, tenant.path, headers: Self.any).status == 200)

            // Names are kept for it as long as it may come back.
            let early = try await server.call(.post, "\(other.path)/domains/\(domain):verify")
            #expect(early.status == 409)
            #expect(try await erasure.run(on: id, at: Date() + Self.grace + 60))
            #expect(try await Self.rows(of: id, in: database).isEmpty)
            #expect(try await !erasure.run(on: id, at: Date() + Self.grace + 60), "once")
            let late = try await server.call(.post, "\(tenant.path):restore")
            #expect(late.status == 409 || late.status == 404)
            let remains = try await server.done(.get, tenant.path)
            #expect(remains["status"] == "deleted" && !remains["erased_at"].isEmpty)
            #expect(try await server.call(.get, "\(tenant.path)/users").status == 404)

            #expect(try await server.done(.post, "\(other.path)/domains/\(domain):verify")["status"] == "verified")
            #expect(
                try await server.call(
                    .post, "\(other.path)/resources", #"{"uri":"\#(resource)","name":"R","scopes":["read"]}"#
                ).status == 201)
            let again = try await server.call(
                .post, "/v1/organizations", #"{"slug":"\#(tenant.slug)","name":"Again"}"#)
            #expect(again.status == 409)
            let kept = try await database.read(
                id,
                """
                SELECT type FROM audit_outbox WHERE organization_id = \(id)
                UNION ALL SELECT type FROM audit_event WHERE organization_id = \(id)
                """
            ) { try $0.decode("type", as: String.self) }
            #expect(kept.contains("org.created") && kept.contains("org.deleted") && kept.contains("org.erased"))
            // The neighbour lost nothing.
            #expect(try await server.call(.get, "\(other.path)/domains/\(domain)", key: other.key).status == 200)
        }
    }

    @Test("T-03 an organization that is not deleted loses nothing, whoever asks the database", .tags(.isolation))
    func guarded() async throws {
        let database = try TestDatabase.open()
        let organization = try await TestDatabase.freshOrganization()
        await #expect(throws: PostgresError.self) {
            try await OrganizationStore(database: database).eraseSome(of: organization.id, most: 10)
        }
        await #expect(throws: PostgresError.self) {
            try await database.transaction(organization.id) { try await $0.query("SELECT release_routes()") }
        }
    }
}
