import Audit
import Foundation
package import Keys
import Postgres
package import Tenancy

/// A trusted issuer as an administrator describes it.
package struct TrustedIssuerDraft: Sendable {
    package var name: String
    package var status = IdentityProviderRecord.Status.active
    package var jwks: JSONValue?
    package var jwksURI: String?
    /// Wire ids.
    package var clientIDs: [String]
    package var requiredClaims: [String: String]
    package var authoritativeDomains: [String]

    package init(
        name: String, status: IdentityProviderRecord.Status = .active, jwks: JSONValue?, jwksURI: String?,
        clientIDs: [String], requiredClaims: [String: String], authoritativeDomains: [String]
    ) {
        self.name = name
        self.status = status
        self.jwks = jwks
        self.jwksURI = jwksURI
        self.clientIDs = clientIDs
        self.requiredClaims = requiredClaims
        self.authoritativeDomains = authoritativeDomains
    }

    package init(_ issuer: TrustedIssuer) {
        var (jwks, jwksURI) = (JSONValue?.none, String?.none)
        switch issuer.keys {
        case .given(let set): jwks = try? JSONText.parse(set.json)
        case .published(let url): jwksURI = url
        }
        self.init(
            name: issuer.provider.name, status: issuer.provider.status, jwks: jwks, jwksURI: jwksURI,
            clientIDs: issuer.clients.map(\.description), requiredClaims: issuer.requiredClaims,
            authoritativeDomains: issuer.provider.authoritativeDomains)
    }
}

extension Administration {
    package func trustedIssuer(
        _ id: IdentityProviderID, of organization: OrganizationID
    ) async throws -> TrustedIssuer {
        guard let found = try await trustedIssuers.all(of: organization).first(where: { $0.id == id }) else {
            throw AdminError.notFound
        }
        return found
    }

    /// - Throws: ``AdminError/conflict(_:)`` when the organization trusts this issuer already.
    package func createTrustedIssuer(
        _ issuer: String, _ draft: TrustedIssuerDraft, in organization: Organization, by administrator: Administrator
    ) async throws -> Administered<TrustedIssuer> {
        var checks = FieldChecks()
        checks.require(
            isForeign(issuer), "/issuer", "invalid",
            "An issuer identifier is an https URL without query and fragment, and not one of this server's own.")
        let (keys, clients) = try await check(draft, of: organization.id, &checks)
        try checks.finish()
        try await checkRoomForProvider(in: organization.id)
        guard let keys else { throw AdminError.invalid([]) }
        let record = IdentityProviderRecord(
            id: IdentityProviderID.make(at: administrator.now, random), kind: .trustedIssuer, name: draft.name,
            status: draft.status, configuration: IdentityProviderRecord.Configuration(projectID: issuer),
            sealedSecret: nil, authoritativeDomains: draft.domains, version: 1, createdAt: administrator.now,
            updatedAt: administrator.now)
        let trusted = TrustedIssuer(
            provider: record, keys: keys, clients: clients, requiredClaims: draft.requiredClaims)
        return try await administer(organization.id, by: administrator) { transaction in
            guard try await trustedIssuers.insert(trusted, of: organization.id, in: transaction) else {
                throw AdminError.conflict("This organization trusts this issuer already.")
            }
            return AdminChange(
                value: trusted, type: .identityProviderCreated, target: trusted.auditTarget,
                changes: .between([:], trusted.facts), isCached: true)
        }
    }

    /// - Parameter edit: makes the new description from the stored one; what a merge patch does.
    package func updateTrustedIssuer(
        _ id: IdentityProviderID, if condition: VersionCondition, in organization: Organization,
        by administrator: Administrator, _ edit: (TrustedIssuerDraft) throws -> TrustedIssuerDraft
    ) async throws -> Administered<TrustedIssuer> {
        try await retryingLostUpdates(condition) {
            let old = try await trustedIssuer(id, of: organization.id)
            try condition.check(old.provider.version)
            let draft = try edit(TrustedIssuerDraft(old))
            var checks = FieldChecks()
            let (keys, clients) = try await check(draft, of: organization.id, &checks)
            try checks.finish()
            var new = old
            new.provider.name = draft.name
            new.provider.status = draft.status
            new.provider.authoritativeDomains = draft.domains
            new.keys = keys ?? old.keys
            new.clients = clients
            new.requiredClaims = draft.requiredClaims
            let wanted = new
            return try await administer(organization.id, by: administrator) { transaction in
                guard
                    let stored = try await trustedIssuers.update(
                        wanted, of: organization.id, at: administrator.now, in: transaction)
                else { throw LostUpdate() }
                return AdminChange(
                    value: stored, type: .identityProviderUpdated, target: stored.auditTarget,
                    changes: .between(old.facts, stored.facts), isCached: true)
            }
        }
    }

