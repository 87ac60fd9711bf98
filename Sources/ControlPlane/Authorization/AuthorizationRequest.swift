import Audit
import Foundation
import Keys
import Tenancy

/// The parameters of an authorization request as they came, before anything is believed (RFC 6749 §4.1.1).
package struct AuthorizationParameters: Sendable {
    /// Name to value; empty values count as absent (OAuth 2.1 §3.1).
    private(set) var values: [String: String]
    package let resources: [String]
    /// Names that came more than once, other than `resource`.
    package let repeated: Set<String>
    /// The client pushed them over its own connection (RFC 9126).
    let isPushed: Bool

    package init(values: [String: String], resources: [String], repeated: Set<String>) {
        self.values = values.filter { !$0.value.isEmpty }
        self.resources = resources.filter { !$0.isEmpty }
        self.repeated = repeated
        isPushed = false
    }

    init(pushed values: [String: String], resources: [String]) {
        self.values = values
        self.resources = resources
        repeated = []
        isPushed = true
    }

    /// The same for a request whose sender proved a key: the code will be bound to it (RFC 9449 §10.1).
    func bound(to key: String?) throws(OAuthError) -> AuthorizationParameters {
        guard let key else { return self }
        guard self["dpop_jkt"] ?? key == key else {
            throw OAuthError(.invalidRequest, "dpop_jkt is not the proven key.", reason: "dpop_jkt_differs")
        }
        var bound = self
        bound.values["dpop_jkt"] = key
        return bound
    }

    package subscript(name: String) -> String? { values[name] }
}

/// An authorization request that names a client of this issuer and a redirect URI registered for it: from here on errors
/// may be sent to the client.
struct AddressedRequest: Sendable {
    let client: Client
    let redirect: RedirectURI
    let state: String?
    let parameters: AuthorizationParameters

    /// Whether an error may be sent to the client without asking the person: nobody vouches for the https host of a client
    /// that made itself known, and an attacker could make one to borrow our name for a redirect (RFC 9700 §4.11.2).
    var mayRedirectUnasked: Bool {
        client.isVouchedFor || redirect.kind != .https
    }

    /// - Throws: a page; the address to answer to is not proven (RFC 6749 §4.1.2.1).
    static func find(
        _ parameters: AuthorizationParameters, at issuer: Issuer, in directory: ClientDirectory,
        request: AuditEvent.RequestInfo, at now: Date
    ) async throws -> AddressedRequest {
        for name in ["client_id", "redirect_uri"] where parameters.repeated.contains(name) {
            throw Refusal.page(.malformed("The request names \(name) more than once."))
        }
        guard let clientID = parameters["client_id"] else {
            throw Refusal.page(.malformed("The request does not say which application it comes from (client_id)."))
        }
        guard let client = try await meet(clientID, at: issuer, in: directory, request, now) else {
            throw Refusal.page(.unknownClient)
        }
        guard let redirect = client.answerTo(parameters["redirect_uri"]) else {
            throw Refusal.page(.foreignRedirect, event: .authorizeRedirectMismatch, client: client.wireID)
        }
        return AddressedRequest(
            client: client, redirect: redirect, state: parameters["state"], parameters: parameters)
    }

    private static func meet(
        _ clientID: String, at issuer: Issuer, in directory: ClientDirectory, _ request: AuditEvent.RequestInfo,
        _ now: Date
    ) async throws -> Client? {
        do {
            return try await directory.meet(clientID, at: issuer, request: request, now: now)
        } catch let error as ClientDocumentError {
            throw Refusal.page(.document(error), event: .clientRegistered, client: clientID, reason: error.reason)
        } catch let error as OAuthError {
            throw Refusal.page(.tooManyApplications, event: .clientRegistered, client: clientID, reason: error.reason)
        }
    }
}

extension Client {
    /// Where to answer: the registered URI that admits the requested one, or the only one if none was named.
    func answerTo(_ requested: String?) -> RedirectURI? {
        if let requested { return redirect(for: requested) }
        guard redirectURIs.count == 1, let only = redirectURIs.first else { return nil }
        return RedirectURI(only)
    }
}

/// A request in which everything that can be judged without the person is right.
struct ValidRequest: Sendable {
    let addressed: AddressedRequest
    let codeChallenge: String
    let nonce: String?
    let boundKey: String?
    let resource: Resource
    let resourceScopes: [String]
    let openIDScopes: [String]
    let prompts: Set<String>
    let maxAge: Int?

