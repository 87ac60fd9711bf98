package import Logging
package import NIOCore
internal import NIOPosix
internal import NIOSSL
internal import ServiceLifecycle
internal import Synchronization

/// What the client has done since it was made; for metrics.
package struct RedisCounters: Sendable, Equatable {
    /// Commands written to a link.
    package var commands = 0
    /// Writes that carried them; far fewer than commands under load.
    package var flushes = 0
    /// Links that became ready for commands, the first included.
    package var connects = 0
    /// Commands that ended at their deadline.
    package var timeouts = 0
}

/// Redis over one shared link: commands of all tasks are pipelined, and none waits longer than its deadline.
///
/// The room owns the connection (RESP over TCP, TLS or a unix socket, authentication, reconnection) and knows no keys:
/// the rooms above choose those. A task appends its command to a queue; the first one to find no flush scheduled posts
/// one to the event loop, which writes everything gathered so far at once. Replies are matched in order. A command is
/// sent at most once: after a lost link the sender learns ``RedisError/Kind/unavailable`` and decides.
package final class RedisClient: Service {
    private struct Link {
        let channel: any Channel
        let connection: NIOLoopBound<RedisConnection>
    }

    private struct State {
        var queue: [QueuedCommand] = []
        var flushScheduled = false
        var link: Link?
        /// Since when, and why, there is no link.
        var downSince: NIODeadline
        var downReason = RedisError(.unavailable, "not connected yet")
        var closed = false
        var runner: Task<Void, Never>?
    }

    private enum Admission { case flush, joined, refused(RedisError) }

    private let settings: RedisSettings
    private let logger: Logger
    let eventLoop: any EventLoop
    private let commandTimeout: TimeAmount
    private let state: Mutex<State>
    private let tally = RedisTally()
    /// The next look at deadlines.
    private let alarm: NIOLoopBoundBox<(at: NIODeadline, task: Scheduled<Void>)?>

    /// Makes a client that connects once ``run()`` is called.
    package init(
        settings: RedisSettings, logger: Logger,
        eventLoopGroup: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
    ) {
        self.settings = settings
        self.logger = logger
        eventLoop = eventLoopGroup.next()
        commandTimeout = TimeAmount(settings.commandTimeout)
        state = Mutex(State(downSince: .now()))
        alarm = .makeBoxSendingValue(nil, eventLoop: eventLoop)
    }

    /// Whether a link is ready for commands now.
    package var isConnected: Bool { state.withLock { $0.link != nil } }

    /// A snapshot for metrics.
    package var counters: RedisCounters { tally.snapshot }

    /// Sends one command and waits for its reply, at most `commandTimeout`.
    ///
    /// - Throws: ``RedisError``; an error reply is thrown as `server(prefix:)`.
    package func send(_ command: RedisCommand) async throws(RedisError) -> RESPValue {
        let waiter = RedisWaiter(deadline: .now() + commandTimeout)
        let reply = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                if waiter.wait(continuation) { enqueue(QueuedCommand(command: command, waiter: waiter)) }
            }
        } onCancel: {
            waiter.resolve(.failure(RedisError(.cancelled, "the waiting task was cancelled")))
        }
        return try reply.get()
    }

    /// The same for who is no task; `hearer` must not block, and may be called at once.
    func send(_ command: RedisCommand, _ hearer: @escaping RedisWaiter.Hearer) {
        enqueue(QueuedCommand(command: command, waiter: RedisWaiter(deadline: .now() + commandTimeout, hearer)))
    }

    /// A client for each event loop of the process: what tasks of one loop ask of its client stays on their thread.
    package static func onEachLoop(settings: RedisSettings, logger: Logger) -> [RedisClient] {
        MultiThreadedEventLoopGroup.singleton.makeIterator().map { loop in
            RedisClient(settings: settings, logger: logger, eventLoopGroup: loop)
        }
    }

    /// Keeps a link to Redis until the task is cancelled or the service group shuts down gracefully.
    ///
    /// Never throws: a Redis that is away is a fact its callers see, not the end of the process. Call it once.
    package func run() async {
        let runner = state.withLock { state -> Task<Void, Never>? in
            guard !state.closed, state.runner == nil else { return nil }
            let task = Task { await self.keepLink() }
            state.runner = task
            return task
        }
        guard let runner else { return }
        await withTaskCancellationHandler {
            await withGracefulShutdownHandler {
                await runner.value
            } onGracefulShutdown: {
                self.close()
            }
        } onCancel: {
            self.close()
        }
    }

    /// Refuses new commands, lets those under way finish within their deadline, and closes the link.
    package func shutdown() async {
        close()
        await state.withLock { $0.runner }?.value
    }

    // MARK: Queue

    private func enqueue(_ queued: QueuedCommand) {
        let admission = state.withLock { state -> Admission in
            if state.closed { return .refused(RedisError(.unavailable, "the client is shut down")) }
            if state.link == nil, state.downSince + commandTimeout < .now() { return .refused(state.downReason) }
            if state.queue.count + tally.inFlight.load(ordering: .relaxed) >= settings.queueLimit {
                return .refused(RedisError(.overloaded, "the queue is full"))
            }
            state.queue.append(queued)
            if state.flushScheduled { return .joined }
            state.flushScheduled = true
            return .flush
        }
        switch admission {
        case .flush: eventLoop.execute { self.flush() }
        case .joined: break
        case .refused(let error): queued.waiter.resolve(.failure(error))
        }
    }

    /// Writes what has gathered, or leaves it queued while there is no link.
    private func flush() {
        let (link, batch) = state.withLock { state -> (Link?, [QueuedCommand]) in
            state.flushScheduled = false
            guard let link = state.link else { return (nil, []) }
            defer { state.queue.removeAll(keepingCapacity: true) }
            return (link, state.queue)
        }
        link?.connection.value.send(batch)
        arm(at: .now() + commandTimeout)
    }

    /// Makes sure deadlines are looked at no later than `time`.
    private func arm(at time: NIODeadline) {
        if let alarm = alarm.value {
            if alarm.at <= time { return }
            alarm.task.cancel()
        }
        alarm.value = (time, eventLoop.scheduleTask(deadline: time) { self.expire() })
    }

    private func expire() {
        alarm.value = nil
        let now = NIODeadline.now()
        let (link, late, next, reason) = state.withLock { state in
            // Deadlines are equal in length, so the queue is in their order but for a race of microseconds.
            let count = state.queue.firstIndex { $0.waiter.deadline > now } ?? state.queue.count
            let late = Array(state.queue.prefix(count))
            state.queue.removeFirst(count)
            return (state.link, late, state.queue.first?.waiter.deadline, state.downReason)
        }
        for queued in late { queued.waiter.resolve(.failure(reason)) }
        let sent = link?.connection.value.expire(at: now, stallTimeout: TimeAmount(settings.stallTimeout))
        if let time = [next, sent].compactMap({ $0 }).min() { arm(at: time) }
    }

    // MARK: Link

    private func keepLink() async {
        var failures = 0
        var lastReason: RedisError?
        while !state.withLock({ $0.closed }) {
            let reason: RedisError
            do {
                let link = try await connect()
                failures = 0
                lastReason = nil
                logger.info("Redis connected", metadata: ["address": "\(settings)"])
                reason = await serve(link)
                guard !state.withLock({ $0.closed }) else { break }
            } catch {
                reason = error
                failures += 1
            }
            state.withLock { $0.downReason = reason }
            if reason != lastReason {
                logger.warning("Redis is away", metadata: ["address": "\(settings)", "reason": "\(reason)"])
            }
            lastReason = reason
            let ceiling = min(2_000, 25 << min(failures, 7))
            try? await Task.sleep(for: .milliseconds(Int.random(in: ceiling / 2...ceiling)))
        }
        let left = state.withLock { state in
            defer { state.queue.removeAll() }
            return state.queue
        }
        for queued in left { queued.waiter.resolve(.failure(RedisError(.unavailable, "the client is shut down"))) }
    }

    /// Opens the queue to the link and waits for the link's end.
    private func serve(_ link: Link) async -> RedisError {
        tally.connects.add(1, ordering: .relaxed)
        let closed = state.withLock { state in
            state.link = link
            return state.closed
        }
        if closed { close() }
        eventLoop.execute { self.flush() }
        let idlePing = TimeAmount(settings.idlePing)
        let ping = eventLoop.scheduleRepeatedTask(initialDelay: idlePing, delay: idlePing) { _ in
            let connection = link.connection.value
            guard connection.isIdle, connection.lastTraffic + idlePing <= .now() else { return }
            let waiter = RedisWaiter(deadline: .now() + self.commandTimeout)
            connection.send([QueuedCommand(command: RedisCommand("PING"), waiter: waiter)])
            self.arm(at: waiter.deadline)
        }
        try? await link.channel.closeFuture.get()
        ping.cancel()
        state.withLock { state in
            state.link = nil
            state.downSince = .now()
        }
        return (try? await eventLoop.submit { link.connection.value.reason }.get())
            ?? RedisError(.unavailable, "the link was lost")
    }

    /// Connects, authenticates and selects; the queue stays closed meanwhile.
    private func connect() async throws(RedisError) -> Link {
        let link: Link
        do {
            link = try await dial()
        } catch let error as RedisError {
            throw error
        } catch {
            throw RedisError(.unavailable, "cannot connect (\(type(of: error)))")
        }
        let watch = eventLoop.scheduleTask(in: TimeAmount(settings.connectTimeout)) {
            link.connection.value.fail(RedisError(.unavailable, "the server did not answer while connecting"))
        }
        defer { watch.cancel() }
        for command in greeting {
            let waiter = RedisWaiter(deadline: .distantFuture)
            let reply = await withCheckedContinuation { continuation in
                guard waiter.wait(continuation) else { return }
                eventLoop.execute { link.connection.value.send([QueuedCommand(command: command, waiter: waiter)]) }
            }
            guard case .failure(let error) = reply else { continue }
            link.channel.close(promise: nil)
            guard case .server(let prefix) = error.kind else { throw error }
            throw RedisError(.unavailable, "\(command.name) was refused: \(prefix)")
        }
        return link
    }

    private var greeting: [RedisCommand] {
        var commands: [RedisCommand] = []
        if let password = settings.password {
            let user = settings.user.map { [RedisArgument.string($0)] } ?? []
            commands.append(RedisCommand("AUTH", user + [.string(password)]))
        }
        if settings.database != 0 { commands.append(RedisCommand("SELECT", [.integer(Int64(settings.database))])) }
        commands.append(RedisCommand("CLIENT", ["SETNAME", .string(settings.clientName)]))
        return commands
    }

    private func dial() async throws -> Link {
        let tls = try tlsContext()
        let tally = tally
        let bootstrap = ClientBootstrap(group: eventLoop)
            .channelOption(.socketOption(.so_keepalive), value: 1)
            .connectTimeout(TimeAmount(settings.connectTimeout))
        let prepare: @Sendable (any Channel) -> EventLoopFuture<Link> = { [settings] channel in
            channel.eventLoop.makeCompletedFuture {
                if let tls, case .tcp(let host, _) = settings.address {
                    let isAddress = (try? SocketAddress(ipAddress: host, port: 0)) != nil
                    let handler = try NIOSSLClientHandler(context: tls, serverHostname: isAddress ? nil : host)
                    try channel.pipeline.syncOperations.addHandler(handler)
                }
                let connection = try RedisConnection(tally: tally)
                try channel.pipeline.syncOperations.addHandler(connection)
                return Link(
                    channel: channel, connection: NIOLoopBound(connection, eventLoop: channel.eventLoop))
            }
        }
        switch settings.address {
        case .tcp(let host, let port):
            return try await bootstrap.connect(host: host, port: port, channelInitializer: prepare)
        case .unix(let path):
            return try await bootstrap.connect(unixDomainSocketPath: path, channelInitializer: prepare)
        }
    }

    private func tlsContext() throws -> NIOSSLContext? {
        guard settings.tls else { return nil }
        var configuration = TLSConfiguration.makeClientConfiguration()
        if let file = settings.trustRoots { configuration.additionalTrustRoots = [.file(file)] }
        do {
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw RedisError(.configuration, "the file of trusted certificates cannot be used")
        }
    }

    private func close() {
        let (link, runner) = state.withLock { state in
            state.closed = true
            return (state.link, state.runner)
        }
        if let link {
            eventLoop.execute {
                self.flush()
                link.connection.value.closeWhenIdle()
            }
            eventLoop.scheduleTask(in: commandTimeout) {
                link.connection.value.fail(RedisError(.unavailable, "the client is shut down"))
            }
        } else {
            runner?.cancel()
        }
    }
}

