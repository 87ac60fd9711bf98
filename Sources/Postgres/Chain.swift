import Synchronization

/// What travels to the server as one unit.
enum ChainBody: Sendable {
    enum Step: Sendable {
        /// `set_config(name, value, true)` for each pair; its result is dropped.
        case settings(PostgresLocalSettings)
        /// A caller's statement; its result is kept.
        case statement(SQL)
    }

    /// Everything up to one Sync: one round trip and, outside an open transaction, one implicit transaction.
    case pipeline([Step])
    /// Text of one or several statements without parameters, by the simple protocol. Only on a connection lent out
    /// whole.
    case script(String)

    /// One statement under settings made for it alone.
    static func single(_ statement: SQL, under settings: PostgresLocalSettings) -> ChainBody {
        .pipeline(settings.isEmpty ? [.statement(statement)] : [.settings(settings), .statement(statement)])
    }
}

/// A unit of work with what the lane and the link must know of it.
struct Chain<Ticket: Sendable>: Sendable {
    let body: ChainBody
    /// What the lane needs to know again when the outcome is there.
    let ticket: Ticket
    /// How long the server may be silent before the connection is given up. `nil`: for ever.
    let patience: Duration?
}

/// How a ``Chain`` ended.
enum ChainOutcome: Sendable {
    /// The server confirmed the Sync: what the statements did is committed, unless a transaction is open on this
    /// connection.
    case completed([PostgresResult])
    /// The server refused the statement at this place (counted without settings; one past the last: the commit).
    /// Nothing was committed.
    case failed(PostgresError, at: Int)
    /// The connection was lost before the Sync was confirmed. `nothingDone`: certainly nothing was committed.
    case lost(nothingDone: Bool)
}

/// What a link does next.
enum LinkWork<Ticket: Sendable>: Sendable {
    case chains([Chain<Ticket>])
    /// Nothing now. The lane wakes the link when there is something, or the link asks again after its next outcome.
    case none
    /// The same, but the link asks again after that time at the latest.
    case later(Duration)
    /// Close this connection and open another.
    case disconnect
}

/// A door as its links see it. Links call from their own threads; a lane's lock is never held while a link is called.
protocol LinkLane: AnyObject, Sendable {
    associatedtype Ticket: Sendable

    /// A connection is ready for work.
    func linkIsUp(_ link: Int)
    /// The connection is gone. The outcomes of what was in flight follow.
    func linkIsDown(_ link: Int)
    /// Called before the link sleeps, every time. Returning `none` and marking it asleep is one step under the lane's
    /// lock: that is why no wake-up is ever lost.
    func takeWork(for link: Int, inFlight: Int) -> LinkWork<Ticket>
    func finish(_ ticket: Ticket, _ outcome: ChainOutcome)
    /// Answers those waiting for something in flight whose time is up.
    func expire(_ ticket: Ticket, before limit: ContinuousClock.Instant)
    /// Answers those waiting for something not in flight whose time is up.
    func sweep(before limit: ContinuousClock.Instant)
}

/// One waiting task and its answer. Whoever answers first decides: the server, the clock, or the task's cancellation.
final class Reply<Value: Sendable>: Sendable {
    private enum State {
        case open
        case waiting(UnsafeContinuation<Result<Value, PostgresError>, Never>)
        case answered(Result<Value, PostgresError>)
        case taken
    }

    private let state = Mutex(State.open)

    var isAnswered: Bool {
        state.withLock { state in
            switch state {
            case .open, .waiting: false
            case .answered, .taken: true
            }
        }
    }

    /// - Returns: whether this was the first answer, the one that counts.
    @discardableResult
    func answer(_ result: Result<Value, PostgresError>) -> Bool {
        let (isFirst, continuation): (Bool, UnsafeContinuation<Result<Value, PostgresError>, Never>?) =
            state.withLock { state in
                switch state {
                case .open:
                    state = .answered(result)
                    return (true, nil)
                case .waiting(let continuation):
                    state = .taken
                    return (true, continuation)
                case .answered, .taken:
                    return (false, nil)
                }
            }
        // Resumed exactly once: the state moved from `waiting` to `taken` under the lock.
        continuation?.resume(returning: result)
        return isFirst
    }

    /// Waits for the answer; cancellation of the task answers `cancelled`. Called once.
    func value() async throws(PostgresError) -> Value {
        let result = await withTaskCancellationHandler {
            await uncancelledResult()
        } onCancel: {
            answer(.failure(PostgresError(.cancelled)))
        }
        return try result.get()
    }

    /// Waits for the answer whatever becomes of the task. Called once, in place of ``value()``.
    func uncancelledResult() async -> Result<Value, PostgresError> {
        await withUnsafeContinuation { continuation in
            let ready: Result<Value, PostgresError>? = state.withLock { state in
                if case .answered(let result) = state {
                    state = .taken
                    return result
                }
                state = .waiting(continuation)
                return nil
            }
            if let ready { continuation.resume(returning: ready) }
        }
    }
}

/// A queue: appended at the end, taken from the front, both in constant time.
struct FIFO<Element: Sendable>: Sendable {
    private var elements: [Element?] = []
    private var head = 0

    var count: Int { elements.count - head }
    var isEmpty: Bool { head == elements.count }
    var first: Element? { isEmpty ? nil : elements[head] }

    /// Changes the first element in place; the queue gives it up meanwhile, so that arrays in it are not copied.
    mutating func updateFirst(_ body: (inout Element) -> Void) {
        guard !isEmpty, var element = elements[head] else { return }
        elements[head] = nil
        body(&element)
        elements[head] = element
    }

    mutating func append(_ element: Element) {
        elements.append(element)
    }

    mutating func prepend(_ others: [Element]) {
        elements.replaceSubrange(..<head, with: others.map(Optional.some))
        head = 0
    }

    mutating func popFirst() -> Element? {
        guard !isEmpty else { return nil }
        let element = elements[head]
        elements[head] = nil
        head += 1
        if isEmpty {
            elements.removeAll(keepingCapacity: elements.capacity <= 4_096)
            head = 0
        } else if head >= 256, head * 2 >= elements.count {
            elements.removeSubrange(..<head)
            head = 0
        }
        return element
    }

    mutating func removeAll(where shouldRemove: (Element) -> Bool) {
        elements = elements[head...].filter { element in element.map { !shouldRemove($0) } ?? false }
        head = 0
    }

    func forEach(_ body: (Element) -> Void) {
        for case .some(let element) in elements[head...] { body(element) }
    }
}
