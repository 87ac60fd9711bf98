import Keys
import Tenancy

/// The form of a JSON value, in the words of JSON Schema 2020-12 that this API needs.
///
/// Stands beside the code that reads or writes the value, and is as strict as that code: tests hold every reply against it,
/// and send what it forbids.
struct Schema: Sendable {
    /// A member of an object.
    struct Member: Sendable {
        let name: String
        var schema: Schema
    }

    indirect enum Form: Sendable {
        /// Any value, for documents of other standards, such as a JWK Set.
        case any
        case string(length: ClosedRange<Int>?, pattern: String?, format: String?)
        case words([String])
        case integer(ClosedRange<Int>?)
        case bool
        case array(Schema, count: ClosedRange<Int>?)
        /// - others: the form of members beside these; nil where there are none.
        case object([Member], others: Schema?)
        case nullable(Schema)
        case either([Schema])
        /// Told once, among the document's components.
        case named(String, Schema)
    }

    let form: Form
    /// As a member: may be missing.
    private(set) var isOptional = false
    private(set) var summary: String?

    init(_ form: Form) {
        self.form = form
    }

    // MARK: Plain values

    static let any = Schema(.any)
    static let string = Schema(.string(length: nil, pattern: nil, format: nil))
    static let bool = Schema(.bool)
    static let integer = Schema(.integer(nil))
    static let uri = Schema(.string(length: nil, pattern: nil, format: "uri"))
    /// RFC 3339; replies are in UTC with milliseconds.
    static let time = Schema(.string(length: nil, pattern: nil, format: "date-time"))
    /// A name shown to people.
    static let name = string(1...200, pattern: #"\S"#)

    /// One plain address; white space around it is dropped.
    static let email = string(pattern: #"^\s*[^@\s]+@[^@\s]+\.[^@\s]+\s*$"#)
    static let https = string(pattern: "^[hH][tT][tT][pP][sS]://")
    /// One scope (RFC 6749 §3.3).
    static let scope = string(1...128, pattern: #"^[!#-\[\]-~]+$"#)
    /// An issuer of ours: `platform`, or an organization's id.
    static let issuerName = string(pattern: "^(platform|org_[0-7][0-9a-hjkmnp-tv-z]{25})$")

    /// - Parameter length: in Unicode characters.
    static func string(_ length: ClosedRange<Int>? = nil, pattern: String? = nil) -> Schema {
        Schema(.string(length: length, pattern: pattern, format: nil))
    }
    static func integer(_ range: ClosedRange<Int>) -> Schema { Schema(.integer(range)) }
    static func words(_ words: String...) -> Schema { Schema(.words(words)) }
    static func words<Word: RawRepresentable & CaseIterable>(_ type: Word.Type) -> Schema
    where Word.RawValue == String {
        Schema(.words(type.allCases.map(\.rawValue)))
    }

    /// An id of one kind.
    static func id<Kind>(_ type: Identifier<Kind>.Type) -> Schema {
        string(pattern: "^\(Kind.prefix)_[0-7][0-9a-hjkmnp-tv-z]{25}$")
    }

    // MARK: Composed values

    static func array(of element: Schema, _ count: ClosedRange<Int>? = nil) -> Schema {
        Schema(.array(element, count: count))
    }
    static func map(of value: Schema) -> Schema { Schema(.object([], others: value)) }
    static func either(_ schemas: Schema...) -> Schema { Schema(.either(schemas)) }
    static func named(_ name: String, _ schema: Schema) -> Schema { Schema(.named(name, schema)) }

    /// Exactly these members, in a reply.
    static func object(_ members: KeyValuePairs<String, Schema>) -> Schema {
        Schema(.object(members.map { Member(name: $0.key, schema: $0.value) }, others: nil))
    }

    /// The members of a new thing. `null` stands for a member that is missing.
    static func draft(_ members: KeyValuePairs<String, Schema>) -> Schema {
        Schema(
            .object(
                members.map {
                    Member(name: $0.key, schema: $0.value.isOptional ? $0.value.nullable.optional : $0.value)
                }, others: nil))
    }

    /// The members that a merge patch may change (RFC 7396); `null` clears those that are ``nullable``.
    static func patch(_ members: KeyValuePairs<String, Schema>) -> Schema {
        Schema(.object(members.map { Member(name: $0.key, schema: $0.value.optional) }, others: nil))
    }

    /// A merge patch of a thing that is patched as a whole document: `null` takes a member away, and what is left has to be
    /// right, so ``draft(_:)`` members that must be there cannot be cleared.
    static func mergePatch(_ members: KeyValuePairs<String, Schema>) -> Schema {
        Schema(
            .object(
                members.map { member in
                    let schema = member.value.patched
                    return Member(
                        name: member.key, schema: (member.value.isOptional ? schema.nullable : schema).optional)
                }, others: nil))
    }

    /// As part of a merge patch: every member of objects may be missing, and `null` takes it away.
    private var patched: Schema {
        guard case .object(let members, let others) = form else { return self }
        return Schema(
            .object(
                members.map { Member(name: $0.name, schema: $0.schema.nullable.optional) }, others: others?.nullable))
    }

    // MARK: Variations

    var nullable: Schema {
        if case .nullable = form { self } else { Schema(.nullable(self)) }
    }

    var optional: Schema {
        var schema = self
        schema.isOptional = true
        return schema
    }

    /// The same, with a word to its reader.
    func said(_ summary: String) -> Schema {
        var schema = self
        schema.summary = summary
        return schema
    }

    /// An object with members beside these.
    func adding(_ more: KeyValuePairs<String, Schema>) -> Schema {
        switch form {
        case .object(let members, let others):
            Schema(.object(members + more.map { Member(name: $0.key, schema: $0.value) }, others: others))
        case .named(_, let schema): schema.adding(more)
        default: self
        }
    }

    /// What it is called among the components, if it is.
    var componentName: String? {
        if case .named(let name, _) = form { name } else { nil }
    }
}

/// The schemas that a document refers to by name.
struct SchemaComponents {
    private(set) var definitions: [String: [UInt8]] = [:]

    /// The schema as JSON text; what it refers to is defined then.
    mutating func json(_ schema: Schema) -> [UInt8] {
        JSONWriter.object { write(schema, to: &$0) }
    }

    mutating func write(_ schema: Schema, to json: inout JSONWriter) {
        if let summary = schema.summary { json.string("description", summary) }
        switch schema.form {
        case .any: break
        case .string(let length, let pattern, let format):
            json.string("type", "string")
            if let length {
                json.int("minLength", length.lowerBound)
                json.int("maxLength", length.upperBound)
            }
            if let pattern { json.string("pattern", pattern) }
            if let format { json.string("format", format) }
        case .words(let words):
            json.string("type", "string")
            json.strings("enum", words)
        case .integer(let range):
            json.string("type", "integer")
            if let range {
                json.int("minimum", range.lowerBound)
                json.int("maximum", range.upperBound)
            }
        case .bool: json.string("type", "boolean")
        case .array(let element, let count):
            json.string("type", "array")
            json.raw("items", self.json(element))
            if let count {
                json.int("minItems", count.lowerBound)
                json.int("maxItems", count.upperBound)
            }
        case .object(let members, let others): write(members, others, to: &json)
        case .nullable(let schema):
            json.raws("anyOf", [self.json(schema), JSONWriter.object { $0.string("type", "null") }])
        case .either(let schemas): json.raws("anyOf", schemas.map { self.json($0) })
        case .named(let name, let schema):
            let definition = self.json(schema)
            precondition(definitions[name].map { $0 == definition } ?? true, "two schemas are named \(name)")
            definitions[name] = definition
            json.string("$ref", "#/components/schemas/\(name)")
        }
    }

    private mutating func write(_ members: [Schema.Member], _ others: Schema?, to json: inout JSONWriter) {
        json.string("type", "object")
        if !members.isEmpty {
            json.object("properties") { json in
                for member in members { json.raw(member.name, self.json(member.schema)) }
            }
        }
        let required = members.filter { !$0.schema.isOptional }.map(\.name)
        if !required.isEmpty { json.strings("required", required) }
        if let others {
            json.raw("additionalProperties", self.json(others))
        } else {
            json.bool("additionalProperties", false)
        }
    }
}
