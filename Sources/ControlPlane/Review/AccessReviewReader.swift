import Foundation
package import Tenancy

/// Works out the answer to a review, page by page, in the order of ``AccessRow/Position``.
///
/// History does not change, so every reading of a review gives the same rows. Names are those of today: a person who was
/// erased since has none.
package struct AccessReviewReader: Sendable {
    /// A row, and what its parts are called today.
    package struct Line: Sendable {
        package let row: AccessRow
        /// nil for a service, and for a user who is gone.
        package let user: User?
        /// As it was; nil for one that was gone already.
        package let client: Client?
        package let clientName: String?
        package let resource: Resource?
        package let resourceName: String?
    }

    private static let peopleAtOnce = 200

    private let review: AccessReview
    private let history: AccessHistoryStore
    private let users: UserStore
    private let clients: ClientStore
    private var matrix: AccessMatrix
    private let resourceNames: [ResourceID: String]

    /// - Parameter matrix: of the review's own moment and filter.
    init(_ review: AccessReview, _ matrix: AccessMatrix, resourceNames: [ResourceID: String], database: TenantDatabase)
    {
        self.review = review
        self.matrix = matrix
        self.resourceNames = resourceNames
        history = AccessHistoryStore(database: database)
        users = UserStore(database: database)
        clients = ClientStore(database: database)
    }

    /// The rows behind a position.
    ///
    /// - Returns: `limit` of them, or as many as are left.
    package mutating func lines(after position: AccessRow.Position?, limit: Int) async throws -> [Line] {
        var rows: [AccessRow] = []
        var next = position.flatMap { $0.isService ? nil : UserID($0.principal) }
        var isDone = position?.isService ?? false
        while rows.count < limit, !isDone {
            // One more than is looked at says where to go on.
            let people = try await history.people(
                review.filter, from: next, limit: Self.peopleAtOnce + 1, of: review.organization, at: review.moment)
            for person in people.prefix(Self.peopleAtOnce) {
                // It may be long until somebody has a row.
                await Task.yield()
                rows += behind(position, matrix.rows(of: person))
                if rows.count >= limit { break }
            }
            next = people.count > Self.peopleAtOnce ? people.last?.id : nil
            isDone = next == nil
        }
        if rows.count < limit { rows += behind(position, matrix.rowsOfServices()) }
        return try await named(Array(rows.prefix(limit)))
    }

    private func behind(_ position: AccessRow.Position?, _ rows: [AccessRow]) -> [AccessRow] {
        guard let position else { return rows }
        return rows.filter { $0.position > position }
    }

    private func named(_ rows: [AccessRow]) async throws -> [Line] {
        let ids = Set(rows.compactMap { if case .user(let user) = $0.principal { user } else { nil } })
        let people = try await users.find(Array(ids), in: review.organization)
        let known = Dictionary(uniqueKeysWithValues: people.map { ($0.id, $0) })
        var clientNames: [ClientID: String] = [:]
        for (registry, some) in Dictionary(
            grouping: Set(rows.map(\.client)), by: { matrix.client($0)?.registry ?? review.organization })
        {
            clientNames.merge(try await clients.names(of: some, in: registry)) { one, _ in one }
        }
        return rows.map { row in
            var user: User?
            if case .user(let id) = row.principal { user = known[id] }
            return Line(
                row: row, user: user, client: matrix.client(row.client), clientName: clientNames[row.client],
                resource: matrix.resource(row.resource), resourceName: resourceNames[row.resource])
        }
    }
}
