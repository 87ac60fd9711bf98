import Foundation
package import Postgres

private let columns: SQL = """
    id, organization_id, at, user_id, client_id, resource_id, group_id, combinations, created_by, created_at
    """

extension AccessReview {
    fileprivate init(row: Row) throws {
        self.init(
            id: try row.id("id"), organization: try row.id("organization_id"), moment: try row.decode("at"),
            filter: Filter(
                user: try row.decode("user_id"), client: try row.decode("client_id"),
                resource: try row.decode("resource_id"), group: try row.decode("group_id")),
            combinations: try row.decode("combinations"), createdBy: try row.decode("created_by"),
            createdAt: try row.decode("created_at"))
    }
}

/// Reviews that were asked for. They are kept as questions, and answered from history whenever they are read.
package struct AccessReviewStore: Sendable {
    package let database: TenantDatabase

    package init(database: TenantDatabase) {
        self.database = database
    }

    package func find(_ review: AccessReviewID, in organization: OrganizationID) async throws -> AccessReview? {
        try await database.read(
            organization,
            "SELECT \(columns) FROM access_review WHERE organization_id = \(organization) AND id = \(review)",
            as: AccessReview.init(row:)
        ).first
    }

    package func list(_ page: Page, of organization: OrganizationID) async throws -> [AccessReview] {
        try await database.read(
            organization,
            """
            SELECT \(columns) FROM access_review WHERE organization_id = \(organization)
               AND id > \(page.start) ORDER BY id LIMIT \(page.limit)
            """, as: AccessReview.init(row:))
    }

    package func insert(_ review: AccessReview, in transaction: PostgresTransaction) async throws {
        let filter = review.filter
        try await transaction.query(
            """
            INSERT INTO access_review (\(columns)) VALUES (\(review.id), \(review.organization), \(review.moment),
                \(filter.user), \(filter.client), \(filter.resource), \(filter.group), \(review.combinations),
                \(review.createdBy), \(review.createdAt))
            """)
    }
}
