package import Foundation
package import Tenancy

/// The words of OpenID Connect and OAuth that are scopes of no resource and need no policy.
package enum OpenIDScope {
    package static let all = ["openid", "profile", "email", "offline_access"]
}

/// Which scopes of a resource are asked for.
package enum RequestedScopes: Sendable, Equatable {
    /// Every scope the resource has: nothing in particular was named.
    case all
    /// These and no others; none of them may still exist.
    case named([String])

    /// What the absence of a name means in a request.
    package init(_ names: [String]) {
        self = names.isEmpty ? .all : .named(names)
    }
}

/// A principal asking for scopes of a resource through a client: everything a policy may look at, and nothing else.
package struct ScopeRequest: Sendable {
    package enum Principal: Sendable, Equatable {
        case user(UserID, Membership)
        /// A service client, by its wire id.
        case service(String)
    }

    /// What a policy may look at of a client.
    package struct Through: Sendable {
        /// Its wire id; nil where an administrator hands out the token and no client is involved.
        package let id: String?
        package let kind: Client.Kind
        package let scopeCeiling: [String]?
        private let origin: Origin

        private enum Origin {
            case document(String)
            case redirects([String])
            case hosts([String])
        }

        package init(_ client: Client) {
            id = client.wireID
            kind = client.kind
            scopeCeiling = client.scopeCeiling
            origin = client.documentURL.map { .document($0) } ?? .redirects(client.redirectURIs)
        }

        package init(id: String?, kind: Client.Kind, scopeCeiling: [String]? = nil, hosts: [String] = []) {
            self.id = id
            self.kind = kind
            self.scopeCeiling = scopeCeiling
            origin = .hosts(hosts)
        }

        /// The host of its document, or else of every place its answers could go.
        package var hosts: [String] {
            switch origin {
            case .document(let url): ResourceURI(url).map { [$0.host] } ?? []
            case .redirects(let uris): uris.compactMap { RedirectURI($0)?.host }
            case .hosts(let hosts): hosts
            }
        }
    }

    /// What a policy may look at of a resource.
    package struct Target: Sendable {
        package let id: ResourceID
        /// The names of its scopes, in its own order.
        package let scopes: [String]
        package let implications: [String: [String]]

        package init(_ resource: Resource) {
            self.init(
                id: resource.id, scopes: resource.scopes.map(\.name), implications: resource.scopeImplications)
        }

        package init(id: ResourceID, scopes: [String], implications: [String: [String]]) {
            self.id = id
            self.scopes = scopes
            self.implications = implications
        }
    }

    package let principal: Principal
    package let client: Through
    package let resource: Target
    package let scopes: RequestedScopes
    /// The caller's address, where one is known.
    package let address: String?
    package let authTime: Date?
    package let mfa: Bool
    /// What the identity provider lets the person have at most (`custom_claims.scopes`).
    package let upstreamCeiling: [String]?
    /// What the person was shown at most; nil where nobody was shown anything.
    package let offered: [String]?
    /// What the presented token or assertion holds at most; nil where none bounds the request.
    package let held: [String]?
    /// The other resource whose token is exchanged for one of this (RFC 8693); nil where none is.
    package let exchangedFrom: ResourceID?

    package init(
        principal: Principal, client: Through, resource: Target, scopes: RequestedScopes, address: String?,
        authTime: Date?, mfa: Bool, upstreamCeiling: [String]?, offered: [String]? = nil, held: [String]? = nil,
        exchangedFrom: ResourceID? = nil
    ) {
        self.principal = principal
        self.client = client
        self.resource = resource
        self.scopes = scopes
        self.address = address
        self.authTime = authTime
        self.mfa = mfa
        self.upstreamCeiling = upstreamCeiling
        self.offered = offered
        self.held = held
        self.exchangedFrom = exchangedFrom
    }

    package init(
        principal: Principal, client: Client, resource: Resource, scopes: RequestedScopes, address: String?,
        authTime: Date?, mfa: Bool, upstreamCeiling: [String]?, offered: [String]? = nil, held: [String]? = nil,
        exchangedFrom: ResourceID? = nil
    ) {
        self.init(
            principal: principal, client: Through(client), resource: Target(resource), scopes: scopes,
            address: address, authTime: authTime, mfa: mfa, upstreamCeiling: upstreamCeiling, offered: offered,
            held: held, exchangedFrom: exchangedFrom)
    }
}
