/// A schema for people: JSON with the form of each value in its place, one line for each member.
struct SchemaOutline {
    private(set) var lines: [String] = []

    /// - Returns: no lines for an object without members.
    static func lines(of schema: Schema) -> [String] {
        if case .object(let members, nil) = schema.solved.form, members.isEmpty { return [] }
        var outline = SchemaOutline()
        outline.write(schema, before: "", behind: "", at: 0)
        return outline.lines
    }

    /// A value that is told in one line.
    static func phrase(_ schema: Schema) -> String {
        switch schema.form {
        case .any: return "any value"
        case .string(let length, let pattern, let format):
            if let id = pattern.flatMap(idPrefix) { return "\(id)_…" }
            switch format {
            case "date-time"?: return "time"
            case "uri"?: return "URL"
            default: return length.map { "string, \($0.lowerBound) to \($0.upperBound) characters" } ?? "string"
            }
        case .words(let words): return words.map { "\"\($0)\"" }.joined(separator: " | ")
        case .integer(let range): return range.map { "\($0.lowerBound) to \($0.upperBound)" } ?? "integer"
        case .bool: return "true | false"
        case .array(let element, _): return "[ \(phrase(element)), … ]"
        case .object(_, let others?): return "{ \"…\": \(phrase(others)), … }"
        case .object: return "{ … }"
        case .nullable(let schema): return "\(phrase(schema)) | null"
        case .either(let schemas): return schemas.map(phrase).joined(separator: " | ")
        case .named(_, let schema): return phrase(schema)
        }
    }

    private static func idPrefix(_ pattern: String) -> String? {
        pattern.firstMatch(of: /^\^([a-z]{3})_\[0-7\]/).map { String($0.1) }
    }

    private mutating func write(_ schema: Schema, before: String, behind: String, at depth: Int) {
        let indent = String(repeating: "  ", count: depth)
        let solved = schema.solved
        switch solved.form {
        case .object(let members, nil) where !members.isEmpty:
            lines.append("\(indent)\(before){")
            for (index, member) in members.enumerated() {
                let comma = index + 1 < members.count ? "," : ""
                write(
                    member.schema, before: "\"\(member.name)\": ",
                    behind: comma + Self.remark(on: member.schema), at: depth + 1)
            }
            lines.append("\(indent)}\(behind)")
        case .array(let element, _) where element.hasMembers:
            lines.append("\(indent)\(before)[")
            write(element, before: "", behind: ", …", at: depth + 1)
            lines.append("\(indent)]\(behind)")
        case .nullable(let inner) where inner.hasMembers:
            write(inner, before: before, behind: " | null\(behind)", at: depth)
        case .either(let schemas) where schemas.contains(where: \.hasMembers):
            for (index, one) in schemas.enumerated() {
                let isLast = index + 1 == schemas.count
                write(one, before: index == 0 ? before : "", behind: isLast ? behind : " |", at: depth)
            }
        default: lines.append("\(indent)\(before)\(Self.phrase(schema))\(behind)")
        }
    }

    private static func remark(on schema: Schema) -> String {
        let parts = [schema.isOptional ? "optional" : nil, schema.summary].compactMap { $0 }
        return parts.isEmpty ? "" : "   // \(parts.joined(separator: "; "))"
    }
}

extension Schema {
    /// Without its name.
    fileprivate var solved: Schema {
        if case .named(_, let schema) = form { schema.solved } else { self }
    }

    fileprivate var hasMembers: Bool {
        switch solved.form {
        case .object(let members, nil): !members.isEmpty
        case .nullable(let schema), .array(let schema, _): schema.hasMembers
        case .either(let schemas): schemas.contains(where: \.hasMembers)
        default: false
        }
    }
}
