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
    package var jwksURI: Present?
    package var jwks: Present?

    /// A member whose value is of no interest.
    package struct Present: Decodable, Sendable {
        package init(from decoder: any Decoder) {}
    }

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
        case jwksURI = "jwks_uri"
        case jwks
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
        guard jwks == nil || jwksURI == nil else { throw Self.invalid("jwks and jwks_uri exclude each other.") }
        let redirects = try checkedRedirects()
        let grants = grantTypes ?? ["authorization_code"]
        let responses = responseTypes ?? ["code"]
        guard Set(grants).isSubset(of: ["authorization_code", "refresh_token"]), Set(grants).count == grants.count,
            grants.contains("authorization_code")
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
        guard clientName.unicodeScalars.count <= Self.longestName, ClientName.isHonest(clientName) else {
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
        // Native clients may answer to a claimed https address too (RFC 8252 §7.2), so only `web` can contradict.
        guard type == .native || redirects.contains(where: { RedirectURI($0)?.kind == .https }) else {
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

/// What text shown to people may hold.
package enum ClientName {
    /// Whether the text hides and reorders nothing.
    package static func isPlain(_ text: String) -> Bool {
        text.unicodeScalars.allSatisfy(isVisible)
    }

    /// Whether a stranger may call an application so: the name also shows something, and no word of it mixes letters that
    /// look alike across alphabets (Unicode TR 39 §5).
    package static func isHonest(_ name: String) -> Bool {
        isPlain(name)
            && name.unicodeScalars.contains { $0.properties.isAlphabetic || $0.properties.numericType != nil }
            && name.split(whereSeparator: \.isWhitespace).allSatisfy(isOfOneAlphabet)
    }

    private static func isVisible(_ scalar: Unicode.Scalar) -> Bool {
        guard !scalar.properties.isDefaultIgnorableCodePoint else { return false }
        return switch scalar.properties.generalCategory {
        case .control, .format, .privateUse, .surrogate, .unassigned, .lineSeparator, .paragraphSeparator: false
        // Blank though it has a width: U+2800, the empty Braille pattern.
        default: scalar != "\u{2800}"
        }
    }

    private static func isOfOneAlphabet(_ word: Substring) -> Bool {
        var alphabets: Set<String> = []
        for scalar in word.unicodeScalars where scalar.properties.isAlphabetic {
            switch scalar.value {
            case 0x0041...0x024F, 0x1E00...0x1EFF: alphabets.insert("Latin")
            case 0x0370...0x03FF, 0x1F00...0x1FFF: alphabets.insert("Greek")
            case 0x0400...0x052F, 0x1C80...0x1C8F, 0x2DE0...0x2DFF, 0xA640...0xA69F: alphabets.insert("Cyrillic")
            case 0x0530...0x058F: alphabets.insert("Armenian")
            case 0x13A0...0x13FF, 0xAB70...0xABBF: alphabets.insert("Cherokee")
            default: continue
            }
        }
        return alphabets.count <= 1
    }
}
