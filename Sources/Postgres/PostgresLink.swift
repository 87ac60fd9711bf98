import CLibpq
import Foundation
import Logging
import Synchronization

/// How the connections of one door are opened.
struct LinkProfile: Sendable {
    let conninfo: String
    let applicationName: String
    /// Session settings made once, right after connecting.
    let session: PostgresLocalSettings

    init(_ settings: PostgresSettings, door: String, session: PostgresLocalSettings) {
        conninfo = settings.conninfo
        applicationName = "\(settings.applicationName) \(door)"
        self.session =
            [
                ("client_min_messages", "error"), ("DateStyle", "ISO, YMD"), ("TimeZone", "UTC"),
                ("bytea_output", "hex"), ("jit", "off"),
            ] + session
    }

    /// One statement, as it would be on the first chain of the connection.
    var setUp: SQL {
        var calls: SQL = "SELECT 1"
        for setting in session { calls = "\(calls), set_config(\(setting.name), \(setting.value), false)" }
        return calls
    }
}

extension Duration {
    /// Whole milliseconds, as the server's timeouts are written; 0 switches them off.
    var milliseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1_000 + attoseconds / 1_000_000_000_000_000
    }
}

/// The outside of one link: wakes its thread, tells it to stop, and knows when it has.
final class LinkControl: Sendable {
    private let event: Int32
    private let stop = Atomic(false)
    private let ended = Atomic(true)

    init() {
        event = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        precondition(event >= 0, "no file descriptor for an eventfd")
    }

    deinit {
        close(event)
    }

    var isStopping: Bool { stop.load(ordering: .acquiring) }
    var hasEnded: Bool { ended.load(ordering: .acquiring) }

    func wake() {
        eventfd_write(event, 1)
    }

    func requestStop() {
        stop.store(true, ordering: .releasing)
        wake()
    }

    func threadBegan() { ended.store(false, ordering: .releasing) }
    func threadEnded() { ended.store(true, ordering: .releasing) }

    /// Waits for a wake-up, for `socket` to be ready, or for the time to pass; nil waits for ever.
    func wait(socket: Int32 = -1, writable: Bool = false, _ limit: Duration?) -> (socketIsReady: Bool, isWoken: Bool) {
        let interest = Int16(POLLIN) | (writable ? Int16(POLLOUT) : 0)
        var descriptors = (
            pollfd(fd: socket, events: interest, revents: 0), pollfd(fd: event, events: Int16(POLLIN), revents: 0)
        )
        let ready = withUnsafeMutableBytes(of: &descriptors) { bytes in
            // Rounded up: who waits for a moment is not to ask before it.
            let milliseconds = limit.map { Int32(max(0, ($0 + .nanoseconds(999_999)).milliseconds)) } ?? -1
            return poll(bytes.baseAddress?.assumingMemoryBound(to: pollfd.self), 2, milliseconds)
        }
        guard ready > 0 else { return (false, false) }
        if descriptors.1.revents != 0 {
            var count: eventfd_t = 0
            eventfd_read(event, &count)
        }
        return (descriptors.0.revents != 0, descriptors.1.revents != 0)
    }
}

/// One connection of a door and the thread that alone touches it: connects, sends what the lane has, reads, connects
/// again.
///
/// Everything in it belongs to that thread. The lane and the control are its only shared parts.
struct PostgresLink<Lane: LinkLane> {
    let lane: Lane
    let number: Int
    let control: LinkControl
    let profile: LinkProfile
    let meter: LaneMeter
    let logger: Logger

    /// How often waiters in flight are looked at.
    private static var tick: Duration { .milliseconds(100) }

    /// Runs until the control says stop.
    func run() {
        var backoff = Backoff()
        while !control.isStopping {
            if let pipeline = connect(isFirstFailure: backoff.isFresh) {
                let began = ContinuousClock.now
                switch serve(pipeline) {
                case .retired:
                    backoff = Backoff()
                    continue
                case .lost:
                    meter.count(meter.lostLinks)
                    if !control.isStopping { logger.warning("database link lost", metadata: ["link": "\(name)"]) }
                    // A server that accepts and at once drops connections is not hammered.
                    if .now - began > .seconds(1) { backoff = Backoff() }
                case .neverUp:
                    if !control.isStopping {
                        logger.warning("database session could not be set up", metadata: ["link": "\(name)"])
                    }
                }
            }
            guard !control.isStopping else { break }
            backoff.wait(on: control)
        }
    }

