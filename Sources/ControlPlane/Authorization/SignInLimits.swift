import Audit
package import Foundation
import Keys
package import Tenancy

/// How often one address of one organization may have a code sent, and may get one wrong, however many sign-ins are begun:
/// otherwise beginning anew would make every other limit worthless (K-17).
///
/// Counted for each source by itself, and for all of them together. A few sources can use up what all have together, so that
/// is not the last word: a browser in which the person signed in before has a share of its own, and there is a reserve of
/// the same size from which each source gets little. So strangers slow a person down and never lock them out, and mails to
/// one address stay bounded: twice the share of all sources, and that of one source for each of the person's browsers. The
/// place of the buckets is a digest of organization and address, which hides both.
package struct SignInLimits: Sendable {
    private let limiter: RateLimiter
    private let marks: BrowserMarks

    package init(limiter: RateLimiter, marks: BrowserMarks) {
        self.limiter = limiter
        self.marks = marks
    }

    /// Somebody who wants to sign in with an address.
    package struct Visitor: Sendable {
        let email: String
        let organization: OrganizationID?
        let source: String?
        /// The mark of the browser, as it came.
        let mark: String?
        let now: Date

        package init(
            _ email: String, in organization: OrganizationID?, from source: String?, mark: String?, at now: Date
        ) {
            self.email = email
            self.organization = organization
            self.source = source
            self.mark = mark
            self.now = now
        }
    }

    /// Counts one more code; false when there were too many.
    package func mayHaveCodeSent(_ visitor: Visitor) async -> Bool {
        // From the reserve one for each span.
        await decide(visitor, .mailedCodeSource, .mailedCodeAddress, reserves: 1)
    }

    /// Counts one more guess; false when there were too many.
    package func mayGuess(_ visitor: Visitor) async -> Bool {
        // From the reserve as many as one code takes.
        await decide(visitor, .typedCodeSource, .typedCodeAddress, reserves: 5)
    }

    /// - Parameter reserves: how often a source may take from the reserve in the span of its limit.
    private func decide(
        _ visitor: Visitor, _ ofSource: RateLimit, _ ofAddress: RateLimit, reserves: Int
    ) async -> Bool {
        if let mark = visitor.mark, let organization = visitor.organization,
            let browser = marks.browser(markedBy: mark, for: visitor.email, in: organization, at: visitor.now)
        {
            var demand = demand(visitor.email, visitor.organization)
            demand.add(1, ofSource, of: "browser", browser)
            if await limiter.decide(demand).exceeded == nil { return true }
        }
        let source = hidden(visitor.source, visitor.email)
        var demand = demand(visitor.email, visitor.organization)
        demand.add(1, ofSource, of: source)
        demand.add(1, ofAddress, of: "all")
        guard let exceeded = await limiter.decide(demand).exceeded else { return true }
        guard exceeded.limit == ofAddress else { return false }
        var reserve = self.demand(visitor.email, visitor.organization)
        let share = limiter.settings[ofSource]?.count ?? 1
        reserve.add(max(1, share / reserves), ofSource, of: "reserve", source)
        reserve.add(1, ofAddress, of: "reserve")
        return await limiter.decide(reserve).exceeded == nil
    }

    /// What a browser is to keep in which somebody just signed in.
    func mark(for email: String, in organization: OrganizationID, at now: Date, _ random: RandomBytes) -> String {
        marks.mark(for: email, in: organization, at: now, random)
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
        demand.add(0, .mailedCodeSource, of: "reserve", hidden(source, email))
        demand.add(0, .mailedCodeAddress, of: "reserve")
        demand.add(0, .typedCodeSource, of: "reserve", hidden(source, email))
        demand.add(0, .typedCodeAddress, of: "reserve")
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
