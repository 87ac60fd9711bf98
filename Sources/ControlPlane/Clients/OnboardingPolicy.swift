import Tenancy

/// A host, or `*.` and the end of one: every host below it.
struct HostPattern: Sendable {
    /// What stands for any program on the person's own machine.
    static let loopback = "loopback"

    private let text: String

    /// - Returns: nil for what is neither: upper case, a port, a path, a wildcard elsewhere.
    init?(_ text: String) {
        let host = text.hasPrefix("*.") ? text.dropFirst(2) : text[...]
        let isName = !host.isEmpty && host.utf8.count <= 253 && !host.hasPrefix(".") && !host.hasSuffix(".")
        let isPlain = host.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x61...0x7A, 0x2D, 0x2E: true
            default: false
            }
        }
        guard isName, isPlain else { return nil }
        self.text = text
    }

    func matches(_ host: String) -> Bool {
        text.hasPrefix("*.") ? host.hasSuffix(text.dropFirst()) && host.utf8.count >= text.utf8.count : host == text
    }
}

/// What an organization says about clients that no administrator made, asked when one comes, and again at every refresh.
struct OnboardingPolicy: Sendable {
    let settings: OnboardingSettings

    init(_ settings: OnboardingSettings) {
        self.settings = settings
    }

    init(_ organization: Organization) {
        self.init(organization.settings.onboarding)
    }

    /// Whether a document at this host may be a client here.
    func admits(documentAt host: String) -> Bool {
        Self.admits(host, settings.allowedDocumentHosts, settings.deniedDocumentHosts)
    }

    /// Whether answers may go there.
    func admits(_ redirect: RedirectURI) -> Bool {
        let host = redirect.kind == .loopback ? HostPattern.loopback : redirect.host.lowercased()
        return Self.admits(host, settings.allowedRedirectHosts, settings.deniedRedirectHosts)
    }

    /// Whether a connected client may go on: its document's host, and one of the places its answers go to.
    func admits(_ client: Client) -> Bool {
        switch client.kind {
        case .registered, .service: return true
        case .dynamic, .metadataDocument: break
        }
        guard settings.namesHosts else { return true }
        if let url = client.documentURL {
            guard let host = ClientDocumentURL(url)?.host, client.isVouchedFor || admits(documentAt: host) else {
                return false
            }
        }
        // One that has none, such as a device, answers to nowhere.
        return client.redirectURIs.isEmpty
            || client.redirectURIs.contains { RedirectURI($0).map { admits($0) } ?? false }
    }

    /// Whether a client that is new to the organization, but not to the platform's registry, may be met by it. At its own
    /// issuer that was decided when it registered.
    func mayMeet(_ client: Client) -> Bool {
        guard client.registry == .platform else { return true }
        return switch client.kind {
        case .registered, .service: true
        case .dynamic: settings.registration == .open
        case .metadataDocument: settings.metadataDocuments == .open
        }
    }

    private static func admits(_ host: String, _ allowed: [String], _ denied: [String]) -> Bool {
        (allowed.isEmpty || allowed.contains { HostPattern($0)?.matches(host) ?? false })
            && !denied.contains { HostPattern($0)?.matches(host) ?? true }
    }
}

extension OnboardingSettings {
    fileprivate var namesHosts: Bool {
        !(allowedDocumentHosts.isEmpty && deniedDocumentHosts.isEmpty && allowedRedirectHosts.isEmpty
            && deniedRedirectHosts.isEmpty)
    }
}
