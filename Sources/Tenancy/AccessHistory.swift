package import Foundation

// What decided access at a moment that is over. The database keeps it by itself: triggers write the history of every table
// that `track_access()` names (migration 0015), in the transaction of the change.

/// What decided who may do what in one organization at one moment: everything but people.
package struct AccessRules: Sendable, Equatable {
    package var status: Organization.Status
    package var settings: OrganizationSettings
    /// Clients it knew: those of its own registry that are not merely registered, and those it met at the platform's. Of
    /// each, only what decides is set.
    package var clients: [Client]
    package var admissions: [ClientID: ClientAdmission.Status]
    /// Its own resources, and shared ones. Of each, only what decides is set.
    package var resources: [Resource]
    /// Shared resources it enabled.
    package var admittedResources: Set<ResourceID>
    package var policy: [ScopePolicyStatement]

    package init(
        status: Organization.Status, settings: OrganizationSettings, clients: [Client],
        admissions: [ClientID: ClientAdmission.Status], resources: [Resource], admittedResources: Set<ResourceID>,
        policy: [ScopePolicyStatement]
    ) {
        self.status = status
        self.settings = settings
        self.clients = clients
        self.admissions = admissions
        self.resources = resources
        self.admittedResources = admittedResources
        self.policy = policy
    }
}

/// A user as policy saw them at a moment.
package struct PastUser: Sendable, Equatable {
    package let id: UserID
    package let status: User.Status
    package var membership: Membership
    /// Connections that were not revoked; some had ended by themselves.
    package var grants: [PastGrant]

    package init(
        id: UserID, status: User.Status, membership: Membership = Membership(), grants: [PastGrant] = []
    ) {
        self.id = id
        self.status = status
        self.membership = membership
        self.grants = grants
    }
}

/// A grant that was not revoked at a moment. Its times are as last known, which may be later than that moment.
package struct PastGrant: Sendable, Equatable {
    package let id: GrantID
    package let user: UserID
    package let client: ClientID
    package let resource: ResourceID
    package let scope: [String]
    package let createdAt: Date
    package let lastUsedAt: Date
    package let idleExpiresAt: Date
    package let expiresAt: Date

    package init(
        id: GrantID, user: UserID, client: ClientID, resource: ResourceID, scope: [String], createdAt: Date,
        lastUsedAt: Date, idleExpiresAt: Date, expiresAt: Date
    ) {
        self.id = id
        self.user = user
        self.client = client
        self.resource = resource
        self.scope = scope
        self.createdAt = createdAt
        self.lastUsedAt = lastUsedAt
        self.idleExpiresAt = idleExpiresAt
        self.expiresAt = expiresAt
    }

    /// Whether it could be used. One that was used later had not idled away before.
    package func wasLive(at moment: Date, under settings: OrganizationSettings) -> Bool {
        guard createdAt <= moment, expiresAt > moment, createdAt + Double(settings.grantLifetimeSeconds) > moment else {
            return false
        }
        return lastUsedAt > moment
            || (idleExpiresAt > moment && lastUsedAt + Double(settings.grantIdleLifetimeSeconds) > moment)
    }
}

/// A question to the history: who could do what at a moment.
package struct AccessReview: Sendable, Equatable {
    /// What it is narrowed to; every member that is present has to hold.
    package struct Filter: Sendable, Equatable {
        package var user: UserID?
        package var client: ClientID?
        package var resource: ResourceID?
        package var group: GroupID?

        package init(user: UserID? = nil, client: ClientID? = nil, resource: ResourceID? = nil, group: GroupID? = nil) {
            self.user = user
            self.client = client
            self.resource = resource
            self.group = group
        }
    }

    package let id: AccessReviewID
    package let organization: OrganizationID
    package let moment: Date
    package let filter: Filter
    /// How many combinations of principal, client and resource it looks at.
    package let combinations: Int
    package let createdBy: String
    package let createdAt: Date

    package init(
        id: AccessReviewID, organization: OrganizationID, moment: Date, filter: Filter, combinations: Int,
        createdBy: String, createdAt: Date
    ) {
        self.id = id
        self.organization = organization
        self.moment = moment
        self.filter = filter
        self.combinations = combinations
        self.createdBy = createdBy
        self.createdAt = createdAt
    }
}
