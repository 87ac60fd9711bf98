import Foundation
import NIOCore
import Outbound
import Testing

@Suite("Outbound: the guarded client", .serialized)
struct OutboundClientTests {
    // MARK: Where it may go

    @Test(
        "S-01 S-02 S-03 S-09 hosts, schemes and ports that policy forbids are refused without resolving",
        arguments: [
            ("http://example.com/", OutboundError.Refusal.scheme), ("https://localhost/", .address),
            ("https://app.localhost/", .address), ("https://127.0.0.1/", .address), ("https://[::1]/", .address),
            ("https://[::ffff:10.0.0.1]/", .address), ("https://169.254.169.254/latest/meta-data/", .address),
            ("https://10.0.0.1/", .address), ("http://127.0.0.1/", .scheme), ("https://example.com:22/", .port),
            ("https://example.com:25/", .port), ("https://example.com:5432/", .port),
            ("https://example.com:6379/", .port),
            ("https://example.com:11211/", .port), ("https://example.com:80/", .port),
        ])
    func forbidden(url: String, refusal: OutboundError.Refusal) async throws {
        let resolver = ScriptedResolver([["127.0.0.1"]])
        try await withClient({ $0.resolve = resolver.resolve }) { client async throws in
            #expect(try await failure(client, OutboundRequest(url: url)) == .refused(refusal))
            #expect(resolver.count == 0)
        }
    }

