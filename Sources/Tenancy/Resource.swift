package import Foundation
package import Keys

/// A protected resource: an MCP server that takes our access tokens.
package struct Resource: Sendable, Equatable {
    package enum Status: String, Sendable, Codable, CaseIterable { case active, disabled }

    /// One scope as people read it.
    package struct Scope: Sendable, Equatable, Codable {
        package let name: String
        package let description: String

        package init(name: String, description: String) {
            self.name = name
            self.description = description
        }
    }

    package let id: ResourceID
    /// Who owns it; the platform's own are shared and enabled per organization.
    package let owner: OrganizationID
    /// Its URI (RFC 8707 §2) in the registered spelling, which is the `aud` of its tokens.
    package let uri: String
    /// The spelling that all spellings of its URI share; globally unique.
    package let canonicalURI: String
    package var name: String
    package var scopes: [Scope]
    /// Holding a key grants its values, and theirs in turn.
    package var scopeImplications: [String: [String]]
    package var algorithm: SigningAlgorithm
    package var accessTokenLifetimeSeconds: Int
    /// Whose issuers may issue for it; the platform's id stands for the platform issuer.
    package var acceptedIssuers: [OrganizationID]
    /// Shown in `mcp-resources`.
    package var listed: Bool
    /// Its server cannot tell organizations apart (a shared imported key); set by platform administrators alone.
    package var tenantUnaware: Bool
    /// Signs with a key of its own and with no other.
    package var dedicatedKey: Bool
    package var status: Status
    package let version: Int64
    package let createdAt: Date
    package let updatedAt: Date

    package init(
        id: ResourceID, owner: OrganizationID, uri: String, name: String, scopes: [Scope],
        scopeImplications: [String: [String]], algorithm: SigningAlgorithm, accessTokenLifetimeSeconds: Int,
        acceptedIssuers: [OrganizationID], listed: Bool, tenantUnaware: Bool, dedicatedKey: Bool, status: Status,
        version: Int64, createdAt: Date, updatedAt: Date
    ) {
        self.id = id
        self.owner = owner
        self.uri = uri
        canonicalURI = ResourceURI(uri)?.canonical ?? uri
        self.name = name
        self.scopes = scopes
        self.scopeImplications = scopeImplications
        self.algorithm = algorithm
        self.accessTokenLifetimeSeconds = accessTokenLifetimeSeconds
        self.acceptedIssuers = acceptedIssuers
        self.listed = listed
        self.tenantUnaware = tenantUnaware
        self.dedicatedKey = dedicatedKey
        self.status = status
        self.version = version
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }

    package var isShared: Bool { owner == .platform }

    /// `granted` and everything it implies, in the resource's own order.
    package func expanding(_ granted: Set<String>) -> [String] {
        Self.expanding(granted, over: scopes.map(\.name), implying: scopeImplications)
    }

    /// The same for a resource of which only this is known.
    package static func expanding(
        _ granted: Set<String>, over scopes: [String], implying implications: [String: [String]]
    ) -> [String] {
        guard !implications.isEmpty else { return scopes.filter(granted.contains) }
        var reached = granted
        var open = Array(granted)
        while let scope = open.popLast() {
            for implied in implications[scope] ?? [] where reached.insert(implied).inserted {
                open.append(implied)
            }
        }
        return scopes.filter(reached.contains)
    }
}
