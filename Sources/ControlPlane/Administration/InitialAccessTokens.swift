import Audit
package import Foundation
package import Keys
import Postgres
package import Tenancy

/// An initial access token as wanted.
package struct NewInitialAccessToken: Sendable {
    package var name: String
    /// Registrations it is good for; nil: any number.
    package var uses: Int?
    package var expiresAt: Date?

    package init(name: String, uses: Int?, expiresAt: Date?) {
        self.name = name
        self.uses = uses
        self.expiresAt = expiresAt
    }
}

/// An initial access token with its text, which is shown once.
package struct IssuedInitialAccessToken: Sendable {
    package let token: InitialAccessToken
    package let secret: Secret
}

extension Administration {
    package func initialAccessToken(
        _ id: InitialAccessTokenID, of organization: OrganizationID
    ) async throws -> InitialAccessToken {
        guard let found = try await initialAccessTokens.find(id, in: organization) else { throw AdminError.notFound }
        return found
    }

    package func createInitialAccessToken(
        _ wanted: NewInitialAccessToken, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<IssuedInitialAccessToken> {
        var checks = FieldChecks()
        checks.name(wanted.name, "/name")
        if let uses = wanted.uses { checks.range(uses, 1...1_000_000, "/uses") }
        checks.end(wanted.expiresAt, "/expires_at", givenBy: administrator)
        checks.anyAddress("", givenBy: administrator)
        try checks.finish()
        let id = InitialAccessTokenID.make(at: administrator.now, random)
        let credential = InitialAccessCredential(organization: organization, id: id, random)
        let token = InitialAccessToken(
            id: id, organization: organization, name: wanted.name, secretDigest: credential.digest,
            usesLeft: wanted.uses, createdBy: administrator.actor.id, expiresAt: wanted.expiresAt,
            createdAt: administrator.now)
        return try await administer(organization, by: administrator) { transaction in
            try await initialAccessTokens.insert(token, in: transaction)
            return AdminChange(
                value: IssuedInitialAccessToken(token: token, secret: credential.secret),
                type: .initialAccessTokenCreated, target: token.auditTarget,
                changes: .between([:], token.facts), isCached: false)
        }
    }

    /// Ends a token at once; clients that registered with it stay.
    package func revokeInitialAccessToken(
        _ id: InitialAccessTokenID, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<InitialAccessToken> {
        let old = try await initialAccessToken(id, of: organization)
        return try await administer(organization, by: administrator) { transaction in
            guard try await initialAccessTokens.revoke(id, in: organization, at: administrator.now, transaction) else {
                throw AdminError.conflict("This token was revoked before.")
            }
            return AdminChange(
                value: old, type: .initialAccessTokenRevoked, target: old.auditTarget,
                changes: .between(old.facts, [:]), isCached: false)
        }
    }

    package var initialAccessTokens: InitialAccessTokenStore { InitialAccessTokenStore(database: database) }
}

extension InitialAccessToken {
    fileprivate var auditTarget: AuditEvent.Target {
        AuditEvent.Target(type: "initial_access_token", id: id.description, name: name)
    }

    fileprivate var facts: Facts {
        var facts: Facts = ["name": .string(name), "secret": AuditEvent.Change.redacted]
        facts["uses_left"] = usesLeft.map { .int($0) }
        facts["expires_at"] = .time(expiresAt)
        return facts
    }
}
