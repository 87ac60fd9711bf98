import Audit
import Foundation
package import Keys
import Postgres
package import Tenancy

/// What an import found, against what was known.
package struct ToolImport: Sendable {
    /// Every tool that is known now, in the order of names.
    package let tools: [ResourceTool]
    package let new: [String]
    /// Tools that say something else than when they were reviewed or last seen, and which members of them do.
    package let changed: [String: [String]]
    package let gone: [String]
}

/// What somebody decided of a tool.
package struct ToolReview: Sendable {
    package var scopes: [String]?
    /// The definition that was looked at; another one is not reviewed by it.
    package var digest: [UInt8]?

    package init(scopes: [String]?, digest: [UInt8]?) {
        self.scopes = scopes
        self.digest = digest
    }
}

extension Administration {
    var tools: ResourceToolStore { ResourceToolStore(database: database) }

    /// A page of the tools of a resource that the organization may know of.
    package func tools(
        of id: ResourceID, in organization: OrganizationID, after name: String?, limit: Int
    ) async throws -> [ResourceTool] {
        let resource = try await visibleResource(id, of: organization).resource
        return try await tools.list(of: id, ownedBy: resource.owner, after: name, limit: limit)
    }

    /// Reads what the resource's server has now and writes it down. A tool that is new, or says something else than when
    /// it was reviewed, may not be called until somebody reviewed it.
    package func importTools(
        of id: ResourceID, ownedBy owner: OrganizationID, token: Secret?, from discovery: ToolDiscovery,
        by administrator: Administrator
    ) async throws -> Administered<ToolImport> {
        let resource = try await ownResource(id, of: owner)
        let found: [ToolDiscovery.Tool]
        do {
            found = try await errands.run("reading tools", for: owner) {
                try await discovery.tools(at: resource.uri, token: token, for: owner.description)
            }
        } catch let failure as ToolDiscovery.Failure {
            throw AdminError.invalid([failure.fieldError])
        }
        return try await administer(owner, by: administrator) { transaction in
            let known = try await tools.all(of: id, ownedBy: owner, in: transaction)
            let outcome = Self.outcome(of: found, known: known, resource, at: administrator.now)
            let before = Dictionary(uniqueKeysWithValues: known.map { ($0.name, $0) })
            let after = Dictionary(uniqueKeysWithValues: outcome.tools.map { ($0.name, $0) })
            for tool in outcome.tools where tool != before[tool.name] {
                try await tools.put(tool, of: id, ownedBy: owner, in: transaction)
            }
            // What nobody ever looked at leaves nothing to remember: a server may make up names for ever.
            try await tools.delete(
                known.map(\.name).filter { after[$0] == nil }, of: id, ownedBy: owner, in: transaction)
            let changes = (outcome.new + outcome.changed.keys.sorted() + outcome.gone).map { name in
                AuditEvent.Change(of: name, from: before[name], to: after[name])
            }
            return AdminChange(
                value: outcome, type: .resourceToolsImported, target: resource.auditTarget, changes: changes,
                metadata: [
                    "new": "\(outcome.new.count)", "changed": "\(outcome.changed.count)",
                    "gone": "\(outcome.gone.count)",
                ], isCached: false)
        }
    }

    private static func outcome(
        of found: [ToolDiscovery.Tool], known: [ResourceTool], _ resource: Resource, at now: Date
    ) -> ToolImport {
        let before = Dictionary(uniqueKeysWithValues: known.map { ($0.name, $0) })
        var (tools, new, changed): ([ResourceTool], [String], [String: [String]]) = ([], [], [:])
        for tool in found {
            guard var old = before[tool.name] else {
                new.append(tool.name)
                tools.append(
                    ResourceTool(
                        name: tool.name, scopes: tool.proposedScopes(of: resource), definition: tool.definition,
                        digest: tool.digest, reviewedDigest: nil, isPresent: true, createdAt: now, updatedAt: now))
                continue
            }
            if old.digest != tool.digest {
                changed[tool.name] = old.membersChanged(in: tool.definition)
                old.definition = tool.definition
                old.digest = tool.digest
                old.updatedAt = now
            }
            if !old.isPresent { old.updatedAt = now }
            old.isPresent = true
            tools.append(old)
        }
        let names = Set(found.map(\.name))
        let missing = known.filter { !names.contains($0.name) }
        let gone = missing.filter { $0.reviewedDigest != nil }.map { old in
            var tool = old
            if old.isPresent { tool.updatedAt = now }
            tool.isPresent = false
            return tool
        }
        return ToolImport(
            tools: (tools + remembered(gone)).sorted { $0.name < $1.name }, new: new, changed: changed,
            gone: missing.filter(\.isPresent).map(\.name))
    }