    /// - Parameter resource: the resource the request names, or the issuer's default.
    init(_ addressed: AddressedRequest, resource: Resource) throws(OAuthError) {
        let parameters = addressed.parameters
        guard let challenge = parameters["code_challenge"] else {
            throw OAuthError(.invalidRequest, "code_challenge is required (PKCE, S256).", reason: "pkce_missing")
        }
        guard parameters["code_challenge_method"] == "S256", PKCE.isChallenge(challenge) else {
            throw OAuthError(
                .invalidRequest, "code_challenge_method must be S256 and code_challenge 43 characters of base64url.",
                reason: "pkce_invalid")
        }
        (resourceScopes, openIDScopes) = try Self.known(try Self.scopes(in: parameters["scope"]), of: resource)
        prompts = Set((parameters["prompt"] ?? "").split(separator: " ").map(String.init))
        if prompts.contains("none"), prompts.count > 1 {
            throw OAuthError(.invalidRequest, "prompt=none stands alone.", reason: "prompt_invalid")
        }
        let wantedAge = try Self.maxAge(in: parameters["max_age"])
        // To administer takes a fresh sign-in, whatever the client thinks enough (RFC 9470).
        maxAge = resource.isAdminAPI ? min(wantedAge ?? .max, AdminAPI.longestAuthenticationAge) : wantedAge
        nonce = try Self.nonce(in: parameters["nonce"])
        boundKey = try Self.boundKey(in: parameters["dpop_jkt"])
        self.addressed = addressed
        self.resource = resource
        codeChallenge = challenge
    }

    /// Checks what does not depend on the resource, before one is looked for.
    ///
    /// - Parameter isPush: the request is being pushed right now.
    static func checkForm(of addressed: AddressedRequest, isPush: Bool = false) throws(OAuthError) {
        let parameters = addressed.parameters
        guard parameters.repeated.isEmpty else {
            throw OAuthError(.invalidRequest, "A parameter appears more than once.", reason: "parameter_repeated")
        }
        guard isPush || parameters.isPushed || !addressed.client.demands.pushedRequests else {
            throw OAuthError(
                .invalidRequest, "This client pushes its requests first (RFC 9126).", reason: "request_not_pushed")
        }
        guard parameters["request"] == nil else {
            throw OAuthError(.requestNotSupported, "Request objects are not supported.")
        }
        guard parameters["request_uri"] == nil else {
            throw OAuthError(.requestURINotSupported, "Only a request_uri of a pushed request is supported.")
        }
        guard let type = parameters["response_type"] else {
            throw OAuthError(.invalidRequest, "response_type is required.", reason: "response_type_missing")
        }
        guard type == "code" else {
            throw OAuthError(.unsupportedResponseType, "Only response_type=code is supported.")
        }
        guard addressed.client.responseTypes.contains("code"),
            addressed.client.grantTypes.contains("authorization_code")
        else {
            throw OAuthError(.unauthorizedClient, "This client may not use the authorization code flow.")
        }
        guard ["query", nil].contains(parameters["response_mode"]) else {
            throw OAuthError(
                .invalidRequest, "Only response_mode=query is supported.", reason: "response_mode_unsupported")
        }
        guard parameters.resources.count <= 1 else {
            throw OAuthError(.invalidTarget, "Ask for one resource at a time.", reason: "several_resources")
        }
    }

    /// Splits a `scope` value (RFC 6749 §3.3); an absent one is empty.
    static func scopes(in text: String?) throws(OAuthError) -> [String] {
        guard let text else { return [] }
        let allowed = text.utf8.allSatisfy {
            $0 == 0x20 || $0 == 0x21 || (0x23...0x5B).contains($0) || (0x5D...0x7E).contains($0)
        }
        guard allowed, text.utf8.count <= 4096 else {
            throw OAuthError(.invalidScope, "scope holds characters that no scope may have.", reason: "scope_malformed")
        }
        return text.split(separator: " ").map(String.init)
    }

    /// Bounded, since it is kept and stands in a token.
    private static func nonce(in text: String?) throws(OAuthError) -> String? {
        guard text?.utf8.count ?? 0 <= 1024 else {
            throw OAuthError(.invalidRequest, "nonce is too long.", reason: "nonce_too_long")
        }
        return text
    }

    /// An RFC 7638 thumbprint by SHA-256 (RFC 9449 §10).
    private static func boundKey(in text: String?) throws(OAuthError) -> String? {
        guard let text else { return nil }
        guard Base64URL.decode(text)?.count == 32 else {
            throw OAuthError(.invalidRequest, "dpop_jkt must be a SHA-256 thumbprint.", reason: "dpop_jkt_malformed")
        }
        return text
    }

    /// Those of the requested scopes that exist: unknown ones are dropped, but not all of them.
    static func known(
        _ asked: [String], of resource: Resource
    ) throws(OAuthError) -> (resource: [String], openID: [String]) {
        let wanted = Set(asked)
        let known = resource.scopes.map(\.name).filter(wanted.contains)
        let openID = OpenIDScope.all.filter(wanted.contains)
        guard asked.isEmpty || !(known.isEmpty && openID.isEmpty) else {
            throw OAuthError(
                .invalidScope, "None of the requested scopes exists for this resource.", reason: "scope_unknown")
        }
        return (known, openID)
    }

    private static func maxAge(in text: String?) throws(OAuthError) -> Int? {
        guard let text else { return nil }
        guard let seconds = Int(text), seconds >= 0 else {
            throw OAuthError(.invalidRequest, "max_age must be a number of seconds.", reason: "max_age_invalid")
        }
        return seconds
    }
}
