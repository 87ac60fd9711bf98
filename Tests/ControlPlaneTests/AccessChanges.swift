import ControlPlane
import Foundation
import Keys
import Postgres
import Tenancy

/// What can happen to an organization.
extension AccessWorld {
    /// One change at random. What the rules refuse changes nothing.
    mutating func change() async throws {
        do {
            switch Int.random(in: 0..<14, using: &numbers) {
            case 0: try await changeUser()
            case 1, 2: try await changeGroup()
            case 3 where keepsRoles: try await changeRole()
            case 4, 5, 6: try await changePolicy()
            case 7: try await changeClient()
            case 8: try await changeAdmission()
            case 9, 10: try await changeResource()
            case 11: try await changeOrganization()
            default: try await changeGrant()
            }
        } catch is AdminError {
        }
    }

    /// Enough to begin with.
    mutating func settle() async throws {
        for _ in 0..<2 { try await addUser() }
        try await addClient()
        try await addResource()
        try await addGroup()
        try await addPolicy()
    }

    // MARK: People

    private mutating func addUser() async throws {
        let address = "\(name())@example.com"
        users.append(
            try await administration.createUser(email: address, name: nil, in: organization, by: administrator).value.id
        )
    }

    private mutating func changeUser() async throws {
        guard let user = users.randomElement(using: &numbers), users.count > 2 else { return try await addUser() }
        switch Int.random(in: 0..<3, using: &numbers) {
        case 0: _ = try await administration.disableUser(user, in: organization, by: administrator)
        case 1: _ = try await administration.enableUser(user, in: organization, by: administrator)
        default:
            users.removeAll { $0 == user }
            try await database.transaction(organization) { [organization] transaction in
                try await transaction.query(
                    "DELETE FROM \"grant\" WHERE organization_id = \(organization) AND user_id = \(user)")
                try await transaction.query(
                    "DELETE FROM \"user\" WHERE organization_id = \(organization) AND id = \(user)")
            }
        }
    }

    private mutating func addGroup() async throws {
        let (group, name) = (GroupID.make(at: Date(), .system), name())
        try await execute(
            """
            INSERT INTO "group" (organization_id, id, name, created_at, updated_at)
            VALUES (\(organization), \(group), \(name), now(), now())
            """)
        groups.append(group)
    }

    private mutating func changeGroup() async throws {
        guard let group = groups.randomElement(using: &numbers), let user = users.randomElement(using: &numbers) else {
            return try await addGroup()
        }
        switch Int.random(in: 0..<6, using: &numbers) {
        case 0: try await addGroup()
        case 1:
            groups.removeAll { $0 == group }
            try await execute("DELETE FROM \"group\" WHERE organization_id = \(organization) AND id = \(group)")
        case 2:
            try await execute(
                """
                DELETE FROM group_member
                 WHERE organization_id = \(organization) AND group_id = \(group) AND user_id = \(user)
                """)
        default:
            try await execute(
                """
                INSERT INTO group_member (organization_id, group_id, user_id, added_at)
                VALUES (\(organization), \(group), \(user), now()) ON CONFLICT DO NOTHING
                """)
        }
    }

    private mutating func changeRole() async throws {
        guard let role = roles.randomElement(using: &numbers), let user = users.randomElement(using: &numbers) else {
            let (role, name) = (RoleID.make(at: Date(), .system), name())
            try await execute(
                """
                INSERT INTO role (organization_id, id, name, admin_scopes, created_at, updated_at)
                VALUES (\(organization), \(role), \(name), '{}', now(), now())
                """)
            return roles.append(role)
        }
        let group = groups.randomElement(using: &numbers)
        switch Int.random(in: 0..<5, using: &numbers) {
        case 0:
            roles.removeAll { $0 == role }
            try await execute("DELETE FROM role WHERE organization_id = \(organization) AND id = \(role)")
        case 1:
            try await execute(
                "DELETE FROM role_binding WHERE organization_id = \(organization) AND principal_id = \(user)")
        case 2 where group != nil:
            try await execute(
                """
                INSERT INTO role_binding (organization_id, role_id, principal_id, group_id, created_by, created_at)
                VALUES (\(organization), \(role), \(group), \(group), 'tests', now()) ON CONFLICT DO NOTHING
                """)
        default:
            try await execute(
                """
                INSERT INTO role_binding (organization_id, role_id, principal_id, user_id, created_by, created_at)
                VALUES (\(organization), \(role), \(user), \(user), 'tests', now()) ON CONFLICT DO NOTHING
                """)
        }
    }

    // MARK: Policy