    /// A server that names its tools anew each time would fill the database with those it had. Nobody looked at them, and
    /// the others go by age: one that is forgotten is a new one when it comes back.
    private static func remembered(_ gone: [ResourceTool]) -> [ResourceTool] {
        var bytes = 0
        return gone.sorted { $0.updatedAt > $1.updatedAt }.prefix(mostGoneTools).filter { tool in
            bytes += tool.definition.count
            return bytes <= mostGoneBytes
        }
    }

    private static let mostGoneTools = 200
    private static let mostGoneBytes = 1 << 20

    /// Says what calls of tools need, and that their definitions were looked at.
    package func reviewTools(
        of id: ResourceID, _ reviews: [String: ToolReview], ownedBy owner: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<[ResourceTool]> {
        let resource = try await ownResource(id, of: owner)
        return try await administer(owner, by: administrator) { transaction in
            let known = try await tools.all(of: id, ownedBy: owner, in: transaction)
            let before = Dictionary(uniqueKeysWithValues: known.map { ($0.name, $0) })
            let scopes = Set(resource.scopes.map(\.name))
            var checks = FieldChecks()
            var reviewed: [ResourceTool] = []
            for (name, review) in reviews.sorted(by: { $0.key < $1.key }) {
                let pointer = "/tools/\(name.inPointer)"
                guard var tool = before[name] else {
                    checks.add(.unknown(pointer))
                    continue
                }
                if let wanted = review.scopes {
                    for (index, scope) in wanted.enumerated() where !scopes.contains(scope) {
                        checks.add(.unknown("\(pointer)/scopes/\(index)"))
                    }
                    checks.require(
                        !wanted.isEmpty, "\(pointer)/scopes", "required", "A call of a tool needs a scope at least.")
                    tool.scopes = wanted
                }
                if let digest = review.digest {
                    checks.require(
                        digest == tool.digest && tool.isPresent, "\(pointer)/reviewed_digest", "not_current",
                        "This is not the tool's definition now; look at it again.")
                    tool.reviewedDigest = digest
                }
                tool.updatedAt = administrator.now
                reviewed.append(tool)
            }
            try checks.finish()
            for tool in reviewed { try await tools.put(tool, of: id, ownedBy: owner, in: transaction) }
            return AdminChange(
                value: reviewed, type: .resourceUpdated, target: resource.auditTarget,
                changes: reviewed.map { AuditEvent.Change(of: $0.name, from: before[$0.name], to: $0) },
                isCached: false)
        }
    }
}

extension ToolDiscovery.Tool {
    /// What its annotations suggest, until somebody says what a call needs; they are the server's own word, and so only a
    /// proposal.
    fileprivate func proposedScopes(of resource: Resource) -> [String] {
        let names = resource.scopes.map(\.name)
        let wishes: [String] =
            if readOnlyHint == true { ["read"] } else if destructiveHint == true { ["admin", "write"] } else {
                ["write", "admin"]
            }
        return wishes.first(where: names.contains).map { [$0] } ?? names
    }
}

extension ResourceTool {
    /// The members of the definition that differ.
    fileprivate func membersChanged(in other: [UInt8]) -> [String] {
        let old = (try? JSONText.parse(definition, maximumDepth: 64))?.object ?? [:]
        let new = (try? JSONText.parse(other, maximumDepth: 64))?.object ?? [:]
        return Set(old.keys).union(new.keys).filter { old[$0]?.canonical != new[$0]?.canonical }.sorted()
    }
}

extension AuditEvent.Change {
    /// What became of a tool; its definition is told by its digest.
    fileprivate init(of name: String, from old: ResourceTool?, to new: ResourceTool?) {
        func facts(_ tool: ResourceTool) -> AuditEvent.Value {
            [
                "scopes": .texts(tool.scopes), "state": .string(tool.state.rawValue),
                "digest": .string(Base64URL.encode(tool.digest)),
            ]
        }
        self.init(path: "tools.\(name)", old: old.map(facts), new: new.map(facts))
    }
}

extension ToolDiscovery.Failure {
    fileprivate var fieldError: FieldError {
        switch self {
        case .refused: FieldError("", "refused", "The resource's URI may not be reached from here.")
        case .unreachable:
            FieldError(
                "", "unreachable",
                "The resource's server does not answer. Is it running, and can this server reach its URI?")
        case .unauthorized:
            FieldError("/token", "unauthorized", "The resource's server wants a token that it takes: send one here.")
        case .status(let status):
            FieldError("", "unreadable", "The resource's server answered with status \(status).")
        case .protocolViolation(let place):
            FieldError("", "unreadable", "The resource's server does not speak MCP as it should: \(place).")
        case .tooMuch: FieldError("", "too_much", "The resource's server lists more than can be read.")
        }
    }
}
