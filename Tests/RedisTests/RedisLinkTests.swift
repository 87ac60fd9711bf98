import Foundation
import Glibc
import Redis
import TestSupport
import Testing

@Suite("Redis: the link, its deadlines and its loss", .serialized)
struct RedisLinkTests {
    /// Keeps the server busy for the given time without letting it answer anybody.
    private static let busy = RedisScript(
        """
        local function now() local t = redis.call('TIME'); return t[1] * 1000 + t[2] / 1000 end
        local stop = now() + tonumber(ARGV[1])
        while now() < stop do end
        return 'late'
        """)

    @Test("A reply that comes after its deadline is dropped and the next command gets its own")
    func deadlineKeepsOrder() async throws {
        let server = try await RedisServer()
        try await withClient(server.url, adjust: { $0.commandTimeout = .milliseconds(500) }) { client async throws in
            try await client.set("k", [42], expireIn: .seconds(60))
            let sent = client.counters.commands
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    let error = try await failure {
                        try await client.evaluate(Self.busy, keys: [], arguments: [1_500])
                    }
                    // EVALSHA is refused first, so the source is what runs late.
                    #expect(error.kind == .timedOut)
                }
                try await eventually { client.counters.commands == sent + 2 }
                for _ in 0..<5 {
                    group.addTask {
                        let error = try await failure { try await client.get("k") }
                        #expect(error.kind == .timedOut)
                    }
                }
                try await group.waitForAll()
            }
            try await eventually { (try? await client.send(RedisCommand("ECHO", ["mine"])))?.string == "mine" }
            #expect(try await client.get("k") == [42])
            #expect(client.counters.timeouts >= 6)
            #expect(client.counters.connects == 1)
        }
    }

    @Test("A killed server fails commands quickly; when it is back they work again")
    func killedAndBack() async throws {
        let server = try await RedisServer()
        try await withClient(server.url, adjust: { $0.commandTimeout = .milliseconds(400) }) { client async throws in
            try await client.ping()
            server.kill()
            try await eventually { !client.isConnected }
            let first = ContinuousClock.now
            #expect(try await failure { try await client.ping() }.kind == .unavailable)
            #expect(.now - first < .seconds(2))
            try await Task.sleep(for: .milliseconds(450))
            var quickest = Duration.seconds(1)
            for _ in 0..<5 {
                let again = ContinuousClock.now
                #expect(try await failure { try await client.ping() }.kind == .unavailable)
                quickest = min(quickest, .now - again)
            }
            #expect(quickest < .milliseconds(100))
            try await server.start()
            try await eventually { client.isConnected }
            try await client.ping()
            #expect(client.counters.connects == 2)
        }
    }

    @Test("Commands under way when the server dies are answered at once")
    func killedInFlight() async throws {
        let server = try await RedisServer()
        try await withClient(server.url) { client async throws in
            try server.signal(SIGSTOP)
            let waiting = (0..<100).map { _ in
                Task { try await failure { try await client.ping() } }
            }
            try await Task.sleep(for: .milliseconds(50))
            let start = ContinuousClock.now
            server.kill()
            for task in waiting { #expect(try await task.value.kind == .unavailable) }
            #expect(.now - start < .seconds(2))
        }
    }

    @Test("A full queue refuses instead of growing")
    func queueBound() async throws {
        let server = try await RedisServer()
        let adjust: (inout RedisSettings) -> Void = {
            $0.commandTimeout = .milliseconds(300)
            $0.queueLimit = 10
        }
        try await withClient(server.url, adjust: adjust) { client async throws in
            try server.signal(SIGSTOP)
            let kinds = await withTaskGroup(of: RedisError.Kind?.self) { group in
                for _ in 0..<200 {
                    group.addTask {
                        try? await failure { try await client.ping() }.kind
                    }
                }
                return await group.reduce(into: [RedisError.Kind?]()) { $0.append($1) }
            }
            #expect(kinds.filter { $0 == .overloaded }.count >= 180)
            #expect(kinds.filter { $0 == .timedOut }.count >= 1)
            try server.signal(SIGCONT)
            try await eventually { (try? await client.ping()) != nil }
        }
    }

    @Test("A link whose server stopped answering is found by the idle ping, closed and made again")
    func halfOpen() async throws {
        let server = try await RedisServer()
        let adjust: (inout RedisSettings) -> Void = {
            $0.commandTimeout = .milliseconds(100)
            $0.stallTimeout = .milliseconds(100)
            $0.idlePing = .milliseconds(100)
            $0.connectTimeout = .milliseconds(300)
        }
        try await withClient(server.url, adjust: adjust) { client async throws in
            try server.signal(SIGSTOP)
            try await eventually { !client.isConnected }
            try server.signal(SIGCONT)
            try await eventually { client.isConnected }
            try await client.ping()
        }
    }

    @Test("An idle link is asked now and then and stays the same link")
    func idle() async throws {
        let server = try await RedisServer()
        try await withClient(server.url, adjust: { $0.idlePing = .milliseconds(50) }) { client async throws in
            let sent = client.counters.commands
            try await eventually { client.counters.commands >= sent + 3 }
            #expect(client.isConnected && client.counters.connects == 1)
        }
    }

    @Test("A cancelled task stops waiting; the link and its order stay")
    func cancellation() async throws {
        let server = try await RedisServer()
        try await withClient(server.url) { client async throws in
            try server.signal(SIGSTOP)
            let task = Task { try await failure { try await client.ping() } }
            try await Task.sleep(for: .milliseconds(30))
            task.cancel()
            #expect(try await task.value.kind == .cancelled)
            try server.signal(SIGCONT)
            #expect(try await client.send(RedisCommand("ECHO", ["mine"])).string == "mine")
            #expect(client.counters.connects == 1)
        }
    }

    @Test("Shutting down lets commands under way finish and refuses new ones")
    func gracefulShutdown() async throws {
        let server = try await RedisServer()
        try await withClient(server.url) { client async throws in
            let sent = client.counters.commands
            let late = Task { try await client.evaluate(Self.busy, keys: [], arguments: [200]) }
            try await eventually { client.counters.commands == sent + 2 }
            await client.shutdown()
            #expect(try await late.value.string == "late")
            #expect(try await failure { try await client.ping() }.kind == .unavailable)
        }
    }

    @Test("Without a server nobody hangs and the reason is named")
    func nobodyThere() async throws {
        try await withClient(
            "unix:///nonexistent/redis.sock", connected: false, adjust: { $0.commandTimeout = .milliseconds(100) }
        ) { client async throws in
            let start = ContinuousClock.now
            for _ in 0..<3 {
                #expect(try await failure { try await client.ping() }.kind == .unavailable)
            }
            #expect(.now - start < .seconds(2))
        }
    }

    @Test("A wrong password or user is a clear error; the right ones connect, as ACL user and as default user")
    func authentication() async throws {
        let server = try await RedisServer([
            "--requirepass", "general", "--user", "gate", "on", ">s:/@cret", "~*", "&*", "+@all",
        ])
        let urls = [
            "redis+unix://gate:s%3A%2F%40cret@\(server.socket)", "redis+unix://:general@\(server.socket)?db=2",
        ]
        for url in urls {
            try await withClient(url) { client async throws in
                try await client.ping()
                #expect(try await client.send(RedisCommand("CLIENT", ["GETNAME"])).string == "gatehouse")
            }
        }
        for (url, prefix) in [
            ("redis+unix://gate:wrong@\(server.socket)", "WRONGPASS"), (server.url, "NOAUTH"),
        ] {
            try await withClient(url, connected: false, adjust: { $0.commandTimeout = .milliseconds(200) }) {
                client async throws in
                let error = try await failure { try await client.ping() }
                #expect(error.kind == .unavailable)
                #expect(error.detail.hasSuffix("was refused: \(prefix)"), "\(error)")
            }
        }
    }

    @Test("TLS connects to a certificate of a trusted authority and to no other")
    func tls() async throws {
        let server = try await RedisServer()
        let folder = server.directory
        try await run(
            "openssl",
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", "/CN=throw-away", "-keyout", "ca.key", "-out", "ca.pem",
            ], in: folder)
        try await run(
            "openssl",
            [
                "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=redis",
                "-keyout", "server.key", "-out", "server.csr",
            ], in: folder)
        try "subjectAltName=DNS:localhost,IP:127.0.0.1\n".write(
            toFile: "\(folder)/names", atomically: true, encoding: .utf8)
        try await run(
            "openssl",
            [
                "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", "names", "-out", "server.pem",
            ], in: folder)
        let port = try freePort()
        let secure = try await RedisServer([
            "--tls-port", "\(port)", "--tls-cert-file", "\(folder)/server.pem", "--tls-key-file",
            "\(folder)/server.key", "--tls-ca-cert-file", "\(folder)/ca.pem", "--tls-auth-clients", "no",
        ])
        #expect(secure.directory != folder)
        for host in ["localhost", "127.0.0.1"] {
            try await withClient("rediss://\(host):\(port)", adjust: { $0.trustRoots = "\(folder)/ca.pem" }) {
                client async throws in
                try await client.set("k", [7], expireIn: .seconds(5))
                #expect(try await client.get("k") == [7])
            }
        }
        try await withClient(
            "rediss://localhost:\(port)", connected: false, adjust: { $0.commandTimeout = .milliseconds(300) }
        ) { client async throws in
            #expect(try await failure { try await client.ping() }.kind == .unavailable)
            #expect(client.counters.connects == 0)
        }
    }
}
