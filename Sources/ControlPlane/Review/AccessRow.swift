package import Foundation
package import Tenancy

/// What one principal could have had of one resource through one client, at the moment of a review.
package struct AccessRow: Sendable, Equatable {
    package enum Principal: Sendable, Hashable {
        case user(UserID)
        /// A client that speaks for itself.
        case service(ClientID)
    }

    /// Why nothing could be had, although there was a connection.
    package enum Closure: String, Sendable, CaseIterable {
        case organization = "organization_not_active"
        case user = "user_disabled"
        case client = "client_not_admitted"
        case resource = "resource_closed"
    }

    package let principal: Principal
    package let client: ClientID
    package let resource: ResourceID
    /// What a token could carry whatever the circumstances, implied scopes included.
    package let scopes: [String]
    /// What it could carry besides, from the right address or after the right sign-in.
    package let conditionalScopes: [String]
    /// What decided about each scope of the resource, in any circumstances and in the best.
    package let findings: [ScopeDecision.Finding]
    package let conditionalFindings: [ScopeDecision.Finding]
    package let closure: Closure?
    /// Connections that could be used.
    package let grants: [PastGrant]

    /// Where it stands in a review: people in the order of their ids, then services; each by client and resource.
    package struct Position: Sendable, Equatable, Comparable {
        package let isService: Bool
        package let principal: UUID
        package let client: UUID
        package let resource: UUID

        private var bytes: [UInt8] { principal.bytes + client.bytes + resource.bytes }

        package static func < (left: Self, right: Self) -> Bool {
            left.isService == right.isService
                ? left.bytes.lexicographicallyPrecedes(right.bytes) : !left.isService && right.isService
        }
    }

    package var position: Position {
        switch principal {
        case .user(let user):
            Position(isService: false, principal: user.uuid, client: client.uuid, resource: resource.uuid)
        case .service(let service):
            Position(isService: true, principal: service.uuid, client: client.uuid, resource: resource.uuid)
        }
    }
}

extension AccessRow.Position: CustomStringConvertible {
    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 4, ["u", "s"].contains(parts[0]), let principal = UUID(uuidString: String(parts[1])),
            let client = UUID(uuidString: String(parts[2])), let resource = UUID(uuidString: String(parts[3]))
        else { return nil }
        self.init(isService: parts[0] == "s", principal: principal, client: client, resource: resource)
    }

    package var description: String { "\(isService ? "s" : "u")/\(principal)/\(client)/\(resource)" }
}
