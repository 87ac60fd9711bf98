package import Foundation
package import Tenancy

// This room owns upstream sign-in: how a person proves who they are at their organization's identity provider, and when
// what was proven may stand for a user. It knows nothing of OAuth and nothing of pages.

/// Upstream sign-in by a code sent to an e-mail address.
///
/// A value serves one organization's provider as it was configured at one moment; ``IdentityProviders`` makes it. Calls
/// are sent once, never repeated, and answer within ten seconds.
package protocol IdentityProvider: Sendable {
    /// Has a code sent.
    ///
    /// Never tells whether the address is known: for one that the provider does not admit, the challenge looks like any
    /// other and no code fits it. Whoever calls limits how often one address is asked for.
    /// - Throws: `refused` for what is not an address that may sign in; `misconfigured`, `unavailable`.
    func start(email: String) async throws(SignInError) -> SignInChallenge

    /// Asks whether `code` is the one that was sent.
    ///
    /// Whoever calls counts the attempts at one challenge and gives up after a few; the provider's own lock comes late.
    /// - Throws: ``SignInError``, every case.
    func finish(
        _ challenge: SignInChallenge, code: String, at now: Date
    ) async throws(SignInError) -> VerifiedIdentity

    /// Asks whether people could sign in: that the provider answers, takes the credentials and has what is configured.
    /// Nothing is sent to anybody and nothing changes there.
    /// - Throws: `misconfigured`, `unavailable`.
    func test() async throws(SignInError)
}

/// A code is on its way: what ``IdentityProvider/finish(_:code:at:)`` needs to know of it, kept by the caller for at
/// most ten minutes and shown to nobody.
package struct SignInChallenge: Sendable, Codable, Equatable {
    /// How long a code can be used; what the providers are asked for.
    package static let lifetime = Duration.seconds(lifetimeMinutes * 60)
    static let lifetimeMinutes = 10

    /// The address the code was sent to, as ``EmailAddress`` spells it.
    package let email: String
    /// What the provider calls this sending; nil where it needs no name, or sent nothing.
    package let upstream: String?
    package let identityProvider: IdentityProviderID
    /// The provider's configuration at that moment; a code does not outlive a change of it.
    package let recordVersion: Int64
    package let sentAt: Date

    package init(
        email: String, upstream: String?, identityProvider: IdentityProviderID, recordVersion: Int64, sentAt: Date
    ) {
        self.email = email
        self.upstream = upstream
        self.identityProvider = identityProvider
        self.recordVersion = recordVersion
        self.sentAt = sentAt
    }
}

/// Somebody who has just proven who they are. Not yet a user: ``SignIn`` decides that.
package struct VerifiedIdentity: Sendable, Equatable {
    package let key: IdentityKey
    /// As ``EmailAddress`` spells it.
    package let email: String?
    /// The provider saw a proof that the address is this person's; only then may the address count for anything.
    package let emailVerified: Bool
    package let name: String?
    package let authTime: Date
    /// More than one kind of factor was shown.
    package let mfa: Bool
    /// The most the provider says this person may have; nil when it says nothing. It narrows and never grants.
    package let scopeCeiling: [String]?

    package init(
        key: IdentityKey, email: String?, emailVerified: Bool, name: String?, authTime: Date, mfa: Bool,
        scopeCeiling: [String]?
    ) {
        self.key = key
        self.email = email
        self.emailVerified = emailVerified
        self.name = name
        self.authTime = authTime
        self.mfa = mfa
        self.scopeCeiling = scopeCeiling
    }
}

/// What an administrator has to mend before anybody can sign in; the words are those of `reason` in events.
package enum Misconfiguration: String, Sendable {
    /// No active identity provider signs people in.
    case noProvider = "provider_missing"
    case disabled = "provider_disabled"
    /// One that is not made for pages, or that this release cannot use.
    case unsupportedKind = "provider_kind_unsupported"
    case noOrganization = "provider_organization_missing"
    case noSecret = "provider_secret_missing"
    /// Sealed under a master key that this server does not have.
    case unreadableSecret = "provider_secret_unreadable"
    case projectID = "provider_project_id_malformed"
    /// Anybody can open a test project; only a server in development takes one.
    case testProject = "provider_test_project"
    case baseURL = "provider_base_url_unusable"
    case rejectedCredentials = "provider_rejects_credentials"
    /// B2B in place of consumer, or the other way round.
    case otherKindOfProject = "provider_project_of_other_kind"
    case unknownOrganization = "provider_organization_unknown"
    case wantsCaptcha = "provider_wants_captcha"
    case forbidsCodes = "provider_forbids_codes"
    case forbidsCall = "provider_forbids_call"
}

/// Why nobody was signed in. Texts are fixed; nothing a provider answered is in them.
package enum SignInError: Error, Sendable, Equatable {
    case wrongCode
    /// Or the provider's configuration changed since: start again.
    case codeExpired
    /// The provider locked the account for a while.
    case tooManyAttempts
    /// Proven, but the provider does not admit this person to the organization.
    case notAdmitted
    /// The provider wants a factor that cannot be shown here.
    case additionalFactorRequired
    /// The provider does not answer, or is left alone after failing repeatedly.
    case unavailable(retryAfter: Duration?)
    /// Nobody can sign in until an administrator mends the configuration.
    case misconfigured(Misconfiguration)
    case refused(String)

    /// The machine's word for it in events.
    package var reason: String {
        switch self {
        case .wrongCode: "wrong_code"
        case .codeExpired: "code_expired"
        case .tooManyAttempts: "too_many_attempts"
        case .notAdmitted: "not_admitted"
        case .additionalFactorRequired: "additional_factor_required"
        case .unavailable: "provider_unavailable"
        case .misconfigured(let what): what.rawValue
        case .refused: "refused"
        }
    }
}
