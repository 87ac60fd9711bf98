import HTTPTypes
import Hummingbird

/// Answers 405 with `Allow` on every path that has routes, for every method that has none (RFC 9110 §15.5.6).
///
/// The router itself would answer 404. Called last, when all routes are there.
enum MethodNotAllowed {
    private static let known: [HTTPRequest.Method] = [
        .get, .head, .post, .put, .patch, .delete, .options, .trace, .connect,
    ]

    static func complete(_ router: Router<AppContext>) {
        var methods: [String: Set<HTTPRequest.Method>] = [:]
        for route in router.routes { methods[route.path.description, default: []].insert(route.method) }
        let oauth = router.group().add(middleware: OAuthErrorMiddleware())
        let scim = router.group().add(middleware: SCIMErrorMiddleware())
        for (path, allowed) in methods {
            let allow = allowed.map(\.rawValue).sorted().joined(separator: ", ")
            for method in known where !allowed.contains(method) {
                let refuse: @Sendable (Request, AppContext) async throws -> Response = { _, _ in
                    throw HTTPError(.methodNotAllowed, headers: [.allow: allow])
                }
                if path.contains("/oauth/") {
                    oauth.on(RouterPath(path), method: method, use: refuse)
                } else if path.hasPrefix("/scim/") {
                    scim.on(RouterPath(path), method: method, use: refuse)
                } else {
                    router.on(RouterPath(path), method: method, use: refuse)
                }
            }
        }
    }
}
