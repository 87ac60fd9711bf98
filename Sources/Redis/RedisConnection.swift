internal import CHiredis
internal import NIOCore
internal import Synchronization

typealias RedisReply = Result<RESPValue, RedisError>

/// A command on its way, with whoever waits for its reply.
struct QueuedCommand: Sendable {
    let command: RedisCommand
    let waiter: RedisWaiter
}

/// Whoever waits for a reply. Whatever comes first resolves it: the reply, the deadline, a lost link or cancellation.
final class RedisWaiter: Sendable {
    typealias Hearer = @Sendable (RedisReply) -> Void

    private enum State {
        case new
        case waiting(Hearer)
        case done(RedisReply)
    }

    let deadline: NIODeadline
    private let state: Mutex<State>

    init(deadline: NIODeadline) {
        self.deadline = deadline
        state = Mutex(.new)
    }

    /// Waits from the start.
    init(deadline: NIODeadline, _ hearer: @escaping Hearer) {
        self.deadline = deadline
        state = Mutex(.waiting(hearer))
    }

    /// Keeps the continuation until ``resolve(_:)``.
    ///
    /// - Returns: false if the waiter was resolved before and the continuation is resumed already.
    func wait(_ continuation: CheckedContinuation<RedisReply, Never>) -> Bool {
        let early: RedisReply? = state.withLock { state in
            if case .done(let reply) = state { return reply }
            state = .waiting { continuation.resume(returning: $0) }
            return nil
        }
        if let early { continuation.resume(returning: early) }
        return early == nil
    }

    /// Answers it, once.
    ///
    /// - Returns: false if it had its answer already.
    @discardableResult
    func resolve(_ reply: RedisReply) -> Bool {
        let (first, hearer) = state.withLock { state -> (Bool, Hearer?) in
            switch state {
            case .done: return (false, nil)
            case .new:
                state = .done(reply)
                return (true, nil)
            case .waiting(let hearer):
                state = .done(reply)
                return (true, hearer)
            }
        }
        hearer?(reply)
        return first
    }

    var isDone: Bool { state.withLock { if case .done = $0 { true } else { false } } }
}

/// Numbers that tasks and the event loop both touch.
final class RedisTally: Sendable {
    let commands = Atomic(0)
    let flushes = Atomic(0)
    let connects = Atomic(0)
    let timeouts = Atomic(0)
    /// Slots on the link whose reply has not come, abandoned ones included.
    let inFlight = Atomic(0)

    var snapshot: RedisCounters {
        RedisCounters(
            commands: commands.load(ordering: .relaxed), flushes: flushes.load(ordering: .relaxed),
            connects: connects.load(ordering: .relaxed), timeouts: timeouts.load(ordering: .relaxed))
    }
}

