import ControlPlane
import Foundation
import Keys
import Tenancy
import Testing

@Suite("Scope policy")
struct ScopePolicyTests {
    private let now = Date(timeIntervalSince1970: 1_800_000_000)
    private let alice = UserID.make(at: Date(), .system)
    private let bob = UserID.make(at: Date(), .system)

    private var resource: Resource {
        Resource(
            id: resourceID, owner: .platform, uri: "https://mcp.example/mcp", name: "Notes",
            scopes: ["read", "write", "admin"].map { Resource.Scope(name: $0, description: $0) },
            scopeImplications: ["admin": ["write"], "write": ["read"]], algorithm: .es256,
            accessTokenLifetimeSeconds: 600, acceptedIssuers: [.platform], listed: true, tenantUnaware: false,
            dedicatedKey: false, status: .active, version: 1, createdAt: now, updatedAt: now)
    }
    private let resourceID = ResourceID.make(at: Date(), .system)

    private func client(
        _ kind: Client.Kind = .dynamic, redirect: String = "https://chat.example/cb", ceiling: [String]? = nil
    )
        -> Client
    {
        Client(
            id: .make(at: now, .system), registry: .platform, kind: kind, name: "Chat", redirectURIs: [redirect],
            grantTypes: ["authorization_code"], responseTypes: ["code"], authenticationMethod: .none,
            applicationType: nil,
            scopeCeiling: ceiling, clientURI: nil, logoURI: nil, policyURI: nil, tosURI: nil, documentURL: nil,
            secretDigest: nil, registrationTokenDigest: nil, status: .active, expiresAt: nil, version: 1,
            createdAt: now,
            updatedAt: now)
    }

    private func statement(
        _ name: String, _ effect: ScopePolicyStatement.Effect = .allow,
        principals: ScopePolicyStatement.Principals = .init(everyone: true),
        clients: ScopePolicyStatement.Clients = .init(),
        resources: [ResourceID] = [], scopes: [String], conditions: ScopePolicyStatement.Conditions = .init()
    ) -> ScopePolicyStatement {
        ScopePolicyStatement(
            id: .make(at: now, .system), name: name, effect: effect, principals: principals, clients: clients,
            resources: resources, scopes: scopes, conditions: conditions, version: 1, createdAt: now, updatedAt: now)
    }

    private func decide(
        _ statements: [ScopePolicyStatement], user: UserID? = nil, client: Client? = nil, asked: [String] = [],
        address: String? = nil, authTime: Date? = nil, mfa: Bool = false, upstream: [String]? = nil
    ) -> ScopeDecision {
        ScopePolicy(statements).decide(
            ScopeRequest(
                principal: .user(user ?? alice, Membership()), client: client ?? self.client(),
                resource: resource,
                scopes: RequestedScopes(asked), address: address, authTime: authTime, mfa: mfa,
                upstreamCeiling: upstream),
            at: now)
    }

    @Test("nothing is granted without a statement that allows it")
    func silence() {
        let decision = decide([])
        #expect(decision.granted.isEmpty)
        #expect(decision.findings.map(\.rule) == ["no_statement", "no_statement", "no_statement"])
    }

    @Test("asking for none means asking for all, and each scope is judged by itself")
    func all() {
        #expect(decide([statement("everyone", scopes: ["read"])]).granted == ["read"])
        #expect(decide([statement("everyone", scopes: ["*"])]).granted == ["read", "write", "admin"])
        #expect(decide([statement("everyone", scopes: ["*"])], asked: ["write"]).granted == ["write"])
        #expect(decide([statement("everyone", scopes: ["*"])], asked: ["nothing-such", "read"]).granted == ["read"])
    }

    @Test("a deny wins over every allow")
    func deny() {
        let statements = [statement("all", scopes: ["*"]), statement("no-admin", .deny, scopes: ["adm*"])]
        let decision = decide(statements)
        #expect(decision.granted == ["read", "write"])
        #expect(decision.findings.last?.scope == "admin")
        #expect(decision.findings.last?.rule == "no-admin")
        #expect(decision.withheld == ["admin"])
    }

    @Test("principals: everyone means people, others by name")
    func principals() {
        let forAlice = statement("alice", principals: .init(users: [alice]), scopes: ["write"])
        #expect(decide([forAlice]).granted == ["write"])
        #expect(decide([forAlice], user: bob).granted.isEmpty)
        #expect(decide([statement("nobody", principals: .init(), scopes: ["*"])]).granted.isEmpty)
    }

    @Test("clients: every member that is present must match")
    func clients() {
        let registered = statement("registered", clients: .init(kinds: [.registered]), scopes: ["*"])
        #expect(decide([registered]).granted.isEmpty)
        #expect(decide([registered], client: client(.registered)).granted.count == 3)
        let host = statement("host", clients: .init(hosts: ["chat.example"]), scopes: ["read"])
        #expect(decide([host]).granted == ["read"])
        #expect(decide([host], client: client(redirect: "https://evil.example/cb")).granted.isEmpty)
    }

