import Keys

/// A filter as it was written (RFC 7644 §3.4.2.2), with names as they came.
indirect enum SCIMFilter: Sendable, Equatable {
    enum Operator: String, Sendable { case eq, ne, co, sw, ew, gt, ge, lt, le }

    case and([SCIMFilter])
    case or([SCIMFilter])
    case not(SCIMFilter)
    case compare(SCIMName, Operator, JSONValue)
    case present(SCIMName)
    /// `emails[…]`: some element fits.
    case element(SCIMName, SCIMFilter)
}

/// The name of an attribute, or of a part of one: `userName`, `name.familyName`; lower case, without a schema in front.
struct SCIMName: Sendable, Equatable {
    let attribute: String
    let part: String?

    /// - Returns: nil for what cannot be one.
    init?(_ text: String) {
        var text = text.lowercased()[...]
        for schema in SCIMSchema.all where text.hasPrefix(schema.id.lowercased() + ":") {
            text = text.dropFirst(schema.id.utf8.count + 1)
        }
        // Another schema's attribute is named as a whole.
        guard !text.hasPrefix("urn:") else {
            attribute = String(text)
            part = nil
            return
        }
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), parts.allSatisfy(Self.isName) else { return nil }
        attribute = String(parts[0])
        part = parts.count == 2 ? String(parts[1]) : nil
    }

    init(attribute: String, part: String?) {
        self.attribute = attribute
        self.part = part
    }

    private static func isName(_ text: Substring) -> Bool {
        !text.isEmpty && text.utf8.count <= 64
            && text.utf8.allSatisfy { byte in
                switch byte {
                case 0x61...0x7A, 0x30...0x39, UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "$"): true
                default: false
                }
            }
    }
}

/// Reads filters and the filters inside paths. Bounded in length, depth and number of comparisons (P-17).
struct SCIMFilterReader {
    private static let longest = 8_192
    private static let deepest = 8
    private static let mostTerms = 100

    private let text: [UInt8]
    private var position = 0
    private var terms = 0

    private init(_ text: String) throws(SCIMError) {
        self.text = Array(text.utf8)
        guard self.text.count <= Self.longest else { throw Self.tooMuch }
    }

    /// - Throws: `invalidFilter`.
    static func filter(_ text: String) throws(SCIMError) -> SCIMFilter {
        var reader = try SCIMFilterReader(text)
        let filter = try reader.alternatives(depth: 0)
        reader.skipSpace()
        guard reader.position == reader.text.count else { throw malformed }
        return filter
    }

    /// What a path names: `attribute`, `attribute.part`, `attribute[filter]`, `attribute[filter].part`.
    ///
    /// - Throws: `invalidPath`; `invalidFilter` for what stands in its brackets.
    static func path(_ text: String) throws(SCIMError) -> SCIMPath {
        var reader = try SCIMFilterReader(text)
        guard let name = reader.name() else { throw SCIMError(.invalidPath, "This is not a path.") }
        var path = SCIMPath(attribute: name.attribute, filter: nil, part: name.part)
        if reader.take("[") {
            guard name.part == nil else { throw SCIMError(.invalidPath, "A part of an attribute has no elements.") }
            path.filter = try reader.alternatives(depth: 1)
            reader.skipSpace()
            guard reader.take("]") else { throw malformed }
            if reader.take(".") {
                guard let part = reader.name(), part.part == nil else {
                    throw SCIMError(.invalidPath, "This is not a path.")
                }
                path.part = part.attribute
            }
        }
        guard reader.position == reader.text.count else { throw SCIMError(.invalidPath, "This is not a path.") }
        return path
    }

    private static let malformed = SCIMError(.invalidFilter, "The filter cannot be read.")
    private static let tooMuch = SCIMError(.invalidFilter, "The filter is too long, or too deep.")

    // MARK: The grammar