    /// Removes an issuer and with it every identity it linked; users stay.
    package func deleteTrustedIssuer(
        _ id: IdentityProviderID, if condition: VersionCondition, in organization: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<TrustedIssuer> {
        try await retryingLostUpdates(condition) {
            let old = try await trustedIssuer(id, of: organization)
            try condition.check(old.provider.version)
            return try await administer(organization, by: administrator) { transaction in
                // Holds the row at the version that was read.
                guard
                    let held = try await providers.update(
                        old.provider, of: organization, at: administrator.now, in: transaction),
                    try await providers.delete(held, of: organization, in: transaction)
                else { throw LostUpdate() }
                return AdminChange(
                    value: old, type: .identityProviderDeleted, target: old.auditTarget,
                    changes: .between(old.facts, [:]), isCached: true)
            }
        }
    }

    /// Somebody else's issuer identifier (RFC 8414 §2): our own tokens must never come back as another's assertions.
    private func isForeign(_ issuer: String) -> Bool {
        guard issuer.utf8.count <= 512, !issuer.contains("?"), let uri = ResourceURI(issuer), uri.scheme == "https"
        else {
            return false
        }
        return ResourceURI(settings.publicURL)?.origin != uri.origin
    }

    /// - Returns: what the draft's keys and clients are, as far as they are in order.
    private func check(
        _ draft: TrustedIssuerDraft, of organization: OrganizationID, _ checks: inout FieldChecks
    ) async throws -> (Client.KeySource?, [ClientID]) {
        checks.name(draft.name, "/name")
        let keys = checks.keys(draft)
        checks.requiredClaims(draft.requiredClaims)
        try await check(authoritative: draft.domains, of: organization, &checks)
        checks.require(
            (1...200).contains(draft.clientIDs.count), "/client_ids", "invalid",
            "Name the 1 to 200 clients that may present its assertions.")
        var found: [ClientID] = []
        for (index, text) in draft.clientIDs.enumerated() {
            guard let id = ClientID(text), let client = try await clients.find(id, in: organization) else {
                checks.add(.unknown("/client_ids/\(index)"))
                continue
            }
            checks.require(
                client.grantTypes.contains(JWTBearerGrant.type), "/client_ids/\(index)", "invalid",
                "This client does not have the grant type \(JWTBearerGrant.type).")
            found.append(id)
        }
        return (keys, found)
    }
}

extension FieldChecks {
    fileprivate mutating func keys(_ draft: TrustedIssuerDraft) -> Client.KeySource? {
        do {
            let keys = try Client.KeySource.read(jwks: draft.jwks, jwksURI: draft.jwksURI)
            require(keys != nil, "/jwks_uri", "required", "Give its keys: jwks_uri or jwks.")
            return keys
        } catch {
            add(FieldError("/\(error.member)", "invalid", error.detail))
            return nil
        }
    }

    fileprivate mutating func requiredClaims(_ claims: [String: String]) {
        let isPlain = claims.allSatisfy { name, value in
            (1...64).contains(name.utf8.count) && name.utf8.allSatisfy(Self.mayStandInName)
                && (1...255).contains(value.utf8.count) && ClientName.isPlain(value)
        }
        require(
            claims.count <= 8 && isPlain, "/required_claims", "invalid",
            "Up to 8 claims, named by letters, digits and _ - . : /, each with one printable text as its value.")
    }

    private static func mayStandInName(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        default: "_-.:/".utf8.contains(byte)
        }
    }
}

extension TrustedIssuerDraft {
    fileprivate var domains: [String] { Set(authoritativeDomains.map { $0.lowercased() }).sorted() }
}

extension TrustedIssuer {
    fileprivate var auditTarget: AuditEvent.Target {
        AuditEvent.Target(type: "trusted_issuer", id: id.description, name: provider.name)
    }

    fileprivate var facts: Facts {
        var facts: Facts = [
            "name": .string(provider.name), "status": .string(provider.status.rawValue), "issuer": .string(issuer),
            "client_ids": .texts(clients.map(\.description)),
            "required_claims": .object(requiredClaims.mapValues { .string($0) }),
            "authoritative_domains": .texts(provider.authoritativeDomains),
        ]
        switch keys {
        case .given(let set): facts["keys"] = .texts(set.thumbprints)
        case .published(let url): facts["jwks_uri"] = .string(url)
        }
        return facts
    }
}