    /// How a connection ended: by the lane's wish, by loss after it had been up, or before it was.
    private enum Ending {
        case retired
        case lost
        case neverUp
    }

    private var name: String { "\(profile.applicationName) \(number)" }

    /// Opens a connection, blocking this thread. Options come before the connection string, which therefore overrides
    /// them.
    private func connect(isFirstFailure: Bool) -> Pipeline<Lane.Ticket?>? {
        let options: [(String, String)] = [
            ("application_name", profile.applicationName), ("client_encoding", "UTF8"), ("connect_timeout", "2"),
            ("keepalives_idle", "15"), ("keepalives_interval", "5"), ("keepalives_count", "3"),
            ("tcp_user_timeout", "10000"), ("dbname", profile.conninfo),
        ]
        let names = options.map { strdup($0.0) }
        let texts = options.map { strdup($0.1) }
        defer { (names + texts).forEach { free($0) } }
        let keywords = names.map { UnsafePointer<CChar>($0) } + [nil]
        let values = texts.map { UnsafePointer<CChar>($0) } + [nil]
        guard let connection = PQconnectdbParams(keywords, values, 1) else { return nil }
        guard PQstatus(connection) == CONNECTION_OK else {
            if isFirstFailure {
                // libpq's words about a failed connection name hosts and roles, never passwords.
                let reason = String(cString: PQerrorMessage(connection)).trimmingCharacters(in: .whitespacesAndNewlines)
                logger.warning("database not reachable", metadata: ["link": "\(name)", "reason": "\(reason)"])
            }
            PQfinish(connection)
            return nil
        }
        return Pipeline(owning: connection, meter: meter)
    }

    /// Works until the connection is lost, the lane disconnects it or the control says stop.
    private func serve(_ pipeline: Pipeline<Lane.Ticket?>) -> Ending {
        var isUp = false
        var isRetired = false
        var isDisconnected = false
        var lastTick = ContinuousClock.now
        pipeline.send(.pipeline([.statement(profile.setUp)]), ticket: nil, patience: .seconds(2))

        while !pipeline.isBroken, !isDisconnected, !control.isStopping {
            var pause: Duration?
            if isUp {
                switch sendWork(to: pipeline) {
                case .disconnect: isRetired = true
                case .later(let limit): pause = limit
                case .none, .chains: break
                }
            }
            if pipeline.isBroken || isRetired { break }

            let isWritePending = pipeline.flush()
            let ready = control.wait(
                socket: pipeline.socket, writable: isWritePending, pipeline.inFlight > 0 ? Self.tick : pause)
            if ready.socketIsReady {
                pipeline.consume()
                pipeline.receive { ticket, outcome in
                    if let ticket {
                        lane.finish(ticket, outcome)
                    } else if case .completed = outcome {
                        isUp = true
                        lane.linkIsUp(number)
                    } else {
                        isDisconnected = true
                    }
                }
            }
            let now = ContinuousClock.now
            if pipeline.inFlight > 0, now - lastTick >= Self.tick {
                lastTick = now
                pipeline.forEachTicket { ticket in
                    if let ticket { lane.expire(ticket, before: now + Self.tick) }
                }
                isDisconnected = isDisconnected || pipeline.isOverdue(at: now)
            }
        }
        if isUp { lane.linkIsDown(number) }
        pipeline.lose { ticket, outcome in
            if let ticket { lane.finish(ticket, outcome) }
        }
        return isRetired ? .retired : isUp ? .lost : .neverUp
    }

    /// Sends what the lane has until it has nothing or the connection is full. - Returns: the lane's last word.
    private func sendWork(to pipeline: Pipeline<Lane.Ticket?>) -> LinkWork<Lane.Ticket> {
        while true {
            let work = lane.takeWork(for: number, inFlight: pipeline.inFlight)
            guard case .chains(let chains) = work else { return work }
            for chain in chains {
                pipeline.send(chain.body, ticket: chain.ticket, patience: chain.patience)
            }
            if pipeline.isBroken { return .none }
        }
    }
}

/// Waiting times between attempts to connect: doubled each time, between half and all of it, at most a second.
private struct Backoff {
    private static let first: Int32 = 20
    private static let longest: Int32 = 1_000
    private var ceiling = Backoff.first

    var isFresh: Bool { ceiling == Self.first }

    mutating func wait(on control: LinkControl) {
        let end = ContinuousClock.now + .milliseconds(Int64(Int32.random(in: ceiling / 2...ceiling)))
        ceiling = min(ceiling * 2, Self.longest)
        while !control.isStopping {
            let left = ContinuousClock.now.duration(to: end).milliseconds
            guard left > 0 else { return }
            _ = control.wait(.milliseconds(left))
        }
    }
}

