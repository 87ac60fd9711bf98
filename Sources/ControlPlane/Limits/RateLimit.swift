/// How often something may happen: so many at once, and then one more whenever a part of the span is over.
package struct Rate: Sendable, Equatable {
    /// At least 1.
    package let count: Int
    /// At least 1.
    package let seconds: Int

    package init(_ count: Int, per seconds: Int) {
        self.count = max(1, count)
        self.seconds = max(1, seconds)
    }

    /// Reads `COUNT/SECONDS`, such as `600/60`: a span of at most a day, and at most a million a second.
    package init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map { Int($0) }
        guard parts.count == 2, let count = parts[0], let seconds = parts[1], (1...86_400).contains(seconds),
            count >= 1,
            count <= seconds * 1_000_000
        else { return nil }
        self.init(count, per: seconds)
    }

    /// After how many microseconds one more is allowed.
    var interval: Int64 { max(1, span / Int64(count)) }
    /// The span in microseconds.
    var span: Int64 { Int64(seconds) * 1_000_000 }
}

/// Everything that is limited, each by its own bucket for each subject.
///
/// The name is the last word on all of it: the setting (`GATEHOUSE_RATE_` and the name in upper case), the policy in
/// `RateLimit-Policy`, the metric's label and a part of the Redis key.
package enum RateLimit: String, CaseIterable, Sendable {
    /// Token requests of one client of one organization.
    case tokenClient = "token_client"
    /// Token requests of one organization.
    case tokenOrganization = "token_organization"
    /// Token requests with the refresh tokens of one grant: one connection gone wild must not use up its client's share.
    case tokenGrant = "token_grant"
    case introspectClient = "introspect_client"
    /// Every bucket of an organization is three: ``ClientAcquaintance``.
    case introspectOrganization = "introspect_organization"
    /// Tokens that are not active, as asked about by one caller (K-27). It turns further such answers away and no others:
    /// what reaches a resource server is not its own choice.
    case introspectMisses = "introspect_misses"
    /// Every other request by which a client proves itself: revocation, pushed authorization requests and the like.
    case otherClient = "other_client"
    case otherOrganization = "other_organization"
    /// Whatever begins or continues an authorization and is known by its address only: authorization requests, sign-in
    /// pages, and at the endpoints of ``otherClient`` the requests of clients that prove nothing.
    case authorizeSource = "authorize_source"
    /// Requests that name a client this node does not know yet, from one address: each costs a question to the database.
    case unknownSource = "unknown_source"
    /// Questions to UserInfo from one address: clients' servers ask for many people.
    case userInfoSource = "user_info_source"
    /// Registrations at one issuer from one address.
    case registerSource = "register_source"
    /// Codes of the device flow typed in from one address (RFC 8628 §5.1).
    case userCodeSource = "user_code_source"
    /// Codes sent to one mail address, as asked for from one source, and from all.
    case mailedCodeSource = "mailed_code_source"
    case mailedCodeAddress = "mailed_code_address"
    /// Codes typed in for one mail address, from one source, and from all.
    case typedCodeSource = "typed_code_source"
    case typedCodeAddress = "typed_code_address"
    /// Calls of the admin API by one key, and by all keys of one organization.
    case adminKey = "admin_key"
    case adminOrganization = "admin_organization"
    /// Calls of one organization's directory (SCIM), by all its tokens.
    case scimOrganization = "scim_organization"
    /// Failures of one client, or of whoever claims to be it, from one source. A wrong secret weighs ten.
    case failuresClient = "failures_client"
    /// Failures from one source, whoever it claims to be.
    case failuresSource = "failures_source"

    /// What an operator who sets nothing gets. Hosted clients come from few addresses, and one of them may refresh for
    /// thousands of people at once.
    package var standard: Rate {
        switch self {
        case .tokenClient: Rate(30_000, per: 60)
        case .tokenOrganization: Rate(60_000, per: 60)
        case .tokenGrant: Rate(300, per: 60)
        case .introspectClient: Rate(60_000, per: 60)
        case .introspectOrganization: Rate(120_000, per: 60)
        case .introspectMisses: Rate(3_000, per: 60)
        case .otherClient: Rate(6_000, per: 60)
        case .otherOrganization: Rate(12_000, per: 60)
        case .authorizeSource: Rate(1_200, per: 60)
        case .unknownSource: Rate(30_000, per: 60)
        case .userInfoSource: Rate(6_000, per: 60)
        case .registerSource: Rate(1_000, per: 3_600)
        case .userCodeSource: Rate(20, per: 600)
        case .mailedCodeSource: Rate(10, per: 600)
        case .mailedCodeAddress: Rate(40, per: 600)
        case .typedCodeSource: Rate(20, per: 3_600)
        case .typedCodeAddress: Rate(200, per: 3_600)
        case .adminKey: Rate(6_000, per: 60)
        case .adminOrganization: Rate(12_000, per: 60)
        case .scimOrganization: Rate(3_000, per: 60)
        case .failuresClient: Rate(300, per: 60)
        case .failuresSource: Rate(600, per: 60)
        }
    }

    /// Key of the setting: `COUNT/SECONDS`, or `off`.
    package var setting: String { "GATEHOUSE_RATE_" + rawValue.uppercased() }
}

/// The rates an operator chose.
package struct RateLimitSettings: Sendable {
    private var rates: [RateLimit: Rate]

    package init() {
        rates = Dictionary(uniqueKeysWithValues: RateLimit.allCases.map { ($0, $0.standard) })
    }

    /// nil where the limit is off.
    package subscript(limit: RateLimit) -> Rate? {
        get { rates[limit] }
        set { rates[limit] = newValue }
    }
}

/// How one bucket stands.
package struct RateLimitState: Sendable, Equatable {
    package let limit: RateLimit
    package let rate: Rate
    /// How many more would be allowed at once.
    package let remaining: Int
    /// Until one more is allowed, where none is; else until the bucket is as good as untouched.
    package let wait: Duration

    /// Whole seconds to wait, at least one: `Retry-After` (RFC 9110 §10.2.3).
    package var seconds: Int {
        let (seconds, fraction) = wait.components
        return max(1, Int(seconds) + (fraction > 0 ? 1 : 0))
    }
}
