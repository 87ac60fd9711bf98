import Audit
import Keys
package import Tenancy

/// How often one address of one organization may have a code sent, and may get one wrong, however many sign-ins are begun:
/// otherwise beginning anew would make every other limit worthless (K-17).
///
/// Counted for each source by itself, and far higher for all of them together: whoever floods an address from elsewhere
/// does not lock its owner out. The place of the buckets is a digest of organization and address, which hides both.
package struct SignInLimits: Sendable {
    private let limiter: RateLimiter

    package init(limiter: RateLimiter) {
        self.limiter = limiter
    }

    /// Counts one more code; false when there were too many.
    package func mayHaveCodeSent(_ email: String, in organization: OrganizationID?, from source: String?) async -> Bool
    {
        var demand = demand(email, organization)
        demand.add(1, .mailedCodeSource, of: hidden(source, email))
        demand.add(1, .mailedCodeAddress, of: "all")
        return await limiter.decide(demand).exceeded == nil
    }

    /// Counts one more guess; false when there were too many.
    package func mayGuess(_ email: String, in organization: OrganizationID?, from source: String?) async -> Bool {
        var demand = demand(email, organization)
        demand.add(1, .typedCodeSource, of: hidden(source, email))
        demand.add(1, .typedCodeAddress, of: "all")
        return await limiter.decide(demand).exceeded == nil
    }

    /// Counts one more entry of a device's code; false when there were too many (RFC 8628 §5.1).
    ///
    /// By source alone: one count for all of them would let anybody keep everybody out, and 34 bits outlast what many
    /// sources can try while a code lives.
    package func mayEnterUserCode(from source: String?) async -> Bool {
        let source = SourceGroup.name(of: source)
        var demand = RateLimitDemand(at: source, limiter.settings)
        demand.add(1, .userCodeSource, of: source)
        return await limiter.decide(demand).exceeded == nil
    }

    /// Starts counting anew for somebody who proved who they are; best effort.
    package func forgive(_ email: String, in organization: OrganizationID, from source: String?) async {
        var demand = demand(email, organization)
        demand.add(0, .mailedCodeSource, of: hidden(source, email))
        demand.add(0, .mailedCodeAddress, of: "all")
        demand.add(0, .typedCodeSource, of: hidden(source, email))
        demand.add(0, .typedCodeAddress, of: "all")
        await limiter.forget(demand)
    }

    private func demand(_ email: String, _ organization: OrganizationID?) -> RateLimitDemand {
        RateLimitDemand(
            at: digest("\(organization?.description ?? "-")|\(email.lowercased())"), limiter.settings)
    }

    private func hidden(_ source: String?, _ email: String) -> String {
        digest("\(SourceGroup.name(of: source))|\(email.lowercased())")
    }

    private func digest(_ text: String) -> String {
        Base64URL.encode(Array(sha256(text).prefix(16)))
    }
}
