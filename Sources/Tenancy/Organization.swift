package import Foundation

/// A tenant.
package struct Organization: Sendable, Equatable {
    /// Where an organization stands; only `active` ones issue anything.
    package enum Status: String, Sendable, Codable, CaseIterable { case active, suspended, deleted }

    package let id: OrganizationID
    /// Lower-case name in URLs; never changes and is never used twice.
    package let slug: String
    package var name: String
    package var status: Status
    /// The data key that seals this organization's secrets, itself wrapped under the master key.
    package let wrappedDataKey: [UInt8]
    package var settings: OrganizationSettings
    /// Grows by one with every change; the `ETag` of the admin API.
    package let version: Int64
    package let createdAt: Date
    package let updatedAt: Date
    /// Set while it is deleted.
    package let deletion: Deletion?

    /// How far a deletion has gone.
    package struct Deletion: Sendable, Equatable {
        package let deletedAt: Date
        /// Until then it can be restored; then all it owns is erased.
        package let deletesAt: Date
        package let erasedAt: Date?

        package init(deletedAt: Date, deletesAt: Date, erasedAt: Date? = nil) {
            self.deletedAt = deletedAt
            self.deletesAt = deletesAt
            self.erasedAt = erasedAt
        }
    }

    package init(
        id: OrganizationID, slug: String, name: String, status: Status, wrappedDataKey: [UInt8],
        settings: OrganizationSettings, version: Int64, createdAt: Date, updatedAt: Date, deletion: Deletion? = nil
    ) {
        self.id = id
        self.slug = slug
        self.name = name
        self.status = status
        self.wrappedDataKey = wrappedDataKey
        self.settings = settings
        self.version = version
        self.createdAt = createdAt
        self.updatedAt = updatedAt
        self.deletion = deletion
    }

    /// Whether `slug` may name an organization: 2–63 of `a-z 0-9 -`, no hyphen at the ends, no word the platform keeps.
    package static func isValid(slug: String) -> Bool {
        let characters = Array(slug.utf8)
        guard (2...63).contains(characters.count), characters.first != 0x2D, characters.last != 0x2D else {
            return false
        }
        let allowed = characters.allSatisfy { (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2D }
        return allowed && !reservedSlugs.contains(slug) && !slug.hasPrefix("org_")
    }

    private static let reservedSlugs: Set<String> = ["platform", "gatehouse", "admin", "api", "www", "well-known"]
}

/// What an organization decides for itself. Absent members take their defaults, so old rows keep working.
package struct OrganizationSettings: Sendable, Equatable, Codable {
    /// How long a client that lost a reply may ask again with the refresh token it already spent. 0…30 s.
    package var refreshGraceSeconds: Int = 30
    /// A connection unused for this long ends.
    package var grantIdleLifetimeSeconds: Int = 90 * 86_400
    /// A connection ends after this long, used or not.
    package var grantLifetimeSeconds: Int = 400 * 86_400
    /// How long a browser stays signed in.
    package var sessionLifetimeSeconds: Int = 12 * 3_600
    /// A browser that did nothing for this long is signed out; nil: as long as the session lasts.
    package var sessionIdleLifetimeSeconds: Int?
    /// How long ago somebody may have proven who they are and still connect something; nil: as long as the session lasts.
    package var maxAuthenticationAgeSeconds: Int?
    /// Nobody signs in, and no session counts, with one kind of factor alone.
    package var mfaRequired = false
    /// Whom a first sign-in may let in.
    package var admission = Admission.justInTime
    /// Whether people are asked again for what they allowed before.
    package var consent = Consent.remember
    /// How long a token that an administrator issues by name may live at most, and lives unless they say less.
    package var programmaticTokenLifetimeSeconds: Int = 90 * 86_400
    /// The resource meant when a client names none.
    package var defaultResource: ResourceID?
    /// New clients of these kinds wait for an administrator before anybody may connect with them.
    package var approvalRequiredFor: [Client.Kind] = []
    /// Devices without a browser may be connected by a code that a person types elsewhere (RFC 8628). Off unless wanted:
    /// nobody can see whose device a code came from.
    package var deviceAuthorization = false
    /// Which clients may come by themselves.
    package var onboarding = OnboardingSettings()
    /// The platform's alone: how long a deleted organization can be restored.
    package var deletionGraceSeconds: Int = 30 * 86_400

    /// What a provider's word about an address in a verified domain is enough for; an invitation is always enough.
    package enum Admission: String, Sendable, Codable, CaseIterable {
        /// To be let in, known or not.
        case justInTime = "just_in_time"
        /// To be the user that an administrator made.
        case knownUsers = "known_users"
        /// For nothing.
        case invitedOnly = "invited_only"
    }

    /// Clients that nobody vouches for ask each time, whatever this says.
    package enum Consent: String, Sendable, Codable, CaseIterable {
        case remember
        case alwaysAsk = "always_ask"
    }

    package init() {}

    private enum CodingKeys: String, CodingKey {
        case refreshGraceSeconds = "refresh_grace_seconds"
        case grantIdleLifetimeSeconds = "grant_idle_lifetime_seconds"
        case grantLifetimeSeconds = "grant_lifetime_seconds"
        case sessionLifetimeSeconds = "session_lifetime_seconds"
        case sessionIdleLifetimeSeconds = "session_idle_lifetime_seconds"
        case maxAuthenticationAgeSeconds = "max_authentication_age_seconds"
        case mfaRequired = "mfa_required"
        case admission
        case consent
        case deletionGraceSeconds = "deletion_grace_seconds"
        case programmaticTokenLifetimeSeconds = "programmatic_token_lifetime_seconds"
        case defaultResource = "default_resource"
        case approvalRequiredFor = "approval_required_for"
        case deviceAuthorization = "device_authorization"
        case onboarding
    }

    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        let standard = OrganizationSettings()
        func number(_ key: CodingKeys, _ fallback: Int) throws -> Int {
            try values.decodeIfPresent(Int.self, forKey: key) ?? fallback
        }
        refreshGraceSeconds = try number(.refreshGraceSeconds, standard.refreshGraceSeconds)
        grantIdleLifetimeSeconds = try number(.grantIdleLifetimeSeconds, standard.grantIdleLifetimeSeconds)
        grantLifetimeSeconds = try number(.grantLifetimeSeconds, standard.grantLifetimeSeconds)
        sessionLifetimeSeconds = try number(.sessionLifetimeSeconds, standard.sessionLifetimeSeconds)
        sessionIdleLifetimeSeconds = try values.decodeIfPresent(Int.self, forKey: .sessionIdleLifetimeSeconds)
        maxAuthenticationAgeSeconds = try values.decodeIfPresent(Int.self, forKey: .maxAuthenticationAgeSeconds)
        mfaRequired = try values.decodeIfPresent(Bool.self, forKey: .mfaRequired) ?? standard.mfaRequired
        admission = try values.decodeIfPresent(Admission.self, forKey: .admission) ?? standard.admission
        consent = try values.decodeIfPresent(Consent.self, forKey: .consent) ?? standard.consent
        deletionGraceSeconds = try number(.deletionGraceSeconds, standard.deletionGraceSeconds)
        programmaticTokenLifetimeSeconds = try number(
            .programmaticTokenLifetimeSeconds, standard.programmaticTokenLifetimeSeconds)
        defaultResource = try values.decodeIfPresent(ResourceID.self, forKey: .defaultResource)
        approvalRequiredFor = try values.decodeIfPresent([Client.Kind].self, forKey: .approvalRequiredFor) ?? []
        deviceAuthorization = try values.decodeIfPresent(Bool.self, forKey: .deviceAuthorization) ?? false
        onboarding = try values.decodeIfPresent(OnboardingSettings.self, forKey: .onboarding) ?? OnboardingSettings()
    }
}

