import Crypto
import Foundation

/// The magic links of one consumer project: single use, bound to a PKCE challenge when the login began with one.
struct MagicLinks: Sendable {
    struct Link: Sendable {
        let userID: String
        let redirectURL: String
        let codeChallenge: String?
        let expiresAt: Date
        var isSpent = false
    }

    private var links: [String: Link] = [:]

    /// Stores `link` and gives its token.
    mutating func issue(_ link: Link) -> String {
        let token = randomToken()
        links[token] = link
        return token
    }

    /// Where the mailed link leads; nil for an unknown token. Following the link does not spend it.
    func redirectURL(of token: String) -> String? { links[token]?.redirectURL }

    /// Spends the link and names its user. A failed PKCE check leaves the link usable.
    mutating func redeem(_ token: String, verifier: String?, at now: Date) throws -> String {
        guard let link = links[token] else { throw StytchError.magicLinkNotFound }
        guard !link.isSpent, now < link.expiresAt else { throw StytchError.spentMagicLink }
        switch (link.codeChallenge, verifier) {
        case (nil, nil): break
        case (nil, _?): throw StytchError.verifierNotExpected
        case (_?, nil): throw StytchError.verifierExpected
        case (let challenge?, let verifier?):
            let digest = base64URL(SHA256.hash(data: Data(verifier.utf8)))
            guard digest == challenge else { throw StytchError.challengeMismatch }
        }
        links[token]?.isSpent = true
        return link.userID
    }
}

/// An opaque secret as Stytch's look: 33 random bytes, 44 characters of URL-safe base64.
func randomToken() -> String {
    var generator = SystemRandomNumberGenerator()
    return base64URL((0..<33).map { _ in UInt8.random(in: .min ... .max, using: &generator) })
}

/// Base64 with the URL-safe alphabet and no padding (RFC 4648 §5).
func base64URL(_ bytes: some Sequence<UInt8>) -> String {
    Data(bytes).base64EncodedString()
        .replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
}

/// - Returns: nil for anything that is not unpadded base64url.
func bytes(base64URL text: some StringProtocol) -> Data? {
    guard !text.contains(where: { "+/=".contains($0) }) else { return nil }
    let padding = String(repeating: "=", count: (4 - text.utf8.count % 4) % 4)
    return Data(base64Encoded: String(text).replacing("-", with: "+").replacing("_", with: "/") + padding)
}
