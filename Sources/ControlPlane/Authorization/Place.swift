import Foundation
import Tenancy

/// Where an authorization takes place: the resource, and the organization if anything decides it yet.
///
/// Selection only routes and proves nothing; the person always signs in through that organization's own provider.
struct Place: Sendable {
    let resource: Resource
    let organization: TenantSnapshot?

    /// - Throws: `invalid_target` when the resource is unknown here, not open to the organization, or the hints disagree;
    ///   all of these look the same.
    static func find(
        for parameters: AuthorizationParameters, of client: Client, _ hint: IDTokenHint?, at issuer: Issuer,
        _ flow: AuthorizationFlow
    ) async throws -> Place {
        let (resource, owner) = try await self.resource(for: parameters, of: client, at: issuer, flow)
        // Said now rather than after the person has signed in.
        guard
            issuer.signingKey(for: resource, owner: owner ?? (resource.isShared ? issuer.platform : issuer.home)) != nil
        else { throw OAuthError.noSigningKey }
        guard issuer.kind == .platform else { return Place(resource: resource, organization: issuer.home) }
        var hinted: [TenantSnapshot] = owner.map { [$0] } ?? []
        // One that may not use the resource is as good as none, so that naming it tells nobody whether it exists.
        if let named = parameters["organization"], let found = try await flow.organization(named: named),
            found.mayUse(resource)
        {
            hinted.append(found)
        }
        if let named = hint?.organization, let found = try await flow.active(named), found.mayUse(resource) {
            hinted.append(found)
        }
        if let domain = parameters["login_hint"].flatMap(mailDomain(of:)),
            let found = try await flow.organization(ofDomain: domain), found.mayUse(resource)
        {
            hinted.append(found)
        }
        guard Set(hinted.map(\.organization.id)).count <= 1, hinted.allSatisfy({ $0.mayUse(resource) }) else {
            throw OAuthError.resourceUnknown
        }
        return Place(resource: resource, organization: hinted.first)
    }

    /// The resource, and its owner where that is an organization and the issuer is the platform.
    private static func resource(
        for parameters: AuthorizationParameters, of client: Client, at issuer: Issuer, _ flow: AuthorizationFlow
    ) async throws -> (Resource, TenantSnapshot?) {
        guard let named = parameters.resources.first else {
            guard let standard = issuer.defaultResource else {
                throw OAuthError(
                    .invalidTarget, "Name the resource: this issuer has no default one.", reason: "resource_missing")
            }
            return (standard, nil)
        }
        guard let uri = ResourceURI(named) else {
            throw OAuthError(
                .invalidTarget, "resource must be an absolute URI without a fragment.", reason: "resource_malformed")
        }
        if let admin = issuer.adminAPI(at: named, for: client) { return (admin, nil) }
        if let found = issuer.resource(at: named) { return (found, nil) }
        guard issuer.kind == .platform, let route = try await flow.resources.route(of: uri),
            let owner = try await flow.catalog.snapshot(of: route.owner), owner.organization.status == .active,
            let found = owner.resources.first(where: { $0.id == route.resource }), found.status == .active,
            found.acceptedIssuers.contains(.platform)
        else { throw OAuthError.resourceUnknown }
        return (found, owner)
    }

}

/// The domain of an e-mail address, lower case; nil for what is no address.
func mailDomain(of address: String) -> String? {
    guard let at = address.lastIndex(of: "@"), at != address.startIndex else { return nil }
    let domain = address[address.index(after: at)...].lowercased()
    return domain.isEmpty ? nil : domain
}

extension AuthorizationFlow {
    /// The active organization of this slug or id.
    func organization(named name: String) async throws -> TenantSnapshot? {
        let name = name.trimmingCharacters(in: .whitespaces).lowercased()
        var id = OrganizationID(name)
        if id == nil, Organization.isValid(slug: name) { id = try await catalog.organization(slug: name) }
        guard let id, id != .platform else { return nil }
        return try await active(id)
    }

    /// The active organization that verified this mail domain.
    func organization(ofDomain domain: String) async throws -> TenantSnapshot? {
        guard let id = try await organizations.organization(ofDomain: domain) else { return nil }
        return try await active(id)
    }

    fileprivate func active(_ id: OrganizationID) async throws -> TenantSnapshot? {
        guard let found = try await catalog.snapshot(of: id), found.organization.status == .active else { return nil }
        return found
    }
}

extension TenantSnapshot {
    /// Whether people of this organization may use the resource: its own, or a shared one it enabled.
    func mayUse(_ resource: Resource) -> Bool {
        resource.isShared ? admittedResources.contains(resource.id) : resource.owner == organization.id
    }
}
