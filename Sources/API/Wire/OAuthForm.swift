import ControlPlane
import Hummingbird
import NIOCore

/// The parameters of an OAuth request, from a form body or a query string (RFC 6749 appendix B).
///
/// Refuses what two readers could take differently: invalid UTF-8, a `%` without two digits, NUL, more than 64
/// parameters. Repeated names are remembered, since every one but `resource` is an error (OAuth 2.1 §3.1, RFC 8707 §2);
/// empty values count as absent.
struct OAuthForm: Sendable {
    /// Largest body read, in bytes.
    static let largestBody = 64 * 1024
    private static let mostParameters = 64

    private let parameters: [(name: String, value: String)]
    /// Names that came more than once, other than `resource`.
    let repeated: Set<String>

    /// Reads the body of a POST (RFC 6749 §3.2); the query string is never looked at (§2.3.1).
    ///
    /// - Throws: ``OAuthError`` `invalid_request`, or 413.
    init(_ request: Request) async throws {
        guard Self.isForm(request.headers[.contentType]), request.headers[.contentEncoding] == nil else {
            throw OAuthError(
                .invalidRequest, "The body must be application/x-www-form-urlencoded in UTF-8.", reason: "media_type")
        }
        let body = try await request.wholeBody(upTo: Self.largestBody)
        try self.init(bytes: Array(body.readableBytesView))
    }

    /// Reads a query string, without its question mark.
    init(query: String) throws(OAuthError) {
        try self.init(bytes: Array(query.utf8))
    }

    init(bytes: [UInt8]) throws(OAuthError) {
        var parameters: [(name: String, value: String)] = []
        parameters.reserveCapacity(8)
        var repeated: Set<String> = []
        var rest = bytes[...]
        while !rest.isEmpty {
            let pair = rest.prefix { $0 != UInt8(ascii: "&") }
            rest = rest[pair.endIndex...].dropFirst()
            if pair.isEmpty { continue }
            guard parameters.count < Self.mostParameters else {
                throw OAuthError(.invalidRequest, "There are too many parameters.", reason: "too_many_parameters")
            }
            let mark = pair.firstIndex(of: UInt8(ascii: "="))
            let name = try Self.decode(pair[..<(mark ?? pair.endIndex)])
            let value = try mark.map { mark throws(OAuthError) in try Self.decode(pair[(mark + 1)...]) } ?? ""
            // Few enough to look through.
            if name != "resource", parameters.contains(where: { $0.name == name }) { repeated.insert(name) }
            parameters.append((name, value))
        }
        self.parameters = parameters
        self.repeated = repeated
    }

    /// Whether some parameter came without a value.
    var hasEmpty: Bool { parameters.contains { $0.value.isEmpty } }

    /// The value of a parameter; nil when it is absent or empty. Of a repeated one, the first.
    subscript(name: String) -> String? {
        parameters.first { $0.name == name && !$0.value.isEmpty }?.value
    }

    /// Name to value, without the empty ones. Of a repeated name, the first.
    var values: [String: String] {
        Dictionary(parameters.lazy.filter { !$0.value.isEmpty }.map { ($0.name, $0.value) }) { first, _ in first }
    }

    /// Every value of a parameter that is not empty, in order.
    func all(_ name: String) -> [String] {
        parameters.filter { $0.name == name && !$0.value.isEmpty }.map(\.value)
    }

    /// - Throws: ``OAuthError`` `invalid_request` when a parameter came twice (OAuth 2.1 §3.2.4).
    func refuseRepeated() throws(OAuthError) {
        guard repeated.isEmpty else {
            throw OAuthError(.invalidRequest, "A parameter appears more than once.", reason: "parameter_repeated")
        }
    }

    /// The value of a parameter that has to be there.
    func require(_ name: String) throws(OAuthError) -> String {
        guard let value = self[name] else {
            throw OAuthError(.invalidRequest, "\(name) is required.", reason: "\(name)_missing")
        }
        return value
    }

    /// Undoes form encoding of one name or value: `+` is a space, `%` two hexadecimal digits, the rest itself.
    static func decode(_ bytes: ArraySlice<UInt8>) throws(OAuthError) -> String {
        guard let text = decoded(bytes) else {
            throw OAuthError(.invalidRequest, "A parameter is not valid form encoding of UTF-8.", reason: "encoding")
        }
        return text
    }

    /// - Returns: nil for a lone `%`, NUL and invalid UTF-8.
    static func decoded(_ bytes: ArraySlice<UInt8>) -> String? {
        guard bytes.contains(where: { $0 == UInt8(ascii: "%") || $0 == UInt8(ascii: "+") || $0 == 0 }) else {
            return String(validating: bytes, as: UTF8.self)
        }
        var plain: [UInt8] = []
        plain.reserveCapacity(bytes.count)
        var index = bytes.startIndex
        while index < bytes.endIndex {
            switch bytes[index] {
            case UInt8(ascii: "+"):
                plain.append(UInt8(ascii: " "))
            case UInt8(ascii: "%"):
                guard index + 2 < bytes.endIndex, let high = digit(bytes[index + 1]), let low = digit(bytes[index + 2]),
                    high << 4 | low != 0
                else { return nil }
                plain.append(high << 4 | low)
                index += 2
            case 0:
                return nil
            case let byte:
                plain.append(byte)
            }
            index += 1
        }
        return String(validating: plain, as: UTF8.self)
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 0x30...0x39: byte - 0x30
        case 0x41...0x46: byte - 0x41 + 10
        case 0x61...0x66: byte - 0x61 + 10
        default: nil
        }
    }

    /// Whether a media type is the form type, without a charset or with UTF-8.
    static func isForm(_ contentType: String?) -> Bool {
        // As nearly everybody spells it.
        if contentType == "application/x-www-form-urlencoded" { return true }
        guard let contentType = MediaTypeName(contentType) else { return false }
        return contentType.essence == "application/x-www-form-urlencoded" && contentType.isUTF8
    }
}

extension Request {
    /// The query string as it was sent, without its question mark; empty when there is none.
    var rawQuery: String {
        guard let target = head.path, let mark = target.utf8.firstIndex(of: UInt8(ascii: "?")) else { return "" }
        return String(target[target.index(after: mark)...].prefix { $0 != "#" })
    }
}
