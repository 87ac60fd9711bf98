import Foundation
import Keys
import Tenancy

/// An event as leaf bytes split around its sequence number, and the disclosures of its personal fields.
///
/// The leaf is the RFC 8785 text of one object. Required members: `v id tenant seq time type outcome severity actor
/// targets`; the others stand where they are known. `sd` holds, sorted, base64url(SHA-256(disclosure)) of each sealed
/// field; a disclosure is base64url of the canonical text of `[salt, path, value]` with 128 random bits of salt (the
/// form of SD-JWT, RFC 9901 §4.2.1). Sealed paths: `actor.email`, `actor.name`, `target.name` and `target.<n>.name`
/// from the second target on, `context.ip`, `context.user_agent`, `metadata.<name>`, `changes.<path>.old` and `.new`.
struct LeafEncoding {
    /// How much of an oversized event is kept.
    enum Detail: Int {
        /// Everything.
        case full
        /// No policy trace.
        case withoutTrace
        /// Changes keep their paths, metadata goes too.
        case withoutValues
        /// No changes; the first few of every list.
        case least

        static let lesser: [Detail] = [.withoutTrace, .withoutValues, .least]
    }

    /// Leaf bytes that one event may take, with a sequence number of any size.
    static let largest = 65_535

    private(set) var prefix: [UInt8] = []
    private(set) var suffix: [UInt8] = []
    private(set) var disclosures: [String] = []
    /// The indexed columns, character for character as in the leaf.
    private(set) var actorID = ""
    private(set) var clientID: String?
    private(set) var targetID = ""

    private let detail: Detail
    private let random: RandomBytes
    /// Random bytes not yet used: several salts cost one call.
    private var salts: ArraySlice<UInt8> = []
    private var truncated: Bool

    /// Leaf bytes with the longest sequence number.
    var count: Int { prefix.count + suffix.count + 19 }

    init(_ event: AuditEvent, detail: Detail, _ random: RandomBytes) {
        self.detail = detail
        self.random = random
        truncated = detail != .full

        var members: [String: CanonicalJSON] = [
            "v": 1,
            "id": .string(event.id.description),
            "tenant": .string(event.organization.description),
            "time": .string(Timestamp.text(event.time)),
            "type": .string(event.type.rawValue),
            "outcome": .string(event.outcome.rawValue),
            "severity": .int(event.type.severity(of: event.outcome)),
        ]
        if event.outcome != .success || event.reason != nil {
            members["reason"] = .string(cut(event.reason ?? "unspecified", to: Limit.word))
        }
        members["actor"] = .object(actor(event.actor))
        members["targets"] = .array(targets(of: event))
        if let client = event.client {
            let client = cut(client, to: Limit.identifier)
            clientID = client
            members["client"] = .string(client)
        }
        if let scopes = event.scopes {
            members["scopes"] = list(scopes.sorted(by: Self.precedes), of: Limit.word, atMost: 256)
        }
        if let audience = event.audience { members["audience"] = list(audience, of: Limit.identifier, atMost: 16) }
        if let grant = event.grant { members["grant"] = .string(cut(grant, to: Limit.word)) }
        if let token = event.token { members["token"] = .string(cut(token, to: Limit.word)) }
        if !event.changes.isEmpty, let changes = changes(event.changes) { members["changes"] = changes }
        if let request = event.request { members["request"] = .object(self.request(request)) }
        if let policy = event.policy { members["policy"] = .object(self.policy(policy)) }
        if let metadata = metadata(event) { members["metadata"] = metadata }
        if !disclosures.isEmpty {
            let digests = disclosures.map { Base64URL.encode(sha256($0)) }
            members["sd"] = .array(digests.sorted(by: Self.precedes).map(CanonicalJSON.string))
        }
        if truncated { members["truncated"] = true }
        split(members)
    }