// MARK: Commands

extension RedisClient {
    /// The value of `key`, `nil` when there is none.
    package func get(_ key: String) async throws(RedisError) -> [UInt8]? {
        switch try await send(RedisCommand("GET", [.string(key)])) {
        case .bulk(let bytes): return bytes
        case .null: return nil
        default: throw RedisError(.protocolViolation, "GET answered another type")
        }
    }

    /// Stores `bytes` under `key` for `lifetime` (whole milliseconds, at least 1).
    ///
    /// - Returns: false only with `onlyIfAbsent`, when the key existed and was left alone.
    @discardableResult
    package func set(
        _ key: String, _ bytes: [UInt8], expireIn lifetime: Duration, onlyIfAbsent: Bool = false
    ) async throws(RedisError) -> Bool {
        let milliseconds = max(1, lifetime / .milliseconds(1))
        var arguments: [RedisArgument] = [.string(key), .bytes(bytes), "PX", .integer(Int64(milliseconds))]
        if onlyIfAbsent { arguments.append("NX") }
        return try await send(RedisCommand("SET", arguments)) != .null
    }

    /// Deletes `keys` and tells how many existed.
    @discardableResult
    package func delete(_ keys: [String]) async throws(RedisError) -> Int {
        guard !keys.isEmpty else { return 0 }
        let reply = try await send(RedisCommand("DEL", keys.map(RedisArgument.string)))
        guard let count = reply.integer else { throw RedisError(.protocolViolation, "DEL answered another type") }
        return Int(count)
    }

    /// Runs `script`, by its digest where the server knows it and by its source where it does not (any more).
    package func evaluate(
        _ script: RedisScript, keys: [String], arguments: [RedisArgument] = []
    ) async throws(RedisError) -> RESPValue {
        let tail = [.integer(Int64(keys.count))] + keys.map(RedisArgument.string) + arguments
        do {
            return try await send(RedisCommand("EVALSHA", [.string(script.digest)] + tail))
        } catch {
            // NOSCRIPT is answered before anything ran, so the second try cannot do it twice.
            guard error.isUnknownScript else { throw error }
            return try await send(RedisCommand("EVAL", [.string(script.source)] + tail))
        }
    }

    /// Returns when Redis answered.
    package func ping() async throws(RedisError) {
        _ = try await send(RedisCommand("PING"))
    }
}
