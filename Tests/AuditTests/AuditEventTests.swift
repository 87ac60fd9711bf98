import Audit
import Foundation
import Keys
import Tenancy
import Testing

@Suite("Audit events")
struct AuditEventTests {
    let organization = OrganizationID.make(at: Date(), .system)
    let id = EventID.make(at: Date(), .system)
    let time = Date(timeIntervalSince1970: 1_767_323_045.123456)

    /// An event with every field in use.
    func full(text: String = "x") -> AuditEvent {
        AuditEvent(
            .tokenIssued, organization: organization, id: id, time: time, outcome: .denied, reason: text,
            actor: .init(
                kind: .user, id: text, session: text, credential: text, impersonator: text, email: text, name: text),
            targets: [.init(type: text, id: text, name: text), .init(type: "grant", id: text, name: text)],
            client: text, scopes: ["write", text, "read"], audience: [text], grant: text, token: text,
            changes: [
                .init(path: text, old: .string(text), new: AuditEvent.Change.redacted),
                .init(path: "email", old: .string(text), new: .string(text), isPersonal: true),
            ],
            request: .init(
                id: .make(at: time, .system), method: text, route: text, traceID: text, ip: text, userAgent: text),
            policy: .init(
                id: text, version: 3, decision: text, rule: text, trace: [.init(scope: text, result: text, rule: text)]),
            metadata: [text: text, "k": text], personalMetadata: [text: text])
    }