    /// Writes the members before `seq` into the prefix and those after it into the suffix; there are always some of
    /// both.
    private mutating func split(_ members: [String: CanonicalJSON]) {
        let sorted = CanonicalJSON.sorted(members)
        let middle = sorted.firstIndex { $0.key > "seq" } ?? sorted.endIndex
        prefix.reserveCapacity(512)
        suffix.reserveCapacity(512)
        prefix.append(UInt8(ascii: "{"))
        CanonicalJSON.write(sorted[..<middle], to: &prefix)
        prefix.append(contentsOf: #","seq":"#.utf8)
        suffix.append(UInt8(ascii: ","))
        CanonicalJSON.write(sorted[middle...], to: &suffix)
        suffix.append(UInt8(ascii: "}"))
    }

    // MARK: Members

    private mutating func actor(_ actor: AuditEvent.Actor) -> [String: CanonicalJSON] {
        actorID = cut(actor.id.isEmpty ? "-" : actor.id, to: Limit.identifier)
        var members: [String: CanonicalJSON] = ["type": .string(actor.kind.rawValue), "id": .string(actorID)]
        if let session = actor.session { members["session"] = .string(cut(session, to: Limit.word)) }
        if let credential = actor.credential { members["credential"] = .string(cut(credential, to: Limit.word)) }
        if let person = actor.impersonator { members["impersonator"] = .string(cut(person, to: Limit.identifier)) }
        seal("actor.email", actor.email)
        seal("actor.name", actor.name)
        return members
    }

    private mutating func targets(of event: AuditEvent) -> [CanonicalJSON] {
        var targets = event.targets
        if targets.isEmpty { targets = [AuditEvent.Target(type: "organization", id: event.organization.description)] }
        return limited(targets, to: 32).enumerated().map { index, target in
            let id = cut(target.id, to: Limit.identifier)
            if index == 0 { targetID = id }
            seal(index == 0 ? "target.name" : "target.\(index).name", target.name)
            return ["type": .string(cut(target.type, to: Limit.word)), "id": .string(id)]
        }
    }

    private mutating func changes(_ changes: [AuditEvent.Change]) -> CanonicalJSON? {
        guard detail != .least else { return nil }
        return .array(
            limited(changes, to: 64).map { change in
                let path = cut(change.path, to: Limit.word)
                var members: [String: CanonicalJSON] = ["path": .string(path)]
                guard detail != .withoutValues else { return .object(members) }
                for (name, value) in [("old", change.old), ("new", change.new)] {
                    guard let value else { continue }
                    if change.isPersonal {
                        seal("changes.\(path).\(name)", value)
                    } else {
                        members[name] = cut(value, to: Limit.value)
                    }
                }
                return .object(members)
            })
    }

    private mutating func request(_ request: AuditEvent.RequestInfo) -> [String: CanonicalJSON] {
        var members: [String: CanonicalJSON] = [
            "id": .string(request.id.description),
            "method": .string(cut(request.method, to: 32)),
            "route": .string(cut(request.route, to: Limit.text)),
        ]
        if let trace = request.traceID { members["trace_id"] = .string(cut(trace, to: 64)) }
        seal("context.ip", request.ip)
        seal("context.user_agent", request.userAgent)
        return members
    }

    private mutating func policy(_ policy: AuditEvent.PolicyInfo) -> [String: CanonicalJSON] {
        var members: [String: CanonicalJSON] = ["decision": .string(cut(policy.decision, to: Limit.word))]
        if let id = policy.id { members["id"] = .string(cut(id, to: Limit.word)) }
        if let version = policy.version { members["version"] = .int(version) }
        if let rule = policy.rule { members["rule"] = .string(cut(rule, to: Limit.text)) }
        if let trace = policy.trace, detail == .full { members["trace"] = cut(trace, to: Limit.trace) }
        return members
    }

    private mutating func metadata(_ event: AuditEvent) -> CanonicalJSON? {
        var members: [String: CanonicalJSON] = [:]
        if detail.rawValue < Detail.withoutValues.rawValue {
            for (name, value) in limited(event.metadata.sorted { Self.precedes($0.key, $1.key) }, to: 50) {
                members[cut(name, to: Limit.metadataName)] = .string(cut(value, to: Limit.text))
            }
        }
        for (name, value) in limited(event.personalMetadata.sorted { Self.precedes($0.key, $1.key) }, to: 50) {
            seal("metadata." + cut(name, to: Limit.metadataName), value)
        }
        return members.isEmpty ? nil : .object(members)
    }

    // MARK: Bounds

    /// Bytes that a text may take in the leaf, escapes included.
    private enum Limit {
        static let metadataName = 40
        static let word = 256
        static let text = 500
        static let sealed = 1_024
        /// Fits URLs that serve as client ids, and a row of a PostgreSQL index.
        static let identifier = 2_048
        static let value = 4_096
        static let trace = 16_384
    }

    /// `text` in at most `limit` bytes of JSON, ending between characters. NUL, which PostgreSQL's text cannot hold,
    /// becomes U+FFFD, so that columns and leaf agree.
    private mutating func cut(_ text: String, to limit: Int) -> String {
        // Common case: plain and short.
        var text = text
        let isPlain = text.withUTF8 { utf8 in
            utf8.count <= limit && utf8.allSatisfy { $0 >= 0x20 && $0 != 0x22 && $0 != 0x5C }
        }
        if isPlain { return text }
        var kept = String.UnicodeScalarView()
        var room = limit
        for scalar in text.unicodeScalars {
            let scalar = scalar == "\0" ? "\u{FFFD}" : scalar
            room -= CanonicalJSON.cost(of: scalar)
            guard room >= 0 else {
                truncated = true
                break
            }
            kept.append(scalar)
        }
        return String(kept)
    }

    /// `value` if its text takes at most `limit` bytes, else a mark in its place.
    private mutating func cut(_ value: CanonicalJSON, to limit: Int) -> CanonicalJSON {
        guard value.bytes.count > limit else { return value }
        truncated = true
        return ["truncated": true]
    }

    private mutating func limited<Element>(_ elements: [Element], to most: Int) -> ArraySlice<Element> {
        let most = detail == .least ? min(most, 4) : most
        if elements.count > most { truncated = true }
        return elements.prefix(most)
    }

    private mutating func list(_ texts: [String], of limit: Int, atMost most: Int) -> CanonicalJSON {
        .array(limited(texts, to: most).map { .string(cut($0, to: limit)) })
    }

    private mutating func seal(_ path: String, _ text: String?) {
        guard let text else { return }
        seal(path, .string(cut(text, to: Limit.sealed)))
    }

    private mutating func seal(_ path: String, _ value: CanonicalJSON) {
        if salts.isEmpty { salts = random.generate(4 * 16)[...] }
        let salt = Base64URL.encode(Array(salts.prefix(16)))
        salts = salts.dropFirst(16)
        let disclosure: CanonicalJSON = [.string(salt), .string(path), cut(value, to: Limit.value)]
        disclosures.append(Base64URL.encode(disclosure.bytes))
    }

    /// Order of UTF-8 bytes, which is that of Unicode scalars and alike everywhere.
    private static func precedes(_ left: String, _ right: String) -> Bool {
        left.utf8.lexicographicallyPrecedes(right.utf8)
    }
}
