import Keys

/// One operation of a PATCH (RFC 7644 §3.5.2).
struct SCIMOperation: Sendable {
    enum Verb: String, Sendable { case add, remove, replace }

    let verb: Verb
    let path: SCIMPath
    /// Absent for a removal; else null where the client said null.
    let value: JSONValue?

    private static let most = 1_000

    /// The operations of a body. One without a path is one for each member of its value.
    ///
    /// - Throws: `invalidSyntax`, `invalidPath`, `invalidValue`, `noTarget`.
    static func all(in body: SCIMObject, of schema: SCIMSchema) throws(SCIMError) -> [SCIMOperation] {
        try body.check(schema: SCIM.patchSchema)
        let objects = try body.objects("Operations")
        guard (1...most).contains(objects.count) else {
            throw SCIMError(.invalidSyntax, "A PATCH has 1 to \(most) operations.")
        }
        var operations: [SCIMOperation] = []
        for object in objects {
            // Some write Add and Replace (SC-05).
            guard let verb = Verb(rawValue: try object.string("op")?.lowercased() ?? "") else {
                throw SCIMError(.invalidSyntax, "op is add, remove or replace.")
            }
            let value = object.all["value"]
            if let text = try object.string("path"), text.lowercased() != schema.id.lowercased() {
                guard verb == .remove || value != nil else {
                    throw SCIMError(.invalidValue, "This operation needs a value.")
                }
                let operation = SCIMOperation(verb: verb, path: try SCIMFilterReader.path(text), value: value)
                try operation.add(to: &operations, of: schema)
                continue
            }
            guard verb != .remove else { throw SCIMError(.noTarget, "A removal needs a path.") }
            guard let value, value.object != nil else {
                throw SCIMError(.invalidValue, "Without a path the value is an object.")
            }
            for (name, value) in try SCIMObject(value).all where name != "schemas" {
                let operation = SCIMOperation(verb: verb, path: try SCIMFilterReader.path(name), value: value)
                try operation.add(to: &operations, of: schema)
            }
        }
        return operations
    }

    /// - Throws: `invalidPath`, `mutability`.
    private func add(to operations: inout [SCIMOperation], of schema: SCIMSchema) throws(SCIMError) {
        if schema.isIgnored(path.attribute) { return }
        if ["meta", "schemas"].contains(path.attribute) {
            throw SCIMError(.mutability, "This attribute cannot be changed.")
        }
        // Told again by some; what it is the endpoint knows.
        if path.attribute == "id" || path.attribute == "externalid" {
            guard path.part == nil, path.filter == nil else { throw SCIMError(.invalidPath, "It has no parts.") }
            return operations.append(self)
        }
        guard let attribute = schema.attribute(path.attribute) else {
            throw SCIMError(.invalidPath, "There is no such attribute.")
        }
        guard attribute.mutability != .readOnly else {
            throw SCIMError(.mutability, "This attribute cannot be changed.")
        }
        // RFC 7644 §3.5.2.2.
        guard verb != .remove || !attribute.isRequired else {
            throw SCIMError(.mutability, "This attribute always has a value.")
        }
        if let part = path.part, attribute.part(part) == nil {
            throw SCIMError(.invalidPath, "There is no such part of the attribute.")
        }
        if path.filter != nil, !attribute.isMultiValued {
            throw SCIMError(.invalidPath, "Only lists have elements.")
        }
        operations.append(self)
    }
}

/// A resource's attributes while operations are applied to them, under the names of its schema.
struct SCIMDocument: Sendable {
    private(set) var members: [String: JSONValue]
    private let schema: SCIMSchema

    init(_ members: [String: JSONValue], schema: SCIMSchema) {
        self.members = members
        self.schema = schema
    }

    /// - Throws: `invalidValue`, `noTarget`, `mutability`.
    mutating func apply(_ operation: SCIMOperation) throws(SCIMError) {
        let name = schema.attribute(operation.path.attribute)?.name ?? "externalId"
        guard let attribute = schema.attribute(operation.path.attribute), attribute.kind == .complex else {
            members[name] = operation.verb == .remove ? nil : operation.value
            return
        }
        members[name] =
            attribute.isMultiValued
            ? try elements(of: attribute, after: operation) : try parts(of: attribute, after: operation)
    }

    private func parts(of attribute: SCIMAttribute, after operation: SCIMOperation) throws(SCIMError) -> JSONValue? {
        let old = members[attribute.name]?.object ?? [:]
        if let part = operation.path.part.flatMap(attribute.part)?.name {
            var new = old
            new[part] = operation.verb == .remove ? nil : operation.value
            return .object(new)
        }
        guard operation.verb != .remove, let value = operation.value, value != .null else { return nil }
        let said = try Self.named(value, of: attribute)
        // "add" keeps what is not mentioned; so does "replace" of a complex attribute (RFC 7644 §3.5.2.3).
        return .object(old.merging(said) { $1 })
    }

