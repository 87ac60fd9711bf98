package import Foundation

extension AuditEvent.PolicyInfo {
    /// What a decision looked at besides the statements: with the trace, enough to put the same question to others.
    ///
    /// It holds ids and no personal data. The address stays where it is sealed; here stands only whether it was looked at.
    package struct Input: Sendable, Hashable {
        /// A user's id, or a service's wire id.
        package var principal: String
        package var groups: [String]
        package var roles: [String]
        /// Wire id; nil where no client was involved.
        package var client: String?
        package var clientKind: String
        package var clientHosts: [String]
        package var clientCeiling: [String]?
        package var resource: String
        /// What the scopes of the resource imply.
        package var implications: [String: [String]]
        /// The request's address was known to the decision.
        package var sawAddress: Bool
        package var authTime: Date?
        package var mfa: Bool
        package var upstreamCeiling: [String]?
        /// What the presented token or assertion held at most.
        package var held: [String]?
        package var exchangedFrom: String?

        package init(
            principal: String, groups: [String], roles: [String], client: String?, clientKind: String,
            clientHosts: [String], clientCeiling: [String]?, resource: String, implications: [String: [String]],
            sawAddress: Bool, authTime: Date?, mfa: Bool, upstreamCeiling: [String]?, held: [String]?,
            exchangedFrom: String?
        ) {
            self.principal = principal
            self.groups = groups
            self.roles = roles
            self.client = client
            self.clientKind = clientKind
            self.clientHosts = clientHosts
            self.clientCeiling = clientCeiling
            self.resource = resource
            self.implications = implications
            self.sawAddress = sawAddress
            self.authTime = authTime
            self.mfa = mfa
            self.upstreamCeiling = upstreamCeiling
            self.held = held
            self.exchangedFrom = exchangedFrom
        }
    }
}
