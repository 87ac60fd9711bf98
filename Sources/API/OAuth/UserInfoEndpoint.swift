import Audit
import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import Tenancy

/// `GET` and `POST I/oauth/userinfo` (OpenID Connect Core §5.3).
struct UserInfoEndpoint: Sendable {
    let userInfo: UserInfo
    let proofs: DPoPProofs
    let limits: EndpointLimits
    let clock: WallClock

    @Sendable func answer(_ request: Request, _ context: IssuerContext) async throws -> Response {
        do {
            let form = OAuthForm.isForm(request.headers[.contentType]) ? try await OAuthForm(request) : nil
            let credential = try Self.credential(request, form)
            let now = clock.now()
            try await limits.admit(
                .userInfoSource, for: context.issuer.id, refusing: .tokenDenied, context.request, at: now)
            let key = try await provenKey(request, credential, context, now)
            do {
                let claims = try await userInfo.claims(
                    for: credential.token, provenBy: key, at: context.issuer, request: context.request, now: now)
                let response = Response(
                    status: .ok, headers: [.contentType: "application/json", .cacheControl: "no-store"],
                    body: ResponseBody(byteBuffer: ByteBuffer(bytes: claims)))
                return key == nil ? response : response.with(dpopNonce: proofs.nonces.fresh(at: now))
            } catch let refusal as UserInfo.Refusal {
                throw TokenChallenge(refusal, credential.scheme)
            }
        } catch let challenge as TokenChallenge {
            return challenge.response
        }
    }

    private static func credential(_ request: Request, _ form: OAuthForm?) throws -> AccessTokenCredential {
        do {
            return try AccessTokenCredential(request, form)
        } catch .absent {
            throw TokenChallenge.missing
        } catch .malformed {
            throw TokenChallenge.malformed
        }
    }

    /// The key that goes with a token by the DPoP scheme; a bearer of a token proves none (RFC 9449 §7.1).
    private func provenKey(
        _ request: Request, _ credential: AccessTokenCredential, _ context: IssuerContext, _ now: Date
    ) async throws -> String? {
        guard credential.scheme == .dpop else { return nil }
        do {
            let key = try await proofs.key(
                provenBy: request, to: context.issuer.endpoint("oauth/userinfo"), accessToken: credential.token,
                context, at: now)
            guard let key else { throw TokenChallenge.proofMissing }
            return key
        } catch let error as OAuthError {
            throw TokenChallenge(proof: error) ?? error
        }
    }
}
