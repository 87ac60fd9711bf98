import Audit
import Foundation
import Identity
import Postgres
package import Tenancy

// What a directory does to people (SCIM): the same users as administrators', with the same ends.

extension Administration {
    package var directory: DirectoryStore { DirectoryStore(database: database) }

    package func directoryUser(_ id: UserID, of organization: OrganizationID) async throws -> DirectoryUser {
        guard let found = try await directory.user(id, in: organization) else { throw AdminError.notFound }
        return found
    }

    /// Makes a user. Who they are upstream is linked when they first sign in, by the rules of every sign-in.
    package func provisionUser(
        _ person: DirectoryPerson, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<DirectoryUser> {
        let email = try checked(person)
        let user = DirectoryUser(
            id: UserID.make(at: administrator.now, random), person: person, version: 1, createdAt: administrator.now,
            updatedAt: administrator.now)
        return try await administer(organization, by: administrator) { transaction in
            guard
                try await !directory.isTaken(
                    userName: person.userName, by: user.id, in: organization, transaction)
            else { throw AdminError.userNameTaken }
            guard try await directory.insert(user, email: email, of: organization, in: transaction) else {
                throw AdminError.emailTaken
            }
            return AdminChange(
                value: user, type: .userCreated, target: user.auditTarget,
                changes: .between([:], person.facts(email: email), personal: DirectoryPerson.personalFacts),
                isCached: false)
        }
    }

    /// Writes what the directory says of a user now; nothing happens where it says the same as before. Whoever becomes
    /// inactive loses every session and connection, as anybody who is disabled.
    ///
    /// - Parameter change: what it says, given what it said.
    /// - Throws: ``AdminError/lastOwner``.
    package func updateUser(
        _ id: UserID, if condition: VersionCondition, in organization: OrganizationID, by administrator: Administrator,
        _ change: (DirectoryUser) throws -> DirectoryPerson
    ) async throws -> Administered<DirectoryUser> {
        try await retryingLostUpdates(condition) {
            let old = try await directoryUser(id, of: organization)
            try condition.check(old.tag)
            let person = try change(old)
            guard person != old.person else { return Administered(value: old, event: nil) }
            let email = try checked(person)
            do {
                return try await write(person, email: email, insteadOf: old, in: organization, by: administrator)
            } catch let error as PostgresError where error.isUniqueViolation {
                throw AdminError.emailTaken
            }
        }
    }

    private func write(
        _ person: DirectoryPerson, email: String?, insteadOf old: DirectoryUser, in organization: OrganizationID,
        by administrator: Administrator
    ) async throws -> Administered<DirectoryUser> {
        try await administer(organization, by: administrator) { transaction in
            guard old.person.isActive, !person.isActive else {
                return try await change(old, to: person, email: email, in: organization, by: administrator, transaction)
            }
            return try await keepingAnOwner(of: organization, transaction) {
                try await change(old, to: person, email: email, in: organization, by: administrator, transaction)
            }
        }
    }

    private func change(
        _ old: DirectoryUser, to person: DirectoryPerson, email: String?, in organization: OrganizationID,
        by administrator: Administrator, _ transaction: PostgresTransaction
    ) async throws -> AdminChange<DirectoryUser> {
        if person.userName != old.person.userName,
            try await directory.isTaken(userName: person.userName, by: old.id, in: organization, transaction)
        {
            throw AdminError.userNameTaken
        }
        guard
            let version = try await directory.update(
                old.id, to: person, email: email, version: old.version, of: organization, at: administrator.now,
                in: transaction)
        else { throw LostUpdate() }
        var type = AuditEventType.userUpdated
        var metadata: [String: String] = [:]
        if person.isActive != old.person.isActive {
            type = person.isActive ? .userEnabled : .userDisabled
            metadata = try await endAll(
                of: old.id, in: organization, because: type, at: administrator.now, transaction)
        }
        let new = DirectoryUser(
            id: old.id, person: person, groups: old.groups, version: version, createdAt: old.createdAt,
            updatedAt: administrator.now)
        return AdminChange(
            value: new, type: type, target: new.auditTarget,
            changes: .between(
                old.person.facts(email: old.person.mainEmail), person.facts(email: email),
                personal: DirectoryPerson.personalFacts),
            metadata: metadata, isCached: false)
    }

    /// Takes a user out of the directory: they stay as the subject of what they did, and whoever the directory makes
    /// later under the same name is somebody new (ADR 23).
    ///
    /// - Throws: ``AdminError/lastOwner``.
    package func deprovisionUser(
        _ id: UserID, if condition: VersionCondition, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<DirectoryUser> {
        try await retryingLostUpdates(condition) {
            let old = try await directoryUser(id, of: organization)
            try condition.check(old.tag)
            return try await administer(organization, by: administrator) { transaction in
                let left = try await keepingAnOwner(of: organization, transaction) {
                    try await directory.remove(
                        id, version: old.version, of: organization, at: administrator.now, in: transaction)
                }
                guard let groups = left else { throw LostUpdate() }
                let metadata = try await endAll(
                    of: id, in: organization, because: .userDeleted, at: administrator.now, transaction)
                return AdminChange(
                    value: old, type: .userDeleted, target: old.auditTarget,
                    changes: .between(
                        old.person.facts(email: old.person.mainEmail), [:], personal: DirectoryPerson.personalFacts),
                    metadata: metadata, isCached: !groups.isEmpty)
            }
        }
    }

    /// - Returns: the address that stands for the person: their main one, or a user name that is an address.
    private func checked(_ person: DirectoryPerson) throws(AdminError) -> String? {
        var checks = FieldChecks()
        checks.word(person.userName, "/userName", most: 256)
        if let externalID = person.externalID { checks.word(externalID, "/externalId", most: 512) }
        if let name = person.displayName { checks.name(name, "/displayName") }
        let parts = [
            person.name.formatted, person.name.familyName, person.name.givenName, person.name.middleName,
            person.name.honorificPrefix, person.name.honorificSuffix,
        ]
        for part in parts.compactMap({ $0 }) { checks.word(part, "/name", most: 512) }
        checks.require(person.emails.count <= 20, "/emails", "too_many", "A person has at most 20 addresses.")
        for (index, email) in person.emails.enumerated() {
            checks.word(email.value, "/emails/\(index)/value", most: 254)
            if let type = email.type { checks.word(type, "/emails/\(index)/type", most: 64) }
            if let display = email.display { checks.word(display, "/emails/\(index)/display", most: 256) }
        }
        checks.require(
            person.emails.count { $0.primary == true } <= 1, "/emails", "invalid",
            "One address at most is the primary one.")
        var address: String?
        if let main = person.mainEmail {
            address = checks.email(main, "/emails")
        } else {
            address = EmailAddress(person.userName)?.description
        }
        try checks.finish()
        return address
    }
}

extension AdminError {
    package static let userNameTaken = AdminError.conflict("Another user of this organization has this user name.")
}

extension FieldChecks {
    fileprivate mutating func word(_ text: String, _ pointer: String, most: Int) {
        require(
            !text.allSatisfy(\.isWhitespace) && text.utf8.count <= most && ClientName.isPlain(text), pointer, "invalid",
            "This has 1 to \(most) printable characters.")
    }
}

extension DirectoryUser {
    fileprivate var auditTarget: AuditEvent.Target {
        AuditEvent.Target(type: "user", id: id.description, name: person.displayName)
    }
}

extension DirectoryPerson {
    fileprivate static let personalFacts: Set<String> = [
        "email", "name", "user_name", "external_id", "names", "emails",
    ]

    fileprivate func facts(email: String?) -> Facts {
        var facts: Facts = ["status": .string(status.rawValue), "user_name": .string(userName)]
        facts["email"] = .text(email)
        facts["name"] = .text(displayName)
        facts["external_id"] = .text(externalID)
        let names = [
            name.honorificPrefix, name.givenName, name.middleName, name.familyName, name.honorificSuffix,
            name.formatted,
        ]
        if names.contains(where: { $0 != nil }) { facts["names"] = .texts(names.map { $0 ?? "" }) }
        if !emails.isEmpty { facts["emails"] = .texts(emails.map(\.value)) }
        return facts
    }
}
