import ControlPlane
import Testing

@testable import API

@Suite struct OAuthFormTests {
    @Test("AZ-11 an empty value is the same as an absent one, unknown names are kept apart (OAuth 2.1 §3.1)")
    func emptyIsAbsent() throws {
        let form = try OAuthForm(query: "scope=&state=x&foo=bar&lone&=nameless")
        #expect(form["scope"] == nil)
        #expect(form["lone"] == nil)
        #expect(form["state"] == "x")
        #expect(form.values == ["state": "x", "foo": "bar", "": "nameless"])
        #expect(form.repeated.isEmpty)
    }

    @Test(
        "AZ-09 every character of a value survives: reserved ones, plus signs, percent signs, UTF-8 (RFC 6749 §4.1.2)")
    func decoding() throws {
        let form = try OAuthForm(query: "state=a%2Bb%2520c%26d%3D%C3%A9+e&raw=é&eq=a=b")
        #expect(form["state"] == "a+b%20c&d=é e")
        #expect(form["raw"] == "é")
        #expect(form["eq"] == "a=b")
    }

    @Test("TK-06 AZ-10 a repeated parameter is noticed whatever its values, but for resource (OAuth 2.1 §3.2.4)")
    func repeated() throws {
        #expect(try OAuthForm(query: "code=a&code=b").repeated == ["code"])
        #expect(try OAuthForm(query: "code=a&code=").repeated == ["code"])
        #expect(try OAuthForm(query: "co%64e=a&code=a").repeated == ["code"])
        let form = try OAuthForm(query: "resource=https%3A%2F%2Fa&resource=https%3A%2F%2Fb&resource=")
        #expect(form.repeated.isEmpty)
        #expect(form.all("resource") == ["https://a", "https://b"])
        #expect(throws: OAuthError.self) { try OAuthForm(query: "code=a&code=b").refuseRepeated() }
    }

    @Test(
        "P-07 what is not form encoding of UTF-8 is refused: lone percent signs, NUL, overlong and broken sequences",
        arguments: [
            "a=%", "a=%4", "a=%zz", "%=a", "a=%00", "%00=a", "a=\u{0}", "a=%ff", "a=%c3", "a=%c0%80", "a=%ed%a0%80",
            "a=x%2",
        ])
    func malformed(query: String) {
        #expect { try OAuthForm(query: query) } throws: { ($0 as? OAuthError)?.code == .invalidRequest }
    }

    @Test("P-21 more than 64 parameters are refused before they are stored")
    func tooMany() throws {
        let query = { (count: Int) in (0..<count).map { "p\($0)=1" }.joined(separator: "&") }
        _ = try OAuthForm(query: query(64))
        #expect { try OAuthForm(query: query(65)) } throws: { ($0 as? OAuthError)?.code == .invalidRequest }
    }

    @Test(
        "TK-01 P-08 only the form type in UTF-8 is a form (RFC 6749 appendix B)",
        arguments: [
            ("application/x-www-form-urlencoded", true), ("APPLICATION/X-WWW-FORM-URLENCODED; charset=UTF-8", true),
            ("application/x-www-form-urlencoded; charset=\"utf-8\"", true), ("application/json", false),
            ("application/x-www-form-urlencoded; charset=utf-16", false), ("multipart/form-data; boundary=x", false),
            ("application/x-www-form-urlencodedx", false), ("", false), (nil, false),
        ] as [(String?, Bool)])
    func mediaTypes(type: String?, isForm: Bool) {
        #expect(OAuthForm.isForm(type) == isForm)
    }
}
