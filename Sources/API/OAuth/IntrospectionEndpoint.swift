import ControlPlane
import CoreMetrics
import HTTPTypes
import Hummingbird
import Tenancy

/// `POST I/oauth/introspect` (RFC 7662 §2). For servers: no page of a browser may call it.
struct IntrospectionEndpoint: Sendable {
    let introspection: Introspection
    let limits: EndpointLimits
    let clock: WallClock

    // Made once: looking a series up by its labels costs as much as the rest of an answer from memory.
    private let actives = Counter(label: "oauth_introspections_total", dimensions: [("outcome", "active")])
    private let inactives = Counter(label: "oauth_introspections_total", dimensions: [("outcome", "inactive")])
    private let refusals = Counter(label: "oauth_introspections_total", dimensions: [("outcome", "refused")])

    init(introspection: Introspection, limits: EndpointLimits, clock: WallClock) {
        self.introspection = introspection
        self.limits = limits
        self.clock = clock
    }

    @Sendable func post(_ request: Request, _ context: IssuerContext) async throws -> Response {
        do {
            let form = try await OAuthForm(request)
            try form.refuseRepeated()
            let credentials = try ClientCredentials(request.headers, form)
            let token = try form.require("token")
            // `token_type_hint` is not looked at: the form of a token tells more (RFC 7662 §2.1).
            // Not the moment the head arrived: a body may have taken long.
            let now = clock.now()
            let call = EndpointLimits.ClientCall(
                .introspect, at: context.issuer.id, by: credentials, request: context.request, at: now)
            let (answer, caller) = try await limits.admit(call) {
                try await introspection.introspect(
                    token, by: credentials, at: context.issuer, request: context.request, at: now)
            }
            count(answer)
            if answer == .inactive { try await limits.missed(call) }
            guard Self.wantsJWT(request) else {
                return .json(answer.body)
            }
            let signed = try introspection.signed(answer, for: caller, by: context.issuer, at: now)
            return .json(Array(signed.utf8), type: Self.signedType)
        } catch let error as OAuthError {
            refusals.increment()
            throw error
        }
    }

    private static let signedType = "application/token-introspection+jwt"

    /// Whether the caller asks for an answer that is signed (RFC 9701 §4).
    private static func wantsJWT(_ request: Request) -> Bool {
        request.headers[values: .accept].contains { header in
            header.split(separator: ",").contains { MediaTypeName(String($0))?.essence == signedType }
        }
    }

    private func count(_ answer: Introspection.Answer) {
        switch answer {
        case .active: actives.increment()
        case .inactive: inactives.increment()
        }
    }
}
