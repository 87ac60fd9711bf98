import ControlPlane
import Hummingbird

/// `GET I/oauth/jwks`: the issuer's public keys (RFC 7517 §5). Answers for suspended organizations too, so that what was
/// issued before stays checkable.
struct JWKSEndpoint: Sendable {
    private let documents = ReadyDocuments()

    @Sendable func get(_ request: Request, _ context: IssuerContext) async throws -> Response {
        documents.document(of: context.issuer, at: context.now) { $0.jwks(at: context.now) }.response(to: request)
    }
}