    /// A statement about what there is. The rules that admit statements are not asked: policy decides about any.
    mutating func statement() -> ScopePolicyStatement {
        var principals = ScopePolicyStatement.Principals(everyone: Bool.random(using: &numbers))
        principals.users = some(users)
        principals.groups = some(groups)
        principals.roles = some(roles)
        principals.services = some(clients.filter { $0.kind == .service }.map(\.wireID))
        var matching = ScopePolicyStatement.Clients()
        if Int.random(in: 0..<4, using: &numbers) == 0 { matching.kinds = some(Client.Kind.allCases) }
        if Int.random(in: 0..<6, using: &numbers) == 0 { matching.ids = some(clients.map(\.wireID)) }
        if Int.random(in: 0..<6, using: &numbers) == 0 { matching.hosts = ["one.example"] }
        var conditions = ScopePolicyStatement.Conditions()
        switch Int.random(in: 0..<12, using: &numbers) {
        case 0: conditions.mfa = Bool.random(using: &numbers)
        case 1: conditions.ipRanges = ["192.0.2.0/24"]
        case 2: conditions.maxAuthAgeSeconds = 60
        case 3: conditions.validUntil = Date() + 0.02
        case 4: conditions.validFrom = Date() + 0.02
        default: break
        }
        return ScopePolicyStatement(
            id: .make(at: Date(), .system), name: name(),
            effect: Int.random(in: 0..<3, using: &numbers) == 0 ? .deny : .allow,
            principals: principals, clients: matching, resources: some(resources.map(\.id), atMost: 1),
            scopes: some(Self.scopes + ["*", "files.*"]) + ["read"], conditions: conditions, version: 1,
            createdAt: Date(), updatedAt: Date())
    }

    private mutating func addPolicy() async throws {
        let (statement, store, organization) = (statement(), administration.policies, organization)
        let isNew = try await database.transaction(organization) { transaction in
            try await store.insert(statement, of: organization, in: transaction)
        }
        if isNew { policies.append(statement.id) }
    }

    private mutating func changePolicy() async throws {
        guard let policy = policies.randomElement(using: &numbers), policies.count > 1 else {
            return try await addPolicy()
        }
        switch Int.random(in: 0..<4, using: &numbers) {
        case 0: try await addPolicy()
        case 1:
            _ = try await administration.deleteScopePolicy(policy, if: .any, in: organization, by: administrator)
            policies.removeAll { $0 == policy }
        default:
            let scopes = some(Self.scopes) + ["read"]
            let effect: ScopePolicyStatement.Effect = Bool.random(using: &numbers) ? .allow : .deny
            let users = some(users)
            _ = try await administration.updateScopePolicy(policy, if: .any, in: organization, by: administrator) {
                old in
                var new = old
                new.scopes = scopes
                new.effect = effect
                new.principals.users = users
                new.principals.everyone = users.isEmpty
                return new
            }
        }
    }

    // MARK: Clients

    private mutating func addClient() async throws {
        var wanted =
            Int.random(in: 0..<3, using: &numbers) == 0
            ? NewClient(service: name())
            : NewClient(
                name: name(),
                redirectURIs: ["https://\(["one", "two"].randomElement(using: &numbers) ?? "").example/cb"])
        if wanted.kind == .registered { wanted.authenticationMethod = .none }
        let isPlatforms = touchesPlatform && wanted.kind == .registered && Bool.random(using: &numbers)
        let client = try await administration.createClient(
            wanted, in: isPlatforms ? .platform : organization, by: administrator
        ).value.client
        clients.append(client)
    }

    /// What registers by itself, and what happens when somebody first connects with it.
    private mutating func registerClient() async throws {
        let client = Client(
            id: .make(at: Date(), .system), registry: organization, kind: .dynamic, name: name(),
            redirectURIs: ["https://two.example/cb"], grantTypes: ["authorization_code"], responseTypes: ["code"],
            authenticationMethod: .none, applicationType: nil, scopeCeiling: nil, clientURI: nil, logoURI: nil,
            policyURI: nil, tosURI: nil, documentURL: nil, secretDigest: nil, registrationTokenDigest: nil,
            status: .active, expiresAt: Date() + 3_600, version: 1, createdAt: Date(), updatedAt: Date())
        let store = administration.clients
        try await database.transaction(organization) { try await store.insert(client, in: $0) }
        clients.append(client)
    }

    private mutating func changeClient() async throws {
        guard let client = clients.randomElement(using: &numbers), clients.count > 2 else {
            return try await addClient()
        }
        var update = ClientUpdate()
        switch Int.random(in: 0..<6, using: &numbers) {
        case 0: return try await addClient()
        case 1: return try await registerClient()
        case 2:
            _ = try await administration.deleteClient(client.id, if: .any, in: client.registry, by: administrator)
            return clients.removeAll { $0.id == client.id }
        case 3: update.scopeCeiling = Bool.random(using: &numbers) ? .clear : .set(some(Self.scopes) + ["read"])
        case 4 where client.kind == .registered:
            update.redirectURIs = ["https://\(["one", "two"].randomElement(using: &numbers) ?? "").example/cb"]
        default: update.status = Bool.random(using: &numbers) ? .active : .disabled
        }
        _ = try await administration.updateClient(
            client.id, update, if: .any, in: client.registry, by: administrator)
    }

