import Foundation

/// A user of a consumer project.
struct User: Sendable {
    let id: String
    let emailID: String
    let email: String
    let createdAt: Date
    var isEmailVerified = false
    var isPending = false
    var name: [String: JSON] = [:]
    var trustedMetadata: [String: JSON] = [:]
    var untrustedMetadata: [String: JSON] = [:]
    var externalID: String?
    var roles = ["stytch_user"]
    var lockout = Lockout()
    /// The fixed user of Stytch's test values: it signs in, but no lookup finds it.
    var isMagic = false
}

/// The users of one consumer project.
struct Users: Sendable {
    private var users: [String: User] = [:]
    private var idsByEmail: [String: String] = [:]
    private var idsByEmailID: [String: String] = [:]

    /// A lookup as the API makes it: by `user_id` or external id, and never the magic user.
    func find(_ id: String) throws -> User {
        let found = users[id] ?? users.values.first { $0.externalID == id }
        guard let found, !found.isMagic else { throw StytchError.userNotFound }
        return found
    }

    /// The user behind a login, a session or a passcode.
    func subject(_ id: String) throws -> User {
        guard let user = users[id] else { throw StytchError.userNotFound }
        return user
    }
    func subject(emailID: String) -> User? { idsByEmailID[emailID].flatMap { users[$0] } }
    func subject(email: String) -> User? { idsByEmail[email].flatMap { users[$0] } }

    mutating func store(_ user: User) {
        users[user.id] = user
        idsByEmail[user.email] = user.id
        idsByEmailID[user.emailID] = user.id
    }

    mutating func remove(_ user: User) {
        users[user.id] = nil
        idsByEmail[user.email] = nil
        idsByEmailID[user.emailID] = nil
    }

    /// Users who pass every operand of the query (`operator` `OR`: any), oldest first.
    func search(_ arguments: Arguments) throws -> [User] {
        try Search(arguments, unknownFilter: .unknownFilter("user")) { (user: User, filter, values) in
            switch filter {
            case "user_id": values.contains(user.id)
            case "email_address": values.contains { $0.lowercased() == user.email }
            case "email_id": values.contains(user.emailID)
            case "status": values.contains(user.isPending ? "pending" : "active")
            default: nil
            }
        }
        .results(among: users.values.filter { !$0.isMagic }.sorted { ($0.createdAt, $0.id) < ($1.createdAt, $1.id) })
    }
}

extension User {
    /// Takes the attributes that `arguments` give.
    mutating func update(_ arguments: Arguments) throws {
        if let value = try arguments.object("name") { name.merge(value) { $1 } }
        if let value = try arguments.object("trusted_metadata") { trustedMetadata = value }
        if let value = try arguments.object("untrusted_metadata") { untrustedMetadata = value }
        if let value = try arguments.optionalString("external_id") { externalID = value }
        if let value = try arguments.strings("roles") { roles = ["stytch_user"] + value.filter { $0 != "stytch_user" } }
    }
}

extension Users {
    /// `POST users`. A seed may also fix the ids.
    mutating func create(
        _ arguments: Arguments, environment: ProjectID.Environment, at now: Date, maySetIDs: Bool = false
    ) throws -> User {
        let email = try arguments.emailAddress("email")
        guard subject(email: email) == nil else { throw StytchError.duplicateEmail }
        let id = maySetIDs ? try arguments.optionalString("user_id") : nil
        var user = User(
            id: id ?? environment.newID("user"), emailID: environment.newID("email"), email: email, createdAt: now)
        user.isPending = try arguments.flag("create_user_as_pending") ?? false
        try user.update(arguments)
        store(user)
        return user
    }
}
