import ControlPlane
import Tenancy

// What templates see: stored texts, flags and lists, nothing computed and nothing that is not shown.

/// Who asks, and where the answer goes.
struct ClientView: Sendable {
    let name: PageText
    /// One letter to stand in for a picture; pictures of strangers are never loaded.
    let initial: PageText
    let documentHost: PageText?
    /// nil for a device.
    let destination: PageText?
    let isLoopback: Bool
    /// The code that the device shows.
    let userCode: PageText?
    /// It called itself what it wanted, and nothing else is said about it.
    let isStranger: Bool

    init(_ client: RequestingClient) {
        name = PageText(client.name)
        initial = PageText(client.name.first { $0.isLetter || $0.isNumber }.map { $0.uppercased() } ?? "?")
        documentHost = client.documentHost.map { PageText($0) }
        switch client.destination {
        case .host(let host): (destination, isLoopback, userCode) = (PageText(host), false, nil)
        case .thisComputer(let host):
            (destination, isLoopback, userCode) = ("a program on this computer (\(host))", true, nil)
        case .device(let code): (destination, isLoopback, userCode) = (nil, false, PageText(code))
        }
        isStranger = !client.isVerified && !isLoopback
    }
}

/// An organization's look, and beside it what nobody but us decides: its slug and our host, so that no name and no picture
/// makes one organization pass for another.
struct BrandView: Sendable {
    let name: PageText
    let slug: PageText
    let host: PageText
    let logo: PageText?
    let stylesheet: PageText?

    /// - Returns: nil for an organization that looks like ourselves.
    init?(_ organization: PageOrganization, settings: EdgeSettings, path: (String) -> String) {
        guard let brand = organization.brand else { return nil }
        name = PageText(organization.name)
        slug = PageText(organization.slug)
        host = PageText(settings.origin.split(separator: "/").last.map(String.init) ?? settings.origin)
        logo = brand.branding.logo.map { PageText(path(BrandAssets.path(of: $0, brand.organization))) }
        stylesheet = BrandAssets.stylesheet(of: brand.branding).map {
            PageText(path(BrandAssets.path(ofStylesheet: $0, brand.organization)))
        }
    }
}

/// An organization that may be picked.
struct ChoiceView: Sendable {
    let slug: PageText
    let name: PageText
    let isFirst: Bool
}

struct StartView: Sendable {
    let action: PageText
    let csrfToken: PageText
    let client: ClientView?
    let resourceName: PageText?
    let resourceURI: PageText?
    let organization: PageText?
    let signedInAs: PageText?
    let hasChoices: Bool
    let choices: [ChoiceView]
    let asksOrganization: Bool
    let emailHint: PageText?
    let problem: PageText?

    init(_ page: StartPage, action: String) {
        self.action = PageText(action)
        csrfToken = PageText(page.csrfToken)
        client = page.client.map(ClientView.init)
        resourceName = page.resourceName.map { PageText($0) }
        resourceURI = page.resourceURI.map { PageText($0) }
        organization = page.organization.map { PageText($0.name) }
        signedInAs = page.signedInAs.map { PageText($0) }
        hasChoices = page.organization == nil && !page.choices.isEmpty
        choices = page.choices.enumerated().map { index, choice in
            ChoiceView(slug: PageText(choice.slug), name: PageText(choice.name), isFirst: index == 0)
        }
        asksOrganization = page.organization == nil && page.choices.isEmpty
        emailHint = page.emailHint.map { PageText($0) }
        problem = page.problem.map { PageText($0) }
    }
}

struct CodeView: Sendable {
    let action: PageText
    /// Where page one is answered: for going back to another address.
    let startAction: PageText
    let csrfToken: PageText
    let client: ClientView?
    let organization: PageText
    let email: PageText
    let problem: PageText?

