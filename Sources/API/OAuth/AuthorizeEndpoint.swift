import Audit
import ControlPlane
import Hummingbird

/// `GET` and `POST I/oauth/authorize` (RFC 6749 §3.1).
struct AuthorizeEndpoint: Sendable {
    let flow: AuthorizationFlow
    let answers: AuthorizationAnswers

    @Sendable func get(_ request: Request, _ context: IssuerContext) async throws -> Response {
        try await begin(OAuthForm(query: request.rawQuery), request, context)
    }

    /// The same by form, for requests too long for a URL. Another site's page sends it, so no `Origin` is asked for.
    @Sendable func post(_ request: Request, _ context: IssuerContext) async throws -> Response {
        try await begin(OAuthForm(request), request, context)
    }

    private func begin(_ form: OAuthForm, _ request: Request, _ context: IssuerContext) async throws -> Response {
        let reply = await flow.begin(
            AuthorizationParameters(form), at: context.issuer, from: answers.cookies.context(of: request),
            request: context.request, at: context.now)
        return answers.response(to: reply, of: context.request.id)
    }
}

extension AuthorizationParameters {
    /// - Parameter names: of parameters that are none of an authorization request.
    init(_ form: OAuthForm, without names: [String] = []) {
        self.init(
            values: form.values.filter { !names.contains($0.key) }, resources: form.all("resource"),
            repeated: form.repeated)
    }
}
