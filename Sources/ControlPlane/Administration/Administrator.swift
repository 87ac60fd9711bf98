package import Audit
package import Foundation
package import Keys
package import Tenancy

/// Who administers, and the request they do it by.
package struct Administrator: Sendable {
    /// What somebody's power rests on.
    private enum Standing: Sendable {
        /// A command of the operator; it may do everything.
        case system
        case key(AdminKey)
        /// A directory of one organization.
        case directory(OrganizationID)
        case person(Person)
    }

    /// A person who administers their organization through a client.
    package struct Person: Sendable {
        let organization: OrganizationID
        let user: UserID
        /// The grant of the one token they got; it stands for that token.
        let grant: GrantID
        let clientID: String
        /// What the token was given and the person's roles still stand for.
        let scopes: Set<AdminScope>
    }

    package let actor: AuditEvent.Actor
    private let standing: Standing
    /// What the caller was proven by.
    package let credential: Secret?
    package let request: AuditEvent.RequestInfo?
    package let now: Date
    /// How the write of this request is meant.
    package var terms = WriteTerms()

    package init(key: AdminKey, provenBy credential: Secret, request: AuditEvent.RequestInfo, now: Date) {
        actor = .adminKey(key.id)
        standing = .key(key)
        self.credential = credential
        self.request = request
        self.now = now
    }

    /// A directory of one organization: it writes that one's users and groups, and nothing else.
    package init(directory token: SCIMToken, request: AuditEvent.RequestInfo, now: Date) {
        actor = .scimToken(token.id)
        standing = .directory(token.organization)
        credential = nil
        self.request = request
        self.now = now
    }

    init(person: Person, provenBy token: Secret, request: AuditEvent.RequestInfo, now: Date) {
        actor = .user(person.user, session: person.grant.description)
        standing = .person(person)
        credential = token
        self.request = request
        self.now = now
    }

    /// A command of the operator, such as `bootstrap`; it may do everything.
    package init(system name: String, now: Date) {
        actor = .system(name)
        standing = .system
        credential = nil
        request = nil
        self.now = now
    }

    /// The same, for what has to be done besides the write that was asked for, in a transaction of its own.
    var besides: Administrator {
        var other = self
        other.terms = WriteTerms()
        return other
    }

    /// The key that was proven, where one was.
    package var key: AdminKey? {
        if case .key(let key) = standing { key } else { nil }
    }

    /// The organization whose directory it is, where it is one.
    package var directory: OrganizationID? {
        if case .directory(let organization) = standing { organization } else { nil }
    }

    /// The OAuth client that a person administers through.
    package var clientID: String? {
        if case .person(let person) = standing { person.clientID } else { nil }
    }

    /// What tells its credential from others: a key by its id, a person's token by its grant.
    package var credentialID: String? {
        switch standing {
        case .key(let key): key.id.description
        case .person(let person): person.grant.description
        case .system, .directory: nil
        }
    }

    /// Whose administrator it is.
    package var organization: OrganizationID {
        switch standing {
        case .system: .platform
        case .key(let key): key.organization
        case .directory(let organization): organization
        case .person(let person): person.organization
        }
    }

    /// Whether it acts for the platform rather than for one organization.
    package var isPlatform: Bool {
        switch standing {
        case .system: true
        case .key(let key): key.organization == .platform
        case .directory, .person: false
        }
    }

    package func reaches(_ organization: OrganizationID) -> Bool {
        isPlatform || self.organization == organization
    }

    package func holds(_ scope: AdminScope) -> Bool {
        switch standing {
        case .system: true
        case .directory: AdminScope.ofDirectories.contains(scope)
        case .person(let person): person.scopes.contains(scope)
        case .key(let key):
            (isPlatform || !scope.isPlatformOnly)
                && (key.scopes.contains(scope.rawValue) || key.scopes.contains(AdminScope.all.rawValue))
        }
    }
}

extension Administrator {
    /// What the log says besides of an act: the client that a person acted through.
    func noted(in metadata: [String: String]) -> [String: String] {
        guard let clientID else { return metadata }
        return metadata.merging(["through_client": clientID]) { own, _ in own }
    }
}
