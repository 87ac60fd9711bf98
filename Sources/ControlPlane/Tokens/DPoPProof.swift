import Keys
import Tenancy

/// A DPoP proof (RFC 9449 §4.2): a JWT that whoever holds a key made for this one request.
struct DPoPProof: Sendable {
    /// The request that a proof has to be for.
    struct Subject: Sendable {
        let method: String
        /// As metadata publishes it; not what `Host` says.
        let url: String
        /// The access token that comes with it, at a resource.
        let accessToken: String?
    }

    private static let longestID = 256

    /// RFC 7638 thumbprint of the key.
    let key: String
    /// `jti`, unique to the key.
    let id: String
    let nonce: String?

    /// Checks what RFC 9449 §4.3 lists, but for the nonce and whether it was seen before.
    ///
    /// `iat` has to be there, and that is all. How old a proof may be is told "by either the iat claim or a server managed
    /// timestamp via the nonce claim" (§4.3), and a nonce of ours is always asked for: a client whose clock is wrong gets in
    /// (§8), and proofs that somebody had made for later do not (§11.2).
    ///
    /// - Throws: `invalid_dpop_proof`, with the rule that it breaks as its reason.
    init(_ text: String, of subject: Subject) throws(OAuthError) {
        // "alg … MUST NOT be none or an identifier for a symmetric algorithm": only what we can verify gets through.
        guard let proof = try? CompactJWS.parse(text, expecting: Set(SigningAlgorithm.allCases)) else {
            throw Self.invalid("malformed")
        }
        guard proof.type == "dpop+jwt" else { throw Self.invalid("type") }
        guard let key = Self.key(in: proof.header), proof.isSigned(by: key, form: .any) else {
            throw Self.invalid("signature")
        }
        guard let claims = proof.claims, let id = claims["jti"]?.string, !id.isEmpty,
            id.utf8.count <= Self.longestID
        else { throw Self.invalid("jti") }
        guard claims["htm"]?.string == subject.method else { throw Self.invalid("htm") }
        guard let target = claims["htu"]?.string, Self.names(subject.url, target) else { throw Self.invalid("htu") }
        guard claims["iat"]?.integer != nil else { throw Self.invalid("iat") }
        if let accessToken = subject.accessToken {
            guard claims["ath"]?.string == Base64URL.encode(sha256(accessToken)) else { throw Self.invalid("ath") }
        }
        self.key = key.thumbprint
        self.id = id
        nonce = claims["nonce"]?.string
    }

    /// The public key that the proof brings; nil for one with a private half, which nobody may send about.
    private static func key(in header: [String: JSONValue]) -> VerificationKey? {
        guard let members = header["jwk"]?.object else { return nil }
        return try? VerificationKey(jwk: members.compactMapValues(\.string))
    }

    /// Whether `htu` names a URL: "ignoring any query and fragment parts", compared after RFC 3986 §6.2.2 and §6.2.3.
    private static func names(_ url: String, _ htu: String) -> Bool {
        let path = htu.prefix { $0 != "?" && $0 != "#" }
        guard let canonical = ResourceURI(String(path))?.canonical else { return false }
        return canonical == ResourceURI(url)?.canonical
    }

    static func invalid(_ rule: String) -> OAuthError {
        OAuthError(
            .invalidDPoPProof, "The DPoP proof is not valid for this request: \(rule).", reason: "dpop_\(rule)")
    }
}
