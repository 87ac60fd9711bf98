/// Another issuer whose assertions about people an organization takes (RFC 7523 §3, ID-JAG): an identity provider that
/// signs nobody in on our pages, and what makes its word believable.
package struct TrustedIssuer: Sendable, Equatable {
    /// Its standing among the organization's identity providers: name, status, domains it is authoritative for.
    package var provider: IdentityProviderRecord
    package var keys: Client.KeySource
    /// Clients of the organization's registry that may present its assertions.
    package var clients: [ClientID]
    /// Claims an assertion has to carry with just these values; tells the tenants of an issuer apart that serves many.
    package var requiredClaims: [String: String]

    package init(
        provider: IdentityProviderRecord, keys: Client.KeySource, clients: [ClientID], requiredClaims: [String: String]
    ) {
        self.provider = provider
        self.keys = keys
        self.clients = clients
        self.requiredClaims = requiredClaims
    }

    package var id: IdentityProviderID { provider.id }
    /// `iss` of its assertions, byte for byte; never changes, since every linked identity is named by it.
    package var issuer: String { provider.population }
}