    private func elements(
        of attribute: SCIMAttribute, after operation: SCIMOperation
    ) throws(SCIMError) -> JSONValue? {
        var old: [[String: JSONValue]] = []
        if case .array(let list)? = members[attribute.name] { old = list.compactMap(\.object) }
        guard let filter = operation.path.filter else {
            if let part = operation.path.part.flatMap(attribute.part)?.name {
                // `emails.value`, without saying which: each of them.
                return .array(
                    old.map { element -> JSONValue in
                        var element = element
                        element[part] = operation.verb == .remove ? nil : operation.value
                        return .object(element)
                    })
            }
            guard operation.verb != .remove, let value = operation.value, value != .null else { return nil }
            var new = operation.verb == .add ? old : []
            for element in try Self.list(value, of: attribute) where !new.contains(element) {
                Self.add(element, to: &new)
            }
            return .array(new.map { .object($0) })
        }
        var isFound = false
        var new: [[String: JSONValue]] = []
        for element in old {
            guard try filter.fits(element, of: attribute) else {
                new.append(element)
                continue
            }
            isFound = true
            if let part = operation.path.part.flatMap(attribute.part)?.name {
                var element = element
                element[part] = operation.verb == .remove ? nil : operation.value
                new.append(element)
            } else if operation.verb != .remove {
                new.append(element.merging(try Self.named(operation.value ?? .null, of: attribute)) { $1 })
            }
        }
        if !isFound {
            guard operation.verb == .add, let part = operation.path.part.flatMap(attribute.part)?.name,
                var element = filter.described(of: attribute)
            else { throw SCIMError(.noTarget, "No element fits the path.") }
            // A directory that adds the work address of somebody who has none means just that.
            element[part] = operation.value
            Self.add(element, to: &new)
        }
        return .array(new.map { .object($0) })
    }

    /// A new primary element takes that from the one before (RFC 7644 §3.5.2).
    private static func add(_ element: [String: JSONValue], to list: inout [[String: JSONValue]]) {
        if element["primary"] == .bool(true) {
            for index in list.indices where list[index]["primary"] == .bool(true) {
                list[index]["primary"] = .bool(false)
            }
        }
        list.append(element)
    }

    private static func list(
        _ value: JSONValue, of attribute: SCIMAttribute
    ) throws(SCIMError) -> [[String: JSONValue]] {
        var elements: [[String: JSONValue]] = []
        for object in try SCIMObject.objects(value, attribute.name) {
            elements.append(try named(.object(object.all), of: attribute))
        }
        return elements
    }

    /// An object's parts under the names of the schema; others are passed over.
    private static func named(
        _ value: JSONValue, of attribute: SCIMAttribute
    ) throws(SCIMError) -> [String: JSONValue] {
        var parts: [String: JSONValue] = [:]
        for (name, value) in try SCIMObject(value).all {
            guard let part = attribute.part(name) else { continue }
            parts[part.name] = value
        }
        return parts
    }
}

extension SCIMFilter {
    /// Whether an element of a list fits.
    ///
    /// - Throws: `invalidFilter` for parts that elements do not have.
    func fits(_ element: [String: JSONValue], of attribute: SCIMAttribute) throws(SCIMError) -> Bool {
        switch self {
        case .and(let parts):
            for part in parts {
                guard try part.fits(element, of: attribute) else { return false }
            }
            return true
        case .or(let parts):
            for part in parts {
                if try part.fits(element, of: attribute) { return true }
            }
            return false
        case .not(let part): return try !part.fits(element, of: attribute)
        case .present(let name):
            let value = element[try Self.part(name, of: attribute).name]
            return value != nil && value != .null && value != .string("")
        case .compare(let name, let comparison, let literal):
            let part = try Self.part(name, of: attribute)
            return Self.compare(element[part.name] ?? .null, comparison, literal, isExact: part.isCaseExact)
        case .element: throw SCIMError(.invalidFilter, "Elements hold no lists.")
        }
    }

    private static func part(_ name: SCIMName, of attribute: SCIMAttribute) throws(SCIMError) -> SCIMAttribute {
        guard name.part == nil, let part = attribute.part(name.attribute) else {
            throw SCIMError(.invalidFilter, "There is no such part to filter by.")
        }
        return part
    }

    private static func compare(
        _ value: JSONValue, _ comparison: Operator, _ literal: JSONValue, isExact: Bool
    ) -> Bool {
        guard let left = value.string, let right = literal.string else {
            let isEqual =
                value == literal
                || (value.bool != nil && value.bool == literal.string.flatMap { Bool($0.lowercased()) })
                || (literal == .bool(false) && value == .null)
            return comparison == .eq ? isEqual : comparison == .ne ? !isEqual : false
        }
        let (a, b) = isExact ? (left, right) : (left.lowercased(), right.lowercased())
        return switch comparison {
        case .eq: a == b
        case .ne: a != b
        case .co: a.contains(b)
        case .sw: a.hasPrefix(b)
        case .ew: a.hasSuffix(b)
        case .gt: a > b
        case .ge: a >= b
        case .lt: a < b
        case .le: a <= b
        }
    }

    /// The element that a filter of equalities describes; nil for any other filter.
    func described(of attribute: SCIMAttribute) -> [String: JSONValue]? {
        switch self {
        case .compare(let name, .eq, let literal):
            guard name.part == nil, let part = attribute.part(name.attribute) else { return nil }
            return [part.name: literal]
        case .and(let parts):
            var all: [String: JSONValue] = [:]
            for part in parts {
                guard let described = part.described(of: attribute) else { return nil }
                all.merge(described) { $1 }
            }
            return all
        default: return nil
        }
    }

    /// The values that a filter of `value eq …` names; nil for any other filter.
    var values: [String]? {
        switch self {
        case .compare(let name, .eq, let literal):
            guard name == SCIMName(attribute: "value", part: nil), let text = literal.string else { return nil }
            return [text]
        case .or(let parts):
            let lists = parts.map(\.values)
            return lists.contains(nil) ? nil : lists.flatMap { $0 ?? [] }
        default: return nil
        }
    }
}
