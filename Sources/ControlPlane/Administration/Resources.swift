import Audit
import Foundation
import Keys
import Postgres
package import Tenancy

extension Administration {
    /// A resource this organization may know of, and whether it is open to it.
    package struct VisibleResource: Sendable {
        package let resource: Resource
        package let isEnabled: Bool

        package init(resource: Resource, isEnabled: Bool) {
            self.resource = resource
            self.isEnabled = isEnabled
        }
    }

    /// The organization's own resources, and the shared ones that it enabled or that are listed; in the order of ids.
    package func visibleResources(of organization: OrganizationID) async throws -> [VisibleResource] {
        var found = try await resources.all(of: organization).map {
            VisibleResource(resource: $0, isEnabled: $0.status == .active)
        }
        if organization != .platform {
            let admitted = Set(try await resources.admitted(by: organization))
            for resource in try await resources.all(of: .platform)
            where admitted.contains(resource.id) || (resource.listed && resource.status == .active) {
                found.append(
                    VisibleResource(
                        resource: resource, isEnabled: resource.status == .active && admitted.contains(resource.id)))
            }
        }
        return found.sorted { $0.resource.id < $1.resource.id }
    }

    package func visibleResource(_ id: ResourceID, of organization: OrganizationID) async throws -> VisibleResource {
        guard let found = try await visibleResources(of: organization).first(where: { $0.resource.id == id }) else {
            throw AdminError.notFound
        }
        return found
    }

    /// Resources that policies and settings of the organization may name.
    func usableResources(of organization: OrganizationID) async throws -> [Resource] {
        try await visibleResources(of: organization).map(\.resource)
    }

