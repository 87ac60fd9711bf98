import ControlPlane
import Testing

@Suite("Redirect URIs")
struct RedirectURITests {
    @Test(
        "RG-04 what may never be registered",
        arguments: [
            "", "https://app.example/cb#frag", "https://user@app.example/cb", "https://app.example:pw@evil/",
            "https://*.example/cb",
            "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "blob:https://a", "vbscript:x",
            "intent://x",
            "http://app.example/cb", "/cb", "//app.example/cb", "https:/app.example/cb", "https:app.example",
            "https://app.example\\@evil.example", "https://app.example/\r\nSet-Cookie:x", "https://app.example/ x",
            "https://\u{430}pp.example/cb", "https://app.example/cb/../evil", "https://app.example/cb/%2e%2E/evil",
            "http://127.1/", "http://0.0.0.0/", "http://[::ffff:127.0.0.1]/", "http://127.0.0.1.evil.example/",
            "https://localhost/cb", "https://app.example./cb", "https://app.example:0/cb",
            "https://app.example:99999/cb",
            "https://[zz]/cb", "https://-,=!.x/cb", "https://0x7f.1/cb", "https://127.1/cb", "https://a.example/%zz",
            "https://a.example/%", "https://a..example/", "myapp:/cb", "cursor://evil/oauth/callback",
            "https://app%2eexample/cb", "HTTPS://app.example/cb",
        ])
    func refused(text: String) {
        #expect(RedirectURI(text) == nil)
    }

    @Test(
        "AZ-04 only the port of a loopback redirect may differ (RFC 8252 §7.3)",
        arguments: [
            ("https://app.example/cb", "https://app.example/cb", true),
            ("https://app.example/cb", "https://app.example/cb/", false),
            ("https://app.example/cb", "https://app.example/cb?x=1", false),
            ("https://app.example/cb", "https://app.example:443/cb", false),
            ("https://app.example/cb", "https://App.example/cb", false),
            ("https://app.example/cb", "https://app.example/cb//", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:1/cb", true),
            ("http://127.0.0.1:33418/", "http://127.0.0.1:65535/", true),
            ("http://127.0.0.1:33418/", "http://127.0.0.1:5/other", false),
            ("http://localhost/callback", "http://localhost:61234/callback", true),
            ("http://localhost/callback", "http://127.0.0.1:61234/callback", false),
            ("http://[::1]/cb", "http://[::1]:99/cb", true),
            ("http://127.0.0.1/cb", "https://127.0.0.1/cb", false),
            (
                "cursor://anysphere.cursor-mcp/oauth/callback", "cursor://anysphere.cursor-mcp/oauth/callback", true
            ),
        ])
    func admits(registered: String, requested: String, isAdmitted: Bool) throws {
        let rule = try #require(RedirectURI(registered))
        #expect(RedirectURI(requested).map(rule.admits) ?? false == isAdmitted)
    }

    @Test("R-13 a redirect URI of 100 KB is refused at once")
    func huge() {
        #expect(RedirectURI("https://app.example/" + String(repeating: "a", count: 100_000)) == nil)
    }
}

@Suite("Address ranges")
struct AddressRangeTests {
    @Test(
        "a range holds its addresses, in whatever spelling",
        arguments: [
            ("10.0.0.0/8", "10.255.1.2", true), ("10.0.0.0/8", "11.0.0.1", false), ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false), ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false), ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("0.0.0.0/0", "8.8.8.8", true), ("0.0.0.0/0", "::1", false),
        ])
    func contains(range: String, address: String, isInside: Bool) throws {
        #expect(try #require(AddressRange(range)).contains(address) == isInside)
    }

    @Test(
        "what is no range",
        arguments: ["", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/", "10.0.0/8", "a", "::/129", "10.0.0.0/08"])
    func refused(text: String) {
        #expect(AddressRange(text) == nil)
    }
}
