import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird

extension DPoPProofs {
    /// The key that a request proves to hold (RFC 9449 §4); nil for one without a proof, as nearly all are.
    ///
    /// - Parameter url: of the endpoint, as metadata publishes it.
    func key(
        provenBy request: Request, to url: String, accessToken: String? = nil, _ context: IssuerContext, at now: Date
    ) async throws -> String? {
        let headers = request.headers[values: .dpop]
        guard !headers.isEmpty else { return nil }
        return try await key(
            provenBy: Presented(headers: headers, url: url, accessToken: accessToken), at: context.issuer.id,
            request: context.request, now: now)
    }
}

extension Response {
    /// The same with a nonce for the next proof (RFC 9449 §8.2).
    func with(dpopNonce: String) -> Response {
        var response = self
        response.headers[.dpopNonce] = dpopNonce
        return response
    }
}

extension HTTPField.Name {
    static let dpop = named("DPoP")
    static let dpopNonce = named("DPoP-Nonce")
}
