package import Foundation

/// The PostgreSQL type a parameter is declared as, so that statements need no casts. Raw values are the server's type
/// numbers.
package enum PostgresType: UInt32, Sendable {
    case bool = 16
    case bytea = 17
    case int8 = 20
    case int4 = 23
    case text = 25
    case textArray = 1009
    case timestamptz = 1184
    case uuid = 2950
    case uuidArray = 2951
    case jsonb = 3802
}

/// One parameter: its type and value. Every parameter travels in the binary format, so nothing is ever escaped or
/// quoted.
package enum PostgresBind: Sendable, Equatable {
    case null(PostgresType)
    case bool(Bool)
    case int8(Int64)
    case int4(Int32)
    case text(String)
    case uuid(UUID)
    /// Microseconds since 2000-01-01 00:00 UTC, PostgreSQL's own epoch.
    case timestamp(Int64)
    case bytes([UInt8])
    case textArray([String])
    case uuidArray([UUID])
    /// JSON text in UTF-8.
    case json([UInt8])

    var type: PostgresType {
        switch self {
        case .null(let type): type
        case .bool: .bool
        case .int8: .int8
        case .int4: .int4
        case .text: .text
        case .uuid: .uuid
        case .timestamp: .timestamptz
        case .bytes: .bytea
        case .textArray: .textArray
        case .uuidArray: .uuidArray
        case .json: .jsonb
        }
    }

    /// Whether a string in it contains U+0000, which neither `text` nor `jsonb` can hold.
    var containsNUL: Bool {
        switch self {
        case .text(let string): string.utf8.contains(0)
        case .textArray(let strings): strings.contains { $0.utf8.contains(0) }
        case .json(let bytes): PostgresJSON.containsNUL(bytes)
        default: false
        }
    }
}

/// A value that can be interpolated into ``SQL``.
package protocol PostgresEncodable: Sendable {
    /// The type an absent value of this kind is declared as.
    static var postgresType: PostgresType { get }
    var postgresBind: PostgresBind { get }
}

/// A value that can be read from a column of a ``Row``.
package protocol PostgresDecodable {
    /// - Throws: ``PostgresError`` of kind `decoding`, most simply ``PostgresField/mismatch(_:)``.
    init(postgres field: PostgresField) throws(PostgresError)
}

extension PostgresEncodable where Self: RawRepresentable, RawValue: PostgresEncodable {
    package static var postgresType: PostgresType { RawValue.postgresType }
    package var postgresBind: PostgresBind { rawValue.postgresBind }
}

extension PostgresDecodable where Self: RawRepresentable, RawValue: PostgresDecodable {
    package init(postgres field: PostgresField) throws(PostgresError) {
        guard let value = Self(rawValue: try RawValue(postgres: field)) else { throw field.mismatch("\(Self.self)") }
        self = value
    }
}

extension Optional: PostgresEncodable where Wrapped: PostgresEncodable {
    package static var postgresType: PostgresType { Wrapped.postgresType }
    package var postgresBind: PostgresBind { self?.postgresBind ?? .null(Wrapped.postgresType) }
}

extension Optional: PostgresDecodable where Wrapped: PostgresDecodable {
    package init(postgres field: PostgresField) throws(PostgresError) {
        self = field.isNull ? nil : try Wrapped(postgres: field)
    }
}

extension String: PostgresEncodable, PostgresDecodable {
    package static var postgresType: PostgresType { .text }
    package var postgresBind: PostgresBind { .text(self) }
    package init(postgres field: PostgresField) throws(PostgresError) {
        self = try field.withBytes { String(decoding: $0, as: UTF8.self) }
    }
}

extension Bool: PostgresEncodable, PostgresDecodable {
    package static var postgresType: PostgresType { .bool }
    package var postgresBind: PostgresBind { .bool(self) }
    package init(postgres field: PostgresField) throws(PostgresError) {
        switch try field.withBytes({ $0.count == 1 ? $0[0] : 0 }) {
        case UInt8(ascii: "t"): self = true
        case UInt8(ascii: "f"): self = false
        default: throw field.mismatch("boolean")
        }
    }
}

extension Int64: PostgresEncodable, PostgresDecodable {
    package static var postgresType: PostgresType { .int8 }
    package var postgresBind: PostgresBind { .int8(self) }
    package init(postgres field: PostgresField) throws(PostgresError) { self = try field.integer() }
}