    private mutating func alternatives(depth: Int) throws(SCIMError) -> SCIMFilter {
        guard depth <= Self.deepest else { throw Self.tooMuch }
        var parts = [try conjunction(depth: depth)]
        while takeWord("or") { parts.append(try conjunction(depth: depth)) }
        return parts.count == 1 ? parts[0] : .or(parts)
    }

    private mutating func conjunction(depth: Int) throws(SCIMError) -> SCIMFilter {
        var parts = [try term(depth: depth)]
        while takeWord("and") { parts.append(try term(depth: depth)) }
        return parts.count == 1 ? parts[0] : .and(parts)
    }

    private mutating func term(depth: Int) throws(SCIMError) -> SCIMFilter {
        terms += 1
        guard terms <= Self.mostTerms else { throw Self.tooMuch }
        skipSpace()
        if take("(") { return try closed(depth: depth) }
        let start = position
        guard let name = name() else { throw Self.malformed }
        if name == SCIMName(attribute: "not", part: nil) {
            skipSpace()
            if take("(") { return .not(try closed(depth: depth)) }
            position = start + 3
        }
        if take("[") {
            guard name.part == nil else { throw Self.malformed }
            let inner = try alternatives(depth: depth + 1)
            skipSpace()
            guard take("]") else { throw Self.malformed }
            return .element(name, inner)
        }
        guard skipSpace() else { throw Self.malformed }
        let word = word().lowercased()
        if word == "pr" { return .present(name) }
        guard let comparison = SCIMFilter.Operator(rawValue: word), skipSpace() else { throw Self.malformed }
        return .compare(name, comparison, try value())
    }

    private mutating func closed(depth: Int) throws(SCIMError) -> SCIMFilter {
        let inner = try alternatives(depth: depth + 1)
        skipSpace()
        guard take(")") else { throw Self.malformed }
        return inner
    }

    // MARK: Words

    private var next: UInt8? { position < text.count ? text[position] : nil }

    @discardableResult
    private mutating func skipSpace() -> Bool {
        let start = position
        while next == 0x20 { position += 1 }
        return position > start
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard next == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    /// A word with space on both sides, or an opening bracket behind it.
    private mutating func takeWord(_ wanted: String) -> Bool {
        let start = position
        guard skipSpace(), word().lowercased() == wanted, next == 0x20 || next == UInt8(ascii: "(") else {
            position = start
            return false
        }
        return true
    }

    private mutating func word() -> String {
        let start = position
        while let byte = next, Self.isLetter(byte) { position += 1 }
        return String(decoding: text[start..<position], as: UTF8.self)
    }

    private mutating func name() -> SCIMName? {
        let start = position
        while let byte = next, Self.isNameByte(byte) { position += 1 }
        return SCIMName(String(decoding: text[start..<position], as: UTF8.self))
    }

    /// A JSON value (RFC 7159): a string, a number, `true`, `false` or `null`.
    private mutating func value() throws(SCIMError) -> JSONValue {
        let start = position
        if take("\"") {
            while let byte = next, byte != UInt8(ascii: "\"") { position += byte == UInt8(ascii: "\\") ? 2 : 1 }
            guard take("\"") else { throw Self.malformed }
        } else {
            while let byte = next, Self.isNameByte(byte) || byte == UInt8(ascii: "+") { position += 1 }
        }
        // Some write True and False.
        let raw = Array(text[start..<min(position, text.count)])
        let bytes = ["true", "false", "null"].map { Array($0.utf8) }.first {
            $0 == Array(String(decoding: raw, as: UTF8.self).lowercased().utf8)
        }
        do {
            return try JSONText.parse(bytes ?? raw, maximumDepth: 1)
        } catch {
            throw Self.malformed
        }
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        isLetter(byte) || (0x30...0x39).contains(byte) || "-_$.:".utf8.contains(byte)
    }
}

/// What an operation of a PATCH is about (RFC 7644 §3.5.2); names in lower case.
struct SCIMPath: Sendable, Equatable {
    let attribute: String
    var filter: SCIMFilter?
    var part: String?
}
