import ControlPlane
import Foundation
import HTTPTypes
import Keys
import Testing

@testable import API

@Suite struct ClientCredentialsTests {
    private func basic(_ text: String) -> HTTPFields {
        [.authorization: "Basic " + Data(text.utf8).base64EncodedString()]
    }

    private func code(_ headers: HTTPFields, _ query: String) -> OAuthError.Code? {
        do throws(OAuthError) {
            _ = try ClientCredentials(headers, OAuthForm(query: query))
            return nil
        } catch {
            return error.code
        }
    }

    @Test("TK-10 both halves of Basic credentials are form-encoded (RFC 6749 §2.3.1)")
    func encodedHalves() throws {
        let credentials = try ClientCredentials(basic("cli%3A1:a%3Ab%25c%2Bd+e"), OAuthForm(query: ""))
        guard case .basic("cli:1", let secret) = credentials else {
            Issue.record("not basic credentials")
            return
        }
        #expect(secret.revealed == "a:b%c+d e")
    }

    @Test("BR-06 the scheme's name is read without case (OAuth 2.1 §5.1.1)")
    func schemeCase() throws {
        let headers: HTTPFields = [.authorization: "bAsIc " + Data("a:b".utf8).base64EncodedString()]
        #expect(try ClientCredentials(headers, OAuthForm(query: "")).clientID == "a")
    }

    @Test("TK-08 two methods in one request are invalid_request (RFC 6749 §2.3)")
    func twoMethods() {
        #expect(code(basic("a:b"), "client_secret=b") == .invalidRequest)
        #expect(code(basic("a:b"), "client_id=a&client_assertion=x") == .invalidRequest)
        #expect(code([:], "client_id=a&client_secret=b&client_assertion=x") == .invalidRequest)
        #expect(code(basic("a:b"), "client_id=other") == .invalidRequest)
        var twice = basic("a:b")
        twice.append(HTTPField(name: .authorization, value: "Basic YTpi"))
        #expect(code(twice, "") == .invalidRequest)
    }

    @Test("TK-07 what cannot name a client is invalid_client (RFC 6749 §5.2)")
    func nobody() {
        #expect(code([:], "") == .invalidClient)
        #expect(code([.authorization: "Bearer abc"], "client_id=a") == .invalidClient)
        #expect(code([.authorization: "Basic !!!"], "") == .invalidClient)
        #expect(code(basic("no-colon"), "") == .invalidClient)
        #expect(code(basic(":secret"), "") == .invalidClient)
        #expect(code(basic("a%:b"), "") == .invalidClient)
        #expect(code([:], "client_id=a&client_assertion=x&client_assertion_type=y") == .invalidClient)
    }

    @Test("MCP-AS-09 public clients and secrets in the body are read; the name beside Basic may be repeated")
    func bodyMethods() throws {
        guard case .none("a") = try ClientCredentials([:], OAuthForm(query: "client_id=a&client_secret=")) else {
            Issue.record("not public")
            return
        }
        guard case .post("a", _) = try ClientCredentials([:], OAuthForm(query: "client_id=a&client_secret=b")) else {
            Issue.record("not post")
            return
        }
        #expect(code(basic("a:b"), "client_id=a") == nil)
    }
}
