import Audit
package import Foundation
package import Keys
import Postgres
package import Tenancy

/// An access token as an administrator wants it issued.
package struct NewProgrammaticToken: Sendable {
    package var name: String
    package var principal: ProgrammaticToken.Principal
    package var resource: ResourceID
    package var scopes: [String]
    /// nil: as long as the organization allows.
    package var expiresAt: Date?
    /// The platform's id stands for the platform issuer; nil: the organization's issuer if the resource accepts it, else the
    /// platform's.
    package var issuer: OrganizationID?

    package init(
        name: String, principal: ProgrammaticToken.Principal, resource: ResourceID, scopes: [String],
        expiresAt: Date? = nil, issuer: OrganizationID? = nil
    ) {
        self.name = name
        self.principal = principal
        self.resource = resource
        self.scopes = scopes
        self.expiresAt = expiresAt
        self.issuer = issuer
    }
}

/// A token and its text, which is shown once and not kept.
package struct IssuedProgrammaticToken: Sendable {
    package let token: ProgrammaticToken
    package let text: Secret
}

extension Administration {
    package func programmaticToken(
        _ id: TokenID, of organization: OrganizationID
    ) async throws -> ProgrammaticToken {
        guard let found = try await programmaticTokens.find(id, in: organization) else { throw AdminError.notFound }
        return found
    }

