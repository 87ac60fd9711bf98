/// The query of a search call: `{operator, operands: [{filter_name, filter_value}]}`.
///
/// Filters whose value is not a list of strings are not offered here.
struct Search<Item> {
    private let matchesAny: Bool
    private let operands: [(name: String, values: [String])]
    private let unknownFilter: StytchError
    /// Whether the item passes a filter; nil for a filter nobody knows.
    private let passes: (Item, String, [String]) -> Bool?

    init(
        _ arguments: Arguments, unknownFilter: StytchError, passes: @escaping (Item, String, [String]) -> Bool?
    ) throws {
        let query = Arguments(try arguments.object("query") ?? [:])
        matchesAny = try query.optionalString("operator") == "OR"
        operands = try query.objects("operands").map { operand in
            (try operand.string("filter_name"), try operand.strings("filter_value") ?? [])
        }
        self.unknownFilter = unknownFilter
        self.passes = passes
    }

    func uses(_ filter: String) -> Bool { operands.contains { $0.name == filter } }

    func results(among items: [Item]) throws -> [Item] {
        try items.filter { item in
            let verdicts = try operands.map { operand in
                guard let verdict = passes(item, operand.name, operand.values) else { throw unknownFilter }
                return verdict
            }
            return verdicts.isEmpty || (matchesAny ? verdicts.contains(true) : !verdicts.contains(false))
        }
    }
}

/// One page of a search's results, with the `results_metadata` that leads to the next.
struct Page<Item> {
    let items: [Item]
    let metadata: JSON

    /// `limit` is 1 to 1000, 100 by default; `cursor` is what the page before gave.
    init(of all: [Item], _ arguments: Arguments) throws {
        let limit = try arguments.integer("limit") ?? 100
        guard (1...1000).contains(limit) else { throw StytchError.badRequest("limit is 1 to 1000.") }
        var start = 0
        if let cursor = try arguments.optionalString("cursor"), !cursor.isEmpty {
            guard let data = bytes(base64URL: cursor), let offset = Int(String(decoding: data, as: UTF8.self)),
                (0...all.count).contains(offset)
            else { throw StytchError.badRequest("The cursor is malformed.") }
            start = offset
        }
        let end = min(start + limit, all.count)
        items = Array(all[start..<end])
        metadata = [
            "total": .integer(all.count),
            "next_cursor": end < all.count ? .string(base64URL(String(end).utf8)) : .null,
        ]
    }
}
