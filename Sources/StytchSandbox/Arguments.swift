import Foundation

/// The parameters of one call, whether they came as a JSON body or as a query.
///
/// An explicit null counts as absent. Parameters nobody asks for are ignored, as Stytch ignores them: its SDKs repeat
/// path parameters in queries and bodies.
struct Arguments: Sendable {
    let members: [String: JSON]

    init(_ members: [String: JSON]) { self.members = members }

    /// - Throws: ``StytchError`` `bad_request` unless `body` is empty or a JSON object.
    init(body: some Collection<UInt8>) throws {
        if body.isEmpty {
            members = [:]
        } else {
            guard let members = (try? JSON(parsing: body))?.object else {
                throw StytchError.badRequest("The body is not a JSON object.")
            }
            self.members = members
        }
    }

    /// A query as forms encode it, `+` for a space; of a repeated parameter the last counts.
    init(query: String?) throws {
        let pairs = try (query ?? "").split(separator: "&").map { pair in
            let parts = try pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map { part in
                guard let text = part.replacing("+", with: "%20").removingPercentEncoding else {
                    throw StytchError.badRequest("The query is malformed.")
                }
                return text
            }
            return (parts[0], JSON.string(parts.count == 2 ? parts[1] : ""))
        }
        members = Dictionary(pairs, uniquingKeysWith: { $1 })
    }

    /// A parameter that must be there and must not be empty.
    func string(_ name: String) throws -> String {
        guard let value = try optionalString(name), !value.isEmpty else {
            throw StytchError.badRequest("\(name) is required.")
        }
        return value
    }

    func optionalString(_ name: String) throws -> String? { try value(name, "a string", \.string) }
    func integer(_ name: String) throws -> Int? { try value(name, "an integer", \.integer) }
    func flag(_ name: String) throws -> Bool? { try value(name, "a boolean", \.bool) }
    func object(_ name: String) throws -> [String: JSON]? { try value(name, "an object", \.object) }
    func strings(_ name: String) throws -> [String]? { try value(name, "an array of strings", \.strings) }

    /// The objects of an array parameter; none when it is absent.
    func objects(_ name: String) throws -> [Arguments] {
        try (value(name, "an array", \.array) ?? []).map { element in
            guard let members = element.object else { throw StytchError.badRequest("\(name) must hold objects.") }
            return Arguments(members)
        }
    }

    /// An e-mail address in lower case: addresses are compared without regard to case.
    func emailAddress(_ name: String) throws -> String {
        let address = try string(name).lowercased()
        let parts = address.split(separator: "@", omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty, parts[1].contains("."), address.utf8.count <= 254,
            !address.contains(where: \.isWhitespace)
        else { throw StytchError.invalidEmail }
        return address
    }

    /// A number of minutes in `range`, else `error`.
    func minutes(_ name: String, in range: ClosedRange<Int>, else error: StytchError) throws -> Duration? {
        guard let value = try integer(name) else { return nil }
        guard range.contains(value) else { throw error }
        return .seconds(value * 60)
    }

    private func value<Value>(_ name: String, _ kind: String, _ read: (JSON) -> Value?) throws -> Value? {
        guard let member = members[name], member != .null else { return nil }
        guard let value = read(member) else { throw StytchError.badRequest("\(name) must be \(kind).") }
        return value
    }
}
