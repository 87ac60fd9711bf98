import Audit
import ControlPlane
import Hummingbird

/// `P/device`: where people type the code that a device shows (RFC 8628 §3.3).
struct DeviceEndpoint: Sendable {
    let flow: AuthorizationFlow
    let answers: AuthorizationAnswers

    func addRoutes(to group: some RouterMethods<AppContext>) {
        group.get("device", use: ask)
        group.post("device", use: enter)
    }

    @Sendable func ask(_ request: Request, _ context: AppContext) async throws -> Response {
        answers.response(
            to: flow.askUserCode(from: answers.cookies.context(of: request)), of: context.request.id)
    }

    @Sendable func enter(_ request: Request, _ context: AppContext) async throws -> Response {
        let form = try await OAuthForm(request)
        let reply = await flow.enterUserCode(
            form["user_code"], csrfToken: form["csrf_token"] ?? "", from: answers.cookies.context(of: request),
            request: context.request, at: context.now)
        return answers.response(to: reply, of: context.request.id, posted: true)
    }
}