/// The RESP codec of one link and the slots that wait for replies, in order; used on the event loop only.
final class RedisConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let tally: RedisTally
    /// hiredis' parser: owned here, freed in `deinit`, touched by no other thread before.
    private let reader: UnsafeMutablePointer<redisReader>
    private var slots = CircularBuffer<RedisWaiter>()
    /// How many slots at the front were resolved by their deadline and only keep the order.
    private var abandoned = 0
    private var context: ChannelHandlerContext?
    private var failure: RedisError?
    private var closesWhenIdle = false
    /// When bytes last went either way.
    private(set) var lastTraffic = NIODeadline.now()

    /// - Throws: ``RedisError`` when memory is short.
    init(tally: RedisTally) throws(RedisError) {
        guard let reader = redisReaderCreate() else { throw RedisError(.unavailable, "no memory for a reader") }
        self.reader = reader
        self.tally = tally
    }

    deinit { redisReaderFree(reader) }

    var isIdle: Bool { slots.isEmpty }

    /// Writes the commands whose tasks still wait with one flush.
    func send(_ commands: [QueuedCommand]) {
        guard let context, failure == nil else {
            for command in commands { command.waiter.resolve(.failure(failure ?? Self.lost)) }
            return
        }
        var buffer = context.channel.allocator.buffer(capacity: 64 * commands.count)
        var written = 0
        for queued in commands where !queued.waiter.isDone {
            queued.command.encode(into: &buffer)
            slots.append(queued.waiter)
            written += 1
        }
        guard written > 0 else { return }
        tally.inFlight.add(written, ordering: .relaxed)
        tally.commands.add(written, ordering: .relaxed)
        tally.flushes.add(1, ordering: .relaxed)
        lastTraffic = .now()
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }

    /// Resolves slots whose deadline has passed, leaving them in place for order.
    ///
    /// - Returns: when to look again, `nil` when nothing waits.
    func expire(at now: NIODeadline, stallTimeout: TimeAmount) -> NIODeadline? {
        while abandoned < slots.count {
            let waiter = slots[slots.index(slots.startIndex, offsetBy: abandoned)]
            guard waiter.deadline <= now else { break }
            if waiter.resolve(.failure(RedisError(.timedOut, "no reply within the deadline"))) {
                tally.timeouts.add(1, ordering: .relaxed)
            }
            abandoned += 1
        }
        guard let oldest = slots.first else { return nil }
        let stall = oldest.deadline + stallTimeout
        if stall <= now {
            fail(RedisError(.unavailable, "the link was closed because replies stopped"))
            return nil
        }
        guard abandoned < slots.count else { return stall }
        return min(stall, slots[slots.index(slots.startIndex, offsetBy: abandoned)].deadline)
    }

    /// Closes at once when nothing waits, else after the last reply.
    func closeWhenIdle() {
        closesWhenIdle = true
        if slots.isEmpty { context?.close(promise: nil) }
    }

    /// Resolves everything with `error` and closes.
    func fail(_ error: RedisError) {
        if failure == nil { failure = error }
        let waiting = slots
        slots.removeAll()
        abandoned = 0
        tally.inFlight.subtract(waiting.count, ordering: .relaxed)
        for waiter in waiting { waiter.resolve(.failure(error)) }
        context?.close(promise: nil)
    }

    /// Why the link ended, for what comes after it.
    var reason: RedisError { failure ?? Self.lost }

    private static let lost = RedisError(.unavailable, "the link was lost")

    // MARK: ChannelInboundHandler

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }
    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelInactive(context: ChannelHandlerContext) {
        fail(reason)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        fail(RedisError(.unavailable, "the link failed (\(type(of: error)))"))
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        lastTraffic = .now()
        let buffer = unwrapInboundIn(data)
        let fed = buffer.withUnsafeReadableBytes { bytes in
            redisReaderFeed(reader, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count)
        }
        guard fed == REDIS_OK else { return fail(RedisError(.protocolViolation, "a reply could not be buffered")) }
        while failure == nil {
            var reply: UnsafeMutableRawPointer?
            guard redisReaderGetReply(reader, &reply) == REDIS_OK else {
                return fail(RedisError(.protocolViolation, "a reply is not RESP"))
            }
            guard let reply else { break }
            let value = RESPValue(reply.assumingMemoryBound(to: redisReply.self))
            freeReplyObject(reply)
            guard let waiter = slots.popFirst() else {
                return fail(RedisError(.protocolViolation, "a reply came that nobody asked for"))
            }
            if abandoned > 0 { abandoned -= 1 }
            tally.inFlight.subtract(1, ordering: .relaxed)
            if case .error(let message) = value {
                let prefix = message.prefix { $0.isASCII && ($0.isUppercase || $0.isNumber) }
                let error = RedisError(.server(prefix: prefix.isEmpty ? "ERR" : String(prefix)), "error reply")
                waiter.resolve(.failure(error))
            } else {
                waiter.resolve(.success(value))
            }
        }
        if closesWhenIdle, slots.isEmpty { context.close(promise: nil) }
    }

    func wrapOutboundOut(_ buffer: ByteBuffer) -> NIOAny { NIOAny(buffer) }
}

extension RESPValue {
    /// Copies a reply out of hiredis' memory; the reader bounds the nesting at 7 levels.
    fileprivate init(_ reply: UnsafePointer<redisReply>) {
        let raw = reply.pointee
        func text() -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: raw.str, count: raw.len) }
        switch raw.type {
        case REDIS_REPLY_STRING: self = .bulk(Array(text()))
        case REDIS_REPLY_STATUS: self = .simple(String(decoding: text(), as: UTF8.self))
        case REDIS_REPLY_ERROR: self = .error(String(decoding: text(), as: UTF8.self))
        case REDIS_REPLY_INTEGER: self = .integer(Int64(raw.integer))
        case REDIS_REPLY_ARRAY:
            let elements = UnsafeBufferPointer(start: raw.element, count: raw.elements)
            self = .array(elements.map { element in element.map { RESPValue($0) } ?? .null })
        default: self = .null
        }
    }
}