/// What the doors share: their links' threads, the clock that answers waiters, an orderly end.
final class LinkEngine: Sendable {
    let meter = LaneMeter()
    private let controls: [LinkControl]
    private let clock = LinkControl()
    private let isStarted = Atomic(false)

    /// How often waiters that are not in flight are looked at.
    private static let sweepInterval: Duration = .milliseconds(100)
    /// How much before its deadline such a waiter may be answered, so that it is never after it.
    private static let sweepMargin: Duration = .milliseconds(150)

    init(links: Int) {
        controls = (0..<max(1, links)).map { _ in LinkControl() }
    }

    var links: Int { controls.count }

    func wake(_ link: Int?) {
        if let link { controls[link].wake() }
    }

    /// Starts the threads and the clock, once.
    func start<Lane: LinkLane>(_ lane: Lane, _ profile: LinkProfile, logger: Logger) {
        guard !isStarted.exchange(true, ordering: .relaxed) else { return }
        for (number, control) in controls.enumerated() {
            control.threadBegan()
            let thread = Thread { [meter] in
                let link = PostgresLink(
                    lane: lane, number: number, control: control, profile: profile, meter: meter, logger: logger)
                link.run()
                control.threadEnded()
            }
            thread.name = "pg \(number)"
            thread.stackSize = 1 << 20
            thread.start()
        }
        // A thread, too: deadlines hold when the cooperative pool is busy, and the links' own may be connecting.
        let thread = Thread { [clock] in
            while !clock.isStopping {
                _ = clock.wait(Self.sweepInterval)
                lane.sweep(before: .now + Self.sweepMargin)
            }
        }
        thread.name = "pg clock"
        thread.stackSize = 1 << 18
        thread.start()
    }

    /// Waits until the work is done or the time is over, then closes every connection. Threads that are just
    /// connecting end later.
    func stop(within limit: Duration, when isDrained: () -> Bool) async {
        let deadline = ContinuousClock.now + limit
        while !isDrained(), .now < deadline, !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(5))
        }
        for control in controls { control.requestStop() }
        let lastCall = ContinuousClock.now + .seconds(1)
        while !controls.allSatisfy(\.hasEnded), .now < lastCall, !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(2))
        }
        clock.requestStop()
    }
}

/// Which links of a lane are up, and which of them sleep. Lives under the lane's lock.
struct LinkBoard: Sendable {
    private struct Standing: Sendable {
        var isUp = false
        var isAsleep = false
        var inFlight = 0
        /// When that was sent.
        var busySince = ContinuousClock.now
    }

    private var links: [Standing]
    /// Since when no link is up.
    private var downSince: ContinuousClock.Instant? = .now

    init(links: Int) {
        self.links = Array(repeating: Standing(), count: links)
    }

    var linksUp: Int { links.count(where: \.isUp) }
    /// Whether nothing is in flight on any link.
    var isIdle: Bool { links.allSatisfy { $0.inFlight == 0 } }

    /// Whether a link sent something less than `time` ago and is still under way with it; the one that asks for work is not.
    func isAnyUnderWay(besides asking: Int? = nil, since time: Duration) -> Bool {
        links.indices.contains { link in
            link != asking && links[link].inFlight > 0 && links[link].busySince + time > .now
        }
    }

    func hasBeenDown(for duration: Duration) -> Bool {
        downSince.map { $0.duration(to: .now) >= duration } ?? false
    }

    mutating func begin() {
        downSince = .now
    }

    mutating func markUp(_ link: Int) {
        links[link] = Standing(isUp: true)
        downSince = nil
    }

    mutating func markDown(_ link: Int) {
        links[link] = Standing()
        if linksUp == 0 { downSince = .now }
    }

    mutating func markBusy(_ link: Int, inFlight: Int) {
        links[link].isAsleep = false
        links[link].inFlight = inFlight
        links[link].busySince = .now
    }

    mutating func markAsleep(_ link: Int, inFlight: Int) {
        links[link].isAsleep = true
        links[link].inFlight = inFlight
    }

    /// The sleeping link with the least in flight, no longer asleep: whoever asks must wake it.
    mutating func takeSleeper() -> Int? {
        var best: Int?
        for index in links.indices where links[index].isUp && links[index].isAsleep {
            if let known = best, links[known].inFlight <= links[index].inFlight { continue }
            best = index
        }
        if let best { links[best].isAsleep = false }
        return best
    }
}
