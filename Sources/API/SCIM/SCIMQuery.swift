import Foundation
import Keys
import Tenancy

/// What a list or a search asks for (RFC 7644 §3.4.2, §3.4.3), before it is known of what.
struct SCIMQuery: Sendable {
    var filter: String?
    var sortBy: String?
    var sortOrder: String?
    var startIndex = 1
    var count = SCIM.standardCount
    var projection = SCIMProjection()

    /// - Parameter parameters: of a URL; each at most once.
    init(_ parameters: [String: String]) throws(SCIMError) {
        // Names of parameters are as the RFC writes them, and clients differ in case.
        var values: [String: String] = [:]
        for (name, value) in parameters { values[name.lowercased()] = value }
        filter = values["filter"]
        sortBy = values["sortby"]
        sortOrder = values["sortorder"]
        startIndex = try Self.number(values["startindex"], or: 1)
        count = try Self.number(values["count"], or: SCIM.standardCount)
        projection = try SCIMProjection(
            attributes: values["attributes"]?.split(separator: ",").map(String.init),
            excluded: values["excludedattributes"]?.split(separator: ",").map(String.init))
        try bound()
    }

    /// - Parameter search: the body of a search.
    init(search: SCIMObject) throws(SCIMError) {
        filter = try search.string("filter")
        sortBy = try search.string("sortBy")
        sortOrder = try search.string("sortOrder")
        startIndex = try search.integer("startIndex") ?? 1
        count = try search.integer("count") ?? SCIM.standardCount
        projection = try SCIMProjection(
            attributes: search.strings("attributes"), excluded: search.strings("excludedAttributes"))
        try bound()
    }

    private mutating func bound() throws(SCIMError) {
        startIndex = max(1, startIndex)
        guard startIndex <= SCIM.furthestStart else {
            throw SCIMError(.tooMany, "Lists are not paged so far; narrow them by a filter.")
        }
        count = min(max(0, count), SCIM.mostCount)
    }

    private static func number(_ text: String?, or standard: Int) throws(SCIMError) -> Int {
        guard let text else { return standard }
        guard let number = Int(text) else { throw SCIMError(.invalidValue, "startIndex and count are integers.") }
        return number
    }

    /// - Throws: `invalidFilter`, `invalidPath`, `invalidValue`.
    func directoryQuery(of schema: SCIMSchema) throws(SCIMError) -> DirectoryQuery {
        var query = DirectoryQuery(limit: count)
        query.offset = startIndex - 1
        if let filter { query.filter = try SCIMFilterReader.filter(filter).directory(of: schema) }
        if let sortBy {
            guard let name = SCIMName(sortBy), let attribute = name.directory(of: schema),
                attribute.collection == nil || attribute == .email
            else { throw SCIMError(.invalidPath, "Lists cannot be sorted by this.") }
            query.sort = attribute
        }
        switch sortOrder?.lowercased() {
        case nil, "ascending": break
        case "descending": query.isDescending = true
        default: throw SCIMError(.invalidValue, "sortOrder is ascending or descending.")
        }
        query.withMembers = projection.shows("members")
        return query
    }
}

/// Which attributes an answer shows (RFC 7644 §3.9). `schemas` and `id` are always there.
struct SCIMProjection: Sendable {
    private var wanted: [SCIMName]?
    private var excluded: [SCIMName] = []

    init() {}

    init(attributes: [String]?, excluded: [String]?) throws(SCIMError) {
        guard attributes == nil || excluded == nil else {
            throw SCIMError(.invalidValue, "Ask with attributes or with excludedAttributes, not with both.")
        }
        func names(_ texts: [String]) throws(SCIMError) -> [SCIMName] {
            guard texts.count <= 100 else { throw SCIMError(.tooMany, "These are too many attributes.") }
            var names: [SCIMName] = []
            for text in texts {
                guard let name = SCIMName(text.trimmingCharacters(in: .whitespaces)) else {
                    throw SCIMError(.invalidValue, "This is not the name of an attribute.")
                }
                names.append(name)
            }
            return names
        }
        if let attributes { wanted = try names(attributes) }
        if let excluded { self.excluded = try names(excluded) }
    }

    func shows(_ attribute: String) -> Bool {
        let attribute = attribute.lowercased()
        if let wanted { return wanted.contains { $0.attribute == attribute } }
        return !excluded.contains { $0.attribute == attribute && $0.part == nil }
    }

    func shows(_ attribute: String, _ part: String) -> Bool {
        let (attribute, part) = (attribute.lowercased(), part.lowercased())
        if let wanted {
            return wanted.contains { $0.attribute == attribute && ($0.part == nil || $0.part == part) }
        }
        return !excluded.contains { $0.attribute == attribute && ($0.part == nil || $0.part == part) }
    }
}

// MARK: What the store understands