    @Test("K-22 a client's ceiling and the upstream's word only narrow")
    func ceilings() {
        let open = [statement("all", scopes: ["*"])]
        #expect(decide(open, client: client(ceiling: ["read"])).granted == ["read"])
        #expect(decide(open, upstream: ["write", "unknown"]).granted == ["write"])
        #expect(decide([], upstream: ["read"]).granted.isEmpty)
    }

    @Test("a deny and the ceilings bind implied scopes too")
    func barredImplications() {
        let statements = [statement("write", scopes: ["write"]), statement("no-read", .deny, scopes: ["read"])]
        let decision = decide(statements, asked: ["write"])
        #expect(decision.granted == ["write"])
        #expect(decision.effective == ["write"])
        #expect(decide([statement("all", scopes: ["*"])], asked: ["admin"], upstream: ["admin"]).effective == ["admin"])
    }

    @Test("TK-20 naming scopes that are gone is never taken for naming none")
    func namedButGone() {
        let request = ScopeRequest(
            principal: .user(alice, Membership()), client: client(), resource: resource,
            scopes: .named([]), address: nil, authTime: nil, mfa: false, upstreamCeiling: nil)
        let decision = ScopePolicy([statement("all", scopes: ["*"])]).decide(request, at: now)
        #expect(decision.granted.isEmpty && decision.effective.isEmpty)
    }

    @Test("what was not shown is not granted")
    func offered() {
        let request = ScopeRequest(
            principal: .user(alice, Membership()), client: client(), resource: resource,
            scopes: .all, address: nil, authTime: nil, mfa: false, upstreamCeiling: nil, offered: ["read"])
        #expect(ScopePolicy([statement("all", scopes: ["*"])]).decide(request, at: now).granted == ["read"])
    }

    @Test("conditions: what is not known makes an allow fail and a deny hold")
    func conditions() {
        let office = ScopePolicyStatement.Conditions(ipRanges: ["192.0.2.0/24"])
        #expect(
            decide([statement("office", scopes: ["read"], conditions: office)], address: "192.0.2.9").granted == [
                "read"
            ])
        #expect(
            decide([statement("office", scopes: ["read"], conditions: office)], address: "198.51.100.1").granted.isEmpty
        )
        #expect(decide([statement("office", scopes: ["read"], conditions: office)]).granted.isEmpty)
        let both = [
            statement("all", scopes: ["read"]), statement("not-there", .deny, scopes: ["read"], conditions: office),
        ]
        #expect(decide(both).granted.isEmpty)
        #expect(decide(both, address: "198.51.100.1").granted == ["read"])
        let fresh = ScopePolicyStatement.Conditions(maxAuthAgeSeconds: 60)
        #expect(
            decide([statement("fresh", scopes: ["read"], conditions: fresh)], authTime: now - 30).granted == ["read"])
        #expect(decide([statement("fresh", scopes: ["read"], conditions: fresh)], authTime: now - 61).granted.isEmpty)
        let window = ScopePolicyStatement.Conditions(validFrom: now - 1, validUntil: now + 1)
        #expect(decide([statement("window", scopes: ["read"], conditions: window)]).granted == ["read"])
        let past = ScopePolicyStatement.Conditions(validUntil: now)
        #expect(decide([statement("past", scopes: ["read"], conditions: past)]).granted.isEmpty)
        let strong = ScopePolicyStatement.Conditions(mfa: true)
        #expect(decide([statement("mfa", scopes: ["read"], conditions: strong)]).granted.isEmpty)
        #expect(decide([statement("mfa", scopes: ["read"], conditions: strong)], mfa: true).granted == ["read"])
    }

    @Test("removing an allow statement never grants anything")
    func monotone() {
        var statements = [
            statement("a", scopes: ["read"]), statement("b", principals: .init(users: [alice]), scopes: ["w*"]),
            statement("c", .deny, principals: .init(users: [bob]), scopes: ["*"]), statement("d", scopes: ["admin"]),
        ]
        var before = Set(decide(statements).granted)
        while let index = statements.firstIndex(where: { $0.effect == .allow }) {
            statements.remove(at: index)
            let after = Set(decide(statements).granted)
            #expect(after.isSubset(of: before))
            before = after
        }
    }

    @Test("implied scopes are expanded in the resource's order")
    func implications() {
        #expect(resource.expanding(["admin"]) == ["read", "write", "admin"])
        #expect(resource.expanding(["write"]) == ["read", "write"])
        #expect(resource.expanding([]).isEmpty)
    }
}
