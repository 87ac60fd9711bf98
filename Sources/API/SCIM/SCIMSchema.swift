import Keys

/// The words of SCIM that are used all over.
enum SCIM {
    static let mediaType = "application/scim+json"
    static let listSchema = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
    static let patchSchema = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
    static let searchSchema = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
    /// Resources on a page unless asked otherwise, and at most.
    static let standardCount = 100
    static let mostCount = 200
    /// How far into a list a page may begin: nobody counts through more than that.
    static let furthestStart = 200_000
}

/// One attribute of a resource (RFC 7643 §7): what `/Schemas` says of it and what requests are read by.
struct SCIMAttribute: Sendable {
    enum Kind: String, Sendable { case string, boolean, complex, reference }
    enum Mutability: String, Sendable { case readOnly, readWrite, immutable }

    let name: String
    var kind = Kind.string
    var isMultiValued = false
    var isRequired = false
    var isCaseExact = false
    var mutability = Mutability.readWrite
    var isUnique = false
    var canonicalValues: [String] = []
    var referenceTypes: [String] = []
    let description: String
    var parts: [SCIMAttribute] = []

    func part(_ name: String) -> SCIMAttribute? { parts.first { $0.name.lowercased() == name.lowercased() } }
}

/// A resource's schema: the one table of its attributes.
struct SCIMSchema: Sendable {
    let id: String
    let name: String
    let description: String
    let attributes: [SCIMAttribute]
    /// RFC 7643 defines these and they are not kept: what comes of them is passed over, for directories send them anyway.
    let ignored: Set<String>

    /// Names ignore case (RFC 7643 §2.1).
    func attribute(_ name: String) -> SCIMAttribute? { attributes.first { $0.name.lowercased() == name.lowercased() } }

    func isIgnored(_ name: String) -> Bool {
        let name = name.lowercased()
        return ignored.contains(name) || name.hasPrefix("urn:ietf:params:scim:schemas:extension:")
    }

    static let all = [user, group]

    static let user = SCIMSchema(
        id: "urn:ietf:params:scim:schemas:core:2.0:User", name: "User", description: "A person of the organization",
        attributes: [
            SCIMAttribute(
                name: "userName", isRequired: true, isUnique: true,
                description: "What the directory calls the person; ignores case."),
            SCIMAttribute(
                name: "name", kind: .complex, description: "The parts of the person's name.",
                parts: [
                    SCIMAttribute(name: "formatted", description: "The whole name."),
                    SCIMAttribute(name: "familyName", description: "The family name."),
                    SCIMAttribute(name: "givenName", description: "The given name."),
                    SCIMAttribute(name: "middleName", description: "The middle names."),
                    SCIMAttribute(name: "honorificPrefix", description: "Titles before the name."),
                    SCIMAttribute(name: "honorificSuffix", description: "Suffixes behind the name."),
                ]),
            SCIMAttribute(name: "displayName", description: "The name that is shown to people."),
            SCIMAttribute(
                name: "active", kind: .boolean, isRequired: true,
                description:
                    "Whether the person may sign in; false ends every session and connection. True unless said."),
            SCIMAttribute(
                name: "emails", kind: .complex, isMultiValued: true,
                description: "E-mail addresses; the primary one, else the first, stands for the person here.",
                parts: [
                    SCIMAttribute(name: "value", description: "The address."),
                    SCIMAttribute(name: "display", description: "A name for the address."),
                    SCIMAttribute(
                        name: "type", canonicalValues: ["work", "home", "other"], description: "What it is for."),
                    SCIMAttribute(name: "primary", kind: .boolean, description: "Whether it is the main one."),
                ]),
            SCIMAttribute(
                name: "groups", kind: .complex, isMultiValued: true, mutability: .readOnly,
                description: "The groups the person is in; changed at the groups.",
                parts: [
                    SCIMAttribute(name: "value", mutability: .readOnly, description: "The group's id."),
                    SCIMAttribute(
                        name: "$ref", kind: .reference, isCaseExact: true, mutability: .readOnly,
                        referenceTypes: ["Group"], description: "The group's address."),
                    SCIMAttribute(name: "display", mutability: .readOnly, description: "The group's name."),
                ]),
        ],
        ignored: [
            "nickname", "profileurl", "title", "usertype", "preferredlanguage", "locale", "timezone", "password",
            "phonenumbers", "ims", "photos", "addresses", "x509certificates",
        ])

    static let group = SCIMSchema(
        id: "urn:ietf:params:scim:schemas:core:2.0:Group", name: "Group", description: "People under one name",
        attributes: [
            SCIMAttribute(
                name: "displayName", isRequired: true, isUnique: true,
                description: "The group's name; ignores case."),
            SCIMAttribute(
                name: "members", kind: .complex, isMultiValued: true, description: "The people in the group.",
                parts: [
                    SCIMAttribute(name: "value", mutability: .immutable, description: "The user's id."),
                    SCIMAttribute(
                        name: "$ref", kind: .reference, isCaseExact: true, mutability: .immutable,
                        referenceTypes: ["User"], description: "The user's address."),
                    SCIMAttribute(
                        name: "type", mutability: .immutable, canonicalValues: ["User"],
                        description: "What the member is: always a User."),
                ]),
        ],
        ignored: [])
}

// MARK: As `/Schemas` tells it

extension SCIMSchema {
    func json(location: String) -> [UInt8] {
        JSONWriter.object(capacity: 4096) { json in
            json.strings("schemas", ["urn:ietf:params:scim:schemas:core:2.0:Schema"])
            json.string("id", id)
            json.string("name", name)
            json.string("description", description)
            json.raws("attributes", attributes.map(\.json))
            json.object("meta") { json in
                json.string("resourceType", "Schema")
                json.string("location", location)
            }
        }
    }
}

extension SCIMAttribute {
    fileprivate var json: [UInt8] {
        JSONWriter.object { json in
            json.string("name", name)
            json.string("type", kind.rawValue)
            json.bool("multiValued", isMultiValued)
            json.string("description", description)
            json.bool("required", isRequired)
            if kind == .string || kind == .reference { json.bool("caseExact", isCaseExact) }
            json.string("mutability", mutability.rawValue)
            json.string("returned", "default")
            if kind != .complex { json.string("uniqueness", isUnique ? "server" : "none") }
            if !canonicalValues.isEmpty { json.strings("canonicalValues", canonicalValues) }
            if !referenceTypes.isEmpty { json.strings("referenceTypes", referenceTypes) }
            if !parts.isEmpty { json.raws("subAttributes", parts.map(\.json)) }
        }
    }
}
