import Audit
package import Foundation
package import Identity
package import Keys
import Postgres
package import Tenancy

/// An identity provider as an administrator describes it.
package struct NewIdentityProvider: Sendable {
    package var kind: IdentityProviderRecord.Kind
    package var name: String
    package var projectID: String
    package var secret: Secret
    /// Stytch's organization, B2B only.
    package var upstreamOrganization: String?
    package var baseURL: String?
    package var authoritativeDomains: [String]

    package init(
        kind: IdentityProviderRecord.Kind, name: String, projectID: String, secret: Secret,
        upstreamOrganization: String?, baseURL: String?, authoritativeDomains: [String]
    ) {
        self.kind = kind
        self.name = name
        self.projectID = projectID
        self.secret = secret
        self.upstreamOrganization = upstreamOrganization
        self.baseURL = baseURL
        self.authoritativeDomains = authoritativeDomains
    }
}

/// What an administrator wants changed. Kind, project and upstream organization never change, since every linked identity
/// is named by them.
package struct IdentityProviderUpdate: Sendable {
    package var name: String?
    package var secret: Secret?
    package var baseURL = Patch<String>.keep
    package var authoritativeDomains: [String]?
    package var status: IdentityProviderRecord.Status?

    package init() {}
}

/// What a trial of an identity provider found.
package struct IdentityProviderTest: Sendable {
    /// nil: people can sign in.
    package let problem: SignInError?
    package let testedAt: Date
}

extension Administration {
    package func identityProvider(
        _ id: IdentityProviderID, of organization: OrganizationID
    ) async throws -> IdentityProviderRecord {
        guard let found = try await identityProviders(of: organization).first(where: { $0.id == id }) else {
            throw AdminError.notFound
        }
        return found
    }

    /// What signs people in; trusted issuers have a collection of their own.
    package func identityProviders(of organization: OrganizationID) async throws -> [IdentityProviderRecord] {
        try await providers.all(of: organization).filter { $0.kind != .trustedIssuer }
    }

    /// - Throws: ``AdminError/conflict(_:)`` when this upstream signs people in through another provider already.
    package func createIdentityProvider(
        _ wanted: NewIdentityProvider, in organization: Organization, by administrator: Administrator
    ) async throws -> Administered<IdentityProviderRecord> {
        let domains = Set(wanted.authoritativeDomains.map { $0.lowercased() }).sorted()
        var checks = FieldChecks()
        checks.name(wanted.name, "/name")
        checks.upstreamID(wanted.projectID, "/project_id")
        check(wanted.secret, &checks)
        switch wanted.kind {
        case .stytchB2B:
            checks.require(
                wanted.upstreamOrganization != nil, "/organization_id", "required", "Stytch B2B needs its organization."
            )
            if let upstream = wanted.upstreamOrganization { checks.upstreamID(upstream, "/organization_id") }
        case .stytchConsumer:
            checks.require(
                wanted.upstreamOrganization == nil, "/organization_id", "not_allowed",
                "A consumer project has no organizations.")
        case .oidc, .trustedIssuer:
            checks.require(false, "/kind", "unsupported", "Use stytch_b2b or stytch_consumer.")
        }
        check(baseURL: wanted.baseURL, &checks)
        try await check(authoritative: domains, of: organization.id, &checks)
        try checks.finish()
        try await checkRoomForProvider(in: organization.id)
        let id = IdentityProviderID.make(at: administrator.now, random)
        let record = IdentityProviderRecord(
            id: id, kind: wanted.kind, name: wanted.name, status: .active,
            configuration: IdentityProviderRecord.Configuration(
                projectID: wanted.projectID, upstreamOrganization: wanted.upstreamOrganization, baseURL: wanted.baseURL),
            sealedSecret: try secrets.seal(wanted.secret.bytes, for: organization, .providerSecret(id)),
            authoritativeDomains: domains, version: 1, createdAt: administrator.now, updatedAt: administrator.now)
        return try await administer(organization.id, by: administrator) { transaction in
            guard try await providers.insert(record, of: organization.id, in: transaction) else {
                throw AdminError.conflict(
                    "This upstream project and organization is in use by an identity provider. Use that one, or have a "
                        + "platform administrator delete it.")
            }
            return AdminChange(
                value: record, type: .identityProviderCreated, target: record.auditTarget,
                changes: .between([:], record.facts) + [
                    AuditEvent.Change(path: "secret", new: AuditEvent.Change.redacted)
                ],
                isCached: true)
        }
    }

