import Audit
import Foundation
import Identity
import Keys
import Outbound
import Postgres
package import Tenancy

extension Administration {
    package func domain(_ name: String, of organization: OrganizationID) async throws -> Domain {
        let name = name.lowercased()
        guard let found = try await organizations.domains(of: organization).first(where: { $0.name == name }) else {
            throw AdminError.notFound
        }
        return found
    }

    /// Names a mail domain as the organization's own; it counts for nothing until it is verified.
    package func addDomain(
        _ text: String, to organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<Domain> {
        guard let name = EmailAddress("postmaster@\(text)")?.domain, name == text.lowercased() else {
            throw AdminError.invalid([
                FieldError("/domain", "invalid", "Write a domain name such as example.com, without scheme, @ and path.")
            ])
        }
        guard !PublicMailDomains.contain(name) else {
            throw AdminError.invalid([
                FieldError(
                    "/domain", "public_domain", "Anybody can have an address there, so no organization can own it.")
            ])
        }
        try checkRoom(
            try await organizations.domains(of: organization).count, below: Self.mostDomains, for: "domains")
        let domain = Domain(
            name: name, status: .pending,
            verificationToken: Secret.random(prefix: "gatehouse-domain-", from: random).revealed, verifiedAt: nil,
            createdAt: administrator.now)
        return try await administer(organization, by: administrator) { transaction in
            guard try await organizations.insert(domain, of: organization, in: transaction) else {
                throw AdminError.conflict("The organization names this domain already.")
            }
            return AdminChange(
                value: domain, type: .orgDomainAdded, target: domain.auditTarget,
                changes: .between([:], domain.facts), isCached: false)
        }
    }

    /// Says that the domain is this organization's own: on the word of the platform, or because the DNS shows the token in
    /// the record that the domain's own people alone can set. It stays verified until it is removed (ADR 27).
    ///
    /// - Throws: ``AdminError/conflict(_:)`` when another organization holds it, or the record is not there or another;
    ///   ``AdminError/nameServersFailed``.
    package func verifyDomain(
        _ name: String, of organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<Domain> {
        let old = try await domain(name, of: organization)
        let isPlatformsWord = administrator.isPlatform && administrator.holds(.domainsVerify)
        if !isPlatformsWord { try await prove(old, of: organization) }
        let verified = Domain(
            name: old.name, status: .verified, verificationToken: old.verificationToken,
            verifiedAt: old.verifiedAt ?? administrator.now, createdAt: old.createdAt)
        return try await administer(organization, by: administrator) { transaction in
            switch try await organizations.verify(
                domain: old.name, of: organization, at: administrator.now, in: transaction)
            {
            case nil: throw AdminError.notFound
            case false?: throw AdminError.conflict("This domain is verified for another organization.")
            case true?: break
            }
            return AdminChange(
                value: verified, type: .orgDomainVerified, target: verified.auditTarget,
                changes: .between(old.facts, verified.facts),
                metadata: ["proof": isPlatformsWord ? "platform" : "dns"], isCached: false)
        }
    }

    /// Looks the domain's record up.
    private func prove(_ domain: Domain, of organization: OrganizationID) async throws {
        let found: [String]
        do {
            found = try await errands.run("looking up domains", for: organization) {
                try await settings.resolveText(domain.recordName)
            }
        } catch is TextRecordError {
            throw AdminError.nameServersFailed
        }
        guard !found.contains(domain.verificationToken) else { return }
        let record = "TXT record at \(domain.recordName)"
        throw AdminError.conflict(
            found.isEmpty
                ? "There is no \(record). Set it to the value in dns_record and try again; it can take an hour to be seen."
                : "There is a \(record), but none of the \(found.count) found holds the value in dns_record.")
    }

    /// - Throws: ``AdminError/conflict(_:)`` while an identity provider is authoritative for it.
    package func removeDomain(
        _ name: String, from organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<Domain> {
        let old = try await domain(name, of: organization)
        guard try await !providers.all(of: organization).contains(where: { $0.authoritativeDomains.contains(old.name) })
        else {
            throw AdminError.conflict(
                "An identity provider is authoritative for this domain; take it from there first.")
        }
        return try await administer(organization, by: administrator) { transaction in
            guard try await organizations.delete(domain: old.name, of: organization, in: transaction) else {
                throw AdminError.notFound
            }
            return AdminChange(
                value: old, type: .orgDomainRemoved, target: old.auditTarget, changes: .between(old.facts, [:]),
                isCached: false)
        }
    }
}

extension Domain {
    fileprivate var auditTarget: AuditEvent.Target { AuditEvent.Target(type: "domain", id: name) }
    fileprivate var facts: Facts { ["domain": .string(name), "status": .string(status.rawValue)] }
}

/// Domains where everybody may have an address: none of them can belong to an organization.
enum PublicMailDomains {
    static func contain(_ domain: String) -> Bool {
        let labels = domain.split(separator: ".")
        // A name below a public one is as public.
        return (0..<max(0, labels.count - 1)).contains { list.contains(labels[$0...].joined(separator: ".")) }
    }

    private static let list: Set<String> = [
        "126.com", "139.com", "163.com", "aim.com", "alice.it", "aol.com", "arcor.de", "att.net", "bellsouth.net",
        "bigpond.com", "bluewin.ch", "bol.com.br", "btinternet.com", "charter.net", "comcast.net", "cox.net",
        "daum.net", "disroot.org", "duck.com", "earthlink.net", "email.com", "fastmail.com", "fastmail.fm",
        "foxmail.com",
        "free.fr", "freenet.de", "gmail.com", "gmx.at", "gmx.ch", "gmx.com", "gmx.de", "gmx.net", "googlemail.com",
        "guerrillamail.com", "hanmail.net", "hey.com", "hotmail.co.uk", "hotmail.com", "hotmail.de", "hotmail.fr",
        "hotmail.it", "hushmail.com", "icloud.com", "inbox.com", "inbox.ru", "juno.com", "laposte.net", "libero.it",
        "list.ru", "live.co.uk", "live.com", "live.de", "live.fr", "live.nl", "lycos.com", "mac.com", "mail.com",
        "mail.ru", "mailbox.org", "mailinator.com", "me.com", "msn.com", "naver.com", "netscape.net", "ntlworld.com",
        "o2.pl", "onet.pl", "optonline.net", "orange.fr", "outlook.com", "outlook.de", "outlook.fr", "pm.me",
        "posteo.de", "proton.me", "protonmail.ch", "protonmail.com", "qq.com", "rambler.ru", "rediffmail.com",
        "rocketmail.com", "sbcglobal.net", "seznam.cz", "sfr.fr", "shaw.ca", "sina.com", "sky.com", "sohu.com",
        "t-online.de",
        "terra.com.br", "tutanota.com", "tutanota.de", "tuta.io", "uol.com.br", "verizon.net", "virgilio.it",
        "virginmedia.com", "wanadoo.fr", "web.de", "wp.pl", "ya.ru", "yahoo.ca", "yahoo.co.in", "yahoo.co.jp",
        "yahoo.co.uk", "yahoo.com", "yahoo.com.br", "yahoo.de", "yahoo.es", "yahoo.fr", "yahoo.it", "yandex.com",
        "yandex.ru", "yeah.net", "yopmail.com", "ymail.com", "zoho.com", "zohomail.com",
    ]
}
