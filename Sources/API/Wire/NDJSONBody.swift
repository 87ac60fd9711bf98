import Hummingbird
import Keys
import NIOCore

/// A request body of JSON texts, one on each line, read as it comes (`application/x-ndjson`).
///
/// No more than one line is held beside what its reader keeps. Empty lines are left out and still counted.
enum NDJSONBody {
    static let mediaType = "application/x-ndjson"
    /// Most bytes of a body, and of one line.
    static let largest = 8 * 1024 * 1024
    static let largestLine = 16 * 1024

    /// Hands each line to `read`, with its number from 1.
    ///
    /// - Parameter most: lines that hold something; one more and the body is too large.
    /// - Throws: ``JSONBody/Refusal``; as `Request.wholeBody` for a body that broke off or never came to its end.
    static func lines(
        of request: Request, most: Int, _ read: (_ number: Int, _ line: [UInt8]) throws -> Void
    ) async throws {
        guard let type = MediaTypeName(request.headers[.contentType]), type.essence == mediaType, type.isUTF8,
            request.headers[.contentEncoding] == nil
        else { throw JSONBody.Refusal.mediaType }
        var number = 0
        var taken = 0
        func take(_ line: [UInt8]) throws {
            number += 1
            guard line.contains(where: { $0 != 0x20 && $0 != 0x0D && $0 != 0x09 }) else { return }
            taken += 1
            guard taken <= most, line.count <= largestLine else { throw JSONBody.Refusal.tooLarge }
            try read(number, line)
        }
        var line: [UInt8] = []
        var received = 0
        do {
            try await request.eachPart(upTo: largest) { part in
                received += part.readableBytes
                var rest = part.readableBytesView[...]
                while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                    line += rest[..<end]
                    try take(line)
                    line.removeAll(keepingCapacity: true)
                    rest = rest[rest.index(after: end)...]
                }
                line += rest
                guard line.count <= largestLine else { throw JSONBody.Refusal.tooLarge }
            }
        } catch let error as HTTPError where error.status == .contentTooLarge {
            throw JSONBody.Refusal.tooLarge
        }
        // What a lost connection leaves looks like a whole body, unless one knows how long it was meant to be.
        if let announced = request.headers[.contentLength].flatMap({ Int($0) }), received < announced {
            throw JSONBody.Refusal.malformed
        }
        if !line.isEmpty { try take(line) }
    }
}
