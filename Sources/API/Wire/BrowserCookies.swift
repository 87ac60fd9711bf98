import ControlPlane
import HTTPTypes
import Hummingbird
import Tenancy

/// Our cookies: which browser this is, who is signed in to which organization, where somebody was before, which invitation
/// was opened.
///
/// Over https every name has the prefix `__Host-`, so that no sibling host can set one (RFC 6265bis §4.1.3.2); on loopback
/// http the same names stand without prefix and `Secure`. All are `HttpOnly; SameSite=Lax; Path=/`, and none holds more
/// than random values and a proof that they are ours.
struct BrowserCookies: Sendable {
    let isSecure: Bool

    private var prefix: String { isSecure ? "__Host-gatehouse_" : "gatehouse_" }
    private static let browser = "browser"
    private static let invitation = "invitation"
    private static let session = "session_"
    private static let mark = "known_"

    /// What the request's cookies say. Of two with one name the first counts.
    func context(of request: Request) -> BrowserContext {
        var values: [Substring: Substring] = [:]
        for header in request.headers[values: .cookie] {
            for pair in header.split(separator: ";") {
                let pair = pair.drop { $0 == " " }
                guard let mark = pair.firstIndex(of: "="), pair.hasPrefix(prefix) else { continue }
                let name = pair[..<mark].dropFirst(prefix.count)
                if values[name] == nil { values[name] = pair[pair.index(after: mark)...] }
            }
        }
        func byOrganization(_ kind: String) -> [OrganizationID: String] {
            var found: [OrganizationID: String] = [:]
            for (name, value) in values where name.hasPrefix(kind) {
                guard let organization = OrganizationID(name.dropFirst(kind.count)) else { continue }
                found[organization] = String(value)
            }
            return found
        }
        return BrowserContext(
            binding: values[Self.browser[...]].map(String.init), sessions: byOrganization(Self.session),
            invitation: values[Self.invitation[...]].map(String.init), marks: byOrganization(Self.mark))
    }

    /// `Set-Cookie` for the value that ties sign-in to this browser; lives until the browser is closed.
    func settingBrowser(_ value: String) -> String { cookie(Self.browser, value, lifetime: nil) }

    func settingSession(of organization: OrganizationID, _ value: String, lifetime: Duration) -> String {
        cookie(Self.session + organization.description, value, lifetime: lifetime)
    }

    func settingMark(of organization: OrganizationID, _ value: String, lifetime: Duration) -> String {
        cookie(Self.mark + organization.description, value, lifetime: lifetime)
    }

    func settingInvitation(_ value: String, lifetime: Duration) -> String {
        cookie(Self.invitation, value, lifetime: lifetime)
    }

    private func cookie(_ name: String, _ value: String, lifetime: Duration?) -> String {
        var text = "\(prefix)\(name)=\(value); Path=/; HttpOnly; SameSite=Lax"
        if isSecure { text += "; Secure" }
        if let lifetime { text += "; Max-Age=\(lifetime.components.seconds)" }
        return text
    }
}
