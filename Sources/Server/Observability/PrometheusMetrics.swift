import CoreMetrics
import Foundation
import Synchronization

/// A swift-metrics backend that shows counters, gauges and timers in Prometheus' text format 0.0.4.
///
/// Labels come from our own code and are few: routes are templates, never paths, and no organization is ever a label.
final class PrometheusMetrics: MetricsFactory, Sendable {
    /// Upper bounds of the buckets of timers and recorders, in seconds.
    private static let bounds: [Double] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]

    private let series = Mutex<[SeriesName: any Series]>([:])
    /// Read at every scrape; for numbers somebody else keeps.
    private let gauges = Mutex<[@Sendable () -> [(name: String, labels: [(String, String)], value: Double)]]>([])

    /// Adds numbers that are read when asked for.
    func observe(_ read: @escaping @Sendable () -> [(name: String, labels: [(String, String)], value: Double)]) {
        gauges.withLock { $0.append(read) }
    }

    /// Everything, as text.
    func exposition() -> String {
        let all = series.withLock { $0 }.sorted { $0.key < $1.key }
        var text = ""
        var last = ""
        for (name, series) in all {
            if name.label != last {
                text += "# TYPE \(name.label) \(series.kind)\n"
                last = name.label
            }
            series.write(name, to: &text)
        }
        for read in gauges.withLock({ $0 }) {
            for gauge in read() {
                text += "\(SeriesName(gauge.name, gauge.labels).text()) \(gauge.value)\n"
            }
        }
        return text
    }

    private func find<S: Series>(_ label: String, _ dimensions: [(String, String)], _ make: () -> S) -> S {
        let name = SeriesName(label, dimensions)
        return series.withLock { series in
            if let known = series[name] as? S { return known }
            let made = make()
            series[name] = made
            return made
        }
    }

    func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        find(label, dimensions) { Count() }
    }

    func makeFloatingPointCounter(label: String, dimensions: [(String, String)]) -> any FloatingPointCounterHandler {
        find(label, dimensions) { Level(kind: "counter") }
    }

    func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        find(label, dimensions) { Level(kind: "gauge") }
    }

    func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        find(label, dimensions) { Histogram(bounds: Self.bounds, scale: 1) }
    }

    func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        find(label, dimensions) { Histogram(bounds: Self.bounds, scale: 1e-9) }
    }

    // Series live as long as the process: a scrape must not lose what was counted.
    func destroyCounter(_ handler: any CounterHandler) {}
    func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
    func destroyMeter(_ handler: any MeterHandler) {}
    func destroyRecorder(_ handler: any RecorderHandler) {}
    func destroyTimer(_ handler: any TimerHandler) {}
}

private struct SeriesName: Hashable, Comparable {
    let label: String
    /// `name="value"` pairs, sorted and escaped.
    let labels: [String]

    init(_ label: String, _ dimensions: [(String, String)]) {
        self.label = label
        labels = dimensions.sorted { $0.0 < $1.0 }.map { name, value in
            let escaped = value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
            return "\(name)=\"\(escaped)\""
        }
    }

    static func < (left: SeriesName, right: SeriesName) -> Bool {
        (left.label, left.labels.joined()) < (right.label, right.labels.joined())
    }

    func text(suffix: String = "", _ more: String? = nil) -> String {
        let all = labels + (more.map { [$0] } ?? [])
        return label + suffix + (all.isEmpty ? "" : "{\(all.joined(separator: ","))}")
    }
}

private protocol Series: Sendable {
    var kind: String { get }
    func write(_ name: SeriesName, to text: inout String)
}

private final class Count: Series, CounterHandler {
    private let value = Atomic<Int64>(0)

    var kind: String { "counter" }
    func increment(by amount: Int64) { value.add(amount, ordering: .relaxed) }
    func reset() { value.store(0, ordering: .relaxed) }
    func write(_ name: SeriesName, to text: inout String) {
        text += "\(name.text()) \(value.load(ordering: .relaxed))\n"
    }
}

private final class Level: Series, FloatingPointCounterHandler, MeterHandler {
    let kind: String
    private let value = Mutex(0.0)

    init(kind: String) { self.kind = kind }
    func increment(by amount: Double) { value.withLock { $0 += amount } }
    func decrement(by amount: Double) { value.withLock { $0 -= amount } }
    func set(_ value: Int64) { set(Double(value)) }
    func set(_ value: Double) { self.value.withLock { $0 = value } }
    func reset() { set(0.0) }
    func write(_ name: SeriesName, to text: inout String) {
        text += "\(name.text()) \(value.withLock { $0 })\n"
    }
}

private final class Histogram: Series, TimerHandler, RecorderHandler {
    private struct State {
        var buckets: [Int]
        var count = 0
        var sum = 0.0
    }

    private let bounds: [Double]
    private let scale: Double
    private let state: Mutex<State>

    init(bounds: [Double], scale: Double) {
        self.bounds = bounds
        self.scale = scale
        state = Mutex(State(buckets: Array(repeating: 0, count: bounds.count)))
    }

    var kind: String { "histogram" }
    func recordNanoseconds(_ duration: Int64) { record(Double(duration)) }
    func record(_ value: Int64) { record(Double(value)) }
    func record(_ value: Double) {
        let scaled = value * scale
        let bucket = bounds.firstIndex { scaled <= $0 }
        state.withLock { state in
            if let bucket { state.buckets[bucket] += 1 }
            state.count += 1
            state.sum += scaled
        }
    }

    func write(_ name: SeriesName, to text: inout String) {
        let (buckets, count, sum) = state.withLock { ($0.buckets, $0.count, $0.sum) }
        var cumulative = 0
        for (bound, bucket) in zip(bounds, buckets) {
            cumulative += bucket
            text += "\(name.text(suffix: "_bucket", "le=\"\(bound)\"")) \(cumulative)\n"
        }
        text += "\(name.text(suffix: "_bucket", "le=\"+Inf\"")) \(count)\n"
        text += "\(name.text(suffix: "_sum")) \(sum)\n\(name.text(suffix: "_count")) \(count)\n"
    }
}
