import ControlPlane
import Foundation
import Tenancy

/// What the page of a person's connections shows.
struct ConnectionsView: Sendable {
    struct Connection: Sendable {
        let heading: PageText
        let initial: PageText
        let client: PageText
        let clientHost: PageText?
        let resourceName: PageText
        let resourceURI: PageText?
        let scopes: [ScopeView]
        let since: PageText
        let sinceTime: PageText
        let lastUsed: PageText
        let lastUsedTime: PageText
        let grant: PageText
    }
    struct Other: Sendable {
        let name: PageText
        let address: PageText
    }

    let action: PageText
    let csrfToken: PageText
    let organization: PageText
    let slug: PageText
    let account: PageText
    let ended: PageText?
    let hasConnections: Bool
    let connections: [Connection]
    let others: [Other]
    let anotherAddress: PageText

    /// - Parameter address: of this page, without a query.
    init(_ page: ConnectionsPage, at address: String) {
        action = PageText(address)
        csrfToken = PageText(page.csrfToken)
        organization = PageText(page.organization.name)
        slug = PageText(page.organization.slug)
        account = PageText(page.account)
        ended = page.ended.map { PageText($0) }
        hasConnections = !page.connections.isEmpty
        connections = page.connections.enumerated().map { Connection($1, number: $0) }
        others = page.others.map {
            Other(name: PageText($0.name), address: PageText("\(address)?organization=\($0.slug)"))
        }
        // No slug is like this one: it asks for another sign-in.
        anotherAddress = PageText("\(address)?organization=-")
    }
}

extension ConnectionsView.Connection {
    fileprivate init(_ connection: ConnectionsPage.Connection, number: Int) {
        heading = PageText("connection-\(number + 1)")
        initial = PageText(
            connection.clientName.first { $0.isLetter || $0.isNumber }.map { $0.uppercased() } ?? "?")
        client = PageText(connection.clientName)
        clientHost = connection.clientHost.map { PageText($0) }
        resourceName = PageText(connection.resourceName)
        resourceURI = connection.resourceURI.map { PageText($0) }
        scopes = connection.scopes.map(ScopeView.init)
        since = PageText(Self.day(connection.since))
        sinceTime = PageText(WireTime.text(connection.since))
        lastUsed = PageText(Self.day(connection.lastUsed))
        lastUsedTime = PageText(WireTime.text(connection.lastUsed))
        grant = PageText(connection.grant.description)
    }

    /// Such as `23 November 2026`, in UTC: a page without scripts cannot know more.
    private static func day(_ time: Date) -> String {
        var calendar = Calendar(identifier: .gregorian)
        calendar.timeZone = .gmt
        let date = calendar.dateComponents([.year, .month, .day], from: time)
        return "\(date.day ?? 0) \(months[(date.month ?? 1) - 1]) \(date.year ?? 0)"
    }

    private static let months = [
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December",
    ]
}
