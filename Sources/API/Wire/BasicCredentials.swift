import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import Keys
import Tenancy

/// A name and a secret from an `Authorization: Basic` header (RFC 7617 §2), each form-encoded as RFC 6749 §2.3.1 wants.
struct BasicCredentials: Sendable {
    let name: String
    let secret: Secret

    /// - Returns: nil when there is no `Authorization` header.
    /// - Throws: ``OAuthError``: `invalid_request` for two headers, `invalid_client` for another scheme or bad encoding.
    init?(_ headers: HTTPFields) throws(OAuthError) {
        let values = headers[values: .authorization]
        guard let value = values.first else { return nil }
        guard values.count == 1 else {
            throw OAuthError(
                .invalidRequest, "There is more than one Authorization header.", reason: "two_authorizations")
        }
        let malformed = OAuthError(.invalidClient, "The Authorization header is not valid.", reason: "basic_malformed")
        let words = value.split(separator: " ", omittingEmptySubsequences: true)
        guard words.count == 2, words[0].lowercased() == "basic", let data = Data(base64Encoded: String(words[1]))
        else { throw malformed }
        let bytes = Array(data)
        guard let colon = bytes.firstIndex(of: UInt8(ascii: ":")), let name = OAuthForm.decoded(bytes[..<colon]),
            let secret = OAuthForm.decoded(bytes[(colon + 1)...]), !name.isEmpty
        else { throw malformed }
        self.name = name
        self.secret = Secret(secret)
    }
}

extension ClientCredentials {
    /// The one way in which this request says which client it is from (RFC 6749 §2.3).
    ///
    /// "The client MUST NOT use more than one authentication method in each request": two are `invalid_request`.
    /// - Throws: ``OAuthError``.
    init(_ headers: HTTPFields, _ form: OAuthForm) throws(OAuthError) {
        let identifier = form["client_id"]
        let secret = form["client_secret"].map { Secret($0) }
        let hasAssertion = form["client_assertion"] != nil || form["client_assertion_type"] != nil
        if let basic = try BasicCredentials(headers) {
            guard secret == nil, !hasAssertion else {
                throw OAuthError(
                    .invalidRequest, "The request authenticates the client in two ways.", reason: "two_client_methods")
            }
            guard identifier == nil || identifier == basic.name else {
                throw OAuthError(
                    .invalidRequest, "client_id differs from the Authorization header.", reason: "client_id_differs")
            }
            self = .basic(clientID: basic.name, secret: basic.secret)
            return
        }
        guard !(hasAssertion && secret != nil) else {
            throw OAuthError(
                .invalidRequest, "The request authenticates the client in two ways.", reason: "two_client_methods")
        }
        if hasAssertion {
            self = .assertion(try Self.assertion(form, clientID: identifier))
            return
        }
        guard let identifier else {
            throw OAuthError(.invalidClient, "The request does not name its client.", reason: "client_missing")
        }
        self = secret.map { .post(clientID: identifier, secret: $0) } ?? .none(clientID: identifier)
    }

    /// RFC 7521 §4.2: the two parameters come together, and `client_id`, where it is sent, "MUST identify the same client".
    private static func assertion(_ form: OAuthForm, clientID: String?) throws(OAuthError) -> ClientAssertion {
        guard let type = form["client_assertion_type"], let text = form["client_assertion"] else {
            throw OAuthError(
                .invalidRequest, "client_assertion and client_assertion_type go together.",
                reason: "assertion_incomplete")
        }
        func refusal(_ reason: String) -> OAuthError {
            OAuthError(.invalidClient, "Client authentication failed.", reason: reason)
        }
        guard type == ClientAssertion.type else { throw refusal("assertion_type") }
        guard let assertion = ClientAssertion(text) else { throw refusal("assertion_malformed") }
        guard clientID == nil || clientID == assertion.clientID else { throw refusal("assertion_of_another_client") }
        return assertion
    }
}
