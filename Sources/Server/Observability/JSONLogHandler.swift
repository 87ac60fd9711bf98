import Foundation
import Keys
import Logging

/// How log lines look.
enum LogFormat: String, Sendable {
    /// One JSON object per line, for machines.
    case json
    /// One line of text, for people.
    case text
}

/// Writes log records to standard error, one line each; whatever a record holds, it stays one line.
struct LineLogHandler: LogHandler {
    private let label: String
    private let format: LogFormat
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?

    init(label: String, format: LogFormat, level: Logger.Level) {
        self.label = label
        self.format = format
        logLevel = level
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var merged = metadata
        if let provided = metadataProvider?.get() { merged.merge(provided) { _, new in new } }
        if let explicit = event.metadata { merged.merge(explicit) { _, new in new } }
        if let error = event.error { merged["error"] = .string(String(reflecting: error)) }
        var line = format == .json ? json(event, merged) : text(event, merged)
        line.append(UInt8(ascii: "\n"))
        // One write of a whole line: the kernel keeps lines of several threads apart.
        line.withUnsafeBytes { bytes in
            var rest = bytes[...]
            while !rest.isEmpty {
                let written = write(STDERR_FILENO, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
                guard written > 0 else { return }
                rest = rest.dropFirst(written)
            }
        }
    }

    private func json(_ event: LogEvent, _ metadata: Logger.Metadata) -> [UInt8] {
        JSONWriter.object { json in
            json.string("time", Self.timestamp())
            json.string("level", event.level.rawValue)
            json.string("logger", label)
            json.string("message", "\(event.message)")
            for (key, value) in metadata.sorted(by: { $0.key < $1.key }) { json.string(key, "\(value)") }
        }
    }

    private func text(_ event: LogEvent, _ metadata: Logger.Metadata) -> [UInt8] {
        let rest = metadata.sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
        let line = "\(Self.timestamp()) \(event.level) \(event.message)\(rest)"
        // Control characters could forge lines or drive a terminal.
        return line.unicodeScalars.flatMap { scalar -> [UInt8] in
            scalar.value < 0x20 || scalar.value == 0x7F ? [UInt8(ascii: " ")] : Array(String(scalar).utf8)
        }
    }

    private static func timestamp() -> String {
        Date().formatted(
            .iso8601.year().month().day().time(includingFractionalSeconds: true).timeZone(separator: .omitted))
    }
}
