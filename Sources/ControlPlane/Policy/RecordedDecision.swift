package import Audit
package import Foundation
import Keys
import Tenancy

/// A decision as the log kept it: the question, when it was put, and what came of it.
package struct RecordedDecision: Sendable {
    /// Without the scopes that the person had not been shown and would not have got whatever policy said.
    package let request: ScopeRequest
    package let time: Date
    /// What a token could carry.
    package let effective: Set<String>
    /// The address was looked at, and has been erased since.
    package let lacksAddress: Bool

    /// What another policy would have let through, as far as it can be compared with ``effective``.
    package func effective(under policy: ScopePolicy) -> Set<String> {
        let effective = Set(policy.decide(request, at: time).effective)
        return request.held.map(effective.intersection) ?? effective
    }
}

extension ScopeDecision {
    /// ``info`` with what it takes to decide again: how authorizations stand in the log.
    package var record: AuditEvent.PolicyInfo {
        var info = info
        // What roles decided is nothing that the statements could be asked again.
        guard request.resource.id != .adminAPI else { return info }
        info.input = request.input
        info.effective = effective == granted ? nil : effective
        return info
    }
}

extension ScopeRequest {
    fileprivate var input: AuditEvent.PolicyInfo.Input {
        let name: String
        var membership = Membership()
        switch principal {
        case .user(let user, let known): (name, membership) = (user.description, known)
        case .service(let client): name = client
        }
        return AuditEvent.PolicyInfo.Input(
            principal: name, groups: membership.groups.map(\.description), roles: membership.roles.map(\.description),
            client: client.id, clientKind: client.kind.rawValue, clientHosts: client.hosts,
            clientCeiling: client.scopeCeiling, resource: resource.id.description,
            implications: resource.implications, sawAddress: address != nil, authTime: authTime, mfa: mfa,
            upstreamCeiling: upstreamCeiling, held: held, exchangedFrom: exchangedFrom?.description)
    }
}

extension RecordedDecision {
    /// - Returns: nil for an event that holds no decision, or not the whole of one.
    package init?(leaf: [UInt8], disclosures: [String]) {
        guard let members = try? JSONText.parse(leaf, maximumDepth: 8).object, members["truncated"] == nil,
            let time = members["time"]?.string.flatMap(Self.time),
            let policy = members["policy"]?.object, let input = policy["input"]?.object,
            let principal = input["principal"]?.string,
            let resource = input["resource"]?.string.flatMap(ResourceID.init),
            let kind = input["client_kind"]?.string.flatMap(Client.Kind.init(rawValue:))
        else { return nil }
        // Nothing was asked that the resource has.
        var elements: [JSONValue] = []
        if case .array(let trace)? = policy["trace"] { elements = trace }
        let findings = elements.compactMap { element -> (scope: String, result: String, rule: String)? in
            guard let finding = element.object, let scope = finding["scope"]?.string,
                let result = finding["result"]?.string, let rule = finding["rule"]?.string
            else { return nil }
            return (scope, result, rule)
        }
        guard findings.count == elements.count else { return nil }
        let asked = findings.map(\.scope)
        let implications = (input["implies"]?.object ?? [:]).compactMapValues(\.strings)
        let known = asked + Set(implications.keys).union(implications.values.joined()).subtracting(asked).sorted()
        let sawAddress = input["address"] != nil
        let address = sawAddress ? Self.address(in: disclosures) : nil
        let membership = Membership(
            groups: (input["groups"]?.strings ?? []).compactMap(GroupID.init),
            roles: (input["roles"]?.strings ?? []).compactMap(RoleID.init))
        request = ScopeRequest(
            principal: UserID(principal).map { .user($0, membership) } ?? .service(principal),
            client: ScopeRequest.Through(
                id: input["client"]?.string, kind: kind, scopeCeiling: input["client_ceiling"]?.strings,
                hosts: input["client_hosts"]?.strings ?? []),
            resource: ScopeRequest.Target(id: resource, scopes: known, implications: implications),
            scopes: .named(findings.filter { $0.rule != "not_offered" }.map(\.scope)), address: address,
            authTime: input["auth_time"]?.string.flatMap(Self.time), mfa: input["mfa"]?.bool ?? false,
            upstreamCeiling: input["upstream"]?.strings, held: input["held"]?.strings,
            exchangedFrom: input["exchanged_from"]?.string.flatMap(ResourceID.init))
        self.time = time
        let granted = findings.filter { $0.result == ScopeDecision.Finding.Result.allowed.rawValue }.map(\.scope)
        let effective = Set(policy["effective"]?.strings ?? granted)
        self.effective = request.held.map(effective.intersection) ?? effective
        lacksAddress = sawAddress && address == nil
    }

    private static func time(_ text: String) -> Date? {
        Timestamp.date(text)
    }

    /// The address among what was sealed of an event.
    private static func address(in disclosures: [String]) -> String? {
        for disclosure in disclosures {
            guard let bytes = Base64URL.decode(disclosure),
                case .array(let parts)? = try? JSONText.parse(bytes, maximumDepth: 8),
                parts.count == 3, parts[1].string == "context.ip"
            else { continue }
            return parts[2].string
        }
        return nil
    }
}
