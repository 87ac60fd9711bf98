import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import Keys
import NIOCore
import Synchronization
import Tenancy

/// A public JSON document of an issuer, rendered once and then sent as bytes.
struct ReadyDocument: Sendable {
    private let bytes: ByteBuffer
    /// Strong validator: the digest of the bytes (RFC 9110 §8.8.3).
    private let etag: String

    init(_ bytes: [UInt8]) {
        self.bytes = ByteBuffer(bytes: bytes)
        etag = "\"\(Base64URL.encode(Array(sha256(bytes)[..<16])))\""
    }

    /// The reply to GET and HEAD; 304 when the caller has these bytes already (RFC 9110 §13.1.2).
    func response(to request: Request) -> Response {
        let headers: HTTPFields = [
            .contentType: "application/json", .cacheControl: "public, max-age=300", .eTag: etag,
        ]
        if isKnown(to: request) { return Response(status: .notModified, headers: headers) }
        let response = Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: bytes))
        return request.method == .head ? response.createHeadResponse() : response
    }

    private func isKnown(to request: Request) -> Bool {
        request.headers[values: .ifNoneMatch].contains { header in
            header.split(separator: ",").contains { candidate in
                let candidate = candidate.trimmingCharacters(in: .whitespaces)
                return candidate == "*" || candidate == etag || candidate == "W/" + etag
            }
        }
    }
}

/// The documents of one kind, by issuer.
///
/// An entry is good for the epochs it was rendered at, and for a minute, since a retired key leaves the key set by time.
final class ReadyDocuments: Sendable {
    private struct Entry {
        let document: ReadyDocument
        let homeEpoch: Int64
        let platformEpoch: Int64
        let renderedAt: Date
    }

    private static let lifetime: TimeInterval = 60
    private static let most = 10_000
    private let entries = Mutex<[String: Entry]>([:])

    func document(of issuer: Issuer, at now: Date, _ render: (Issuer) -> [UInt8]) -> ReadyDocument {
        if let entry = entries.withLock({ $0[issuer.url] }), entry.homeEpoch == issuer.home.epoch,
            entry.platformEpoch == issuer.platform.epoch, abs(now.timeIntervalSince(entry.renderedAt)) < Self.lifetime
        {
            return entry.document
        }
        let document = ReadyDocument(render(issuer))
        let entry = Entry(
            document: document, homeEpoch: issuer.home.epoch, platformEpoch: issuer.platform.epoch, renderedAt: now)
        entries.withLock { entries in
            if entries.count >= Self.most { entries.removeAll(keepingCapacity: true) }
            entries[issuer.url] = entry
        }
        return document
    }
}