    /// Issues a named access token for a person or a service, with at most the scopes that policy gives them.
    ///
    /// - Throws: ``AdminError/unavailable(retryAfter:)`` when the issuer's key for such tokens is not made in time.
    package func createProgrammaticToken(
        _ wanted: NewProgrammaticToken, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<IssuedProgrammaticToken> {
        // What a decision rests on may move once or twice between reading and writing.
        for _ in 0..<4 {
            if let made = try await issue(wanted, in: organization, administrator) { return made }
            try await catalog.recheck(organization)
            try await catalog.recheck(.platform)
        }
        throw AdminError.conflict("Others are changing what this token depends on at the same moment; try again.")
    }

    /// - Returns: nil when a guard moved.
    private func issue(
        _ wanted: NewProgrammaticToken, in organization: OrganizationID, _ administrator: Administrator
    ) async throws -> Administered<IssuedProgrammaticToken>? {
        guard let home = try await catalog.snapshot(of: organization),
            let platform = try await catalog.snapshot(of: .platform)
        else { throw AdminError.notFound }
        guard home.organization.status == .active else {
            throw AdminError.conflict("The organization is suspended: it issues no tokens.")
        }
        let order = try await check(wanted, home, platform, administrator)
        guard let key = order.issuer.programmaticKey(for: order.resource, owner: order.owner) else {
            guard !administrator.terms.isDryRun else {
                throw AdminError.conflict(
                    "The issuer has no key for such tokens yet; the first token that is made makes it.")
            }
            try await makeKey(for: order, administrator)
            return nil
        }
        if !administrator.terms.isDryRun {
            // A key that was just retired stays published long enough because of this, or else does not sign.
            guard
                try await signingKeys.extendNeed(
                    of: key.record.id, in: key.record.owner, until: order.expiresAt)
            else { return nil }
        }
        let id = TokenID.make(at: administrator.now, random)
        let issuedAt = Int(administrator.now.timeIntervalSince1970)
        let expiresAt = Int(order.expiresAt.timeIntervalSince1970)
        let token = AccessToken(
            issuer: order.issuer.url, subject: order.subject, audience: order.resource.uri, clientID: id.description,
            id: id, issuedAt: administrator.now, lifetimeSeconds: expiresAt - issuedAt,
            scopes: order.decision.effective, organization: organization, organizationSlug: home.organization.slug,
            grant: nil, authTime: nil, mfa: false, boundKey: nil, actor: nil)
        guard let text = try key.accessTokenSigner?.sign(token.payload) else { return nil }
        let record = ProgrammaticToken(
            id: id, name: wanted.name, principal: wanted.principal, issuer: order.issuer.id,
            resource: order.resource.id, signingKey: key.record.id, scope: token.scopes,
            createdBy: administrator.actor.id, createdAt: administrator.now,
            expiresAt: Date(timeIntervalSince1970: Double(expiresAt)), revokedAt: nil)
        let guardian = catalog.guardian(home, platform)
        do {
            return try await administer(organization, by: administrator) { transaction in
                guard
                    try await programmaticTokens.insert(
                        record, of: organization, guardedBy: guardian, in: transaction)
                else { throw LostUpdate() }
                var change = AdminChange(
                    value: IssuedProgrammaticToken(token: record, text: Secret(text)),
                    type: record.isForOther(than: administrator) ? .accessTokenCreatedForOther : .accessTokenCreated,
                    target: record.auditTarget, changes: .between([:], record.facts), isCached: false)
                change.token = record.id
                change.scopes = record.scope
                change.audience = order.resource.uri
                change.policy = order.decision.record
                return change
            }
        } catch is LostUpdate {
            return nil
        }
    }

    /// Ends a token. Servers that ask (introspection) know at once; those that verify offline honour it until it expires.
    package func revokeProgrammaticToken(
        _ id: TokenID, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<ProgrammaticToken> {
        let old = try await programmaticToken(id, of: organization)
        return try await administer(organization, by: administrator) { transaction in
            guard
                let ended = try await programmaticTokens.revoke(
                    id, of: organization, at: administrator.now, in: transaction)
            else { throw AdminError.conflict("This token was ended before.") }
            return AdminChange(
                value: ended, type: .accessTokenRevoked, target: ended.auditTarget,
                changes: .between(old.facts, ended.facts), token: ended.id, isCached: false)
        }
    }

    // MARK: What is decided before anything is signed

    private struct Order {
        let issuer: Issuer
        let resource: Resource
        let owner: TenantSnapshot
        /// `sub`.
        let subject: String
        let expiresAt: Date
        let decision: ScopeDecision
    }

    private func check(
        _ wanted: NewProgrammaticToken, _ home: TenantSnapshot, _ platform: TenantSnapshot,
        _ administrator: Administrator
    ) async throws -> Order {
        let now = administrator.now
        var checks = FieldChecks()
        checks.name(wanted.name, "/name")
        let most = TimeInterval(home.organization.settings.programmaticTokenLifetimeSeconds)
        let expiresAt = wanted.expiresAt ?? min(now + most, administrator.key?.expiresAt ?? .distantFuture)
        checks.end(expiresAt, "/expires_at", givenBy: administrator)
        checks.anyAddress("", givenBy: administrator)
        checks.require(
            // What is over has been said above.
            expiresAt <= now || (expiresAt > now + 1 && expiresAt <= now + most), "/expires_at", "out_of_range",
            "This must be a moment to come, at most \(Int(most)) s from now: the organization's setting.")
        checks.require((1...200).contains(wanted.scopes.count), "/scopes", "invalid", "Name 1 to 200 scopes.")
        let owner = home.resources.contains { $0.id == wanted.resource } ? home : platform
        let resource = owner.resources.first { $0.id == wanted.resource }
            .flatMap { home.mayUse($0) && $0.status == .active ? $0 : nil }
        if resource == nil { checks.add(.unknown("/resource")) }
        var issuer: Issuer?
        if let resource {
            issuer = try await self.issuer(wanted.issuer, for: resource, home)
            checks.require(
                issuer != nil, "/issuer", "not_accepted", "The resource does not accept this issuer's tokens.")
        }
        let speaker = try await speaker(wanted.principal, home, at: now, &checks)
        try checks.finish()
        guard let resource, let issuer, let speaker else { throw AdminError.notFound }
        let policy = ScopePolicy(home.policy)
        let request = ScopeRequest(
            namedTokenFor: speaker.principal, through: speaker.client, resource, wanted.scopes,
            upstreamCeiling: speaker.upstreamCeiling)
        let decision = policy.decide(request, at: now)
        for (index, scope) in wanted.scopes.enumerated() where !decision.granted.contains(scope) {
            let rule = decision.findings.first { $0.scope == scope }?.rule ?? "unknown_scope"
            checks.add(
                FieldError(
                    "/scopes/\(index)", "not_allowed",
                    "Policy does not give them this scope (\(rule)); scope-policies:evaluate says why."))
        }
        // A token never outlives what gives it its scopes: servers that verify offline would not hear of it.
        let end = policy.lapse(of: decision.effective, for: request, after: now, before: expiresAt) ?? expiresAt
        checks.require(
            end > now + 1, "/scopes", "not_allowed", "Policy gives these scopes for less than a second more.")
        try checks.finish()
        return Order(
            issuer: issuer, resource: resource, owner: owner, subject: speaker.subject, expiresAt: end,
            decision: decision)
    }

    private func issuer(
        _ wanted: OrganizationID?, for resource: Resource, _ home: TenantSnapshot
    ) async throws -> Issuer? {
        let own = home.organization.id
        let candidates = wanted.map { [$0] } ?? [own, .platform]
        guard let chosen = candidates.first(where: resource.acceptedIssuers.contains),
            chosen == own || chosen == .platform
        else { return nil }
        return try await IssuerDirectory(catalog: catalog, publicURL: settings.publicURL).issuer(chosen)
    }

    /// Whom a token speaks for, as policy sees them.
    private struct Speaker {
        let principal: ScopeRequest.Principal
        let client: ScopeRequest.Through
        /// `sub`.
        let subject: String
        let upstreamCeiling: [String]?
    }

    private func speaker(
        _ principal: ProgrammaticToken.Principal, _ home: TenantSnapshot, at now: Date, _ checks: inout FieldChecks
    ) async throws -> Speaker? {
        switch principal {
        case .user(let user):
            guard let found = try await users.member(user, in: home.organization.id) else {
                checks.add(.unknown("/user"))
                return nil
            }
            checks.require(found.user.status == .active, "/user", "disabled", "This user is disabled.")
            return Speaker(
                principal: .user(user, found.membership.membership),
                client: .administrators,
                subject: user.description,
                upstreamCeiling: try await sessions.scopeCeiling(of: user, in: home.organization.id))
        case .service(let client):
            guard let found = try await clients.find(client, in: home.organization.id), found.kind == .service else {
                checks.add(.unknown("/client"))
                return nil
            }
            checks.require(found.isLive(at: now), "/client", "disabled", "This client is disabled.")
            return Speaker(
                principal: .service(found.wireID), client: ScopeRequest.Through(found), subject: found.wireID,
                upstreamCeiling: nil)
        }
    }

    // MARK: The key

    /// Longer than an RSA key takes on a busy machine.
    private static let patience: Duration = .seconds(8)
    /// After so long every node shows a new key in its JWK Set: it is published before it signs.
    private static let settling: TimeInterval = 1

    /// Makes the issuer's key for such tokens, where none was made with its others; returns when every node shows it.
    private func makeKey(for order: Order, _ administrator: Administrator) async throws {
        guard !order.resource.dedicatedKey else {
            throw AdminError.conflict("The resource has a key of its own, and its private half is not known yet.")
        }
        let issuer = order.issuer.id
        let asked = ContinuousClock.now
        if order.resource.algorithm == .rs256 {
            makeKeyLater(.rs256, for: .programmatic, of: issuer, by: administrator)
        } else {
            try await makeMissingKey(order.resource.algorithm, for: .programmatic, of: issuer, by: administrator)
        }
        while ContinuousClock.now - asked < Self.patience {
            let made = try await signingKeys.all(of: issuer).first { key in
                key.purpose == .programmatic && key.status == .active && key.algorithm == order.resource.algorithm
            }
            let now = administrator.now + (ContinuousClock.now - asked).seconds
            if let made, now.timeIntervalSince(made.createdAt) >= Self.settling { return catalog.forget(issuer) }
            try await Task.sleep(for: .milliseconds(100))
        }
        throw AdminError.unavailable(retryAfter: .seconds(2))
    }
}

extension ProgrammaticToken {
    fileprivate var auditTarget: AuditEvent.Target {
        AuditEvent.Target(type: "access_token", id: id.description, name: name)
    }

    /// Whether it speaks for a person other than the one who makes it; keys and the system are nobody's person.
    fileprivate func isForOther(than administrator: Administrator) -> Bool {
        guard case .user(let user) = principal else { return false }
        return administrator.actor.kind != .user || administrator.actor.id != user.description
    }

    fileprivate var facts: Facts {
        var facts: Facts = [
            "name": .string(name), "resource": .string(resource.description), "issuer": .string(issuer.issuerName),
            "signing_key": .string(signingKey.description), "scopes": .texts(scope),
        ]
        switch principal {
        case .user(let user): facts["user"] = .string(user.description)
        case .service(let client): facts["client"] = .string(client.description)
        }
        facts["expires_at"] = .time(expiresAt)
        facts["revoked_at"] = .time(revokedAt)
        return facts
    }
}
