import ControlPlane
import Foundation
import Keys
import Tenancy

/// Reads the members of a JSON object one by one, and remembers what is wrong with each; ``finish()`` tells it all at once
/// and refuses members that nobody asked for.
///
/// `null` means absent in a new thing. In a merge patch it clears a member, which only ``patch(_:)`` members allow.
struct Members {
    private let members: [String: JSONValue]
    private let base: String
    private let isPatch: Bool
    private var known: Set<String> = []
    private(set) var errors: [FieldError] = []

    init(_ value: JSONValue, isPatch: Bool, at pointer: String = "") {
        base = pointer
        self.isPatch = isPatch
        guard case .object(let members) = value else {
            self.members = [:]
            errors.append(FieldError(pointer, "type", "This must be an object."))
            return
        }
        self.members = members
    }

    /// - Throws: ``AdminError/invalid(_:)``.
    func finish() throws(AdminError) {
        let unknown = members.keys.filter { !known.contains($0) }.sorted().prefix(20)
        let all =
            errors
            + unknown.map {
                FieldError(
                    pointer(to: $0), "unknown_member",
                    "There is no such member here; there are \(known.sorted().joined(separator: ", ")).")
            }
        if !all.isEmpty { throw .invalid(all) }
    }

    // MARK: Members that may be absent

    mutating func string(_ name: String) -> String? {
        read(name, "a string") { $0.string }
    }

    mutating func bool(_ name: String) -> Bool? {
        read(name, "true or false") { if case .bool(let value) = $0 { value } else { nil } }
    }

    mutating func integer(_ name: String) -> Int? {
        read(name, "an integer") { $0.integer }
    }

    mutating func strings(_ name: String) -> [String]? {
        read(name, "an array of strings") { $0.strings }
    }

    mutating func time(_ name: String) -> Date? {
        read(name, "a time such as 2027-01-31T12:00:00Z (RFC 3339)") { $0.string.flatMap(WireTime.parse) }
    }

    /// One of a closed set of words.
    mutating func word<Word: RawRepresentable & CaseIterable>(_ name: String, of type: Word.Type = Word.self) -> Word?
    where Word.RawValue == String {
        read(name, "one of \(Self.list(type))") { $0.string.flatMap(Word.init(rawValue:)) }
    }

    mutating func words<Word: RawRepresentable & CaseIterable>(
        _ name: String, of type: Word.Type = Word.self
    ) -> [Word]? where Word.RawValue == String {
        read(name, "an array of \(Self.list(type))") { value in
            guard let texts = value.strings else { return nil }
            let words = texts.compactMap(Word.init(rawValue:))
            return words.count == texts.count ? words : nil
        }
    }

    private static func list<Word: RawRepresentable & CaseIterable>(_ type: Word.Type) -> String
    where Word.RawValue == String {
        Word.allCases.map(\.rawValue).joined(separator: ", ")
    }

    /// An id; one of the wrong form is told from an unknown one by nobody.
    mutating func id<Kind>(_ name: String, of kind: Identifier<Kind>.Type = Identifier<Kind>.self) -> Identifier<Kind>?
    {
        guard let text = string(name) else { return nil }
        guard let id = Identifier<Kind>(text) else {
            errors.append(.unknown(pointer(to: name)))
            return nil
        }
        return id
    }

    mutating func ids<Kind>(_ name: String, of kind: Identifier<Kind>.Type = Identifier<Kind>.self) -> [Identifier<
        Kind
    >]? {
        guard let texts = strings(name) else { return nil }
        return texts.enumerated().compactMap { index, text in
            guard let id = Identifier<Kind>(text) else {
                errors.append(.unknown("\(pointer(to: name))/\(index)"))
                return nil
            }
            return id
        }
    }

    /// The members of an object inside.
    mutating func object<Value>(_ name: String, _ body: (inout Members) -> Value) -> Value? {
        guard let value = read(name, "an object", { $0.object != nil ? $0 : nil }) else { return nil }
        var inner = Members(value, isPatch: isPatch, at: pointer(to: name))
        let result = body(&inner)
        do throws(AdminError) {
            try inner.finish()
        } catch {
            if case .invalid(let found) = error { errors += found }
        }
        return result
    }

    /// A value as it came, for members of several shapes.
    mutating func value(_ name: String) -> JSONValue? {
        read(name, "a value") { $0 }
    }

    // MARK: Members that must be there

    mutating func required<Value>(_ name: String, _ value: (inout Members) -> Value?) -> Value? {
        let found = errors.count
        let result = value(&self)
        // What has the wrong type was said already.
        if result == nil, errors.count == found {
            errors.append(FieldError(pointer(to: name), "required", "This member is required."))
        }
        return result
    }

    mutating func requiredString(_ name: String) -> String {
        required(name) { $0.string(name) } ?? ""
    }

    // MARK: Members that a merge patch may clear

    mutating func patch(string name: String) -> Patch<String> {
        clears(name) ? .clear : string(name).map { .set($0) } ?? .keep
    }

    mutating func patch(integer name: String) -> Patch<Int> {
        clears(name) ? .clear : integer(name).map { .set($0) } ?? .keep
    }

    mutating func patch(strings name: String) -> Patch<[String]> {
        clears(name) ? .clear : strings(name).map { .set($0) } ?? .keep
    }

    mutating func patch<Kind>(id name: String, of kind: Identifier<Kind>.Type = Identifier<Kind>.self) -> Patch<
        Identifier<Kind>
    > {
        clears(name) ? .clear : id(name, of: kind).map { .set($0) } ?? .keep
    }

    private mutating func clears(_ name: String) -> Bool {
        guard isPatch, members[name] == .null else { return false }
        known.insert(name)
        return true
    }

    /// Whether the member is there, whatever it is.
    func has(_ name: String) -> Bool {
        members[name].map { $0 != .null } ?? false
    }

    mutating func add(_ error: FieldError) {
        errors.append(error)
    }

    func pointer(to name: String) -> String {
        "\(base)/\(name.inPointer)"
    }

    private mutating func read<Value>(_ name: String, _ expected: String, _ convert: (JSONValue) -> Value?) -> Value? {
        known.insert(name)
        guard let value = members[name] else { return nil }
        if value == .null, !isPatch { return nil }
        guard value != .null, let converted = convert(value) else {
            errors.append(FieldError(pointer(to: name), "type", "This must be \(expected)."))
            return nil
        }
        return converted
    }
}
