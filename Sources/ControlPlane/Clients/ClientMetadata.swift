import Foundation
package import Keys
import Outbound
package import Tenancy

/// Client metadata as a registration request or a metadata document carries it (RFC 7591 §2). Members that are not listed
/// here are ignored, so nothing privileged can be set.
package struct ClientMetadata: Sendable {
    package var redirectURIs: [String]?
    package var method: String?
    /// `token_endpoint_auth_methods_supported`: what it can do beside `token_endpoint_auth_method` (OpenID Connect RP Metadata
    /// Choices 1.0).
    package var methods: [String]?
    package var signingAlgorithm: String?
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
    package var jwksURI: String?
    package var jwks: JSONValue?
    package var demands = Client.Demands()

    /// - Throws: `invalid_client_metadata` for a member that has the wrong type; `null` counts as absent.
    package init(_ value: JSONValue) throws(OAuthError) {
        guard let members = value.object else {
            throw OAuthError(.invalidClientMetadata, "The body must be a JSON object.", reason: "metadata_shape")
        }
        func member<Value>(_ name: String, _ read: (JSONValue) -> Value?) throws(OAuthError) -> Value? {
            guard let value = members[name], value != .null else { return nil }
            guard let read = read(value) else {
                throw OAuthError(.invalidClientMetadata, "\(name) has the wrong type.", reason: "metadata_shape")
            }
            return read
        }
        redirectURIs = try member("redirect_uris", \.strings)
        method = try member("token_endpoint_auth_method", \.string)
        methods = try member("token_endpoint_auth_methods_supported", \.strings)
        signingAlgorithm = try member("token_endpoint_auth_signing_alg", \.string)
        grantTypes = try member("grant_types", \.strings)
        responseTypes = try member("response_types", \.strings)
        clientName = try member("client_name", \.string)
        clientURI = try member("client_uri", \.string)
        logoURI = try member("logo_uri", \.string)
        scope = try member("scope", \.string)
        policyURI = try member("policy_uri", \.string)
        tosURI = try member("tos_uri", \.string)
        applicationType = try member("application_type", \.string)
        softwareStatement = try member("software_statement", \.string)
        jwksURI = try member("jwks_uri", \.string)
        jwks = try member("jwks") { $0.object == nil ? nil : $0 }
        demands.proofOfPossession = try member("dpop_bound_access_tokens", \.bool) ?? false
        demands.pushedRequests = try member("require_pushed_authorization_requests", \.bool) ?? false
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
        let otherMethods: [Client.AuthenticationMethod]
        let keys: Client.KeySource?
        let assertionAlgorithm: SigningAlgorithm?
        let applicationType: Client.ApplicationType?

        /// Whether one of its methods needs a secret.
        var hasSecret: Bool { ([method] + otherMethods).contains(where: \.usesSecret) }
    }

    /// How a client came, which decides what it may say.
    enum Origin: Sendable {
        /// It registers here (RFC 7591), and speaks to us alone.
        case registration
        /// It publishes one document for every server there is (CIMD §4): what we do not know is not meant for us.
        case document
    }

    private static let mostRedirectURIs = 16
    private static let longestName = 200
    private static let knownGrants: Set<String> = ["authorization_code", "refresh_token"]

    /// - Throws: `invalid_redirect_uri` or `invalid_client_metadata` (RFC 7591 §3.2.2).
    func checked(_ origin: Origin) throws(OAuthError) -> Checked {
        if softwareStatement != nil {
            // Nobody is trusted to sign statements, and ignoring one could ignore a restriction.
            throw Self.invalid("software_statement is not supported.")
        }
        if let scope, (try? ValidRequest.scopes(in: scope)) == nil {
            throw Self.invalid("scope holds characters that no scope may have.")
        }
        let redirects = try checkedRedirects()
        let responses = responseTypes ?? ["code"]
        guard origin == .document ? responses.contains("code") : responses == ["code"] else {
            throw Self.invalid("response_types must be [\"code\"].")
        }
        let keys = try checkedKeys()
        let algorithm = try checkedAlgorithm()
        let methods = try checkedMethods(origin)
        guard keys != nil || !methods.contains(.privateKeyJWT) else {
            throw Self.invalid("private_key_jwt needs jwks or jwks_uri.")
        }
        let pages = [clientURI, logoURI, policyURI, tosURI].compactMap { $0 }
        guard pages.allSatisfy(Self.isPage) else {
            throw Self.invalid("client_uri, logo_uri, policy_uri and tos_uri must be https URLs.")
        }
        return Checked(
            name: try checkedName(origin, redirects), redirectURIs: redirects, grantTypes: try checkedGrants(origin),
            responseTypes: ["code"], method: methods[0], otherMethods: Array(methods.dropFirst()), keys: keys,
            assertionAlgorithm: algorithm, applicationType: try checkedType(redirects))
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

    private func checkedGrants(_ origin: Origin) throws(OAuthError) -> [String] {
        let grants = grantTypes ?? ["authorization_code"]
        let known = grants.filter(Self.knownGrants.contains)
        guard origin == .document || known.count == grants.count, Set(known).count == known.count,
            known.contains("authorization_code")
        else {
            throw Self.invalid("grant_types may be authorization_code and refresh_token, and needs the first.")
        }
        return known
    }

    /// The methods it may come with, the one it prefers first.
    private func checkedMethods(_ origin: Origin) throws(OAuthError) -> [Client.AuthenticationMethod] {
        switch origin {
        case .registration: try registeredMethods()
        case .document: try publishedMethods()
        }
    }

    private func registeredMethods() throws(OAuthError) -> [Client.AuthenticationMethod] {
        // RFC 7591 §2: absent means client_secret_basic.
        let standard = Client.AuthenticationMethod.clientSecretBasic
        let named = method.map { [$0] } ?? []
        let possible = (named + (methods ?? [])).compactMap(Client.AuthenticationMethod.init(rawValue:))
        guard let first = method == nil && methods == nil ? standard : possible.first else {
            throw Self.invalid(
                "token_endpoint_auth_method must be none, client_secret_basic, client_secret_post or private_key_jwt.")
        }
        // Once proof is agreed on, coming without it is no choice any more.
        var agreed = [first]
        for other in possible where !agreed.contains(other) && (first == .none || other != .none) {
            if first == .none, other != .privateKeyJWT { continue }
            agreed.append(other)
        }
        return agreed
    }

    private func publishedMethods() throws(OAuthError) -> [Client.AuthenticationMethod] {
        let named = (method.map { [$0] } ?? []) + (methods ?? [])
        guard named.allSatisfy({ !$0.hasPrefix("client_secret") }) else {
            // CIMD §4.1: whoever can read the document would have the secret.
            throw Self.invalid("A metadata document cannot name a method that shares a secret.")
        }
        // The list, where there is one, is what counts; without any word a client is public.
        let offered = methods ?? method.map { [$0] } ?? [Client.AuthenticationMethod.none.rawValue]
        let usable = [Client.AuthenticationMethod.privateKeyJWT, .none].filter { offered.contains($0.rawValue) }
        let preferred = usable.filter { $0.rawValue == method }
        guard !usable.isEmpty else { throw Self.invalid("The client has to offer none or private_key_jwt.") }
        return preferred + usable.filter { !preferred.contains($0) }
    }

    private func checkedKeys() throws(OAuthError) -> Client.KeySource? {
        try Self.keys(jwks: jwks, uri: jwksURI)
    }

    /// The keys that a client says it has, by value or by URL.
    static func keys(jwks: JSONValue?, uri jwksURI: String?) throws(OAuthError) -> Client.KeySource? {
        do {
            return try Client.KeySource.read(jwks: jwks, jwksURI: jwksURI)
        } catch {
            throw Self.invalid(error.detail)
        }
    }

    private func checkedAlgorithm() throws(OAuthError) -> SigningAlgorithm? {
        guard let signingAlgorithm else { return nil }
        guard let algorithm = SigningAlgorithm(rawValue: signingAlgorithm) else {
            throw Self.invalid("token_endpoint_auth_signing_alg must be ES256, RS256 or EdDSA.")
        }
        return algorithm
    }

    /// A name that cannot pretend: printable, without characters that reorder or hide text (RFC 7591 §5).
    private func checkedName(_ origin: Origin, _ redirects: [String]) throws(OAuthError) -> String {
        guard let clientName, !clientName.isEmpty else {
            guard origin == .registration else { throw Self.invalid("client_name is required.") }
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
            && !isDressedUp(name)
    }

    /// Whether a letter is written as another character that looks like it, such as a full-width one (Unicode TR 36 §2.9), or
    /// carries marks for which there is no letter.
    private static func isDressedUp(_ name: String) -> Bool {
        var isAfterLetter = false
        for scalar in name.precomposedStringWithCanonicalMapping.unicodeScalars {
            let isLetter = isPlainLetter(scalar)
            if isAfterLetter, scalar.properties.generalCategory == .nonspacingMark { return true }
            if !isLetter, scalar.properties.isAlphabetic,
                String(scalar).precomposedStringWithCompatibilityMapping.unicodeScalars.contains(where: isPlainLetter)
            {
                return true
            }
            isAfterLetter = isLetter
        }
        return false
    }

    /// Latin, Greek or Cyrillic as keyboards write it.
    private static func isPlainLetter(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        // The letters among these that stand for others: ª, º, long s, digraphs.
        case 0xAA, 0xBA, 0x17F, 0x132...0x133, 0x13F...0x140, 0x149, 0x1C4...0x1CC, 0x1F1...0x1F3: false
        case 0x0041...0x024F, 0x0370...0x052F, 0x1E00...0x1EFF: scalar.properties.isAlphabetic
        default: false
        }
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
            case 0x0250...0x02AF, 0x1D00...0x1DBF, 0xA720...0xA7FF, 0xAB30...0xAB6F: alphabets.insert("phonetic")
            default: continue
            }
        }
        return alphabets.count <= 1
    }
}
