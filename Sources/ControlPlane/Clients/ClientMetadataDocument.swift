import Foundation
import Keys
import Outbound
import Tenancy

/// A `client_id` that is the URL of the client's own metadata (CIMD §3). Compared and kept as text, never normalised.
struct ClientDocumentURL: Sendable, Hashable {
    let text: String
    /// In lower case.
    let host: String

    /// - Returns: nil for what is no such URL: another scheme than https, no path, dot segments, a fragment, user
    ///   information, or a spelling that two programs could read as two hosts.
    init?(_ text: String) {
        guard text.hasPrefix("https://"), text.utf8.count <= 1024, let url = try? OutboundURL(text) else { return nil }
        let rest = text.dropFirst("https://".count)
        guard let slash = rest.firstIndex(of: "/") else { return nil }
        // What stands before the path is host and port alone.
        guard !rest[..<slash].contains("?") else { return nil }
        let path = rest[slash...].prefix { $0 != "?" }
        guard path != "/", !Self.hasDotSegment(path) else { return nil }
        self.text = text
        switch url.host {
        case .name(let name): host = name
        case .address(let address): host = address.description
        }
    }

    private static func hasDotSegment(_ path: Substring) -> Bool {
        path.split(separator: "/", omittingEmptySubsequences: false).contains { segment in
            let plain = segment.lowercased().replacing("%2e", with: ".")
            return plain == "." || plain == ".."
        }
    }
}

/// The metadata that a client publishes at its `client_id` (CIMD §4), judged.
struct ClientMetadataDocument: Sendable {
    let url: ClientDocumentURL
    let metadata: ClientMetadata
    let checked: ClientMetadata.Checked
    /// SHA-256 of the bytes.
    let digest: [UInt8]
    let freshUntil: Date

    /// - Throws: ``ClientDocumentError``.
    init(_ fetched: DocumentFetcher.Fetched, at url: ClientDocumentURL, now: Date) throws(ClientDocumentError) {
        guard let value = try? JSONText.parse(fetched.body), let members = value.object else {
            throw ClientDocumentError("document_malformed", "The document is not a JSON object with unique members.")
        }
        // "The client_id property's value MUST match the URL by simple string comparison" (CIMD §4).
        guard members["client_id"]?.string == url.text else {
            throw ClientDocumentError(
                "document_client_id_differs", "Its client_id is not the very URL that the application goes by.")
        }
        guard members["client_secret"] == nil, members["client_secret_expires_at"] == nil else {
            throw ClientDocumentError("document_with_secret", "A secret stands in it for everybody to read.")
        }
        do throws(OAuthError) {
            metadata = try ClientMetadata(value)
            checked = try metadata.checked(.document)
        } catch {
            throw ClientDocumentError("document_\(error.code.rawValue)", error.description)
        }
        self.url = url
        digest = sha256(fetched.body)
        freshUntil = now + fetched.lifetime
    }

    /// The client that this document makes of a known one: everything it says of itself, nothing that others decided.
    func applied(to client: Client, at now: Date) -> Client {
        var client = client
        client.describe(checked, metadata)
        client.document = state(isPreregistered: client.document?.isPreregistered ?? false, at: now)
        return client
    }

    func state(isPreregistered: Bool, at now: Date) -> Client.Document {
        Client.Document(digest: digest, fetchedAt: now, freshUntil: freshUntil, isPreregistered: isPreregistered)
    }
}

/// Why a metadata document makes no client here.
package struct ClientDocumentError: Error, Sendable {
    /// A word for the log.
    package let reason: String
    /// What its makers need to hear, in fixed words.
    package let explanation: String
    /// It may pass by itself.
    package let isTemporary: Bool

    init(_ reason: String, _ explanation: String, isTemporary: Bool = false) {
        self.reason = reason
        self.explanation = explanation
        self.isTemporary = isTemporary
    }

    init(_ failure: DocumentFetcher.Failure) {
        let explanation =
            switch failure {
            case .refused: "Its URL, or the address behind it, is not one that this server connects to."
            case .unreachable: "The server that has it could not be reached, or did not answer in time."
            case .status(let status): "The server that has it answered \(status) in place of 200."
            case .mediaType: "It was not sent as application/json."
            case .tooLarge: "It is longer than 5 kilobytes."
            case .throttled: "Too many such documents were asked for just now."
            }
        self.init(failure.reason, explanation, isTemporary: failure.isTemporary)
    }
}