extension Int: PostgresEncodable, PostgresDecodable {
    package static var postgresType: PostgresType { .int8 }
    package var postgresBind: PostgresBind { .int8(Int64(self)) }
    package init(postgres field: PostgresField) throws(PostgresError) { self = try field.integer() }
}

extension Int32: PostgresEncodable, PostgresDecodable {
    package static var postgresType: PostgresType { .int4 }
    package var postgresBind: PostgresBind { .int4(self) }
    package init(postgres field: PostgresField) throws(PostgresError) { self = try field.integer() }
}

extension UUID: PostgresEncodable, PostgresDecodable {
    package static var postgresType: PostgresType { .uuid }
    package var postgresBind: PostgresBind { .uuid(self) }
    package init(postgres field: PostgresField) throws(PostgresError) {
        guard let value = try field.withBytes({ UUID(hyphenated: $0) }) else { throw field.mismatch("uuid") }
        self = value
    }
}

/// `timestamptz`. PostgreSQL keeps microseconds: a time is rounded to the nearest one on its way in.
extension Date: PostgresEncodable, PostgresDecodable {
    package static var postgresType: PostgresType { .timestamptz }
    package var postgresBind: PostgresBind {
        // Far beyond PostgreSQL's range the conversion would trap; the server refuses the clamped value (22008).
        let micros = (timeIntervalSinceReferenceDate * 1e6).rounded() + Double(PostgresTime.referenceEpochMicros)
        return .timestamp(Int64(exactly: micros) ?? (micros > 0 ? Int64.max - 1 : Int64.min + 1))
    }
    package init(postgres field: PostgresField) throws(PostgresError) {
        guard let micros = try field.withBytes({ PostgresTime.micros(parsing: $0) }) else {
            throw field.mismatch("timestamptz")
        }
        let sinceReference = micros - PostgresTime.referenceEpochMicros
        self.init(timeIntervalSinceReferenceDate: Double(sinceReference) / 1e6)
    }
}

/// Arrays are `bytea`, `text[]` or `uuid[]`, by their element.
extension Array: PostgresEncodable where Element: PostgresArrayElement {
    package static var postgresType: PostgresType { Element.postgresArrayType }
    package var postgresBind: PostgresBind { Element.postgresArrayBind(self) }
}

extension Array: PostgresDecodable where Element: PostgresArrayElement {
    package init(postgres field: PostgresField) throws(PostgresError) {
        self = try Element.postgresArray(from: field)
    }
}

/// What an array can be made of: `UInt8` (`bytea`), `String` (`text[]`), `UUID` (`uuid[]`). Elements are never NULL.
package protocol PostgresArrayElement: Sendable {
    static var postgresArrayType: PostgresType { get }
    static func postgresArrayBind(_ array: [Self]) -> PostgresBind
    static func postgresArray(from field: PostgresField) throws(PostgresError) -> [Self]
}

extension UInt8: PostgresArrayElement {
    package static var postgresArrayType: PostgresType { .bytea }
    package static func postgresArrayBind(_ array: [UInt8]) -> PostgresBind { .bytes(array) }
    package static func postgresArray(from field: PostgresField) throws(PostgresError) -> [UInt8] {
        guard let bytes = try field.withBytes({ PostgresText.bytea($0) }) else { throw field.mismatch("bytea") }
        return bytes
    }
}

extension String: PostgresArrayElement {
    package static var postgresArrayType: PostgresType { .textArray }
    package static func postgresArrayBind(_ array: [String]) -> PostgresBind { .textArray(array) }
    package static func postgresArray(from field: PostgresField) throws(PostgresError) -> [String] {
        guard let strings = try field.withBytes({ PostgresText.array($0) }) else { throw field.mismatch("text[]") }
        return strings
    }
}

extension UUID: PostgresArrayElement {
    package static var postgresArrayType: PostgresType { .uuidArray }
    package static func postgresArrayBind(_ array: [UUID]) -> PostgresBind { .uuidArray(array) }
    package static func postgresArray(from field: PostgresField) throws(PostgresError) -> [UUID] {
        guard let strings = try field.withBytes({ PostgresText.array($0) }) else { throw field.mismatch("uuid[]") }
        var uuids: [UUID] = []
        uuids.reserveCapacity(strings.count)
        for string in strings {
            guard let uuid = UUID(uuidString: string) else { throw field.mismatch("uuid[]") }
            uuids.append(uuid)
        }
        return uuids
    }
}