    @Test(
        "S-05 a name is refused when any of its addresses is special-use",
        arguments: [
            ["10.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["2606:4700::1111", "fd00::1"], ["8.8.8.8", "::ffff:8.8.8.8"],
            ["169.254.169.254", "8.8.8.8"],
        ])
    func mixedRecords(addresses: [String]) async throws {
        let resolver = ScriptedResolver([addresses])
        try await withClient({ $0.resolve = resolver.resolve }) { client async throws in
            #expect(try await failure(client, OutboundRequest(url: "https://mixed.test/")) == .refused(.address))
        }
    }

    @Test("S-05 the loopback exception of development is for loopback names only, not for names that resolve there")
    func loopbackByName() async throws {
        let resolver = ScriptedResolver([["127.0.0.1"]])
        try await withClient({
            $0.allowLoopback = true
            $0.resolve = resolver.resolve
        }) { client async throws in
            #expect(try await failure(client, OutboundRequest(url: "https://inside.test/")) == .refused(.address))
            #expect(try await failure(client, OutboundRequest(url: "http://inside.test/")) == .refused(.scheme))
        }
    }

    @Test("S-06 the connection goes to the checked address, and a name rebound to a private one is refused")
    func rebinding() async throws {
        let server = try await TLSServer(address: "127.0.0.2")
        let resolver = ScriptedResolver([["127.0.0.2"], ["127.0.0.1"]])
        try await withClient({
            $0.resolve = resolver.resolve
            $0.allowedPorts = [server.port]
            $0.allowedNetworks = [IPNetwork("127.0.0.2/32")].compactMap { $0 }
            $0.additionalTrustRoots = server.authority
            $0.resolutionLifetime = .milliseconds(1_500)
            // A handshake on a busy machine.
            $0.connectTimeout = .seconds(20)
            $0.totalTimeout = .seconds(40)
        }) { client async throws in
            let request = OutboundRequest(url: "https://good.test:\(server.port)/", deadline: .seconds(40))
            #expect(try await client.send(request).status == 200)
            #expect(resolver.count == 1)
            try await Task.sleep(for: .milliseconds(1_600))
            #expect(try await failure(client, request) == .refused(.address))
            #expect(resolver.count == 2)
        }
    }

    @Test("S-11 only a valid certificate of a trusted authority for the very host is accepted, chosen by SNI")
    func certificates() async throws {
        let server = try await TLSServer(address: "127.0.0.2")
        let allow: (inout OutboundPolicy) -> Void = {
            $0.resolve = { _ in [IPAddress("127.0.0.2")].compactMap { $0 } }
            $0.allowedPorts = [server.port]
            $0.allowedNetworks = [IPNetwork("127.0.0.2/32")].compactMap { $0 }
        }
        func url(_ host: String) -> OutboundRequest { OutboundRequest(url: "https://\(host):\(server.port)/") }
        try await withClient({
            allow(&$0)
            $0.additionalTrustRoots = server.authority
        }) { client async throws in
            #expect(try await client.send(url("good.test")).status == 200)
            #expect(try await failure(client, url("evil.test")) == .connectionFailed("TLS"))
        }
        try await withClient(allow) { client async throws in
            #expect(try await failure(client, url("good.test")) == .connectionFailed("TLS"))
        }
    }

    @Test("S-11 an expired certificate is refused")
    func expiredCertificate() async throws {
        let server = try await TLSServer(address: "127.0.0.2", certificate: "expired")
        try await withClient({
            $0.resolve = { _ in [IPAddress("127.0.0.2")].compactMap { $0 } }
            $0.allowedPorts = [server.port]
            $0.allowedNetworks = [IPNetwork("127.0.0.2/32")].compactMap { $0 }
            $0.additionalTrustRoots = server.authority
        }) { client async throws in
            let request = OutboundRequest(url: "https://good.test:\(server.port)/")
            #expect(try await failure(client, request) == .connectionFailed("TLS"))
        }
    }

    @Test("A name without addresses, or a resolver that fails or hangs, is a fact within the deadline")
    func unresolvable() async throws {
        try await withClient({ $0.resolve = { _ in [] } }) { client async throws in
            #expect(try await failure(client, OutboundRequest(url: "https://nowhere.test/")) == .unresolvable)
        }
        try await withClient({ $0.resolve = { _ in throw CancellationError() } }) { client async throws in
            #expect(try await failure(client, OutboundRequest(url: "https://nowhere.test/")) == .unresolvable)
        }
        try await withClient({
            $0.resolve = { _ in
                await Self.uncancellable(.seconds(4)); return []
            }
        }) { client async throws in
            let start = ContinuousClock.now
            let request = OutboundRequest(url: "https://slow.test/", deadline: .milliseconds(100))
            #expect(try await failure(client, request) == .timedOut)
            #expect(.now - start < .seconds(2))
        }
    }

    private static func uncancellable(_ time: Duration) async {
        await Task.detached { try? await Task.sleep(for: time) }.value
    }

    // MARK: What comes back

    @Test("S-07 a redirect is returned, not followed (CM-02)", arguments: [301, 302, 303, 307, 308])
    func redirects(status: Int) async throws {
        try await HTTPServer.with(answer: { _ in
            HTTPServer.response("\(status) Moved", ["location: http://localhost/secret"])
        }) { server in
            try await withClient { client async throws in
                let response = try await client.send(OutboundRequest(url: "http://localhost:\(server.port)/"))
                #expect(response.status == status)
                #expect(response.values(of: "Location") == ["http://localhost/secret"])
                #expect(server.requests.count == 1)
            }
        }
    }

    @Test("S-10 a body over the limit is cut, announced or not (CM-08)")
    func tooLarge() async throws {
        let megabytes = 10
        let body = [UInt8](repeating: 0x61, count: megabytes << 20)
        let announced = Array("HTTP/1.1 200 OK\r\ncontent-length: \(body.count)\r\n\r\n".utf8) + body
        let unannounced = Array("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".utf8) + body
        try await HTTPServer.with(answer: { $0.contains("/announced") ? .bytes(announced) : .bytes(unannounced) }) {
            server in
            try await withClient { client async throws in
                for path in ["announced", "unannounced"] {
                    let request = OutboundRequest(
                        url: "http://localhost:\(server.port)/\(path)", maxResponseBytes: 5_120)
                    let start = ContinuousClock.now
                    #expect(try await failure(client, request) == .tooLarge)
                    #expect(.now - start < .seconds(5))
                }
            }
        }
    }

    @Test("S-10 endless chunks, endless headers, slow bodies and silence end at a limit")
    func endless() async throws {
        let chunk = Array("400\r\n".utf8) + [UInt8](repeating: 0x61, count: 1_024) + Array("\r\n".utf8)
        let header = Array(String(repeating: "x-filler: \(String(repeating: "y", count: 1_000))\r\n", count: 64).utf8)
        try await HTTPServer.with(answer: { head in
            let start = "HTTP/1.1 200 OK\r\n"
            if head.contains("/chunks") {
                return .endless(
                    head: start + "transfer-encoding: chunked\r\n\r\n", part: chunk, every: .milliseconds(1))
            }
            if head.contains("/flood") {
                let part = [UInt8](repeating: 0x61, count: 1 << 17)
                return .endless(head: start + "connection: close\r\n\r\n", part: part, every: .milliseconds(1))
            }
            if head.contains("/headers") { return .endless(head: start, part: header, every: .milliseconds(1)) }
            if head.contains("/slow") {
                return .endless(head: start + "content-length: 5000\r\n\r\n", part: [0x61], every: .milliseconds(50))
            }
            return head.contains("/silence") ? .silence : .hangUp
        }) { server in
            try await withClient({
                $0.allowLoopback = true
                $0.wireBytesLimit = 1 << 20
            }) { client async throws in
                func ask(_ path: String, limit: Int = 65_536) async throws -> OutboundError {
                    try await failure(
                        client,
                        OutboundRequest(
                            url: "http://127.0.0.1:\(server.port)/\(path)", maxResponseBytes: limit,
                            deadline: .milliseconds(700)))
                }
                let start = ContinuousClock.now
                #expect(try await ask("chunks") == .tooLarge)
                #expect(try await ask("headers") == .tooLarge)
                #expect(try await ask("flood", limit: .max) == .tooLarge)
                #expect(try await ask("slow") == .timedOut)
                #expect(try await ask("silence") == .timedOut)
                guard case .connectionFailed = try await ask("hang-up") else {
                    Issue.record("a hung-up connection is a failed one")
                    return
                }
                #expect(.now - start < .seconds(5))
            }
        }
    }

    @Test("S-10 a TLS handshake that stalls ends at the deadline")
    func stalledHandshake() async throws {
        try await HTTPServer.with(answer: { _ in .silence }) { server in
            try await withClient({
                $0.allowLoopback = true
                $0.connectTimeout = .seconds(10)
            }) { client async throws in
                let start = ContinuousClock.now
                let request = OutboundRequest(url: "https://localhost:\(server.port)/", deadline: .milliseconds(300))
                #expect(try await failure(client, request) == .timedOut)
                #expect(.now - start < .seconds(5))
            }
        }
    }

    @Test("S-10 a compressed body is neither asked for nor unpacked")
    func compressed() async throws {
        try await HTTPServer.with(answer: { _ in HTTPServer.response("200 OK", ["content-encoding: gzip"], "not gzip") }
        ) {
            server in
            try await withClient { client async throws in
                let response = try await client.send(OutboundRequest(url: "http://localhost:\(server.port)/"))
                #expect(response.body == Array("not gzip".utf8))
                #expect(server.requests.first?.lowercased().contains("accept-encoding") == false)
            }
        }
    }

    // MARK: What is sent

    @Test("Requests carry the name as Host and exactly the given headers, and share one connection")
    func keepAlive() async throws {
        try await HTTPServer.with(answer: { _ in HTTPServer.response("200 OK", ["x-a: 1", "X-A: 2"], "{}") }) {
            server in
            try await withClient { client async throws in
                for _ in 0..<3 {
                    let response = try await client.send(
                        OutboundRequest(
                            method: "POST", url: "http://localhost:\(server.port)/v1/b2b/otps?q=1",
                            headers: [("Authorization", "Basic eDp5"), ("Content-Type", "application/json")],
                            body: Array(#"{"a":1}"#.utf8)))
                    #expect(response.status == 200 && response.body == Array("{}".utf8))
                    #expect(response.values(of: "x-a") == ["1", "2"])
                }
                #expect(server.connections == 1)
                let lines = try #require(server.requests.first).lowercased().split(separator: "\r\n").map(String.init)
                #expect(lines.first == "post /v1/b2b/otps?q=1 http/1.1")
                #expect(
                    Set(lines.dropFirst()) == [
                        "host: localhost:\(server.port)", "authorization: basic edp5", "content-type: application/json",
                        "content-length: 7", "user-agent: gatehouse",
                    ])
            }
        }
    }

    @Test("Headers and methods that could change the request's framing are refused")
    func injection() async throws {
        try await withClient { client async throws in
            let bad: [(String, [(String, String)])] = [
                ("GET\r\nX: y", []), ("", []), ("CONNECT", []), ("GET", [("x", "a\r\nHost: evil.test")]),
                ("GET", [("x\n", "a")]), ("GET", [("x y", "a")]), ("GET", [("", "a")]), ("GET", [("x", "a\u{0}")]),
                ("GET", [("Host", "evil.test")]), ("GET", [("content-LENGTH", "0")]),
                ("GET", [("Transfer-Encoding", "chunked")]),
            ]
            for (method, headers) in bad {
                let request = OutboundRequest(method: method, url: "http://localhost:1/", headers: headers)
                guard case .invalidRequest = try await failure(client, request) else {
                    Issue.record("\(method) \(headers) was not refused")
                    continue
                }
            }
        }
    }

    // MARK: Breaker and concurrency

    @Test("The breaker opens after failures in a row, lets one request try, and closes when it succeeds")
    func breaker() async throws {
        let health = Health()
        try await HTTPServer.with(answer: { _ in
            HTTPServer.response(health.isGood ? "200 OK" : "503 Service Unavailable")
        }) { server in
            try await withClient({
                $0.allowLoopback = true
                $0.breakerThreshold = 3
                $0.breakerOpenTime = .milliseconds(600)
            }) { client async throws in
                let request = OutboundRequest(url: "http://localhost:\(server.port)/")
                for _ in 0..<3 { #expect(try await client.send(request).status == 503) }
                #expect(try await failure(client, request) == .circuitOpen)
                #expect(server.requests.count == 3)
                var other = request
                other.partition = "another organization"
                #expect(try await client.send(other).status == 503)
                try await Task.sleep(for: .milliseconds(620))
                #expect(try await client.send(request).status == 503)
                #expect(try await failure(client, request) == .circuitOpen)
                health.isGood = true
                try await Task.sleep(for: .milliseconds(620))
                #expect(try await client.send(request).status == 200)
                #expect(try await client.send(request).status == 200)
            }
        }
    }

    @Test("S-12 requests to one host at a time are bounded, and a refused connection is a quick fact")
    func concurrency() async throws {
        try await HTTPServer.with(answer: { _ in .silence }) { server in
            try await withClient({
                $0.allowLoopback = true
                $0.perHostConcurrency = 2
            }) { client async throws in
                let request = OutboundRequest(
                    url: "http://localhost:\(server.port)/", deadline: .milliseconds(800))
                let errors = try await withThrowingTaskGroup(of: OutboundError.self) { group in
                    for _ in 0..<10 { group.addTask { try await failure(client, request) } }
                    return try await group.reduce(into: [OutboundError]()) { $0.append($1) }
                }
                #expect(errors.filter { $0 == .overloaded }.count == 8)
                #expect(errors.filter { $0 == .timedOut }.count == 2)
                #expect(
                    try await failure(client, OutboundRequest(url: "http://127.0.0.1:1/"))
                        == .connectionFailed("unreachable"))
            }
        }
    }

    @Test("Cancelling the task ends the request; after shutdown nothing is sent")
    func cancellation() async throws {
        try await HTTPServer.with(answer: { _ in .silence }) { server in
            try await withClient { client async throws in
                let request = OutboundRequest(url: "http://localhost:\(server.port)/")
                let task = Task { try await failure(client, request) }
                try await Task.sleep(for: .milliseconds(50))
                task.cancel()
                #expect(try await task.value == .cancelled)
                client.shutdown()
                #expect(try await failure(client, request) == .connectionFailed("shut down"))
            }
        }
    }
}