    private mutating func changeAdmission() async throws {
        guard let client = clients.randomElement(using: &numbers) else { return try await addClient() }
        switch Int.random(in: 0..<4, using: &numbers) {
        case 0: _ = try await administration.denyClient(client.id, in: organization, by: administrator)
        case 1: _ = try await administration.approveClient(client.id, shownAs: nil, in: organization, by: administrator)
        default:
            let (store, organization) = (administration.clients, organization)
            try await store.keep(client.id, in: client.registry)
            let admission = ClientAdmission(
                client: client.id, registry: client.registry,
                status: Int.random(in: 0..<4, using: &numbers) == 0 ? .pending : .active, createdAt: Date())
            try await database.transaction(organization) { transaction in
                _ = try await store.admit(admission, by: organization, in: transaction)
            }
        }
    }

    // MARK: Resources and the organization

    private mutating func addResource() async throws {
        var wanted = NewResource(
            uri: "https://\(name()).example/mcp", name: "R",
            scopes: (some(Self.scopes) + ["read"]).reduce(into: []) { scopes, scope in
                if !scopes.contains(where: { $0.name == scope }) { scopes.append(.init(name: scope, description: "")) }
            })
        let isShared = touchesPlatform && Bool.random(using: &numbers)
        wanted.acceptedIssuers =
            isShared ? [.platform, organization] : touchesPlatform ? [.platform, organization] : nil
        let resource = try await administration.createResource(
            wanted, ownedBy: isShared ? .platform : organization, by: administrator
        ).value
        resources.append(resource)
        if isShared { _ = try await administration.enableResource(resource.id, in: organization, by: administrator) }
    }

    private mutating func changeResource() async throws {
        guard let resource = resources.randomElement(using: &numbers), resources.count > 1 else {
            return try await addResource()
        }
        var update = ResourceUpdate()
        switch Int.random(in: 0..<6, using: &numbers) {
        case 0: return try await addResource()
        case 1:
            _ = try await administration.deleteResource(
                resource.id, if: .any, ownedBy: resource.owner, by: administrator)
            return resources.removeAll { $0.id == resource.id }
        case 2:
            _ = try await administration.disableResource(resource.id, in: organization, by: administrator)
            return
        case 3:
            _ = try await administration.enableResource(resource.id, in: organization, by: administrator)
            return
        case 4: update.scopes = Self.scopes.map { Resource.Scope(name: $0, description: "") }
        default: update.scopeImplications = ["write": Bool.random(using: &numbers) ? .set(["read"]) : .clear]
        }
        _ = try await administration.updateResource(
            resource.id, update, if: .any, ownedBy: resource.owner, by: administrator)
    }

    private mutating func changeOrganization() async throws {
        var update = OrganizationUpdate()
        switch Int.random(in: 0..<6, using: &numbers) {
        case 0:
            _ = try await administration.suspendOrganization(organization, by: administrator)
            return
        case 1, 2:
            _ = try await administration.resumeOrganization(organization, by: administrator)
            return
        case 3: update.approvalRequiredFor = some(Client.Kind.allCases)
        case 4: update.deniedRedirectHosts = Bool.random(using: &numbers) ? ["two.example"] : []
        default: update.grantLifetimeSeconds = [3_600, 86_400].randomElement(using: &numbers)
        }
        _ = try await administration.updateOrganization(organization, update, if: .any, by: administrator)
    }

    // MARK: Connections

    private mutating func changeGrant() async throws {
        if let grant = grants.randomElement(using: &numbers), Int.random(in: 0..<3, using: &numbers) == 0 {
            grants.removeAll { $0 == grant }
            _ = try await administration.revokeGrant(grant, in: organization, by: administrator)
            return
        }
        guard let user = users.randomElement(using: &numbers), let client = clients.randomElement(using: &numbers),
            let resource = resources.randomElement(using: &numbers)
        else { return }
        let (grant, now) = (GrantID.make(at: Date(), .system), Date())
        let end = now + (Int.random(in: 0..<4, using: &numbers) == 0 ? 0.02 : 86_400)
        try await execute(
            """
            INSERT INTO "grant" (organization_id, id, issuer_organization_id, user_id, client_id, resource_id, scope,
                                 status, auth_time, mfa, created_at, last_used_at, idle_expires_at, expires_at)
            VALUES (\(organization), \(grant), \(client.registry), \(user), \(client.id), \(resource.id), \(["read"]),
                    'active', \(now), false, \(now), \(now), \(end), \(now + 864_000))
            """)
        grants.append(grant)
    }
}
