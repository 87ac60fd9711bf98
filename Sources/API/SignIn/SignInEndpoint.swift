import Audit
import ControlPlane
import HTTPTypes
import Hummingbird
import Keys

/// `P/signin/…`: the pages of one authorization transaction.
struct SignInEndpoint: Sendable {
    let flow: AuthorizationFlow
    let answers: AuthorizationAnswers

    func addRoutes(to group: some RouterMethods<AppContext>) {
        group.get("signin/{transaction}", use: show)
        group.post("signin/{transaction}", use: identify)
        group.post("signin/{transaction}/code", use: verify)
        group.post("signin/{transaction}/consent", use: decide)
        group.get("signin/invitation/{token}", use: openInvitation)
    }

    @Sendable func show(_ request: Request, _ context: AppContext) async throws -> Response {
        let reply = await flow.show(
            try context.parameters.require("transaction"), from: answers.cookies.context(of: request),
            request: context.request, at: context.now)
        return answers.response(to: reply, of: context.request.id)
    }

    /// Page one. An address typed in means: sign in with it; none means: go on as who is signed in.
    @Sendable func identify(_ request: Request, _ context: AppContext) async throws -> Response {
        let form = try await OAuthForm(request)
        let reply = await flow.identify(
            try context.parameters.require("transaction"), csrfToken: form["csrf_token"] ?? "",
            organization: form["organization"], email: form["email"],
            useSession: form["action"] != "other_account" && form["email"] == nil,
            from: answers.cookies.context(of: request), request: context.request, at: context.now)
        return answers.response(to: reply, of: context.request.id, posted: true)
    }

    @Sendable func verify(_ request: Request, _ context: AppContext) async throws -> Response {
        let form = try await OAuthForm(request)
        let reply = await flow.verify(
            try context.parameters.require("transaction"), csrfToken: form["csrf_token"] ?? "", code: form["code"],
            resend: form["action"] == "resend", from: answers.cookies.context(of: request), request: context.request,
            at: context.now)
        return answers.response(to: reply, of: context.request.id, posted: true)
    }

    /// Page two. Only the word `allow` allows.
    @Sendable func decide(_ request: Request, _ context: AppContext) async throws -> Response {
        let form = try await OAuthForm(request)
        let reply = await flow.decide(
            try context.parameters.require("transaction"), csrfToken: form["csrf_token"] ?? "",
            allow: form["decision"] == "allow" && !form.repeated.contains("decision"),
            from: answers.cookies.context(of: request), request: context.request, at: context.now)
        return answers.response(to: reply, of: context.request.id, posted: true)
    }

    /// Remembers an invitation in this browser. Whether it is good shows only at sign-in, to the person it was meant for.
    @Sendable func openInvitation(_ request: Request, _ context: AppContext) async throws -> Response {
        guard let token = InvitationToken(try context.parameters.require("token")) else {
            return answers.pages.message(
                MessagePage(
                    kind: .badRequest, title: "This invitation link is not complete",
                    explanation: "A part of the address is missing or changed.",
                    advice: "Open the link from the mail again, or copy all of it."), to: context.request.id)
        }
        var response = answers.pages.invited()
        response.headers[.setCookie] = answers.cookies.settingInvitation(
            token.secret.revealed, lifetime: .seconds(86_400))
        return response
    }
}

/// Lets forms through that come from our own pages (BC-04).
///
/// Together with the CSRF token and the browser-binding cookie. Our pages send no referrer, so a browser may call their
/// origin `null`; then its own word on where the request comes from, `Sec-Fetch-Site`, decides.
struct SameOriginForms: RouterMiddleware {
    let origin: String
    let flow: AuthorizationFlow

    func handle(
        _ request: Request, context: AppContext, next: (Request, AppContext) async throws -> Response
    ) async throws -> Response {
        guard request.method != .post || isOurs(request.headers) else {
            try await flow.recordForeignForm(context.request, at: context.now)
            throw ForeignForm()
        }
        return try await next(request, context)
    }

    func isOurs(_ headers: HTTPFields) -> Bool {
        let site = headers[.secFetchSite]
        guard site == nil || site == "same-origin" || site == "none" else { return false }
        switch headers[.origin] {
        case nil, origin: return true
        case "null": return site == "same-origin"
        default: return false
        }
    }
}

/// A form that another site sent.
struct ForeignForm: Error {}
