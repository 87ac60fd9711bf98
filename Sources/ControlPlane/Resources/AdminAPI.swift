package import Foundation
import Keys
package import Tenancy

/// The admin API as a protected resource: one of each organization, `P/v1/organizations/{org}`.
///
/// It stands in no registry: nobody makes, lists, changes or disables it, no scope policy names it, and it is nobody's
/// default. Only the organization's own issuer gives tokens for it, only for a code (RFC 6749 §4.1), only to clients that an
/// administrator let in (``Client/opensAdminAPI``), and never with a refresh token.
package enum AdminAPI {
    /// How long a sign-in counts, in seconds (RFC 9470 §4): no older one begins an authorization, and no token outlives it.
    package static let longestAuthenticationAge = 900

    /// What can be asked for: every scope by its own name. `*` is none, so that a token says what it opens; and what only
    /// keys of the platform hold is none either.
    static let scopes = AdminScope.allCases.filter { $0 != .all && !$0.isPlatformOnly }

    package static let scopeNames = scopes.map(\.rawValue)

    private static let described = scopes.map { Resource.Scope(name: $0.rawValue, description: $0.explanation) }

    /// - Parameter publicURL: the public URL `P`.
    static func resource(of organization: Organization, at publicURL: String) -> Resource {
        Resource(
            id: .adminAPI, owner: organization.id, uri: uri(of: organization.id.description, at: publicURL),
            name: "Gatehouse admin API", scopes: described, scopeImplications: [:], algorithm: .es256,
            accessTokenLifetimeSeconds: longestAuthenticationAge, acceptedIssuers: [organization.id], listed: false,
            tenantUnaware: false, dedicatedKey: false, status: .active, version: 1, createdAt: organization.createdAt,
            updatedAt: organization.createdAt)
    }

    /// - Parameter name: the organization's id, which is what tokens say, or its slug, as paths may.
    package static func uri(of name: String, at publicURL: String) -> String {
        "\(publicURL)/v1/organizations/\(name)"
    }

    /// The seconds for which a sign-in still counts; none are left to one that is too old.
    package static func secondsLeft(of authTime: Date, at now: Date) -> Int {
        // As claims count: both moments in whole seconds.
        Int(authTime.timeIntervalSince1970) + longestAuthenticationAge - Int(now.timeIntervalSince1970)
    }
}

extension Resource {
    var isAdminAPI: Bool { id == .adminAPI }

    /// Whether a sign-in of then may still be used for it.
    func takes(authentication authTime: Date, at now: Date) -> Bool {
        !isAdminAPI || AdminAPI.secondsLeft(of: authTime, at: now) > 0
    }
}

extension Client {
    /// Whether its people may administer their organization with it. Nothing that made itself known ever does.
    func administers(_ organization: OrganizationID) -> Bool {
        opensAdminAPI && kind == .registered && registry == organization && organization != .platform
    }
}

extension Issuer {
    /// The admin API of this issuer's organization; the platform's issuer has none.
    package var adminAPI: Resource? {
        guard kind == .organization else { return nil }
        return AdminAPI.resource(of: home.organization, at: publicURL)
    }

    /// The same, if the client means it by this URI and may get tokens for it. To all others it is not there.
    func adminAPI(at uri: String, for client: Client) -> Resource? {
        guard client.administers(id), let resource = adminAPI, let wanted = ResourceURI(uri)?.canonical else {
            return nil
        }
        let bySlug = ResourceURI(AdminAPI.uri(of: home.organization.slug, at: publicURL))?.canonical
        return wanted == resource.canonicalURI || wanted == bySlug ? resource : nil
    }

    private var publicURL: String { String(url.dropLast("/o/\(home.organization.slug)".count)) }
}

extension TenantSnapshot {
    /// What decides over a resource: the organization's policy. Over the admin API it is what somebody's roles stand for
    /// now, less what the organization denies over everything.
    func policy(over resource: Resource, for membership: Membership, _ roles: RoleStore) async throws -> ScopePolicy {
        guard resource.isAdminAPI else { return ScopePolicy(policy) }
        let held = try await roles.find(membership.roles, in: organization.id)
        return ScopePolicy(policy.filter { $0.effect == .deny } + held.compactMap(\.adminStatement))
    }
}

extension Role {
    /// What it stands for, as a statement.
    fileprivate var adminStatement: ScopePolicyStatement? {
        guard !adminScopes.isEmpty else { return nil }
        return ScopePolicyStatement(
            id: ScopePolicyID(id.uuid), name: "role \(name)", effect: .allow,
            principals: ScopePolicyStatement.Principals(everyone: true), clients: ScopePolicyStatement.Clients(),
            resources: [.adminAPI], scopes: adminScopes.map(\.rawValue), conditions: ScopePolicyStatement.Conditions(),
            version: version, createdAt: createdAt, updatedAt: updatedAt)
    }
}

extension AdminScope {
    /// For people who are asked to allow it.
    fileprivate var explanation: String {
        let parts = rawValue.split(separator: ":")
        let what = parts.first.map { $0.replacing("-", with: " ") } ?? ""
        return switch parts.last {
        case "read": "See \(what)"
        case "export": "Export \(what)"
        default: "Change \(what)"
        }
    }
}
