package import Tenancy

/// How well a node knows whoever a request names, before anything is proven and without a question to anybody: whose share
/// of an organization's rates it takes from. It only ever becomes better known, so old knowledge is good enough.
package enum ClientAcquaintance: Sendable {
    /// An administrator made it known, or it is a resource server's credential.
    case vouchedFor
    /// It made itself known, and somebody connected with it.
    case connected
    /// It made itself known, and nobody connected with it.
    case stranger
    /// This node has not met it; perhaps nobody has.
    case unknown

    init(_ client: Client) {
        self = client.isVouchedFor ? .vouchedFor : client.expiresAt == nil ? .connected : .stranger
    }
}

extension TenantCatalog {
    /// - Parameter name: a `client_id`, as it came over the wire.
    package func acquaintance(of name: String, at issuer: OrganizationID) -> ClientAcquaintance {
        if let credential = ResourceCredentialID(name) {
            // An organization's own are in its snapshot; the platform's issuer has to find out whose one is.
            return issuer != .platform || remembers(credential) ? .vouchedFor : .unknown
        }
        let client =
            if let id = ClientID(name) { remembered(id, in: issuer) } else { remembered(document: name, in: issuer) }
        return client.map(ClientAcquaintance.init) ?? .unknown
    }
}
