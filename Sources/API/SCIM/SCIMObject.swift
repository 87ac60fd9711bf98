import Keys

/// A JSON object whose member names ignore case (RFC 7643 §2.1), and which tells what it cannot read as SCIM does.
struct SCIMObject: Sendable {
    private let members: [String: JSONValue]

    /// - Throws: `invalidSyntax` for anything but an object, and for names that differ by case alone.
    init(_ value: JSONValue) throws(SCIMError) {
        guard let object = value.object else { throw SCIMError(.invalidSyntax, "An object is expected here.") }
        var members: [String: JSONValue] = [:]
        for (name, value) in object where members.updateValue(value, forKey: name.lowercased()) != nil {
            throw SCIMError(.invalidSyntax, "A member is there twice.")
        }
        self.members = members
    }

    /// As they came, names in lower case.
    var all: [String: JSONValue] { members }

    /// nil where it is absent, null or an empty list: all mean that it has no value (RFC 7643 §2.5).
    subscript(name: String) -> JSONValue? {
        guard let value = members[name.lowercased()], value != .null, value != .array([]) else { return nil }
        return value
    }

    func string(_ name: String) throws(SCIMError) -> String? {
        guard let value = self[name] else { return nil }
        guard let text = value.string else { throw Self.wrong(name, "a string") }
        return text
    }

    /// Some directories send truth as text (SC-05).
    func bool(_ name: String) throws(SCIMError) -> Bool? {
        guard let value = self[name] else { return nil }
        guard let flag = value.bool ?? value.string.flatMap({ Bool($0.lowercased()) }) else {
            throw Self.wrong(name, "true or false")
        }
        return flag
    }

    func integer(_ name: String) throws(SCIMError) -> Int? {
        guard let value = self[name] else { return nil }
        guard let number = value.integer else { throw Self.wrong(name, "an integer") }
        return number
    }

    func strings(_ name: String) throws(SCIMError) -> [String]? {
        guard let value = self[name] else { return nil }
        guard let texts = value.strings else { throw Self.wrong(name, "an array of strings") }
        return texts
    }

    func object(_ name: String) throws(SCIMError) -> SCIMObject? {
        guard let value = self[name] else { return nil }
        guard value.object != nil else { throw Self.wrong(name, "an object") }
        return try SCIMObject(value)
    }

    /// The elements of a list of objects; one object alone is taken as a list of it.
    func objects(_ name: String) throws(SCIMError) -> [SCIMObject] {
        guard let value = self[name] else { return [] }
        return try Self.objects(value, name)
    }

    static func objects(_ value: JSONValue, _ name: String) throws(SCIMError) -> [SCIMObject] {
        let elements: [JSONValue]
        if case .array(let list) = value { elements = list } else { elements = [value] }
        var objects: [SCIMObject] = []
        for element in elements {
            guard element.object != nil else { throw wrong(name, "a list of objects") }
            objects.append(try SCIMObject(element))
        }
        return objects
    }

    /// Makes sure that the object says it is what is expected (RFC 7643 §3).
    func check(schema: String) throws(SCIMError) {
        guard let schemas = try strings("schemas"),
            schemas.contains(where: { $0.lowercased() == schema.lowercased() })
        else { throw SCIMError(.invalidValue, "schemas has to contain \(schema).") }
    }

    static func wrong(_ name: String, _ expected: String) -> SCIMError {
        SCIMError(.invalidValue, "\(name) has to be \(expected).")
    }
}
