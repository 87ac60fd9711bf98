import Foundation
import Redis
import Testing

@Suite("Redis: commands, replies, scripts")
struct RedisCommandTests {
    private let key = "test:\(UUID().uuidString)"

    @Test("1,000 concurrent commands share few writes and each gets its own reply")
    func pipelining() async throws {
        try await withClient(await sharedURL()) { client async throws in
            let before = client.counters
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<1_000 {
                    group.addTask {
                        let text = "value \(number)"
                        let reply = try await client.send(RedisCommand("ECHO", [.string(text)]))
                        #expect(reply.string == text)
                    }
                }
                try await group.waitForAll()
            }
            let after = client.counters
            #expect(after.commands - before.commands == 1_000)
            #expect(after.flushes - before.flushes <= 250, "\(after.flushes - before.flushes) flushes")
        }
    }

    @Test("Hostile bytes in keys and values come back unchanged and are never read as commands")
    func hostileBytes() async throws {
        try await withClient(await sharedURL()) { client async throws in
            let every = (0...255).map { UInt8($0) }
            let values: [[UInt8]] = [
                [], every, Array("\r\n$3\r\nFOO\r\n*1\r\n$8\r\nFLUSHALL\r\n".utf8), [0], Array("é😀\u{0}\"'\\".utf8),
                [UInt8](repeating: 0x0d, count: 1 << 20),
            ]
            for (index, value) in values.enumerated() {
                let name = "\(key):\(index)\r\nDEL \(key)\u{0}$-1\r\n"
                try await client.set(name, value, expireIn: .seconds(30))
                #expect(try await client.get(name) == value)
                #expect(try await client.delete([name]) == 1)
            }
        }
    }

    @Test("Every kind of reply is told apart, an error inside an array included")
    func replies() async throws {
        try await withClient(await sharedURL()) { client async throws in
            let script: RedisScript = RedisScript(
                "return {1, 'two', {3, {}}, false, redis.error_reply('BAD inner'), redis.status_reply('fine')}")
            #expect(
                try await client.evaluate(script, keys: [])
                    == .array([
                        .integer(1), .bulk(Array("two".utf8)), .array([.integer(3), .array([])]), .null,
                        .error("BAD inner"), .simple("fine"),
                    ]))
            #expect(try await client.get(key) == nil)
            #expect(try await client.send(RedisCommand("INCRBY", [.string(key), -7])) == .integer(-7))
            #expect(
                try await failure {
                    try await client.send(RedisCommand("LPUSH", [.string(key), "x"]))
                }.kind == .server(prefix: "WRONGTYPE"))
            #expect(
                try await failure {
                    try await client.send(RedisCommand("NOSUCHCOMMAND"))
                }.kind == .server(prefix: "ERR"))
            try await client.delete([key])
            try await client.ping()
        }
    }

    @Test("A key is set once with onlyIfAbsent, and expires")
    func setOnce() async throws {
        try await withClient(await sharedURL()) { client async throws in
            #expect(try await client.set(key, [1], expireIn: .seconds(30), onlyIfAbsent: true))
            #expect(try await !client.set(key, [2], expireIn: .seconds(30), onlyIfAbsent: true))
            #expect(try await client.get(key) == [1])
            #expect(try await client.delete([key, key + "absent"]) == 1)
            #expect(try await client.delete([]) == 0)
            try await client.set(key, [3], expireIn: .milliseconds(20))
            try await eventually { (try? await client.get(key)) == .some(nil) }
        }
    }

    @Test("A script is sent again by its source after SCRIPT FLUSH, and runs once")
    func scriptReload() async throws {
        try await withClient(await sharedURL()) { client async throws in
            let script = RedisScript("return redis.call('INCRBY', KEYS[1], ARGV[1])")
            #expect(script.digest.count == 40)
            #expect(try await client.evaluate(script, keys: [key], arguments: [2]) == .integer(2))
            #expect(try await client.evaluate(script, keys: [key], arguments: [2]) == .integer(4))
            _ = try await client.send(RedisCommand("SCRIPT", ["FLUSH"]))
            let before = client.counters.commands
            #expect(try await client.evaluate(script, keys: [key], arguments: [2]) == .integer(6))
            #expect(client.counters.commands - before == 2)
            try await client.delete([key])
        }
    }

    @Test(
        "URLs are read; wrong ones are refused without showing the password",
        arguments: [
            ("redis://localhost", "redis://localhost:6379/0"),
            ("redis://u:p%40ss@h:7000/3", "redis://h:7000/3"),
            ("rediss://[::1]:6380?db=2", "rediss://::1:6380/2"),
            ("unix:///run/redis.sock?db=4", "unix:///run/redis.sock?db=4"),
            ("redis+unix://u:secret@/run/redis.sock", "unix:///run/redis.sock?db=0"),
            ("http://localhost", nil), ("redis://", nil), ("redis://h/x", nil), ("redis://user@h", nil),
            ("unix://relative", nil), ("", nil),
        ])
    func urls(url: String, description: String?) throws {
        guard let description else {
            #expect(throws: RedisError.self) { try RedisSettings(url: url) }
            return
        }
        let settings = try RedisSettings(url: url)
        #expect("\(settings)" == description)
        if url.contains("p%40ss") { #expect(settings.password == "p@ss" && settings.user == "u") }
    }
}