    @Test("a leaf is canonical JSON split around its sequence number")
    func leaf() throws {
        let event = AuditEvent(
            .clientCreated, organization: organization, id: id, time: time, actor: .client("https://c.example/m"),
            targets: [.init(type: "client", id: "cli_1")], scopes: ["b", "a"])
        let stored = event.outboxEvent(.system)
        let leaf = stored.leafPrefix + Array("42".utf8) + stored.leafSuffix
        #expect(
            String(decoding: leaf, as: UTF8.self) == """
                {"actor":{"id":"https://c.example/m","type":"client"},"id":"\(id)","outcome":"success","scopes":["a","b"],\
                "seq":42,"severity":2,"targets":[{"id":"cli_1","type":"client"}],"tenant":"\(organization)",\
                "time":"2026-01-02T03:04:05.123456Z","type":"client.created","v":1}
                """)
        #expect(stored.disclosures.isEmpty)
        #expect(stored.type == "client.created" && stored.severity == 2 && stored.actorID == "https://c.example/m")
        #expect(stored.targetID == "cli_1" && stored.clientID == nil && stored.organization == organization)
    }

    @Test("personal fields are sealed: in the disclosures, never in the leaf")
    func sealing() throws {
        var event = full()
        event.actor.email = "person@example.test"
        event.actor.name = "Person Name"
        event.targets[0].name = "Target Name"
        event.targets[1].name = "Second Name"
        event.request = event.request.map { request in
            AuditEvent.RequestInfo(
                id: request.id, method: request.method, route: request.route, traceID: request.traceID,
                ip: "192.0.2.77", userAgent: "Agent/1")
        }
        event.personalMetadata = ["pending_email": "pending@example.test"]
        event.changes[1].old = "old@example.test"
        event.changes[1].new = "new@example.test"
        let stored = event.outboxEvent(.system)
        let leaf = String(decoding: stored.leafPrefix + [0x30] + stored.leafSuffix, as: UTF8.self)
        let sealed: [String: String] = [
            "actor.email": "person@example.test", "actor.name": "Person Name", "target.name": "Target Name",
            "target.1.name": "Second Name", "context.ip": "192.0.2.77", "context.user_agent": "Agent/1",
            "metadata.pending_email": "pending@example.test", "changes.email.old": "old@example.test",
            "changes.email.new": "new@example.test",
        ]
        var found: [String: String] = [:]
        var salts: Set<String> = []
        for disclosure in stored.disclosures {
            let parts = try CanonicalJSON.parse(try #require(Base64URL.decode(disclosure))).texts
            let (salt, path, value) = try #require(parts.map { ($0[0], $0[1], $0[2]) })
            #expect(Base64URL.decode(salt)?.count == 16)
            salts.insert(salt)
            found[path] = value
        }
        #expect(found == sealed)
        #expect(salts.count == sealed.count)
        for value in sealed.values { #expect(!leaf.contains(value)) }
        let digests = try CanonicalJSON.parse(leaf.utf8)["sd"]?.texts
        #expect(digests == stored.disclosures.map { Base64URL.encode(sha256($0)) }.sorted())
    }

    @Test("erasing disclosures changes neither leaf nor root nor proof")
    func erasure() throws {
        let events = (0..<5).map { _ in full().outboxEvent(.system) }
        let leaves = events.enumerated().map { seq, event in
            MerkleTree.leafHash(event.leafPrefix + Array(String(seq).utf8) + event.leafSuffix)
        }
        let proof = try #require(MerkleTree.inclusionProof(of: 3, in: leaves))
        // What is left of the fourth event when its disclosures are gone.
        let kept = MerkleTree.leafHash(events[3].leafPrefix + Array("3".utf8) + events[3].leafSuffix)
        #expect(MerkleTree.verifyInclusion(of: kept, at: 3, size: 5, root: MerkleTree.root(of: leaves), proof: proof))
    }

    static let hostile = [
        "", "\0", "a\0b", "\u{1}\u{1F}\u{7F}\u{80}", "\"\\/\u{8}\u{C}\n\r\t", "\u{2028}\u{2029}\u{FEFF}", "e\u{301}",
        "é",
        "😀\u{1F3FD}\u{200D}", "\u{FFFE}\u{FFFF}\u{10FFFF}", "\u{202E}evil", "\r\n", "'; DROP TABLE audit_event; --",
        "\\u0000", "{\"a\":1}",
        String(repeating: "n", count: 70_000), String(repeating: "\u{1}", count: 70_000),
        String(repeating: "😀", count: 20_000), String(repeating: "\"", count: 70_000),
    ]

    @Test("hostile text in every field gives a bounded canonical leaf and columns equal to it", arguments: hostile)
    func hostileText(text: String) throws {
        let stored = full(text: text).outboxEvent(.system)
        let leaf = stored.leafPrefix + Array("9223372036854775807".utf8) + stored.leafSuffix
        #expect(leaf.count <= 65_535)
        // The decoder of tests keeps names apart by bytes only where Unicode does; our own names are ASCII.
        let plain = stored.leafPrefix + [0x37] + stored.leafSuffix
        let value = try CanonicalJSON.parse(plain)
        #expect(value.bytes == plain)
        #expect(value["actor"]?["id"]?.text == stored.actorID)
        #expect(value["client"]?.text == stored.clientID)
        guard case .array(let targets) = value["targets"] else { return #expect(Bool(false)) }
        #expect(targets[0]["id"]?.text == stored.targetID)
        #expect((value["truncated"] == true) == (text.utf8.count > 10_000))
        for column in [stored.actorID, stored.clientID ?? "", stored.targetID] {
            #expect(!column.utf8.contains(0) && column.utf8.count <= 2_048)
        }
        #expect(stored.disclosures.allSatisfy { $0.utf8.count < 6_000 })
        if text == "a\0b" { #expect(stored.actorID == "a\u{FFFD}b") }
    }

    @Test("too many of everything is cut, marked, and still says who did what to what")
    func tooMany() throws {
        let long = String(repeating: "y", count: 5_000)
        let event = AuditEvent(
            .policyUpdated, organization: organization, id: id, time: time, actor: .anonymous,
            targets: (0..<1_000).map { .init(type: "user", id: "\($0)" + long) }, client: long,
            scopes: (0..<1_000).map { "\($0)" + long }, audience: Array(repeating: long, count: 1_000),
            changes: Array(
                repeating: .init(path: long, old: .string(long), new: .string(String(long.prefix(3_000)))), count: 1_000
            ),
            policy: .init(
                decision: long, trace: Array(repeating: .init(scope: long, result: long, rule: long), count: 1_000)),
            metadata: Dictionary(uniqueKeysWithValues: (0..<1_000).map { ("\($0)" + long, long) }),
            personalMetadata: Dictionary(uniqueKeysWithValues: (0..<1_000).map { ("\($0)" + long, long) }))
        let stored = event.outboxEvent(.system)
        let value = try CanonicalJSON.parse(stored.leafPrefix + [0x30] + stored.leafSuffix)
        #expect(stored.leafPrefix.count + stored.leafSuffix.count + 19 <= 65_535)
        #expect(value["truncated"] == true)
        #expect(value["actor"] == ["id": "-", "type": "anonymous"])
        #expect(value["targets"] != nil && value["policy"]?["decision"] != nil)
    }

    @Test("an event without a target is about its organization, and a failure always has a reason")
    func defaults() throws {
        let event = AuditEvent(
            .orgUpdated, organization: organization, id: id, time: time, outcome: .failure,
            actor: .system("bootstrap"), targets: [])
        let stored = event.outboxEvent(.system)
        let value = try CanonicalJSON.parse(stored.leafPrefix + [0x30] + stored.leafSuffix)
        #expect(stored.targetID == organization.description)
        #expect(value["reason"] == "unspecified")
        #expect(value["severity"] == 2)
        #expect(value["actor"]?["id"] == "sys:bootstrap")
    }

    @Test("the time in the column is the time in the leaf, to the microsecond")
    func times() throws {
        for _ in 0..<200 {
            let time = Date(timeIntervalSince1970: Double.random(in: 0...4e9))
            let stored = AuditEvent(
                .logout, organization: organization, id: id, time: time, actor: .anonymous, targets: []
            ).outboxEvent(.system)
            let value = try CanonicalJSON.parse(stored.leafPrefix + [0x30] + stored.leafSuffix)
            #expect(value["time"]?.text == Timestamp.text(stored.time))
        }
    }

    @Test("encoding a token event costs microseconds")
    func speed() {
        let event = AuditEvent(
            .tokenIssued, organization: organization, id: id, time: time,
            actor: .user(.make(at: time, .system), email: "someone@example.test"),
            targets: [.init(type: "resource", id: "res_01h455vb4pex5vsknk084sn02q")],
            client: "cli_01h455vb4pex5vsknk084sn02q",
            scopes: ["read", "write"], audience: ["https://mcp.example.test/mcp"], grant: "authorization_code",
            token: "tok_01h455vb4pex5vsknk084sn02q",
            request: .init(
                id: .make(at: time, .system), method: "POST", route: "/oauth/token", ip: "192.0.2.1",
                userAgent: "python-httpx/0.28"))
        let count = 2_000
        let duration = ContinuousClock().measure { for _ in 0..<count { _ = event.outboxEvent(.system) } }
        print("outboxEvent: \(duration / count) each")
        #expect(duration / count < .milliseconds(2))
    }
}

@Suite("Audit catalogue")
struct AuditCatalogueTests {
    /// `constant`, `name` and severity of every constant in the source.
    static let declared: [(constant: String, name: String, severity: Int)] = {
        let source = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../../Sources/Audit/AuditEventType.swift")
        let text = (try? String(contentsOf: source, encoding: .utf8)) ?? ""
        return text.matches(of: /static let (\w+) = AuditEventType\(\s*"([^"]+)", (\d)/).map {
            (String($0.1), String($0.2), Int($0.3) ?? 0)
        }
    }()

    @Test("every constant is in the catalogue once, and its name follows from the event's name")
    func complete() {
        #expect(Self.declared.count > 150)
        #expect(AuditEventType.catalogue.map(\.rawValue) == Self.declared.map(\.name))
        #expect(Set(AuditEventType.catalogue).count == AuditEventType.catalogue.count)
        for (constant, name, _) in Self.declared {
            #expect(name.wholeMatch(of: /[a-z0-9_]+(\.[a-z0-9_]+)*/) != nil)
            let words = name.split { $0 == "." || $0 == "_" }
            #expect(constant == String(words[0]) + words.dropFirst().map(\.capitalized).joined())
        }
    }

    @Test("names outside the catalogue are refused")
    func closed() {
        #expect(AuditEventType(rawValue: "token.issued") == .tokenIssued)
        #expect(AuditEventType(rawValue: "connection.created") == nil)
        #expect(AuditEventType(rawValue: "") == nil)
    }

    @Test(
        "names and severities of the written catalogue",
        arguments: [
            ("org.suspended", 3), ("user.erased", 3), ("client.registered", 2), ("client.redirect_uris_changed", 3),
            ("policy.denied", 2), ("identity_provider.created", 3), ("login.started", 1), ("login.throttled", 3),
            ("logout", 1),
            ("session.impersonated", 4), ("authorize.code_replayed", 4), ("authorize.pkce_failed", 3),
            ("token.issued", 1),
            ("token.reuse_detected", 4), ("token.dpop_failed", 3), ("grant.revoked", 2), ("invitation.created", 2),
            ("group.created", 2), ("role.created", 3), ("access_token.created", 2),
            ("access_token.created_for_other", 4),
            ("signing_key.imported", 3), ("signing_key.compromised", 5), ("client.approved", 2), ("client.rejected", 2),
            ("resource.tools_imported", 2), ("admin_key.auth_failed", 3), ("admin.access_denied", 3),
            ("audit.hold_placed", 4),
            ("audit.gap_detected", 5), ("webhook.disabled_after_failures", 3), ("device.denied", 2),
        ])
    func severities(name: String, severity: Int) {
        #expect(AuditEventType(rawValue: name)?.severity == severity)
    }

    @Test("failure raises severity by one, unless the name already speaks of a failure")
    func raised() {
        #expect(AuditEventType.tokenIssued.severity(of: .success) == 1)
        #expect(AuditEventType.tokenIssued.severity(of: .failure) == 2)
        #expect(AuditEventType.tokenDenied.severity(of: .denied) == 2)
        #expect(AuditEventType.signingKeyCompromised.severity(of: .failure) == 5)
    }
}
