import Keys
import Tenancy

/// Whom a client believes to be at the browser: an ID token that this issuer once gave it (`id_token_hint`, OpenID
/// Connect Core §3.1.2.1). One that ended long ago is as good as new.
///
/// A text that is no such token means nobody in particular: no session is taken for granted then, and the person signs
/// in. So a client whose token cannot be read any more can still connect anew.
struct IDTokenHint: Sendable {
    let user: UserID?
    let organization: OrganizationID?

    /// - Returns: nil when the request has none.
    init?(_ addressed: AddressedRequest, at issuer: Issuer) {
        guard let text = addressed.parameters["id_token_hint"] else { return nil }
        let claims = Self.claims(of: text, from: issuer, for: addressed.client)
        user = claims?["sub"]?.string.flatMap { UserID($0) }
        organization = claims?["org_id"]?.string.flatMap { OrganizationID($0) }
    }

    /// Whether a session of this person is the one that the client means.
    func means(_ person: UserID) -> Bool { user == person }

    /// The claims of an ID token that one of the issuer's keys signed, a retired one too, for this very client.
    private static func claims(
        of text: String, from issuer: Issuer, for client: Client
    ) -> [String: JSONValue]? {
        guard let token = try? CompactJWS.parse(text, expecting: [.rs256]), token.type == IDToken.type,
            let key = issuer.home.signingKeys.first(where: {
                $0.record.purpose == .idToken && $0.record.kid == token.keyID
            }), token.isSigned(by: key.verification, form: .unique), let claims = token.claims,
            claims["iss"]?.string == issuer.url, claims["aud"]?.string == client.wireID
        else { return nil }
        return claims
    }
}
