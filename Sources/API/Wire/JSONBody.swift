import Hummingbird
import Keys
import NIOCore

/// A JSON request body, read strictly (RFC 8259).
///
/// Refuses what lenient readers let pass and one of them might read otherwise: member names that repeat, invalid UTF-8,
/// lone surrogates, NaN, nesting deeper than 16, NUL in a text, anything behind the value.
struct JSONBody: Sendable {
    /// Largest body read, in bytes.
    static let largest = 1024 * 1024

    /// Why a body was not read. Which error of which protocol it becomes, its endpoint knows.
    enum Refusal: Error, Sendable { case mediaType, tooLarge, malformed }

    let value: JSONValue

    /// - Parameter mediaTypes: accepted types, lower case.
    /// - Throws: ``Refusal``.
    init(_ request: Request, mediaTypes: Set<String> = ["application/json"]) async throws {
        guard let type = MediaTypeName(request.headers[.contentType]), mediaTypes.contains(type.essence), type.isUTF8,
            request.headers[.contentEncoding] == nil
        else { throw Refusal.mediaType }
        try self.init(bytes: try await Self.bytes(of: request))
    }

    /// The body of a request, which may hold anything.
    ///
    /// - Throws: ``Refusal/tooLarge``; ``Refusal/malformed`` for a body shorter than it was announced; 400 for one that broke
    ///   off, and 408 for one that never came to its end.
    static func bytes(of request: Request) async throws -> [UInt8] {
        let body: ByteBuffer
        do {
            body = try await request.wholeBody(upTo: largest)
        } catch let error as HTTPError where error.status == .contentTooLarge {
            throw Refusal.tooLarge
        }
        // What a lost connection leaves looks like a whole body, unless one knows how long it was meant to be.
        if let announced = request.headers[.contentLength].flatMap({ Int($0) }), body.readableBytes < announced {
            throw Refusal.malformed
        }
        return Array(body.readableBytesView)
    }

    /// - Throws: ``Refusal/malformed``.
    init(bytes: [UInt8]) throws(Refusal) {
        do {
            value = try JSONText.parse(bytes, maximumDepth: 16)
        } catch {
            throw .malformed
        }
        guard !value.holdsNUL else { throw .malformed }
    }
}

extension JSONValue {
    /// PostgreSQL's text cannot hold U+0000, and no field of ours needs it.
    fileprivate var holdsNUL: Bool {
        switch self {
        case .null, .bool, .integer, .number: false
        case .string(let text): text.utf8.contains(0)
        case .array(let elements): elements.contains { $0.holdsNUL }
        case .object(let members): members.contains { $0.key.utf8.contains(0) || $0.value.holdsNUL }
        }
    }
}