    /// - Parameter owner: an organization, or the platform for a shared resource.
    /// - Throws: ``AdminError/conflict(_:)`` when a resource has this URI, in whatever spelling and of whomever.
    package func createResource(
        _ wanted: NewResource, ownedBy owner: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<Resource> {
        try checkWidening(from: [owner], to: wanted.acceptedIssuers ?? [owner], by: administrator)
        var checks = FieldChecks()
        let uri = ResourceURI(wanted.uri)
        checks.require(
            uri?.scheme == "https" || (uri?.scheme == "http" && uri?.isLoopback == true), "/uri", "invalid",
            "A resource is named by an https URI, or an http one on this machine, without a fragment.")
        let resource = Resource(
            id: ResourceID.make(at: administrator.now, random), owner: owner, uri: wanted.uri, name: wanted.name,
            scopes: wanted.scopes, scopeImplications: wanted.scopeImplications, algorithm: wanted.algorithm,
            accessTokenLifetimeSeconds: wanted.accessTokenLifetimeSeconds,
            acceptedIssuers: wanted.acceptedIssuers.map { Set($0).sorted() } ?? [owner], listed: wanted.listed,
            tenantUnaware: wanted.tenantUnaware, dedicatedKey: wanted.dedicatedKey, status: .active, version: 1,
            createdAt: administrator.now, updatedAt: administrator.now)
        checks.resource(resource)
        checks.require(
            !isOwn(uri, of: administrator), "/uri", "reserved", "This is an address of this server's own.")
        try await checkIssuers(of: resource, beyond: [], &checks)
        try checks.finish()
        try checkRoom(try await resources.all(of: owner).count, below: Self.mostResources, for: "resources")
        let done = try await insert(resource, by: administrator)
        await ensureSigningKeys(for: resource, by: administrator)
        return done
    }

    /// Tokens that are meant for this server itself are no resource's: nobody may claim the admin API, and what lies beside
    /// it below the public URL is the platform's to give.
    private func isOwn(_ uri: ResourceURI?, of administrator: Administrator) -> Bool {
        guard let uri, let base = ResourceURI(settings.publicURL)?.canonical else { return false }
        func isBelow(_ place: String) -> Bool {
            uri.canonical == place || ["/", "?"].contains { uri.canonical.hasPrefix(place + $0) }
        }
        return isBelow("\(base)/v1") || isBelow("\(base)/scim") || (!administrator.isPlatform && isBelow(base))
    }

    func insert(_ resource: Resource, by administrator: Administrator) async throws -> Administered<Resource> {
        try await administer(resource.owner, by: administrator) { transaction in
            guard try await resources.insert(resource, in: transaction) else {
                throw AdminError.conflict(
                    "A resource with this URI is registered. If the list of resources shows it, :enable it; else a platform "
                        + "administrator can say more.")
            }
            return AdminChange(
                value: resource, type: .resourceCreated, target: resource.auditTarget,
                changes: .between([:], resource.facts), isCached: true)
        }
    }

    package func updateResource(
        _ id: ResourceID, _ update: ResourceUpdate, if condition: VersionCondition, ownedBy owner: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<Resource> {
        let done = try await retryingLostUpdates(condition) {
            let old = try await ownResource(id, of: owner)
            try condition.check(old.version)
            var wanted = update.applied(to: old)
            wanted.acceptedIssuers = Set(wanted.acceptedIssuers).sorted()
            try checkWidening(from: old.acceptedIssuers, to: wanted.acceptedIssuers, by: administrator)
            var checks = FieldChecks()
            checks.resource(wanted)
            try await checkIssuers(of: wanted, beyond: old.acceptedIssuers, &checks)
            checks.require(
                !old.dedicatedKey || wanted.algorithm == old.algorithm, "/algorithm", "fixed",
                "This resource has a key of its own, which decides the algorithm.")
            checks.require(
                !old.dedicatedKey || !old.isShared || wanted.tenantUnaware, "/tenant_unaware", "fixed",
                "A shared resource with an imported key cannot tell organizations apart.")
            try checks.finish()
            return try await replace(old, by: wanted, as: .resourceUpdated, administrator) { $0 }
        }
        await ensureSigningKeys(for: done.value, by: administrator)
        return done
    }

    /// Opens a resource: an own one for everybody it is meant for, a shared one for this organization.
    package func enableResource(
        _ id: ResourceID, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<VisibleResource> {
        try await setOpen(true, id, in: organization, by: administrator)
    }

    package func disableResource(
        _ id: ResourceID, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<VisibleResource> {
        try await setOpen(false, id, in: organization, by: administrator)
    }

    private func setOpen(
        _ isOpen: Bool, _ id: ResourceID, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<VisibleResource> {
        let type = isOpen ? AuditEventType.resourceEnabled : .resourceDisabled
        if let own = try await resources.all(of: organization).first(where: { $0.id == id }) {
            return try await retryingLostUpdates(.any) {
                let old = try await ownResource(own.id, of: organization)
                var wanted = old
                wanted.status = isOpen ? .active : .disabled
                return try await replace(old, by: wanted, as: type, administrator) {
                    VisibleResource(resource: $0, isEnabled: isOpen)
                }
            }
        }
        // Shared ones need not be listed to be enabled: who knows the id was told it by the platform.
        guard organization != .platform,
            let shared = try await resources.all(of: .platform).first(where: { $0.id == id }),
            shared.status == .active || !isOpen
        else { throw AdminError.notFound }
        return try await administer(organization, by: administrator) { transaction in
            try await resources.setAdmission(
                of: id, active: isOpen, by: organization, at: administrator.now, in: transaction)
            return AdminChange(
                value: VisibleResource(resource: shared, isEnabled: isOpen), type: type, target: shared.auditTarget,
                metadata: ["shared": "true"], isCached: true)
        }
    }

    /// Removes a resource; its own keys retire, and connections to it end at their next refresh.
    package func deleteResource(
        _ id: ResourceID, if condition: VersionCondition, ownedBy owner: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<Resource> {
        try await retryingLostUpdates(condition) {
            let old = try await ownResource(id, of: owner)
            try condition.check(old.version)
            let ownKeys = try await signingKeys.all(of: owner).filter { $0.resource == id }
            return try await administer(owner, by: administrator) { transaction in
                // Holds the row at the version that was read.
                guard try await resources.update(old, at: administrator.now, in: transaction) != nil,
                    try await resources.delete(old, in: transaction)
                else { throw LostUpdate() }
                for key in ownKeys {
                    _ = try await signingKeys.move(
                        key.id, from: [.published, .active], to: .retired, in: owner, at: administrator.now,
                        transaction)
                }
                return AdminChange(
                    value: old, type: .resourceDeleted, target: old.auditTarget, changes: .between(old.facts, [:]),
                    isCached: true)
            }
        }
    }

    func ownResource(_ id: ResourceID, of owner: OrganizationID) async throws -> Resource {
        guard let found = try await resources.all(of: owner).first(where: { $0.id == id }) else {
            throw AdminError.notFound
        }
        return found
    }

    private func replace<Value: Sendable>(
        _ old: Resource, by wanted: Resource, as type: AuditEventType, _ administrator: Administrator,
        outcome: @Sendable (Resource) -> Value
    ) async throws -> Administered<Value> {
        try await administer(old.owner, by: administrator) { transaction in
            guard let stored = try await resources.update(wanted, at: administrator.now, in: transaction) else {
                throw LostUpdate()
            }
            return AdminChange(
                value: outcome(stored), type: type, target: stored.auditTarget,
                changes: .between(old.facts, stored.facts), isCached: true)
        }
    }

    /// The platform issuer serves every organization; that it issues for a resource is the platform's to decide.
    private func checkWidening(
        from old: [OrganizationID], to wanted: [OrganizationID], by administrator: Administrator
    ) throws(AdminError) {
        guard administrator.isPlatform || old.contains(.platform) || !wanted.contains(.platform) else {
            throw .platformOnly
        }
    }

    /// - Parameter known: those accepted before; an organization that was deleted since keeps nobody from other changes.
    private func checkIssuers(
        of resource: Resource, beyond known: [OrganizationID], _ checks: inout FieldChecks
    ) async throws {
        guard resource.isShared else { return }
        for issuer in resource.acceptedIssuers where issuer != .platform && !known.contains(issuer) {
            if try await organizations.find(issuer).map({ $0.status != .deleted }) != true {
                checks.add(.unknown("/accepted_issuers"))
            }
        }
    }
}
