package import Keys
import Tenancy

/// A token request (RFC 6749 §3.2) after parsing: one case for each grant.
package enum TokenRequest: Sendable {
    /// RFC 6749 §4.1.3 with PKCE (RFC 7636 §4.5) and resource indicators (RFC 8707 §2.2).
    case authorizationCode(code: String, redirectURI: String?, codeVerifier: String?, resources: [String])
    /// RFC 6749 §6.
    case refreshToken(token: Secret, scope: String?, resources: [String])
    /// RFC 6749 §4.4.2.
    case clientCredentials(scope: String?, resources: [String])
    /// RFC 8628 §3.4.
    case deviceCode(code: String, resources: [String])
    /// RFC 7523 §2.1.
    case assertion(Secret, scope: String?, resources: [String])
    /// RFC 8693 §2.1, for access tokens of our own; `target` holds every `resource` and `audience`.
    case tokenExchange(subjectToken: Secret, scope: String?, target: [String])

    package var grantType: String {
        switch self {
        case .authorizationCode: "authorization_code"
        case .refreshToken: "refresh_token"
        case .clientCredentials: "client_credentials"
        case .deviceCode: DeviceCodeGrant.type
        case .assertion: JWTBearerGrant.type
        case .tokenExchange: TokenExchangeGrant.type
        }
    }
}

/// Token type identifiers (RFC 8693 §3).
package enum TokenType {
    package static let accessToken = "urn:ietf:params:oauth:token-type:access_token"
}

/// How a client says who it is: exactly one way per request (RFC 6749 §2.3).
package enum ClientCredentials: Sendable {
    case none(clientID: String)
    case basic(clientID: String, secret: Secret)
    case post(clientID: String, secret: Secret)
    case assertion(ClientAssertion)

    package var clientID: String {
        switch self {
        case .none(let clientID), .basic(let clientID, _), .post(let clientID, _): clientID
        case .assertion(let assertion): assertion.clientID
        }
    }

    var method: Client.AuthenticationMethod {
        switch self {
        case .none: .none
        case .basic: .clientSecretBasic
        case .post: .clientSecretPost
        case .assertion: .privateKeyJWT
        }
    }
}

/// A successful token response (RFC 6749 §5.1).
package struct IssuedTokens: Sendable {
    package let accessToken: String
    /// `Bearer`, or `DPoP` for a token that is bound to a key (RFC 9449 §5).
    package let tokenType: String
    package let expiresIn: Int
    package let scope: String
    package let refreshToken: Secret?
    /// OpenID Connect Core §3.1.3.3: with a code that was asked for with `openid`.
    package let idToken: String?
    /// What kind of token an exchange gave (RFC 8693 §2.2.1).
    package let issuedTokenType: String?

    init(
        _ text: String, of token: AccessToken, refreshToken: Secret? = nil, idToken: String? = nil,
        issuedTokenType: String? = nil
    ) {
        accessToken = text
        tokenType = token.boundKey == nil ? "Bearer" : "DPoP"
        expiresIn = token.lifetimeSeconds
        scope = token.scopes.joined(separator: " ")
        self.refreshToken = refreshToken
        self.idToken = idToken
        self.issuedTokenType = issuedTokenType
    }
}
