internal import NIOCore
internal import Synchronization

/// A script that answers many questions in one call, asked by many tasks: what comes while a call is under way goes
/// together as the next one, as the write lane of PostgreSQL does it.
///
/// The script gets the keys of all questions, then the arguments of all, each in the order of the questions; it must know
/// by itself where one ends and the next begins. It answers one array in which every question has equally many elements.
/// Questions of different places share a call too, until a Redis that is divided into shards refuses one for it; from then
/// on each place has calls of its own.
package final class GatheredScript: Sendable {
    /// One task's part of a call.
    package struct Question: Sendable {
        /// What its keys have in braces, by which Redis Cluster finds their shard.
        let place: String
        let keys: RedisArgumentBytes
        let arguments: RedisArgumentBytes

        package init(at place: String, keys: RedisArgumentBytes, arguments: RedisArgumentBytes) {
            self.place = place
            self.keys = keys
            self.arguments = arguments
        }
    }

    package typealias Answer = Result<ArraySlice<RESPValue>, RedisError>

    private struct Waiting: Sendable {
        let question: Question
        let continuation: UnsafeContinuation<Answer, Never>
    }

    private struct State {
        var waiting: [Waiting] = []
        /// Calls whose reply is outstanding; one that is only scheduled counts as well.
        var underway = 0
        /// Redis refused a call for the keys of several places.
        var isSharded = false
    }

    private let script: RedisScript
    private let redis: RedisClient
    private let state = Mutex(State())
    /// Of one call: Redis does nothing else meanwhile.
    private static let most = 64

    package init(_ script: RedisScript, over redis: RedisClient) {
        self.script = script
        self.redis = redis
    }

    /// Whether the calling thread is the one its client works on.
    package var isHere: Bool { redis.eventLoop.inEventLoop }

    /// Asks and waits for the answer: at most twice the client's command timeout, since a call may be under way already;
    /// where that one finds Redis away, no longer than it. The task's cancellation does not end the wait.
    package func ask(_ question: Question) async throws(RedisError) -> ArraySlice<RESPValue> {
        let answer: Answer = await withUnsafeContinuation { continuation in
            let isFirst = state.withLock { state in
                state.waiting.append(Waiting(question: question, continuation: continuation))
                guard state.underway == 0 else { return false }
                state.underway = 1
                return true
            }
            // Not at once: what else came with the same readings of the sockets goes along.
            if isFirst { redis.eventLoop.execute { self.call() } }
        }
        return try answer.get()
    }

    /// Sends what has gathered. Nothing is under way but the scheduling of this.
    private func call() {
        let groups = state.withLock { state in
            let count = min(state.waiting.count, Self.most)
            let together = Array(state.waiting.prefix(count))
            let groups = state.isSharded ? Self.byPlace(together) : [together]
            state.waiting.removeFirst(count)
            state.underway = groups.count
            return groups
        }
        for group in groups { send(group, bySource: false) }
    }

    private static func byPlace(_ waiting: [Waiting]) -> [[Waiting]] {
        Array(Dictionary(grouping: waiting, by: \.question.place).values)
    }

    private func send(_ group: [Waiting], bySource: Bool) {
        var written = RedisArgumentBytes(
            capacity: group.reduce(0) { $0 + $1.question.keys.bytes.count + $1.question.arguments.bytes.count })
        for waiting in group { written.append(waiting.question.keys) }
        let keyCount = written.count
        for waiting in group { written.append(waiting.question.arguments) }
        var command = RedisCommand(
            bySource ? "EVAL" : "EVALSHA",
            [.string(bySource ? script.source : script.digest), .integer(Int64(keyCount))])
        command.written = written
        redis.send(command) { reply in
            // NOSCRIPT is answered before anything ran, so the second try cannot do it twice.
            if case .failure(let error) = reply, error.isUnknownScript, !bySource {
                return self.send(group, bySource: true)
            }
            // So is this one.
            if case .failure(let error) = reply, error.isOfSeveralShards, self.divide(group, bySource: bySource) {
                return
            }
            self.answer(group, reply)
        }
    }

    /// Sends each place's questions by themselves, now and henceforth. - Returns: false where they are of one place.
    private func divide(_ group: [Waiting], bySource: Bool) -> Bool {
        let parts = Self.byPlace(group)
        guard parts.count > 1 else { return false }
        state.withLock { state in
            state.isSharded = true
            state.underway += parts.count - 1
        }
        for part in parts { send(part, bySource: bySource) }
        return true
    }

    private func answer(_ group: [Waiting], _ reply: RedisReply) {
        var failure = RedisError(.protocolViolation, "a script answered another shape")
        var isAway = false
        if case .success(.array(let values)) = reply, !values.isEmpty, values.count % group.count == 0 {
            let width = values.count / group.count
            for (index, waiting) in group.enumerated() {
                waiting.continuation.resume(returning: .success(values[index * width..<(index + 1) * width]))
            }
        } else {
            if case .failure(let error) = reply {
                failure = error
                isAway = error.kind == .timedOut || error.kind == .unavailable
            }
            for waiting in group { waiting.continuation.resume(returning: .failure(failure)) }
        }
        let (hopeless, hasMore) = state.withLock { state -> ([Waiting], Bool) in
            state.underway -= 1
            var hopeless: [Waiting] = []
            // They have waited as long as the others.
            if isAway { swap(&hopeless, &state.waiting) }
            guard state.underway == 0, !state.waiting.isEmpty else { return (hopeless, false) }
            state.underway = 1
            return (hopeless, true)
        }
        for waiting in hopeless { waiting.continuation.resume(returning: .failure(failure)) }
        if hasMore { redis.eventLoop.execute { self.call() } }
    }
}