    init(_ page: CodePage, action: String, startAction: String) {
        self.action = PageText(action)
        self.startAction = PageText(startAction)
        csrfToken = PageText(page.csrfToken)
        client = page.client.map(ClientView.init)
        organization = PageText(page.organization.name)
        email = PageText(page.email)
        problem = page.problem.map { PageText($0) }
    }
}

struct DeviceView: Sendable {
    let action: PageText
    let csrfToken: PageText
    let problem: PageText?

    init(_ page: DevicePage, action: String) {
        self.action = PageText(action)
        csrfToken = PageText(page.csrfToken)
        problem = page.problem.map { PageText($0) }
    }
}

struct ScopeView: Sendable {
    let name: PageText
    let text: PageText
    let showsName: Bool

    init(_ scope: Resource.Scope) {
        name = PageText(scope.name)
        text = PageText(scope.description.isEmpty ? scope.name : scope.description)
        showsName = !scope.description.isEmpty
    }
}

struct ConsentView: Sendable {
    let action: PageText
    let csrfToken: PageText
    let client: ClientView
    let organization: PageText
    let account: PageText
    let resourceName: PageText
    let resourceURI: PageText
    let mayAllow: Bool
    let scopes: [ScopeView]
    let personal: [PageText]
    let hasWithheld: Bool
    let withheld: [PageText]
    let staysConnected: Bool
    let problem: PageText?

    init(_ page: ConsentPage, action: String) {
        self.action = PageText(action)
        problem = page.problem.map { PageText($0) }
        csrfToken = PageText(page.csrfToken)
        client = ClientView(page.client)
        organization = PageText(page.organization.name)
        account = PageText(page.account)
        resourceName = PageText(page.resourceName)
        resourceURI = PageText(page.resourceURI)
        mayAllow = !page.scopes.isEmpty
        scopes = page.scopes.map(ScopeView.init)
        personal = page.personalScopes.compactMap { scope in
            switch scope {
            case "profile": PageText("See your name")
            case "email": PageText("See your e-mail address")
            default: nil
            }
        }
        hasWithheld = !page.withheld.isEmpty
        withheld = page.withheld.map { PageText($0) }
        staysConnected = page.staysConnected && !page.scopes.isEmpty
    }
}

struct MessageView: Sendable {
    let heading: PageText
    let explanation: PageText
    let advice: PageText
    let errorCode: PageText?
    /// By which an administrator finds in the log what happened; nil for good news.
    let requestID: PageText?
    let wayBackHost: PageText?
    let wayBackLocation: PageText?
    let isGood: Bool

    init(_ page: MessagePage, to request: Tenancy.RequestID) {
        heading = PageText(page.title)
        explanation = PageText(page.explanation)
        advice = PageText(page.advice)
        errorCode = page.errorCode.map { PageText($0) }
        requestID = page.kind == .done ? nil : PageText(request.description)
        let wayBack = page.wayBack.flatMap { Self.isLink($0.location) ? $0 : nil }
        wayBackHost = wayBack.map { PageText($0.host) }
        wayBackLocation = wayBack.map { PageText($0.location) }
        isGood = page.kind == .done
    }

    /// Good news: nothing went wrong and there is nothing to send.
    init(heading: PageText, explanation: PageText, advice: PageText) {
        self.heading = heading
        self.explanation = explanation
        self.advice = advice
        errorCode = nil
        requestID = nil
        wayBackHost = nil
        wayBackLocation = nil
        isGood = true
    }

    /// Addresses were judged when the client registered; this stands between a mistake there and a running script.
    static func isLink(_ location: String) -> Bool {
        let scheme = location.prefix { $0 != ":" }.lowercased()
        return location.contains(":") && !["javascript", "data", "vbscript", "file", "blob", "intent"].contains(scheme)
    }
}

struct HomeView: Sendable {
    let publicURL: PageText
    let metadataURL: PageText
    let resourcesURL: PageText
    let referenceURL: PageText
    let connectionsURL: PageText
}
