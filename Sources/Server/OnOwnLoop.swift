import HummingbirdCore
import Logging
import NIOCore
import Synchronization

/// Serves each connection on the thread of its event loop: reading a request, deciding it and writing the answer wake
/// nobody else. What waits for a database or for Redis comes back to that thread.
///
/// As on Swift's own threads, nothing that runs here may block.
struct OnOwnLoop<Base: ServerChildChannel>: ServerChildChannel {
    private let base: Base
    private let executors = LoopExecutors()

    init(_ base: Base) {
        self.base = base
    }

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Base.Value> {
        base.setup(channel: channel, logger: logger)
    }

    func handle(value: Base.Value, logger: Logger) async {
        await withTaskExecutorPreference(executors[value.channel.eventLoop]) {
            await base.handle(value: value, logger: logger)
        }
    }
}

/// An executor for each event loop; as many as the machine has cores.
private final class LoopExecutors: Sendable {
    private let known = Mutex<[ObjectIdentifier: LoopExecutor]>([:])

    subscript(loop: any EventLoop) -> LoopExecutor {
        known.withLock { known in
            if let executor = known[ObjectIdentifier(loop)] { return executor }
            let executor = LoopExecutor(loop)
            known[ObjectIdentifier(loop)] = executor
            return executor
        }
    }
}

/// Runs tasks on the thread of an event loop. However many become ready at once, the loop is told only once.
private final class LoopExecutor: TaskExecutor {
    private struct State {
        var ready: [UnownedJob] = []
        var isTold = false
    }

    private let loop: any EventLoop
    private let state = Mutex(State())

    init(_ loop: any EventLoop) {
        self.loop = loop
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let mustTell = state.withLock { state in
            state.ready.append(job)
            guard !state.isTold else { return false }
            state.isTold = true
            return true
        }
        if mustTell { loop.execute { self.run() } }
    }

    /// One round; what becomes ready meanwhile has the next one, so that the loop gets to its sockets in between.
    private func run() {
        let ready = state.withLock { state in
            defer { state.ready = [] }
            state.isTold = false
            return state.ready
        }
        for job in ready { job.runSynchronously(on: asUnownedTaskExecutor()) }
    }
}
