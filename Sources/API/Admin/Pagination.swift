import Audit
import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import Keys
import NIOCore
import Tenancy

/// Page cursors: base64url of tag (16 bytes) ‖ position. The tag binds the position to the list it was made for, so a
/// cursor opens no other organization's list, no other filter's, and no other key's.
struct CursorSeal: Sendable {
    let key: AuthenticationKey
    private static let tagLength = 16

    func seal(_ position: String, for list: String) -> String {
        Base64URL.encode(tag(position, list) + Array(position.utf8))
    }

    /// - Returns: nil for anything that ``seal(_:for:)`` did not make for this list.
    func open(_ cursor: String, for list: String) -> String? {
        guard cursor.utf8.count <= 512, let bytes = Base64URL.decode(cursor), bytes.count > Self.tagLength,
            let position = String(validating: bytes[Self.tagLength...], as: UTF8.self),
            ConstantTime.equal(Array(bytes[..<Self.tagLength]), tag(position, list))
        else { return nil }
        return position
    }

    private func tag(_ position: String, _ list: String) -> [UInt8] {
        Array(key.tag(of: Array("\(list.utf8.count)|\(list)|\(position)".utf8)).prefix(Self.tagLength))
    }
}

/// What a caller asks of a list: `limit`, `cursor`, and the filters that list knows.
struct ListRequest: Sendable {
    static let limits = 1...200
    private static let standardLimit = 50

    let limit: Int
    let filters: [String: String]
    /// Where the last page ended.
    let position: String?
    /// Names this very list: organization, collection, filters and the caller's key.
    private let list: String
    private let call: AdminCall

    /// - Throws: ``AdminError/malformed(_:)`` for anything the list does not know.
    init(_ call: AdminCall, of collection: String, filters names: Set<String> = []) throws(AdminError) {
        let form: OAuthForm
        do {
            form = try OAuthForm(query: call.request.uri.query ?? "")
        } catch {
            throw .malformed("The query cannot be read.")
        }
        // A filter that came without a value would leave everything in.
        guard !form.hasEmpty else { throw .malformed("The query holds a parameter without a value.") }
        let values = form.values
        let known = names.union(["limit", "cursor"])
        guard form.repeated.isEmpty, form.all("resource").count <= 1, values.keys.allSatisfy(known.contains) else {
            throw .malformed(
                "The query holds a parameter twice, or one this list does not know; it knows "
                    + known.sorted().joined(separator: ", ") + ".")
        }
        self.call = call
        filters = values.filter { names.contains($0.key) }
        if let text = values["limit"] {
            guard let limit = Int(text), String(limit) == text, Self.limits.contains(limit) else {
                throw .malformed("limit is from 1 to 200.")
            }
            self.limit = limit
        } else {
            limit = Self.standardLimit
        }
        let filterText = filters.sorted { $0.key < $1.key }
            .map { "\($0.key.utf8.count):\($0.key)\($0.value.utf8.count):\($0.value)" }.joined()
        list = [
            call.organization.id.description, collection, filterText, call.administrator.actor.id,
        ].joined(separator: "|")
        if let cursor = values["cursor"] {
            guard let position = call.cursors.open(cursor, for: list) else {
                throw .malformed(
                    "This cursor was not made for this list: send next_cursor as it came, with the same filters and the same "
                        + "key, or begin without one.")
            }
            self.position = position
        } else {
            position = nil
        }
    }

    /// A filter that is an id of a kind.
    ///
    /// - Throws: ``AdminError/malformed(_:)`` for what cannot be one.
    func id<Kind>(_ name: String, of kind: Identifier<Kind>.Type = Identifier<Kind>.self) throws(AdminError)
        -> Identifier<Kind>?
    {
        guard let text = filters[name] else { return nil }
        guard let id = Identifier<Kind>(text) else { throw .malformed("\(name) is not an id of its kind.") }
        return id
    }

    /// A filter that is one of a closed set of words.
    ///
    /// - Throws: ``AdminError/malformed(_:)`` for any other.
    func word<Word: RawRepresentable & CaseIterable>(
        _ name: String, of type: Word.Type = Word.self
    ) throws(AdminError) -> Word? where Word.RawValue == String {
        guard let text = filters[name] else { return nil }
        guard let word = Word(rawValue: text) else {
            throw .malformed("\(name) is one of \(Word.allCases.map(\.rawValue).joined(separator: ", ")).")
        }
        return word
    }

    /// The keyset page for a store, one row longer than the page: the last row says whether there is more.
    var page: Page { Page(after: position.flatMap { UUID(uuidString: $0) }, limit: limit + 1) }

    /// The page of rows that are all at hand, in the order of their ids.
    func page<Row>(of rows: [Row], id: (Row) -> UUID) -> [Row] {
        let sorted = rows.sorted { OrganizationID(id($0)) < OrganizationID(id($1)) }
        let after = position.flatMap { UUID(uuidString: $0) }.map { OrganizationID($0) }
        let rest = after.map { after in sorted.drop { OrganizationID(id($0)) <= after } } ?? sorted[...]
        return Array(rest.prefix(limit + 1))
    }

    func reply<Row>(_ rows: [Row], id: (Row) -> UUID, _ render: (Row) -> [UInt8]) -> Response {
        reply(rows, position: { id($0).uuidString }, render)
    }

    /// - Parameter rows: up to `limit + 1` of them.
    func reply<Row>(_ rows: [Row], position: (Row) -> String, _ render: (Row) -> [UInt8]) -> Response {
        let shown = rows.prefix(limit)
        let next = rows.count > limit ? shown.last.map { call.cursors.seal(position($0), for: list) } : nil
        let body = JSONWriter.object(capacity: 4096) { json in
            json.raws("data", shown.map(render))
            json.bool("has_more", next != nil)
            json.optional("next_cursor", next)
        }
        var response = call.reply(.ok, body)
        if let next {
            var query = filters.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.inQuery)" }
            query += ["limit=\(limit)", "cursor=\(next)"]
            response.headers[.link] =
                "<\(call.publicURL)\(call.request.uri.path)?\(query.joined(separator: "&"))>; rel=\"next\""
        }
        return response
    }
}

extension String {
    /// Percent-encoded for a query (RFC 3986 §3.4).
    fileprivate var inQuery: String {
        addingPercentEncoding(
            withAllowedCharacters: .alphanumerics.intersection(.init(charactersIn: "\u{0}"..."\u{7F}"))
                .union(.init(charactersIn: "-._~"))) ?? ""
    }
}
