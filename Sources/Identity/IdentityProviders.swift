import Keys
package import Outbound
package import Tenancy

/// What an operator decides about upstream sign-in.
package struct IdentitySettings: Sendable {
    /// Key `GATEHOUSE_STYTCH_ALLOW_TEST_PROJECTS`. Default false. Development only: anybody can sign in to a Stytch
    /// test project, with an address and a code that Stytch publishes.
    package var allowTestProjects = false
    /// Key `GATEHOUSE_STYTCH_BASE_URL`. Development only: who answers for Stytch, whatever a provider's configuration
    /// says. Loopback only.
    package var stytchBaseURL: String?

    package init() {}
}

/// Makes organizations' identity providers ready for use, and remembers which of them fail.
package struct IdentityProviders: Sendable {
    private let outbound: OutboundClient
    private let secrets: TenantSecrets
    private let settings: IdentitySettings
    private let clock: WallClock
    private let breaker = CircuitBreaker()

    /// - Parameter outbound: a client of its own, under ``outboundPolicy(allowLoopback:)``.
    package init(
        outbound: OutboundClient, secrets: TenantSecrets, settings: IdentitySettings, clock: WallClock = .system
    ) {
        self.outbound = outbound
        self.secrets = secrets
        self.settings = settings
        self.clock = clock
    }

    /// The policy for calls to identity providers.
    ///
    /// Many organizations share Stytch's hosts, so what is limited elsewhere by host is limited here by provider
    /// (``CircuitBreaker``): one organization's failing project must not cut another off.
    package static func outboundPolicy(allowLoopback: Bool) -> OutboundPolicy {
        var policy = OutboundPolicy()
        policy.allowLoopback = allowLoopback
        policy.connectTimeout = .seconds(3)
        policy.totalTimeout = .seconds(10)
        policy.breakerThreshold = .max
        policy.perHostConcurrency = policy.totalConcurrency
        return policy
    }

    /// One organization's provider.
    ///
    /// - Throws: `misconfigured` for a provider that nobody can sign in through.
    package func provider(
        _ record: IdentityProviderRecord, of organization: Organization
    ) throws(SignInError) -> any IdentityProvider {
        guard record.status == .active else { throw .misconfigured(.disabled) }
        switch record.kind {
        case .stytchB2B:
            guard let upstream = record.configuration.upstreamOrganization, !upstream.isEmpty else {
                throw .misconfigured(.noOrganization)
            }
            return StytchB2B(api: try api(record, organization), organization: upstream)
        case .stytchConsumer:
            return StytchConsumer(api: try api(record, organization))
        case .trustedIssuer:
            throw .misconfigured(.unsupportedKind)
        case .oidc:
            throw .misconfigured(.unsupportedKind)
        }
    }

    /// Whether the provider failed so often that it is left alone for some seconds: every call would be `unavailable`.
    package func isLeftAlone(_ record: IdentityProviderRecord) -> Bool {
        breaker.isOpen(record.id, version: record.version)
    }

    private func api(
        _ record: IdentityProviderRecord, _ organization: Organization
    ) throws(SignInError) -> StytchAPI {
        guard let sealed = record.sealedSecret else { throw .misconfigured(.noSecret) }
        let secret: [UInt8]
        do {
            secret = try secrets.open(sealed, of: organization, .providerSecret(record.id))
        } catch {
            throw .misconfigured(.unreadableSecret)
        }
        return StytchAPI(
            record: record, secret: Secret(String(decoding: secret, as: UTF8.self)),
            baseURL: try StytchAPI.baseURL(of: record.configuration, settings), outbound: outbound,
            breaker: breaker, clock: clock)
    }
}
