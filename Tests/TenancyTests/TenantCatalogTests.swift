import Foundation
import Keys
import Logging
import Tenancy
import TestSupport
import Testing

@Suite("Tenant catalogue", .tags(.isolation))
struct TenantCatalogTests {
    @Test("T-30 a change is seen at once by a node that polls, and by one that cannot")
    func freshness() async throws {
        let database = try TestDatabase.open()
        let organization = try await TestDatabase.freshOrganization()
        let id = organization.id
        let polling = TenantCatalog(database: database, secrets: TestDatabase.secrets, logger: Logger(label: "test"))
        let reading = TenantCatalog(database: database, secrets: TestDatabase.secrets, logger: Logger(label: "test"))
        try await polling.poll()
        #expect(try await polling.snapshot(of: id)?.organization.name == "Test")
        #expect(try await reading.snapshot(of: id)?.organization.name == "Test")

        var renamed = organization
        renamed.name = "Renamed"
        let (store, changed) = (OrganizationStore(database: database), renamed)
        try await database.transaction(id) { transaction in
            _ = try await store.update(changed, at: Date(), in: transaction)
            try await store.bumpEpoch(of: id, in: transaction)
        }
        // Within the trust interval a node may still answer from memory; after a poll it may not.
        try await polling.poll()
        let polled = try #require(try await polling.snapshot(of: id))
        #expect(polled.organization.name == "Renamed")
        #expect(polled.epoch == 2)
        #expect(try await reading.snapshot(of: id)?.organization.name == "Renamed")
        #expect(reading.remembered(id)?.organization.name == "Renamed")
    }

    @Test("T-21 a slug belongs to one organization for ever")
    func slugs() async throws {
        let database = try TestDatabase.open()
        let organization = try await TestDatabase.freshOrganization()
        let catalog = TenantCatalog(database: database, secrets: TestDatabase.secrets, logger: Logger(label: "test"))
        #expect(try await catalog.organization(slug: organization.slug) == organization.id)
        #expect(try await catalog.organization(slug: "no-such-organization") == nil)

        let other = OrganizationID.make(at: Date(), .system)
        let second = Organization(
            id: other, slug: organization.slug, name: "Second", status: .active,
            wrappedDataKey: try TestDatabase.secrets.makeDataKey(for: other), settings: OrganizationSettings(),
            version: 1,
            createdAt: Date(), updatedAt: Date())
        let store = OrganizationStore(database: database)
        let isNew = try await database.transaction(other) { try await store.insert(second, in: $0) }
        #expect(!isNew)
    }

    @Test(
        "T-19 only plain slugs are slugs",
        arguments: [
            ("acme", true), ("a1", true), ("a-b-c", true), ("a", false), ("-a", false), ("a-", false), ("Acme", false),
            ("a_b", false), ("a.b", false), ("ac%2fme", false), ("..", false), ("platform", false), ("org_x", false),
            ("é", false), ("", false), (String(repeating: "a", count: 64), false),
        ])
    func slugRule(slug: String, isValid: Bool) {
        #expect(Organization.isValid(slug: slug) == isValid)
    }
}
