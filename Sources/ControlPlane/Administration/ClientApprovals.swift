import Audit
import Foundation
import Keys
import Postgres
package import Tenancy

extension Administration {
    /// An organization's decision about a client, and what the client calls itself.
    package struct Approval: Sendable {
        package let admission: ClientAdmission
        /// nil when the client is gone from its registry.
        package let client: Client?
    }

    package func approvals(_ page: Page, of organization: OrganizationID) async throws -> [Approval] {
        let admissions = try await clients.admissions(page, of: organization)
        var known: [ClientID: Client] = [:]
        for (registry, theirs) in Dictionary(grouping: admissions, by: \.registry) {
            for client in try await clients.find(theirs.map(\.client), in: registry) { known[client.id] = client }
        }
        return admissions.map { Approval(admission: $0, client: known[$0.client]) }
    }

    package func approval(of client: ClientID, by organization: OrganizationID) async throws -> Approval {
        guard let admission = try await clients.admission(of: client, by: organization) else {
            throw AdminError.notFound
        }
        return try await approval(admission)
    }

    /// Lets people of the organization connect with a client. Connections that began at the very moment of a denial end now.
    ///
    /// - Parameter digest: of the metadata document that the administrator looked at; a document says something else
    ///   whenever its maker likes.
    package func approveClient(
        _ client: ClientID, shownAs digest: String?, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<Approval> {
        try await decide(.active, about: client, shownAs: digest, in: organization, by: administrator)
    }

    /// Keeps a client out of the organization; every connection made with it ends, and what people allowed it is forgotten.
    package func denyClient(
        _ client: ClientID, in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<Approval> {
        try await decide(.denied, about: client, shownAs: nil, in: organization, by: administrator)
    }

    private func decide(
        _ status: ClientAdmission.Status, about id: ClientID, shownAs digest: String?,
        in organization: OrganizationID, by administrator: Administrator
    ) async throws -> Administered<Approval> {
        let old = try await approval(of: id, by: organization)
        if status == .active, let document = old.client?.document {
            guard let digest else {
                throw AdminError.invalid([
                    FieldError(
                        "/document_digest", "required", "Repeat the document_digest of the approval you looked at.")
                ])
            }
            try Self.check(digest, of: document)
        }
        let trusted = old.client.map { ClientAdmission(of: $0, status: status, at: administrator.now) }
        let admission = ClientAdmission(
            client: id, registry: old.admission.registry, status: status, createdAt: old.admission.createdAt,
            trustDigest: trusted?.trustDigest, keysDigest: trusted?.keysDigest)
        return try await administer(organization, by: administrator) { transaction in
            guard
                try await clients.setAdmission(
                    of: id, to: status, by: organization, at: administrator.now, in: transaction)
            else { throw AdminError.notFound }
            if status == .active {
                try await clients.trust(admission, by: organization, at: administrator.now, in: transaction)
            }
            var metadata: [String: String] = [:]
            let type: AuditEventType = status == .denied ? .clientRejected : .clientApproved
            let areOtherKeys = old.admission.keysDigest != admission.keysDigest
            if status == .denied || old.admission.status == .denied || areOtherKeys {
                let ended = try await grants.revokeAll(of: id, in: organization, because: type.rawValue, transaction)
                metadata["grants_ended"] = "\(ended.count)"
            }
            return AdminChange(
                value: Approval(admission: admission, client: old.client), type: type,
                target: AuditEvent.Target(type: "client", id: id.description, name: old.client?.name),
                changes: .between(
                    ["status": .string(old.admission.status.rawValue)], ["status": .string(status.rawValue)]),
                client: old.client?.wireID ?? id.description, metadata: metadata, isCached: false)
        }
    }

    /// - Throws: ``AdminError/conflict(_:)`` when the document is not what was looked at.
    static func check(_ digest: String, of document: Client.Document) throws(AdminError) {
        guard digest == Base64URL.encode(document.digest) else {
            throw .conflict("The client's document has changed: look at it again, and repeat its document_digest.")
        }
    }

    /// The platform's registry is read for its public parts only, in transactions of its own.
    private func approval(_ admission: ClientAdmission) async throws -> Approval {
        Approval(admission: admission, client: try await clients.find(admission.client, in: admission.registry))
    }
}
