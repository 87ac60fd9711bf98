package import Tenancy

/// One OAuth issuer: the platform, or one organization. Same rules; issuers differ in keys and client registry.
package struct Issuer: Sendable {
    package enum Kind: Sendable, Equatable { case platform, organization }

    package let kind: Kind
    /// `iss`, byte for byte as metadata publishes it: no trailing slash (RFC 8414 §2, RFC 9207 §2).
    package let url: String
    /// The organization whose registry and keys it uses; the platform's reserved one for the platform issuer.
    package let home: TenantSnapshot
    /// What the platform shares with every organization: shared resources, their keys and its epoch.
    package let platform: TenantSnapshot

    package init(kind: Kind, url: String, home: TenantSnapshot, platform: TenantSnapshot) {
        self.kind = kind
        self.url = url
        self.home = home
        self.platform = platform
    }

    package var id: OrganizationID { home.organization.id }

    /// A path under this issuer, such as `oauth/token`, as an absolute URL.
    package func endpoint(_ path: String) -> String { "\(url)/\(path)" }
}

extension Issuer {
    /// The resource with this canonical URI, if this issuer may speak for it at all.
    ///
    /// Compares as RFC 8707 and MCP ask: scheme and host without case, a lone slash after the host optional, path exact.
    package func resource(at uri: String) -> Resource? {
        // Nearly everybody writes the registered spelling.
        if let exact = firstResource(where: { $0.uri == uri }) { return exact }
        guard let wanted = ResourceURI(uri)?.canonical else { return nil }
        return firstResource { $0.canonicalURI == wanted }
    }

    /// Every resource this issuer is accepted for.
    ///
    /// An organization issuer: its own and the shared ones it enabled. The platform issuer: the shared ones; resources of
    /// organizations that accept the platform are found through their owner.
    package var resources: [Resource] {
        (kind == .platform ? [] : home.resources.filter(speaksFor)) + platform.resources.filter(speaksFor)
    }

    private func firstResource(where isWanted: (Resource) -> Bool) -> Resource? {
        let own = kind == .platform ? nil : home.resources.first { isWanted($0) && speaksFor($0) }
        return own ?? platform.resources.first { isWanted($0) && speaksFor($0) }
    }

    private func speaksFor(_ resource: Resource) -> Bool {
        resource.status == .active && resource.acceptedIssuers.contains(id)
            && (kind == .platform || !resource.isShared || home.admittedResources.contains(resource.id))
    }

    /// The resource meant when a client names none: the default, else the only one.
    package var defaultResource: Resource? {
        let candidates = resources
        if let chosen = home.organization.settings.defaultResource {
            return candidates.first { $0.id == chosen }
        }
        return candidates.count == 1 ? candidates.first : nil
    }

    /// `grant_types_supported` (RFC 8414 §2); the token endpoint knows no others.
    package var grantTypesSupported: [String] { Self.grantTypes.filter(supports(grantType:)) }

    private static let grantTypes = [
        "authorization_code", "refresh_token", TokenExchangeGrant.type, "client_credentials", DeviceCodeGrant.type,
        JWTBearerGrant.type,
    ]

    package func supports(grantType: String) -> Bool {
        switch grantType {
        case "authorization_code", "refresh_token", TokenExchangeGrant.type: true
        // A service client belongs to one organization, so the platform has none.
        case "client_credentials": kind == .organization
        case DeviceCodeGrant.type: connectsDevices
        case JWTBearerGrant.type: takesIdentityAssertions
        default: false
        }
    }

    /// `scopes_supported`: the OpenID words and the scopes of the default resource, never a union over tenants.
    package var scopesSupported: [String] {
        OpenIDScope.all + (defaultResource?.scopes.map(\.name) ?? [])
    }
}
