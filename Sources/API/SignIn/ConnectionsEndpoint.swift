import Audit
import ControlPlane
import Hummingbird

/// `P/connections`: a signed-in person's own connections, to see and to end.
struct ConnectionsEndpoint: Sendable {
    let flow: AuthorizationFlow
    let answers: AuthorizationAnswers

    func addRoutes(to group: some RouterMethods<AppContext>) {
        group.get("connections", use: show)
        group.post("connections", use: end)
    }

    @Sendable func show(_ request: Request, _ context: AppContext) async throws -> Response {
        let query = try OAuthForm(query: request.uri.query ?? "")
        let reply = await flow.connections(
            at: query["organization"], ended: query["ended"], from: answers.cookies.context(of: request),
            request: context.request, at: context.now)
        return answers.response(to: reply, of: context.request.id)
    }

    @Sendable func end(_ request: Request, _ context: AppContext) async throws -> Response {
        let form = try await OAuthForm(request)
        let reply = await flow.endConnection(
            form["connection"] ?? "", at: form["organization"] ?? "", csrfToken: form["csrf_token"] ?? "",
            from: answers.cookies.context(of: request), request: context.request, at: context.now)
        return answers.response(to: reply, of: context.request.id, posted: true)
    }
}
