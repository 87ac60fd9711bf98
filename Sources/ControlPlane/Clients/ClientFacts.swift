import Audit
import Keys
import Tenancy

// What the log says of a client and of its changes, whoever made them.

extension AuditEventType {
    /// The most telling name for a change of a client.
    static func change(of old: Client, to new: Client) -> AuditEventType {
        if old.status != new.status { return new.status == .active ? .clientEnabled : .clientDisabled }
        if old.redirectURIs != new.redirectURIs { return .clientRedirectUrisChanged }
        return old.keys == new.keys ? .clientUpdated : .clientJwksChanged
    }
}

extension Client {
    var auditTarget: AuditEvent.Target {
        AuditEvent.Target(type: "client", id: id.description, name: name)
    }

    var facts: Facts {
        var facts: Facts = [
            "kind": .string(kind.rawValue), "name": .string(name), "redirect_uris": .texts(redirectURIs),
            "grant_types": .texts(grantTypes), "token_endpoint_auth_method": .string(authenticationMethod.rawValue),
            "status": .string(status.rawValue),
        ]
        facts["application_type"] = .text(applicationType?.rawValue)
        facts["scope_ceiling"] = scopeCeiling.map { .texts($0) }
        facts["client_uri"] = .text(clientURI)
        facts["logo_uri"] = .text(logoURI)
        facts["policy_uri"] = .text(policyURI)
        facts["tos_uri"] = .text(tosURI)
        if !otherMethods.isEmpty { facts["other_auth_methods"] = .texts(otherMethods.map(\.rawValue)) }
        switch keys {
        case nil: break
        case .given(let set): facts["jwks"] = .texts(set.thumbprints)
        case .published(let url): facts["jwks_uri"] = .string(url)
        }
        facts["token_endpoint_auth_signing_alg"] = .text(assertionAlgorithm?.rawValue)
        if demands.proofOfPossession { facts["dpop_bound_access_tokens"] = .bool(true) }
        if demands.pushedRequests { facts["require_pushed_authorization_requests"] = .bool(true) }
        if opensAdminAPI { facts["admin_api_access"] = .bool(true) }
        facts["document_url"] = .text(documentURL)
        if secretDigest != nil { facts["secret"] = AuditEvent.Change.redacted }
        return facts
    }
}
