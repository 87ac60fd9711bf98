import Tenancy

/// Client metadata as a registration request carries it (RFC 7591 §2). Members that are not listed here are ignored, so
/// nothing privileged can be set.
package struct ClientMetadata: Decodable, Sendable {
    package var redirectURIs: [String]?
    package var tokenEndpointAuthMethod: String?
    package var grantTypes: [String]?
    package var responseTypes: [String]?
    package var clientName: String?
    package var clientURI: String?
    package var logoURI: String?
    package var scope: String?
    package var policyURI: String?
    package var tosURI: String?
    package var applicationType: String?
    package var softwareStatement: String?

    private enum CodingKeys: String, CodingKey {
        case redirectURIs = "redirect_uris"
        case tokenEndpointAuthMethod = "token_endpoint_auth_method"
        case grantTypes = "grant_types"
        case responseTypes = "response_types"
        case clientName = "client_name"
        case clientURI = "client_uri"
        case logoURI = "logo_uri"
        case scope
        case policyURI = "policy_uri"
        case tosURI = "tos_uri"
        case applicationType = "application_type"
        case softwareStatement = "software_statement"
    }
}

extension ClientMetadata {
    /// Metadata in which every member agrees with every other, and what is absent has its default.
    struct Checked: Sendable {
        let name: String
        let redirectURIs: [String]
        let grantTypes: [String]
        let responseTypes: [String]
        let method: Client.AuthenticationMethod
        let applicationType: Client.ApplicationType?
    }

    private static let mostRedirectURIs = 16
    private static let longestName = 200
    private static let methods: [Client.AuthenticationMethod] = [.none, .clientSecretBasic, .clientSecretPost]

    /// - Throws: `invalid_redirect_uri` or `invalid_client_metadata` (RFC 7591 §3.2.2).
    func checked() throws(OAuthError) -> Checked {
        if softwareStatement != nil {
            // Nobody is trusted to sign statements, and ignoring one could ignore a restriction.
            throw Self.invalid("software_statement is not supported.")
        }
        let redirects = try checkedRedirects()
        let grants = grantTypes ?? ["authorization_code"]
        let responses = responseTypes ?? ["code"]
        guard Set(grants).isSubset(of: ["authorization_code", "refresh_token"]), grants.contains("authorization_code")
        else {
            throw Self.invalid("grant_types may be authorization_code and refresh_token, and needs the first.")
        }
        guard responses == ["code"] else { throw Self.invalid("response_types must be [\"code\"].") }
        let method = try checkedMethod()
        let pages = [clientURI, logoURI, policyURI, tosURI].compactMap { $0 }
        guard pages.allSatisfy(Self.isPage) else {
            throw Self.invalid("client_uri, logo_uri, policy_uri and tos_uri must be https URLs.")
        }
        return Checked(
            name: try checkedName(redirects), redirectURIs: redirects, grantTypes: grants, responseTypes: responses,
            method: method, applicationType: try checkedType(redirects))
    }

    private func checkedRedirects() throws(OAuthError) -> [String] {
        guard let redirectURIs, !redirectURIs.isEmpty, redirectURIs.count <= Self.mostRedirectURIs else {
            throw OAuthError(.invalidRedirectURI, "redirect_uris needs 1 to \(Self.mostRedirectURIs) entries.")
        }
        guard redirectURIs.allSatisfy({ RedirectURI($0) != nil }) else {
            throw OAuthError(
                .invalidRedirectURI,
                "Each redirect URI must be https, http on 127.0.0.1, [::1] or localhost, or a known private-use scheme, "
                    + "without fragment, user information or wildcard.")
        }
        return redirectURIs
    }

    private func checkedMethod() throws(OAuthError) -> Client.AuthenticationMethod {
        // RFC 7591 §2: absent means client_secret_basic.
        let wanted = tokenEndpointAuthMethod ?? Client.AuthenticationMethod.clientSecretBasic.rawValue
        guard let method = Self.methods.first(where: { $0.rawValue == wanted }) else {
            throw Self.invalid("token_endpoint_auth_method must be none, client_secret_basic or client_secret_post.")
        }
        return method
    }

    /// A name that cannot pretend: printable, without characters that reorder or hide text (RFC 7591 §5).
    private func checkedName(_ redirects: [String]) throws(OAuthError) -> String {
        guard let clientName, !clientName.isEmpty else {
            return redirects.first.flatMap { RedirectURI($0)?.host } ?? "Unnamed application"
        }
        guard clientName.unicodeScalars.count <= Self.longestName, ClientName.isPlain(clientName) else {
            throw Self.invalid("client_name may have \(Self.longestName) printable characters.")
        }
        return clientName
    }

    /// Only a contradiction in every URI is refused: clients in use send mixed lists (OIDC Registration §2).
    private func checkedType(_ redirects: [String]) throws(OAuthError) -> Client.ApplicationType? {
        guard let applicationType else { return nil }
        guard let type = Client.ApplicationType(rawValue: applicationType) else {
            throw Self.invalid("application_type must be web or native.")
        }
        let kinds = redirects.compactMap { RedirectURI($0)?.kind }
        let contradicts = type == .web ? kinds.allSatisfy { $0 != .https } : kinds.allSatisfy { $0 == .https }
        // Native clients may answer to a claimed https address (RFC 8252 §7.2), so only `web` can contradict.
        guard type == .native || !contradicts else {
            throw OAuthError(.invalidRedirectURI, "A web application needs an https redirect URI.")
        }
        return type
    }

    private static func isPage(_ url: String) -> Bool {
        guard let uri = ResourceURI(url) else { return false }
        return uri.scheme == "https"
    }

    private static func invalid(_ description: String) -> OAuthError {
        OAuthError(.invalidClientMetadata, description.replacing("\"", with: "'"))
    }
}

/// What a name shown to people may hold.
package enum ClientName {
    /// Whether the text has no control, format, private or unassigned characters: those can reorder, hide or imitate.
    package static func isPlain(_ text: String) -> Bool {
        text.unicodeScalars.allSatisfy { scalar in
            switch scalar.properties.generalCategory {
            case .control, .format, .privateUse, .surrogate, .unassigned, .lineSeparator, .paragraphSeparator: false
            default: true
            }
        }
    }
}