    func checkRoomForProvider(in organization: OrganizationID) async throws {
        try checkRoom(
            try await providers.all(of: organization).count, below: Self.mostIdentityProviders,
            for: "identity providers and trusted issuers")
    }

    package func updateIdentityProvider(
        _ id: IdentityProviderID, _ update: IdentityProviderUpdate, if condition: VersionCondition,
        in organization: Organization, by administrator: Administrator
    ) async throws -> Administered<IdentityProviderRecord> {
        let domains = update.authoritativeDomains.map { Set($0.map { $0.lowercased() }).sorted() }
        var checks = FieldChecks()
        if let name = update.name { checks.name(name, "/name") }
        if let secret = update.secret { check(secret, &checks) }
        if let domains { try await check(authoritative: domains, of: organization.id, &checks) }
        try checks.finish()
        return try await retryingLostUpdates(condition) {
            let old = try await identityProvider(id, of: organization.id)
            try condition.check(old.version)
            var new = old
            new.name = update.name ?? old.name
            new.status = update.status ?? old.status
            new.configuration.baseURL = update.baseURL.applied(to: old.configuration.baseURL)
            try check(wanted: new, insteadOf: old, isSecretNew: update.secret != nil)
            new.authoritativeDomains = domains ?? old.authoritativeDomains
            if let secret = update.secret {
                new.sealedSecret = try secrets.seal(secret.bytes, for: organization, .providerSecret(id))
            }
            let wanted = new
            return try await administer(organization.id, by: administrator) { transaction in
                guard
                    let stored = try await providers.update(
                        wanted, of: organization.id, at: administrator.now, in: transaction)
                else { throw LostUpdate() }
                var changes = [AuditEvent.Change].between(old.facts, stored.facts)
                if update.secret != nil {
                    changes.append(
                        AuditEvent.Change(
                            path: "secret", old: AuditEvent.Change.redacted, new: AuditEvent.Change.redacted))
                }
                return AdminChange(
                    value: stored, type: .identityProviderUpdated, target: stored.auditTarget, changes: changes,
                    isCached: true)
            }
        }
    }

    /// Asks the provider whether people could sign in through it, in use or not. Changes nothing here or there.
    package func testIdentityProvider(
        _ id: IdentityProviderID, in organization: Organization, through known: IdentityProviders,
        by administrator: Administrator
    ) async throws -> Administered<IdentityProviderTest> {
        var record = try await identityProvider(id, of: organization.id)
        // One that is not in use yet is tried before it is.
        record.status = .active
        let problem = try await errands.run("trying identity providers", for: organization.id) {
            [record] () -> SignInError? in
            do throws(SignInError) {
                try await known.provider(record, of: organization).test()
                return nil
            } catch {
                return error
            }
        }
        let test = IdentityProviderTest(problem: problem, testedAt: administrator.now)
        let target = record.auditTarget
        return try await administer(organization.id, by: administrator) { _ in
            AdminChange(
                value: test, type: .identityProviderTested, target: target,
                metadata: ["result": test.problem?.reason ?? "ok"], isCached: false)
        }
    }

