import ControlPlane
import HTTPTypes
import Hummingbird
import Keys
import Testing

@testable import API

@Suite struct TokenEndpointTests {
    private func code(_ query: String) -> OAuthError.Code? {
        do throws(OAuthError) {
            _ = try TokenRequest(OAuthForm(query: query))
            return nil
        } catch {
            return error.code
        }
    }

    @Test("TK-05 what is missing is invalid_request, an unknown grant unsupported_grant_type (RFC 6749 §5.2)")
    func missing() {
        #expect(code("") == .invalidRequest)
        #expect(code("grant_type=") == .invalidRequest)
        #expect(code("grant_type=authorization_code") == .invalidRequest)
        #expect(code("grant_type=authorization_code&code=") == .invalidRequest)
        #expect(code("grant_type=refresh_token") == .invalidRequest)
        #expect(code("grant_type=password&username=a&password=b") == .unsupportedGrantType)
        #expect(code("grant_type=Authorization_Code&code=x") == .unsupportedGrantType)
        #expect(code("grant_type=authorization_code&code=x") == nil)
    }

    @Test("RI-01 resources, verifier and redirect URI reach the grant as they came (RFC 8707 §2.2)")
    func parameters() throws {
        let query = "grant_type=authorization_code&code=c&code_verifier=v&redirect_uri=r&resource=https%3A%2F%2Fa"
        guard case .authorizationCode("c", "r", "v", ["https://a"]) = try TokenRequest(OAuthForm(query: query)) else {
            Issue.record("not the request that was sent")
            return
        }
    }

    @Test("TK-07 a refused client is 401, challenged only when it used the Authorization header (RFC 6749 §5.2)")
    func challenge() {
        let error = OAuthError(.invalidClient, "Client authentication failed.")
        let basic = OAuthErrorMiddleware.response(to: error, usedAuthorizationHeader: true)
        #expect(basic.status == .unauthorized)
        #expect(basic.headers[.wwwAuthenticate]?.hasPrefix("Basic realm=") == true)
        let post = OAuthErrorMiddleware.response(to: error, usedAuthorizationHeader: false)
        #expect(post.status == .unauthorized)
        #expect(post.headers[.wwwAuthenticate] == nil)
        #expect(post.headers[.cacheControl] == "no-store")
        #expect(post.headers[.contentType] == "application/json")
    }

    @Test("RL-01 unavailable is 503 with Retry-After")
    func retryAfter() {
        let away = OAuthErrorMiddleware.response(to: .unavailable(nil), usedAuthorizationHeader: false)
        #expect(away.status == .serviceUnavailable)
        #expect(away.headers[.retryAfter] == "2")
    }
}