extension SCIMName {
    /// - Parameter collection: the list whose elements are spoken of.
    fileprivate func directory(
        of schema: SCIMSchema, in collection: DirectoryAttribute.Collection? = nil
    ) -> DirectoryAttribute? {
        var path = part.map { "\(attribute).\($0)" } ?? attribute
        if let collection {
            guard part == nil else { return nil }
            path = "\(collection.rawValue).\(attribute)"
        } else if part == nil, DirectoryAttribute.Collection(rawValue: attribute) != nil {
            // A list without a part means the values of its elements.
            path += ".value"
        }
        guard let found = DirectoryAttribute.allCases.first(where: { $0.rawValue.lowercased() == path }) else {
            return nil
        }
        let top = found.rawValue.split(separator: ".")[0]
        let isCommon = ["id", "externalId", "meta"].contains(String(top))
        return isCommon || schema.attribute(String(top)) != nil ? found : nil
    }
}

extension SCIMFilter {
    /// - Throws: `invalidFilter` for attributes that are not there or cannot be compared so.
    func directory(
        of schema: SCIMSchema, in collection: DirectoryAttribute.Collection? = nil
    ) throws(SCIMError) -> DirectoryFilter {
        switch self {
        case .and(let parts): return .all(try Self.directory(parts, of: schema, in: collection))
        case .or(let parts): return .either(try Self.directory(parts, of: schema, in: collection))
        case .not(let part): return .not(try part.directory(of: schema, in: collection))
        case .element(let name, let inner):
            guard collection == nil, let list = DirectoryAttribute.Collection(rawValue: name.attribute),
                schema.attribute(name.attribute) != nil
            else { throw Self.unknown }
            return .element(list, try inner.directory(of: schema, in: list))
        case .present(let name):
            if collection == nil, name.part == nil, schema.attribute(name.attribute) != nil {
                if let list = DirectoryAttribute.Collection(rawValue: name.attribute) { return .nonEmpty(list) }
                if name.attribute == "name" {
                    let parts: [DirectoryAttribute] = [
                        .formattedName, .familyName, .givenName, .middleName, .honorificPrefix, .honorificSuffix,
                    ]
                    return .either(parts.map { .present($0) })
                }
            }
            guard let attribute = name.directory(of: schema, in: collection) else { throw Self.unknown }
            return Self.inPlace(.present(attribute), attribute, collection)
        case .compare(let name, let comparison, let literal):
            guard let attribute = name.directory(of: schema, in: collection) else { throw Self.unknown }
            return Self.inPlace(
                try Self.compare(attribute, comparison, literal, schema), attribute, collection)
        }
    }

    private static func directory(
        _ parts: [SCIMFilter], of schema: SCIMSchema, in collection: DirectoryAttribute.Collection?
    ) throws(SCIMError) -> [DirectoryFilter] {
        var filters: [DirectoryFilter] = []
        for part in parts { filters.append(try part.directory(of: schema, in: collection)) }
        return filters
    }

    /// Outside of brackets a list fits when some element does.
    private static func inPlace(
        _ filter: DirectoryFilter, _ attribute: DirectoryAttribute, _ collection: DirectoryAttribute.Collection?
    ) -> DirectoryFilter {
        guard collection == nil, let list = attribute.collection else { return filter }
        return .element(list, filter)
    }

    private static func compare(
        _ attribute: DirectoryAttribute, _ comparison: Operator, _ literal: JSONValue, _ schema: SCIMSchema
    ) throws(SCIMError) -> DirectoryFilter {
        guard let stored = DirectoryFilter.Comparison(rawValue: comparison.rawValue) else { throw unknown }
        let isEquality = comparison == .eq || comparison == .ne
        if literal == .null {
            guard isEquality else { throw mismatch }
            return comparison == .eq ? .not(.present(attribute)) : .present(attribute)
        }
        switch attribute.kind {
        case .text, .exactText:
            guard let text = literal.string, !text.utf8.contains(0) else { throw mismatch }
            return .compare(attribute, stored, .text(text))
        case .bool:
            guard isEquality, let flag = literal.bool ?? literal.string.flatMap({ Bool($0.lowercased()) }) else {
                throw mismatch
            }
            return .compare(attribute, stored, .bool(flag))
        case .time:
            guard ![.co, .sw, .ew].contains(comparison), let time = literal.string.flatMap(WireTime.parse) else {
                throw mismatch
            }
            return .compare(attribute, stored, .time(time))
        case .id:
            guard isEquality, let text = literal.string else { throw mismatch }
            let isGroup = attribute == .group || (attribute == .id && schema.id == SCIMSchema.group.id)
            return .compare(
                attribute, stored, .id(isGroup ? GroupID(text)?.uuid : UserID(text)?.uuid))
        }
    }

    private static let unknown = SCIMError(.invalidFilter, "There is no such attribute to filter by.")
    private static let mismatch = SCIMError(.invalidFilter, "This attribute cannot be compared so.")
}