/// How clients come that no administrator made: by registration, or as metadata documents. What is connected goes on when
/// a way is closed; the lists of hosts are asked again at every refresh.
package struct OnboardingSettings: Sendable, Equatable, Codable {
    /// Who may register (RFC 7591).
    package enum Registration: String, Sendable, Codable, CaseIterable {
        case open, off
        /// Whoever has a token for it.
        case initialAccessToken = "initial_access_token"
    }
    /// Which metadata documents may come (CIMD).
    package enum Documents: String, Sendable, Codable, CaseIterable {
        case open
        /// Those that an administrator named.
        case preregistered
        /// As `preregistered`, and the metadata does not offer them.
        case off
    }

    package var registration = Registration.open
    package var metadataDocuments = Documents.open
    /// Hosts of documents: all, unless any are named here …
    package var allowedDocumentHosts: [String] = []
    /// … and none of these. `*.example.com` means every host below that one.
    package var deniedDocumentHosts: [String] = []
    /// The same for where answers are sent; `loopback` means programs on the person's own machine.
    package var allowedRedirectHosts: [String] = []
    package var deniedRedirectHosts: [String] = []

    package init() {}

    private enum CodingKeys: String, CodingKey {
        case registration
        case metadataDocuments = "metadata_documents"
        case allowedDocumentHosts = "allowed_document_hosts"
        case deniedDocumentHosts = "denied_document_hosts"
        case allowedRedirectHosts = "allowed_redirect_hosts"
        case deniedRedirectHosts = "denied_redirect_hosts"
    }

    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        registration = try values.decodeIfPresent(Registration.self, forKey: .registration) ?? .open
        metadataDocuments = try values.decodeIfPresent(Documents.self, forKey: .metadataDocuments) ?? .open
        func hosts(_ key: CodingKeys) throws -> [String] {
            try values.decodeIfPresent([String].self, forKey: key) ?? []
        }
        allowedDocumentHosts = try hosts(.allowedDocumentHosts)
        deniedDocumentHosts = try hosts(.deniedDocumentHosts)
        allowedRedirectHosts = try hosts(.allowedRedirectHosts)
        deniedRedirectHosts = try hosts(.deniedRedirectHosts)
    }
}

/// A mail domain that an organization says is its own.
package struct Domain: Sendable, Equatable {
    package enum Status: String, Sendable, Codable, CaseIterable { case pending, verified }

    /// Lower case, without a trailing dot.
    package let name: String
    package let status: Status
    /// What a DNS TXT record must hold to prove ownership.
    package let verificationToken: String
    package let verifiedAt: Date?
    package let createdAt: Date

    /// Where that TXT record stands: below the domain, so that it crosses no other use of its records.
    package var recordName: String { "_gatehouse.\(name)" }

    package init(name: String, status: Status, verificationToken: String, verifiedAt: Date?, createdAt: Date) {
        self.name = name
        self.status = status
        self.verificationToken = verificationToken
        self.verifiedAt = verifiedAt
        self.createdAt = createdAt
    }
}
