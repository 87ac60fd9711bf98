package import Foundation
import Keys
import Synchronization
package import Tenancy

/// Takes access tokens of our own back: at introspection, revocation and wherever one opens something here.
///
/// The key is chosen by who may have issued the token and for whom it is, among the keys that this issuer signs with for
/// that resource; `kid` only tells them apart, and what a token brings of its own (`jwk`, `jku`, `x5c`, `x5u`) is not
/// looked at (RFC 8725 §3.8, §3.10). A text that was found right is remembered by its digest until it ends, so that asking
/// again costs no signature; issuer, organization, resource and key are looked at anew each time.
package struct AccessTokenVerifier: Sendable {
    /// Which tokens are meant.
    package enum Expectation: Sendable {
        /// From this issuer, for whatever resource.
        case issued(by: Issuer)
        /// For this resource, from whichever issuer it accepts.
        case meant(for: Resource, of: TenantSnapshot)
    }

    /// Where a token says it belongs, as things stand now.
    private struct Place {
        let issuer: Issuer
        let resource: Resource
        /// Who owns the resource, and its key if it has one of its own.
        let owner: TenantSnapshot
    }

    private struct Remembered {
        let token: VerifiedAccessToken
        let issuer: String
        let audience: String
        let keyID: String
    }

    /// Tokens remembered, at most; with their claims about a kilobyte each.
    private static let mostRemembered = 16_384
    /// Longer payloads are read anew each time, so that the memory's size has a bound.
    private static let longestRemembered = 4096

    let issuers: IssuerDirectory
    let grants: GrantStore
    let namedTokens: ProgrammaticTokenStore
    private let tokens: AccessTokenStore
    private let memory: Memory

    package init(issuers: IssuerDirectory, database: TenantDatabase) {
        self.issuers = issuers
        tokens = AccessTokenStore(database: database)
        grants = GrantStore(database: database)
        namedTokens = ProgrammaticTokenStore(database: database)
        memory = Memory(capacity: Self.mostRemembered)
    }

    /// Checks form, type, claims, times, issuer, audience and signature (RFC 9068 §4).
    ///
    /// - Returns: nil for whatever is no such token or is over; the reason is nobody's business.
    package func verify(
        _ text: String, expecting expectation: Expectation, at now: Date
    ) async throws -> VerifiedAccessToken? {
        let digest = TextDigest(of: text)
        if let known = memory.token(digest) {
            guard known.token.expiresAt > now,
                let place = try await place(
                    iss: known.issuer, aud: known.audience, organization: known.token.organization, expectation),
                key(known.keyID, isProgrammatic: known.token.isProgrammatic, place, at: now)?.record.id
                    == known.token.key
            else { return nil }
            return known.token
        }
        guard let jws = try? CompactJWS.parse(text, expecting: Set(SigningAlgorithm.allCases)),
            // "The resource server MUST verify that the typ header value is at+jwt" (RFC 9068 §4), so that no other JWT of
            // ours is taken for an access token.
            jws.type == AccessToken.type, let keyID = jws.keyID,
            let claims = AccessTokenClaims(jws.payload, at: now),
            let place = try await place(
                iss: claims.issuer, aud: claims.audience, organization: claims.organization, expectation),
            let key = key(keyID, isProgrammatic: claims.clientID == claims.id.description, place, at: now),
            jws.isSigned(by: key.verification, form: .unique)
        else { return nil }
        let token = VerifiedAccessToken(claims, jws.payload, key: key, issuer: place.issuer, resource: place.resource)
        if jws.payload.count <= Self.longestRemembered {
            memory.remember(
                Remembered(token: token, issuer: claims.issuer, audience: claims.audience, keyID: keyID), as: digest)
        }
        return token
    }

    /// Whether neither the token nor what it was issued on was ended since. The database is asked each time, so what any
    /// node ended is ended here.
    package func isLive(_ token: VerifiedAccessToken, at now: Date) async throws -> Bool {
        // What is known of clients and policies is at most a second old.
        if token.isProgrammatic {
            guard let home = try await issuers.catalog.snapshot(of: token.organization) else { return false }
            return try await isStillGiven(named: token, home, at: now)
        }
        // A client that was switched off or removed.
        guard let registry = try await issuers.catalog.snapshot(of: token.issuer),
            let client = try await client(token.clientID, in: registry, now), client.isLive(at: now)
        else { return false }
        let basis: AccessTokenStore.Basis
        if let grant = token.grant {
            // A grant speaks for its own person: who else holds an imported key could name another.
            guard let user = UserID(token.subject) else { return false }
            basis = .grant(grant, of: user)
        } else {
            // Whoever else has an imported key can sign what we never issued: only what is stored counts.
            guard !token.isKeyImported else { return false }
            if let user = UserID(token.subject) {
                // Who speaks for a person without a grant was registered by an administrator.
                guard let client = ClientID(token.clientID) else { return false }
                basis = .user(user, through: client)
            } else {
                basis = .client
            }
        }
        guard try await tokens.isLive(token.id, on: basis, in: token.organization, at: now) else { return false }
        guard token.isKeyImported, let grant = token.grant else { return true }
        return try await isWithinGrant(token, grant, of: client, at: now)
    }

    /// Clients that are documents go by their URL.
    private func client(_ clientID: String, in registry: TenantSnapshot, _ now: Date) async throws -> Client? {
        if let id = ClientID(clientID) { return try await issuers.catalog.client(id, in: registry, at: now) }
        return try await issuers.catalog.client(document: clientID, in: registry, at: now)
    }

    // MARK: Where a token belongs

    private func place(
        iss: String, aud: String, organization: OrganizationID, _ expectation: Expectation
    ) async throws -> Place? {
        switch expectation {
        case .issued(let issuer):
            guard iss == issuer.url, let home = try await home(of: organization, at: issuer) else { return nil }
            for owner in [home, issuer.platform] {
                if let resource = owner.resources.first(where: { $0.uri == aud }), home.mayUse(resource),
                    resource.isOpen(to: issuer)
                {
                    return Place(issuer: issuer, resource: resource, owner: owner)
                }
            }
            if let admin = issuer.adminAPI, admin.uri == aud {
                return Place(issuer: issuer, resource: admin, owner: home)
            }
            return nil
        case .meant(let resource, let owner):
            guard aud == resource.uri else { return nil }
            for id in resource.acceptedIssuers {
                guard let issuer = try await issuers.issuer(id), issuer.url == iss else { continue }
                guard resource.isOpen(to: issuer), let home = try await home(of: organization, at: issuer),
                    home.mayUse(resource)
                else { return nil }
                return Place(issuer: issuer, resource: resource, owner: owner)
            }
            return nil
        }
    }

    /// The organization that a token is for, if this issuer may issue for it and both are active.
    private func home(of organization: OrganizationID, at issuer: Issuer) async throws -> TenantSnapshot? {
        guard issuer.home.organization.status == .active else { return nil }
        if organization == issuer.id { return issuer.kind == .organization ? issuer.home : nil }
        guard issuer.kind == .platform, let home = try await issuers.catalog.snapshot(of: organization),
            home.organization.status == .active
        else { return nil }
        return home
    }

    private func key(_ keyID: String, isProgrammatic: Bool, _ place: Place, at now: Date) -> UnsealedSigningKey? {
        place.issuer.verificationKeys(for: place.resource, owner: place.owner, at: now).first { key in
            key.record.kid == keyID && key.record.signsAccessTokens(programmatic: isProgrammatic)
        }
    }

    /// The texts found right, by digest.
    private final class Memory: Sendable {
        private let tokens: Mutex<RecentlyUsed<TextDigest, Remembered>>

        init(capacity: Int) {
            tokens = Mutex(RecentlyUsed(capacity: capacity))
        }

        func token(_ digest: TextDigest) -> Remembered? {
            tokens.withLock { $0.value(of: digest) }
        }

        func remember(_ token: Remembered, as digest: TextDigest) {
            tokens.withLock { $0.insert(token, for: digest) }
        }
    }
}

extension VerifiedAccessToken {
    fileprivate init(
        _ claims: AccessTokenClaims, _ payload: [UInt8], key: UnsealedSigningKey, issuer: Issuer, resource: Resource
    ) {
        self.init(
            payload: payload, issuer: issuer.id, organization: claims.organization, resource: resource.id,
            subject: claims.subject, clientID: claims.clientID, id: claims.id, grant: claims.grant,
            scopes: claims.scope.split(separator: " ").map(String.init), boundKey: claims.boundKey,
            expiresAt: Date(timeIntervalSince1970: Double(claims.expiresAt)), key: key.record.id,
            isKeyImported: key.record.imported)
    }
}

extension Resource {
    /// Whether this issuer may issue for it now.
    fileprivate func isOpen(to issuer: Issuer) -> Bool {
        status == .active && acceptedIssuers.contains(issuer.id)
    }
}
