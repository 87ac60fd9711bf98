import Hummingbird
import NIOCore

extension Request {
    /// The body as one buffer.
    ///
    /// - Throws: 413 when it is longer than `limit` bytes; one that says so itself is not read at all.
    func wholeBody(upTo limit: Int) async throws -> ByteBuffer {
        var whole = ByteBuffer()
        try await eachPart(upTo: limit) { whole.writeImmutableBuffer($0) }
        return whole
    }

    /// The body part by part, as it comes.
    ///
    /// - Throws: as ``wholeBody(upTo:)``; what `read` throws.
    func eachPart(upTo limit: Int, _ read: (ByteBuffer) throws -> Void) async throws {
        if let length = headers[.contentLength].flatMap({ Int($0) }), length > limit {
            throw HTTPError(.contentTooLarge, headers: [.connection: "close"])
        }
        let deadline = ContinuousClock.now + Self.bodyDeadline
        var count = 0
        var parts = body.makeAsyncIterator()
        while let part = try await Self.next(of: &parts) {
            count += part.readableBytes
            guard count <= limit else { throw HTTPError(.contentTooLarge, headers: [.connection: "close"]) }
            // A body that drips holds memory for as long as it likes (P-03).
            guard ContinuousClock.now < deadline else {
                throw HTTPError(.requestTimeout, headers: [.connection: "close"])
            }
            try read(part)
        }
    }

    private static func next(of parts: inout RequestBody.AsyncIterator) async throws -> ByteBuffer? {
        do {
            return try await parts.next()
        } catch let error as HTTPError {
            throw error
        } catch {
            // The other side hung up in the middle: nothing of ours failed.
            throw HTTPError(.badRequest, headers: [.connection: "close"])
        }
    }

    /// How long a body may take.
    private static var bodyDeadline: Duration { .seconds(15) }
}

/// A `Content-Type`, as far as it decides how bytes are read (RFC 9110 §8.3.1).
struct MediaTypeName {
    /// Type and subtype, lower case.
    let essence: String
    /// No charset is named, or UTF-8 is.
    let isUTF8: Bool

    init?(_ header: String?) {
        guard let header else { return nil }
        var parts = header.lowercased().split(separator: ";", omittingEmptySubsequences: false)[...]
        essence = parts.removeFirst().trimmingSpace
        isUTF8 = parts.map(\.trimmingSpace).filter { $0.hasPrefix("charset=") }.allSatisfy { parameter in
            ["utf-8", "\"utf-8\"", "utf8"].contains(parameter.dropFirst("charset=".count))
        }
    }
}

extension Substring {
    /// The text without spaces and tabs at its ends.
    fileprivate var trimmingSpace: String {
        var text = self
        while let first = text.first, first == " " || first == "\t" { text.removeFirst() }
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return String(text)
    }
}
