import Foundation
import Redis
import Testing

@Suite("Redis: one script for the questions of many tasks")
struct GatheredScriptTests {
    /// Answers each question with its argument and with how many questions shared the call. Of places that begin with
    /// `shard` it takes one in a call, as Redis Cluster does.
    private static let script = RedisScript(
        """
        local place = string.match(KEYS[1], '{(.-)}')
        local answers = {}
        for i, key in ipairs(KEYS) do
            local other = string.match(key, '{(.-)}')
            if other ~= place and string.sub(other, 1, 5) == 'shard' then
                return redis.error_reply("CROSSSLOT Keys in request don't hash to the same slot")
            end
            if ARGV[i] == '0' then return redis.error_reply('BAD argument') end
            answers[2 * i - 1], answers[2 * i] = tonumber(ARGV[i]), #KEYS
        end
        return answers
        """)

    private func question(_ number: Int64, at place: String = "p") -> GatheredScript.Question {
        var keys = RedisArgumentBytes()
        keys.append(Array("{\(place)}:\(number)".utf8))
        var arguments = RedisArgumentBytes()
        arguments.append(number)
        return GatheredScript.Question(at: place, keys: keys, arguments: arguments)
    }

    @Test(
        "Questions of many tasks share calls and each has its own answer; where Redis has shards, places stay apart",
        arguments: ["", "shard-"])
    func gathering(kind: String) async throws {
        try await withClient(await sharedURL()) { client async throws in
            let script = GatheredScript(Self.script, over: client)
            let before = client.counters.commands
            try await withThrowingTaskGroup(of: Int64.self) { group in
                for number in 1...1_000 as ClosedRange<Int64> {
                    group.addTask {
                        let answer = try await script.ask(question(number, at: "\(kind)\(number % 2)"))
                        #expect(answer.first?.integer == number)
                        #expect(answer.count == 2)
                        return answer.last?.integer ?? 0
                    }
                }
                var most: Int64 = 0
                for try await together in group { most = max(most, together) }
                #expect((2...64).contains(most))
            }
            #expect(client.counters.commands - before < 900)
        }
    }

    @Test("A server that forgot the script is told it again, and an error is everybody's who shared the call")
    func errors() async throws {
        try await withClient(await sharedURL()) { client async throws in
            let script = GatheredScript(Self.script, over: client)
            _ = try await script.ask(question(1))
            _ = try await client.send(RedisCommand("SCRIPT", ["FLUSH"]))
            #expect(try await script.ask(question(-1_234_567)).first?.integer == -1_234_567)
            await #expect(throws: RedisError(.server(prefix: "BAD"), "error reply")) {
                try await script.ask(question(0))
            }
            #expect(try await script.ask(question(.max / 1_024)).first?.integer == .max / 1_024)
        }
    }

    @Test("Without Redis every question fails in time, and later ones too")
    func away() async throws {
        try await withClient("redis://127.0.0.1:1", connected: false, adjust: { $0.commandTimeout = .milliseconds(20) })
        {
            client async throws in
            let script = GatheredScript(Self.script, over: client)
            for _ in 0..<2 {
                await withTaskGroup(of: Bool.self) { group in
                    for number in 1...200 as ClosedRange<Int64> {
                        group.addTask { (try? await script.ask(question(number))) == nil }
                    }
                    for await hasFailed in group { #expect(hasFailed) }
                }
            }
        }
    }
}
