import ControlPlane
import HTTPTypes
import Hummingbird
import Tenancy

/// Turns what the flow decided into a page or a redirect, with its cookies.
struct AuthorizationAnswers: Sendable {
    let pages: Pages
    let cookies: BrowserCookies
    let publicURL: String

    /// - Parameter posted: after a POST the next page is fetched by GET, so that going back or reloading repeats nothing; a
    ///   page that tells of a problem comes at once (RFC 9700 §4.12 wants 303).
    func response(to reply: AuthorizationReply, of request: Tenancy.RequestID, posted: Bool = false) -> Response {
        var response = response(to: reply.step, of: request, posted: posted)
        if let binding = reply.setBinding { response.addCookie(cookies.settingBrowser(binding)) }
        if let session = reply.setSession {
            response.addCookie(
                cookies.settingSession(of: session.organization, session.value, lifetime: session.lifetime))
        }
        if let mark = reply.setMark {
            response.addCookie(cookies.settingMark(of: mark.organization, mark.value, lifetime: mark.lifetime))
        }
        return response
    }

    private func response(to step: AuthorizationStep, of request: Tenancy.RequestID, posted: Bool) -> Response {
        switch step {
        case .start(let page): posted && page.problem == nil ? next(page.transaction) : pages.start(page)
        case .code(let page): posted && page.problem == nil ? next(page.transaction) : pages.code(page)
        case .device(let page): pages.device(page)
        case .connections(let page): pages.connections(page)
        case .consent(let page): posted && page.problem == nil ? next(page.transaction) : pages.consent(page)
        case .redirect(let redirect): Self.seeOther(redirect.location)
        case .message(let page): pages.message(page, to: request)
        }
    }

    private func next(_ transaction: String) -> Response { Self.seeOther("\(publicURL)/signin/\(transaction)") }

    private static func seeOther(_ location: String) -> Response {
        Response(
            status: .seeOther,
            headers: [.location: location, .cacheControl: "no-store", .referrerPolicy: "no-referrer"])
    }
}

extension Response {
    fileprivate mutating func addCookie(_ cookie: String) {
        headers.append(HTTPField(name: .setCookie, value: cookie))
    }
}