    /// Removes a provider and with it every identity it linked; users stay.
    package func deleteIdentityProvider(
        _ id: IdentityProviderID, if condition: VersionCondition, in organization: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<IdentityProviderRecord> {
        try await retryingLostUpdates(condition) {
            let old = try await identityProvider(id, of: organization)
            try condition.check(old.version)
            return try await administer(organization, by: administrator) { transaction in
                // Holds the row at the version that was read.
                guard try await providers.update(old, of: organization, at: administrator.now, in: transaction) != nil,
                    try await providers.delete(old, of: organization, in: transaction)
                else { throw LostUpdate() }
                return AdminChange(
                    value: old, type: .identityProviderDeleted, target: old.auditTarget,
                    changes: .between(old.facts, [:]), isCached: true)
            }
        }
    }

    private func check(_ secret: Secret, _ checks: inout FieldChecks) {
        checks.require(
            (1...512).contains(secret.bytes.count) && secret.bytes.allSatisfy { $0 > 0x20 && $0 < 0x7F }, "/secret",
            "invalid", "A project secret has 1 to 512 visible ASCII characters.")
    }

    /// A stored secret is never sent where its owner did not mean it to go: who changes the place has to know the secret.
    private func check(
        wanted: IdentityProviderRecord, insteadOf old: IdentityProviderRecord, isSecretNew: Bool
    ) throws(AdminError) {
        let isMoved = wanted.configuration.baseURL != old.configuration.baseURL
        var checks = FieldChecks()
        checks.require(
            isSecretNew || !isMoved, "/secret", "required",
            "The stored secret is sent to no other place: send it together with the new base_url.")
        if isMoved || isSecretNew { check(baseURL: wanted.configuration.baseURL, &checks) }
        try checks.finish()
    }

    /// The secret goes there: to Stytch or a host the operator named, by TLS; in development to any https host, and to this
    /// machine.
    private func check(baseURL: String?, _ checks: inout FieldChecks) {
        guard let baseURL else { return }
        guard let uri = ResourceURI(baseURL), uri.scheme == "https" || uri.isLoopback else {
            checks.require(false, "/base_url", "invalid", "The base URL has to be an https URL.")
            return
        }
        let isStytch = uri.host == "stytch.com" || uri.host.hasSuffix(".stytch.com")
        checks.require(
            (uri.scheme == "https" && (isStytch || settings.allowedUpstreamHosts.contains(uri.host)))
                || settings.allowLoopbackUpstreams, "/base_url", "not_allowed",
            "The base URL has to be https at stytch.com, a host below it, or one that this server's operator allows.")
    }

    /// Only about addresses of its own domains may an organization take somebody's word.
    func check(
        authoritative domains: [String], of organization: OrganizationID, _ checks: inout FieldChecks
    ) async throws {
        guard !domains.isEmpty else { return }
        let verified = Set(
            try await organizations.domains(of: organization).filter { $0.status == .verified }.map(\.name))
        checks.require(
            verified.isSuperset(of: domains), "/authoritative_domains", "not_verified",
            "Each must be a verified domain of this organization: POST …/domains, then …/domains/NAME:verify.")
    }
}

extension FieldChecks {
    fileprivate mutating func upstreamID(_ text: String, _ pointer: String) {
        let isPlain = text.utf8.allSatisfy { byte in
            (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                || byte == 0x2D || byte == 0x5F
        }
        require(
            (1...128).contains(text.utf8.count) && isPlain, pointer, "invalid",
            "An upstream id has 1 to 128 characters of A-Z, a-z, 0-9, - and _.")
    }
}

extension IdentityProviderRecord {
    fileprivate var auditTarget: AuditEvent.Target {
        AuditEvent.Target(type: "identity_provider", id: id.description, name: name)
    }

    fileprivate var facts: Facts {
        var facts: Facts = [
            "kind": .string(kind.rawValue), "name": .string(name), "status": .string(status.rawValue),
            "project_id": .string(configuration.projectID), "authoritative_domains": .texts(authoritativeDomains),
        ]
        facts["organization_id"] = .text(configuration.upstreamOrganization)
        facts["base_url"] = .text(configuration.baseURL)
        return facts
    }
}

extension [AuditEvent.Change] {
    static func between(_ old: Facts, _ new: Facts, personal: Set<String> = []) -> Self {
        AuditEvent.Change.between(old, new, personal: personal)
    }
}
