import Audit
import Foundation
package import Keys
package import Tenancy

/// A resource as an administrator describes it; nil takes the default.
package struct NewResource: Sendable {
    package var uri: String
    package var name: String
    package var scopes: [Resource.Scope]
    package var scopeImplications: [String: [String]] = [:]
    package var algorithm = SigningAlgorithm.es256
    package var accessTokenLifetimeSeconds = 600
    /// The platform's id stands for the platform issuer.
    package var acceptedIssuers: [OrganizationID]?
    package var listed = true
    package var tenantUnaware = false
    /// Signs with a key of its own from the beginning, and with nothing until that key is imported.
    package var dedicatedKey = false

    package init(uri: String, name: String, scopes: [Resource.Scope]) {
        self.uri = uri
        self.name = name
        self.scopes = scopes
    }
}

/// What an administrator wants changed about a resource; nil keeps a member. Its URI never changes: tokens carry it.
package struct ResourceUpdate: Sendable {
    package var name: String?
    package var scopes: [Resource.Scope]?
    /// Scope by scope: a merge patch goes into objects.
    package var scopeImplications: [String: Patch<[String]>] = [:]
    package var algorithm: SigningAlgorithm?
    package var accessTokenLifetimeSeconds: Int?
    package var acceptedIssuers: [OrganizationID]?
    package var listed: Bool?
    package var tenantUnaware: Bool?

    package init() {}

    func applied(to old: Resource) -> Resource {
        var new = old
        new.name = name ?? old.name
        new.scopes = scopes ?? old.scopes
        for (scope, patch) in scopeImplications {
            new.scopeImplications[scope] = patch.applied(to: old.scopeImplications[scope])
        }
        new.algorithm = algorithm ?? old.algorithm
        new.accessTokenLifetimeSeconds = accessTokenLifetimeSeconds ?? old.accessTokenLifetimeSeconds
        new.acceptedIssuers = acceptedIssuers ?? old.acceptedIssuers
        new.listed = listed ?? old.listed
        new.tenantUnaware = tenantUnaware ?? old.tenantUnaware
        return new
    }
}

extension FieldChecks {
    /// What has to hold of every resource, whoever owns it.
    mutating func resource(_ resource: Resource) {
        name(resource.name, "/name")
        scopes(of: resource)
        implications(of: resource)
        range(resource.accessTokenLifetimeSeconds, 60...3_600, "/access_token_lifetime_seconds")
        require(
            (1...100).contains(resource.acceptedIssuers.count), "/accepted_issuers", "invalid",
            "Name 1 to 100 issuers.")
        require(
            resource.isShared || resource.acceptedIssuers.allSatisfy { $0 == resource.owner || $0 == .platform },
            "/accepted_issuers", "unknown", "There is no such thing in this organization.")
        require(
            resource.isShared || !resource.tenantUnaware, "/tenant_unaware", "not_allowed",
            "Only shared resources can be unaware of tenants.")
    }

    private mutating func scopes(of resource: Resource) {
        require((1...200).contains(resource.scopes.count), "/scopes", "invalid", "A resource has 1 to 200 scopes.")
        var seen: Set<String> = []
        for (index, scope) in resource.scopes.enumerated() {
            require(
                ScopeName.isValid(scope.name), "/scopes/\(index)", "invalid",
                "A scope has 1 to 128 characters of RFC 6749 section 3.3: no space, quote or backslash.")
            require(
                !ScopeName.reserved.contains(scope.name), "/scopes/\(index)", "reserved",
                "openid, profile, email and offline_access are no scopes of a resource.")
            require(seen.insert(scope.name).inserted, "/scopes/\(index)", "duplicate", "This scope is there already.")
            require(
                scope.description.unicodeScalars.count <= 500 && ClientName.isPlain(scope.description),
                "/scopes/\(index)/description", "invalid", "A description has up to 500 printable characters.")
        }
    }

    private mutating func implications(of resource: Resource) {
        let known = Set(resource.scopes.map(\.name))
        for (scope, implied) in resource.scopeImplications.sorted(by: { $0.key < $1.key })
        where !known.contains(scope) || !known.isSuperset(of: implied) {
            add(
                FieldError(
                    "/scope_implications/\(scope.inPointer)", "unknown_scope",
                    "Implications speak of scopes the resource has."))
        }
    }
}

/// Names of scopes (RFC 6749 §3.3).
enum ScopeName {
    /// Scopes that never come from a resource.
    static let reserved: Set<String> = ["openid", "profile", "email", "offline_access"]

    static func isValid(_ text: String) -> Bool {
        (1...128).contains(text.utf8.count)
            && text.utf8.allSatisfy { $0 == 0x21 || (0x23...0x5B).contains($0) || (0x5D...0x7E).contains($0) }
    }
}

extension String {
    /// One reference token of a JSON Pointer (RFC 6901 §3).
    package var inPointer: String { replacing("~", with: "~0").replacing("/", with: "~1") }
}

extension Resource {
    var auditTarget: AuditEvent.Target { AuditEvent.Target(type: "resource", id: id.description, name: name) }

    var facts: Facts {
        [
            "uri": .string(uri), "name": .string(name),
            "scopes": .array(scopes.map { ["name": .string($0.name), "description": .string($0.description)] }),
            "scope_implications": .object(scopeImplications.mapValues { .texts($0) }),
            "algorithm": .string(algorithm.rawValue), "access_token_lifetime_seconds": .int(accessTokenLifetimeSeconds),
            "accepted_issuers": .texts(acceptedIssuers.map(\.issuerName)), "listed": .bool(listed),
            "tenant_unaware": .bool(tenantUnaware), "dedicated_key": .bool(dedicatedKey),
            "status": .string(status.rawValue),
        ]
    }
}

extension OrganizationID {
    /// How an issuer is named in lists: `platform`, or the organization's id.
    package var issuerName: String { self == .platform ? "platform" : description }

    /// - Returns: nil for anything else.
    package init?(issuerName: String) {
        if issuerName == "platform" {
            self = .platform
        } else if let id = OrganizationID(issuerName), id != .platform {
            self = id
        } else {
            return nil
        }
    }
}
