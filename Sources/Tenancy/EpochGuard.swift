import Postgres

/// What an issuing statement asserts about the data its decision came from: none of it changed since it was read.
///
/// A cache that is behind can refuse or render, but it cannot issue.
package struct EpochGuard: Sendable, Equatable {
    package let organization: OrganizationID
    package let organizationEpoch: Int64
    package let platformEpoch: Int64

    package init(organization: OrganizationID, organizationEpoch: Int64, platformEpoch: Int64) {
        self.organization = organization
        self.organizationEpoch = organizationEpoch
        self.platformEpoch = platformEpoch
    }

    /// Holds while both epochs are the ones that were read; `$1` is the organization.
    ///
    /// - Parameters: the places of ``binds`` in the statement.
    static func condition(organization: String, platform: String) -> String {
        """
        EXISTS (SELECT FROM epoch WHERE organization_id = $1 AND value = \(organization)) \
        AND EXISTS (SELECT FROM epoch WHERE organization_id = platform_organization() AND value = \(platform))
        """
    }

    /// The same for each row of `rows`, which has its organization and that one's epoch as columns. By a scalar sub-select,
    /// so that it stays a look by primary key.
    static func condition(of rows: String, platform: String) -> String {
        """
        (SELECT value FROM epoch WHERE epoch.organization_id = \(rows).organization_id) = \(rows).epoch \
        AND EXISTS (SELECT FROM epoch WHERE organization_id = platform_organization() AND value = \(platform))
        """
    }

    static let types: [PostgresType] = [.int8, .int8]
    var binds: [PostgresBind] { [.int8(organizationEpoch), .int8(platformEpoch)] }
}
