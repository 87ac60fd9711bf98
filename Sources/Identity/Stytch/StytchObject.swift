import Keys

/// An object in Stytch's answer, read by name. What must be there and is not makes the answer worthless.
struct StytchObject: Sendable, Equatable {
    let members: [String: JSONValue]

    init(_ members: [String: JSONValue]) {
        self.members = members
    }

    static let unreadable = SignInError.refused("Stytch's answer is not the one its documentation describes.")

    /// A text that must be there; an absent thing of Stytch's is often `""`.
    func text(_ name: String) throws(SignInError) -> String {
        guard let text = members[name]?.string else { throw Self.unreadable }
        return text
    }

    func flag(_ name: String) throws(SignInError) -> Bool {
        guard case .bool(let flag)? = members[name] else { throw Self.unreadable }
        return flag
    }

    func object(_ name: String) throws(SignInError) -> StytchObject {
        guard let object = optionalObject(name) else { throw Self.unreadable }
        return object
    }

    func optionalObject(_ name: String) -> StytchObject? {
        members[name]?.object.map(StytchObject.init)
    }

    func objects(_ name: String) throws(SignInError) -> [StytchObject] {
        guard case .array(let elements)? = members[name] else { throw Self.unreadable }
        let objects = elements.compactMap(\.object).map(StytchObject.init)
        guard objects.count == elements.count else { throw Self.unreadable }
        return objects
    }

    /// An id that will be stored.
    func id(_ name: String) throws(SignInError) -> String {
        let id = try text(name)
        guard StytchAPI.isPlain(id) else { throw Self.unreadable }
        return id
    }

    /// A name for people, cut to 200 characters; nil when there is none.
    func name(_ parts: String...) -> String? {
        let words = parts.compactMap { members[$0]?.string }.joined(separator: " ")
        // Control characters cannot be stored and are no part of a name.
        let visible = words.unicodeScalars.filter { $0.properties.generalCategory != .control }
        let name = String(String.UnicodeScalarView(visible)).split(separator: " ").joined(separator: " ")
        return name.isEmpty ? nil : String(name.prefix(200))
    }
}

/// What a session says about the sign-in that made it.
struct StytchSession {
    let mfa: Bool
    let scopeCeiling: [String]?

    /// - Throws: `refused` when somebody else acted for the person.
    init(_ session: StytchObject) throws(SignInError) {
        var kinds: Set<String> = []
        for factor in try session.objects("authentication_factors") {
            let type = try factor.text("type")
            let delivery = try factor.text("delivery_method")
            guard type != "impersonated", delivery != "impersonation" else {
                throw .refused("A session in which somebody acts for another person is not accepted.")
            }
            kinds.insert(delivery)
        }
        mfa = kinds.count > 1
        scopeCeiling = Self.scopes(session.optionalObject("custom_claims")?.members["scopes"])
    }

    /// A list or a space-separated text; anything else that stands there allows nothing, for it was meant to narrow.
    private static func scopes(_ claim: JSONValue?) -> [String]? {
        switch claim {
        case nil, .null?: nil
        case .string(let text)?: text.split(separator: " ").map(String.init)
        case let claim?: claim.strings ?? []
        }
    }
}
