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

        // Sealing comes first: the digests stand near the middle of the leaf.
        let targets = targets(of: event)
        seal("actor.email", event.actor.email)
        seal("actor.name", event.actor.name)
        for (index, target) in targets.enumerated() {
            seal(index == 0 ? "target.name" : "target.\(index).name", target.name)
        }
        let changes = event.changes.isEmpty ? nil : self.changes(event.changes)
        if let request = event.request {
            seal("context.ip", request.ip)
            seal("context.user_agent", request.userAgent)
        }
        let metadata = self.metadata(event)

        // By hand and in the order of RFC 8785 §3.2.3: the shape is known, and every token has such an event.
        var leaf = CanonicalWriter()
        write(event.actor, to: &leaf)
        if let audience = event.audience { write("audience", audience, of: Limit.identifier, atMost: 16, to: &leaf) }
        if let changes { leaf.value("changes", changes) }
        if let client = event.client {
            let client = cut(client, to: Limit.identifier)
            clientID = client
            leaf.string("client", client)
        }
        if let grant = event.grant { leaf.string("grant", cut(grant, to: Limit.word)) }
        leaf.string("id", event.id.description)
        if let metadata { leaf.value("metadata", metadata) }
        leaf.string("outcome", event.outcome.rawValue)
        if let policy = event.policy { write(policy, to: &leaf) }
        if event.outcome != .success || event.reason != nil {
            leaf.string("reason", cut(event.reason ?? "unspecified", to: Limit.word))
        }
        if let request = event.request { write(request, to: &leaf) }
        if let scopes = event.scopes {
            write("scopes", scopes.sorted(by: Self.precedes), of: Limit.word, atMost: 256, to: &leaf)
        }
        if !disclosures.isEmpty {
            let digests = disclosures.map { Base64URL.encode(sha256($0)) }.sorted(by: Self.precedes)
            leaf.openArray("sd")
            for digest in digests { leaf.element(digest) }
            leaf.closeArray()
        }
        leaf.name("seq")
        prefix = leaf.take()

        leaf.int("severity", event.type.severity(of: event.outcome))
        write(targets, to: &leaf)
        leaf.string("tenant", event.organization.description)
        leaf.string("time", Timestamp.text(event.time))
        if let token = event.token { leaf.string("token", cut(token, to: Limit.word)) }
        if truncated { leaf.bool("truncated", true) }
        leaf.string("type", event.type.rawValue)
        leaf.int("v", 1)
        leaf.close()
        suffix = leaf.take()
    }

    // MARK: Members

    private mutating func write(_ actor: AuditEvent.Actor, to leaf: inout CanonicalWriter) {
        actorID = cut(actor.id.isEmpty ? "-" : actor.id, to: Limit.identifier)
        leaf.open("actor")
        if let credential = actor.credential { leaf.string("credential", cut(credential, to: Limit.word)) }
        leaf.string("id", actorID)
        if let person = actor.impersonator { leaf.string("impersonator", cut(person, to: Limit.identifier)) }
        if let session = actor.session { leaf.string("session", cut(session, to: Limit.word)) }
        leaf.string("type", actor.kind.rawValue)
        leaf.close()
    }

    private mutating func targets(of event: AuditEvent) -> ArraySlice<AuditEvent.Target> {
        guard event.targets.isEmpty else { return limited(event.targets, to: 32) }
        return [AuditEvent.Target(type: "organization", id: event.organization.description)]
    }

    private mutating func write(_ targets: ArraySlice<AuditEvent.Target>, to leaf: inout CanonicalWriter) {
        targetID = cut(targets.first?.id ?? "", to: Limit.identifier)
        leaf.openArray("targets")
        for target in targets {
            leaf.openElement()
            leaf.string("id", cut(target.id, to: Limit.identifier))
            leaf.string("type", cut(target.type, to: Limit.word))
            leaf.close()
        }
        leaf.closeArray()
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

    private mutating func write(_ request: AuditEvent.RequestInfo, to leaf: inout CanonicalWriter) {
        leaf.open("request")
        leaf.string("id", request.id.description)
        leaf.string("method", cut(request.method, to: 32))
        leaf.string("route", cut(request.route, to: Limit.text))
        if let trace = request.traceID { leaf.string("trace_id", cut(trace, to: 64)) }
        leaf.close()
    }

    private mutating func write(_ policy: AuditEvent.PolicyInfo, to leaf: inout CanonicalWriter) {
        leaf.open("policy")
        leaf.string("decision", cut(policy.decision, to: Limit.word))
        if let effective = policy.effective, detail == .full {
            write("effective", effective, of: Limit.word, atMost: 256, to: &leaf)
        }
        if let id = policy.id { leaf.string("id", cut(id, to: Limit.word)) }
        if let input = policy.input, detail == .full { write(input, to: &leaf) }
        if let rule = policy.rule { leaf.string("rule", cut(rule, to: Limit.text)) }
        if !policy.trace.isEmpty, detail == .full { write(policy.trace, to: &leaf) }
        if let version = policy.version { leaf.int("version", version) }
        leaf.close()
    }

    private mutating func write(_ input: AuditEvent.PolicyInfo.Input, to leaf: inout CanonicalWriter) {
        leaf.open("input")
        if input.sawAddress { leaf.string("address", "request") }
        if let authTime = input.authTime { leaf.string("auth_time", Timestamp.text(authTime)) }
        if let client = input.client { leaf.string("client", cut(client, to: Limit.identifier)) }
        if let clientCeiling = input.clientCeiling {
            write("client_ceiling", clientCeiling, of: Limit.word, atMost: 256, to: &leaf)
        }
        write("client_hosts", input.clientHosts, of: Limit.identifier, atMost: 256, to: &leaf)
        leaf.string("client_kind", input.clientKind)
        if let source = input.exchangedFrom { leaf.string("exchanged_from", source) }
        if !input.groups.isEmpty { write("groups", input.groups, of: Limit.identifier, atMost: 256, to: &leaf) }
        if let held = input.held { write("held", held, of: Limit.word, atMost: 256, to: &leaf) }
        if !input.implications.isEmpty {
            let implications = CanonicalJSON.object(input.implications.mapValues { .array($0.map { .string($0) }) })
            leaf.value("implies", cut(implications, to: Limit.trace))
        }
        if input.mfa { leaf.bool("mfa", true) }
        leaf.string("principal", cut(input.principal, to: Limit.identifier))
        leaf.string("resource", input.resource)
        if !input.roles.isEmpty { write("roles", input.roles, of: Limit.identifier, atMost: 256, to: &leaf) }
        if let upstreamCeiling = input.upstreamCeiling {
            write("upstream", upstreamCeiling, of: Limit.word, atMost: 256, to: &leaf)
        }
        leaf.close()
    }

    private mutating func write(_ trace: [AuditEvent.PolicyInfo.Finding], to leaf: inout CanonicalWriter) {
        let before = leaf
        leaf.openArray("trace")
        let start = leaf.count
        for finding in trace {
            leaf.openElement()
            leaf.string("result", cut(finding.result, to: Limit.word))
            leaf.string("rule", cut(finding.rule, to: Limit.text))
            leaf.string("scope", cut(finding.scope, to: Limit.word))
            leaf.close()
        }
        leaf.closeArray()
        guard leaf.count - start > Limit.trace else { return }
        truncated = true
        leaf = before
        leaf.value("trace", ["truncated": true])
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

    private mutating func write(
        _ name: StaticString, _ texts: [String], of limit: Int, atMost most: Int, to leaf: inout CanonicalWriter
    ) {
        leaf.openArray(name)
        for text in limited(texts, to: most) { leaf.element(cut(text, to: limit)) }
        leaf.closeArray()
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

/// Writes canonical JSON whose shape the caller knows: members in the order of their names, each name once.
///
/// Names are plain literals, so nothing of them needs an escape.
struct CanonicalWriter {
    private var bytes: [UInt8] = []
    private var needsComma = false

    init() {
        bytes.reserveCapacity(1024)
        bytes.append(UInt8(ascii: "{"))
    }

    var count: Int { bytes.count }

    /// What was written since the last time; the next member begins with its comma.
    mutating func take() -> [UInt8] {
        defer {
            bytes = []
            bytes.reserveCapacity(512)
            needsComma = true
        }
        return bytes
    }

    mutating func name(_ name: StaticString) {
        comma()
        bytes.append(UInt8(ascii: "\""))
        bytes.append(contentsOf: UnsafeBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
        bytes.append(UInt8(ascii: "\""))
        bytes.append(UInt8(ascii: ":"))
    }

    mutating func string(_ name: StaticString, _ value: String) {
        self.name(name)
        CanonicalJSON.write(value, to: &bytes)
    }

    mutating func int(_ name: StaticString, _ value: Int) { self.value(name, .int(value)) }
    mutating func bool(_ name: StaticString, _ value: Bool) { self.value(name, .bool(value)) }

    mutating func value(_ name: StaticString, _ value: CanonicalJSON) {
        self.name(name)
        value.write(to: &bytes)
    }

    mutating func open(_ name: StaticString) {
        self.name(name)
        bytes.append(UInt8(ascii: "{"))
        needsComma = false
    }

    mutating func close() {
        bytes.append(UInt8(ascii: "}"))
        needsComma = true
    }

    mutating func openArray(_ name: StaticString) {
        self.name(name)
        bytes.append(UInt8(ascii: "["))
        needsComma = false
    }

    mutating func openElement() {
        comma()
        bytes.append(UInt8(ascii: "{"))
        needsComma = false
    }

    mutating func element(_ text: String) {
        comma()
        CanonicalJSON.write(text, to: &bytes)
    }

    mutating func closeArray() {
        bytes.append(UInt8(ascii: "]"))
        needsComma = true
    }

    private mutating func comma() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = true
    }
}
