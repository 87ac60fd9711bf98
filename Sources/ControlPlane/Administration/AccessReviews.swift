import Audit
package import Foundation
import Postgres
package import Tenancy

extension Administration {
    package var accessReviews: AccessReviewStore { AccessReviewStore(database: database) }
    package var accessHistory: AccessHistoryStore { AccessHistoryStore(database: database) }

    /// Beyond so many combinations of principal, client and resource a review has to be narrowed.
    package static let mostCombinations = 1_000_000
    /// And beyond so many of client and resource: as many rows may be held for one person.
    package static let mostPairs = 10_000

    package func accessReview(_ id: AccessReviewID, of organization: OrganizationID) async throws -> AccessReview {
        guard let found = try await accessReviews.find(id, in: organization) else { throw AdminError.notFound }
        return found
    }

    /// Asks who could do what at a moment. The answer is worked out when it is read.
    ///
    /// - Parameter moment: nil means now. All moments are the database's.
    package func createAccessReview(
        at moment: Date?, _ filter: AccessReview.Filter, in organization: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<AccessReview> {
        guard let now = try await database.databaseTime() else { throw AdminError.unavailable(retryAfter: .seconds(1)) }
        // What the API shows has milliseconds: the next one holds everything that is so by now.
        let moment = moment ?? Date(timeIntervalSince1970: (now.timeIntervalSince1970 * 1000).rounded(.up) / 1000)
        let beginning = try await accessHistory.beginning(of: organization)
        var checks = FieldChecks()
        checks.require(
            moment <= now + 0.001, "/at", "out_of_range", "This moment is yet to come; leave it out for now.")
        checks.require(
            beginning.map { $0 <= moment } ?? false, "/at", "out_of_range",
            "The history of this organization begins later: \(beginning.map { "\($0.ISO8601Format())" } ?? "now").")
        try checks.finish()
        guard let rules = try await accessHistory.rules(of: organization, at: moment) else { throw AdminError.notFound }
        try await check(filter, rules, in: organization, at: moment)
        let count = try await accessHistory.count(filter, of: organization, at: moment)
        let matrix = AccessMatrix(rules, at: moment, of: organization, filter)
        guard matrix.combinations(users: 1) <= Self.mostPairs else {
            throw AdminError.invalid([
                FieldError(
                    "", "too_many",
                    "For one person alone these are \(matrix.combinations(users: 1)) combinations of client and resource, and "
                        + "a review has at most \(Self.mostPairs): narrow it by client or resource.")
            ])
        }
        let combinations = matrix.combinations(users: count)
        guard combinations <= Self.mostCombinations else {
            throw AdminError.invalid([
                FieldError(
                    "", "too_many",
                    "These are \(combinations) combinations of principal, client and resource, and a review has at most "
                        + "\(Self.mostCombinations): narrow it by user, group, client or resource.")
            ])
        }
        let review = AccessReview(
            id: AccessReviewID.make(at: administrator.now, random), organization: organization, moment: moment,
            filter: filter, combinations: combinations, createdBy: administrator.actor.id, createdAt: administrator.now)
        return try await administer(organization, by: administrator) { transaction in
            try await accessReviews.insert(review, in: transaction)
            return AdminChange(
                value: review, type: .accessReviewCreated,
                target: AuditEvent.Target(type: "access_review", id: review.id.description),
                changes: .between([:], review.facts), isCached: false)
        }
    }

    /// What answers a review. A transaction that began to commit before the review's moment has come to its end by then.
    package func read(_ review: AccessReview) async throws -> AccessReviewReader {
        guard let now = try await database.databaseTime() else { throw AdminError.unavailable(retryAfter: .seconds(1)) }
        let wait = settings.accessReviewSettling.seconds - now.timeIntervalSince(review.moment)
        if wait > 0 { try await Task.sleep(for: .seconds(wait)) }
        guard let rules = try await accessHistory.rules(of: review.organization, at: review.moment) else {
            throw AdminError.notFound
        }
        let resources = try await resources.all(of: review.organization) + resources.all(of: .platform)
        return AccessReviewReader(
            review, AccessMatrix(rules, at: review.moment, of: review.organization, review.filter),
            resourceNames: Dictionary(resources.map { ($0.id, $0.name) }) { one, _ in one }, database: database)
    }

    /// What a review is narrowed to has to have been there, so that a slip does not read as "nobody".
    private func check(
        _ filter: AccessReview.Filter, _ rules: AccessRules, in organization: OrganizationID, at moment: Date
    ) async throws {
        var checks = FieldChecks()
        if let user = filter.user,
            try await accessHistory.count(AccessReview.Filter(user: user), of: organization, at: moment) == 0
        {
            checks.add(.unknown("/user"))
        }
        if let group = filter.group, try await !accessHistory.hadGroup(group, in: organization, at: moment) {
            checks.add(.unknown("/group"))
        }
        if let client = filter.client, !rules.clients.contains(where: { $0.id == client }) {
            checks.add(.unknown("/client"))
        }
        if let resource = filter.resource, !rules.knows(resource) { checks.add(.unknown("/resource")) }
        try checks.finish()
    }
}

extension AccessRules {
    /// Whether the organization could know of a resource: its own, or a shared one it enabled.
    fileprivate func knows(_ id: ResourceID) -> Bool {
        resources.contains { $0.id == id && (!$0.isShared || admittedResources.contains(id)) }
    }
}

extension AccessReview {
    fileprivate var facts: Facts {
        var facts: Facts = ["combinations": .int(combinations)]
        facts["at"] = .time(moment)
        facts["user"] = .text(filter.user?.description)
        facts["client"] = .text(filter.client?.description)
        facts["resource"] = .text(filter.resource?.description)
        facts["group"] = .text(filter.group?.description)
        return facts
    }
}
