/// What a family of refresh tokens has to do, told without a database: two honest refreshers who share nothing but the
/// token they began with, a network that loses replies, time, and a thief who kept every token he ever saw.
///
/// Tokens are named by how far they are behind the current one, so that there are finitely many states and every one
/// that any schedule can reach is looked at.
struct RefreshModel: Hashable {
    /// A refresher: what it holds, and the reply that is on its way to it.
    struct Refresher: Hashable {
        /// How many rotations behind the current token its own is; 2 stands for all beyond.
        var lag = 0
        var reply = Reply.none
    }
    enum Reply: Hashable {
        case none
        /// A token so far behind by now.
        case token(lag: Int)
        case refusal
    }

    enum Action: Hashable, CustomStringConvertible {
        /// A refresher presents what it holds; the server answers, and the answer is under way.
        case send(Int)
        /// The answer arrives; a refresher that was refused gives up.
        case hear(Int)
        /// The answer is lost: the refresher still holds what it had, and may try again.
        case lose(Int)
        /// Longer than any window passes.
        case wait
        /// The thief presents the token this far behind the current one.
        case steal(lag: Int)

        var description: String {
            switch self {
            case .send(let who): "send \(who)"
            case .hear(let who): "hear \(who)"
            case .lose(let who): "lose \(who)"
            case .wait: "wait"
            case .steal(let lag): "steal -\(lag)"
            }
        }
    }

    /// What the server says to a presented token.
    enum Answer: Hashable {
        /// The next generation.
        case rotated
        /// The generation that is current already.
        case retried
        case refused
    }

    var refreshers = [Refresher(), Refresher()]
    /// Generations so far: 3 stands for all beyond.
    var generations = 1
    /// The last rotation is younger than the window.
    var isFresh = false
    var isAlive = true
    /// Whether there is a window at all.
    let hasWindow: Bool

    init(hasWindow: Bool) {
        self.hasWindow = hasWindow
    }

    /// Everything that can happen next.
    var actions: [Action] {
        var possible: [Action] = []
        for (index, refresher) in refreshers.enumerated() {
            switch refresher.reply {
            case .none: if refresher.lag >= 0 { possible.append(.send(index)) }
            case .token, .refusal: possible += [.hear(index), .lose(index)]
            }
        }
        if isFresh { possible.append(.wait) }
        possible += (1..<generations).map { .steal(lag: $0) }
        return possible
    }

    /// The rule under test: no revocation while only the current token, or its predecessor inside the window with the
    /// successor unused, is presented; presenting any other earlier generation revokes the family.
    mutating func present(lag: Int) -> Answer {
        guard isAlive else { return .refused }
        switch lag {
        case 0:
            for index in refreshers.indices {
                if refreshers[index].lag >= 0 { refreshers[index].lag = min(2, refreshers[index].lag + 1) }
                if case .token(let old) = refreshers[index].reply {
                    refreshers[index].reply = .token(lag: min(2, old + 1))
                }
            }
            generations = min(3, generations + 1)
            isFresh = hasWindow
            return .rotated
        case 1 where isFresh:
            return .retried
        default:
            isAlive = false
            return .refused
        }
    }

    /// - Returns: what the server answers, where the action asks it something.
    mutating func apply(_ action: Action) -> Answer? {
        switch action {
        case .send(let who):
            let answer = present(lag: refreshers[who].lag)
            refreshers[who].reply = answer == .refused ? .refusal : .token(lag: 0)
            return answer
        case .hear(let who):
            switch refreshers[who].reply {
            case .token(let lag): refreshers[who].lag = lag
            case .refusal: refreshers[who].lag = -1
            case .none: break
            }
            refreshers[who].reply = .none
            return nil
        case .lose(let who):
            refreshers[who].reply = .none
            return nil
        case .wait:
            isFresh = false
            return nil
        case .steal(let lag):
            return present(lag: lag)
        }
    }

    /// The same state with the refreshers in one order: which of two alike is which does not matter.
    private var canonical: RefreshModel {
        func rank(_ refresher: Refresher) -> Int {
            let reply =
                switch refresher.reply {
                case .none: 0
                case .refusal: 1
                case .token(let lag): 2 + lag
                }
            return refresher.lag * 10 + reply
        }
        var state = self
        state.refreshers.sort { rank($0) < rank($1) }
        return state
    }

    /// The shortest schedule to every state there is, and from each of them every next step: all transitions.
    static func schedules(hasWindow: Bool) -> [[Action]] {
        let start = RefreshModel(hasWindow: hasWindow)
        var reached: Set<RefreshModel> = [start]
        var edge: [(state: RefreshModel, path: [Action])] = [(start, [])]
        var schedules: [[Action]] = []
        while !edge.isEmpty {
            var next: [(state: RefreshModel, path: [Action])] = []
            for (state, path) in edge {
                for action in state.actions {
                    var after = state
                    _ = after.apply(action)
                    schedules.append(path + [action])
                    if reached.insert(after.canonical).inserted { next.append((after, path + [action])) }
                }
            }
            edge = next
        }
        return schedules
    }
}
