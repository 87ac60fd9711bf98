import Outbound
import Testing

@Suite("Outbound: addresses and URLs")
struct AddressTests {
    @Test(
        "S-02 special-use IPv4 addresses are told apart at both ends of every block",
        arguments: [
            "0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1",
            "127.255.255.255", "169.254.0.0", "169.254.169.254", "172.16.0.0", "172.31.255.255", "192.0.0.0",
            "192.0.0.255", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.0.0",
            "192.168.255.255", "192.175.48.1", "198.18.0.0", "198.19.255.255", "198.51.100.7", "203.0.113.7",
            "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
        ])
    func special4(text: String) throws { #expect(try #require(IPAddress(text)).isSpecialUse) }

    @Test(
        "S-03 special-use IPv6 addresses are refused, whatever IPv4 they carry",
        arguments: [
            "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8", "64:ff9b::10.0.0.1",
            "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378::1",
            "2001:10::1", "2001:1ff:ffff::1", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::", "2002:808:808::1",
            "2620:4f:8000::1", "3fff::1", "3fff:fff::1", "5f00::1", "fc00::1", "fdff::1", "fe80::1", "fec0::1",
            "ff02::1", "ff0e::1", "4000::1",
        ])
    func special6(text: String) throws { #expect(try #require(IPAddress(text)).isSpecialUse) }

    @Test(
        "S-02 public addresses beside the blocks pass",
        arguments: [
            "1.0.0.0", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
            "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2001:200::1", "2001:4860:4860::8888",
            "2606:4700::1111", "2a00:1450::1", "2003::1", "3ffe::1", "64:ff9b::8.8.8.8",
        ])
    func publicAddresses(text: String) throws { #expect(try #require(IPAddress(text)).isSpecialUse == false) }

    @Test(
        "S-04 other spellings of addresses are no addresses",
        arguments: [
            "2130706433", "0177.0.0.1", "0x7f.1", "127.1", "127.0.1", "127.0.0.01", "127.0.0.1.", "256.1.1.1", "1.2.3",
            "1.2.3.4.5", "", ".", "1..2.3", "+1.2.3.4", "1.2.3.4 ", "１27.0.0.1", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
            ":::", "1::2::3", "::12345", "::g", "fe80::1%lo", "::1.2.3", "1.2.3.4::", "::ffff:1.2.3.04",
            "1:2:3:4:5:6:7::8",
        ])
    func noAddress(text: String) { #expect(IPAddress(text) == nil) }

    @Test("Text of IPv6 addresses is read as RFC 4291 §2.2 says")
    func text6() throws {
        #expect(IPAddress("::1")?.description == "0:0:0:0:0:0:0:1")
        #expect(IPAddress("2001:DB8::a:1.2.3.4")?.description == "2001:db8:0:0:0:a:102:304")
        #expect(IPAddress("1:2:3:4:5:6:7:8")?.description == "1:2:3:4:5:6:7:8")
        #expect(IPNetwork("10.1.0.0/17")?.contains(try #require(IPAddress("10.1.127.255"))) == true)
        #expect(IPNetwork("10.1.0.0/17")?.contains(try #require(IPAddress("10.1.128.0"))) == false)
        #expect(IPNetwork("::/0")?.contains(try #require(IPAddress("10.1.128.0"))) == false)
        #expect(IPNetwork("10.0.0.0/33") == nil && IPNetwork("10.0.0.0") == nil && IPNetwork("10/8") == nil)
    }

    @Test(
        "S-08 URLs that parsers read differently are refused before resolving",
        arguments: [
            "", "/", "example.com", "https:example.com", "https:/example.com", "https:///path", "https://",
            "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "javascript:alert(1)",
            "https://user@example.com/", "https://user:pw@example.com/", "https://@example.com/",
            "https://example.com#@evil.test/", "https://example.com/#x", "https://example.com\\@evil.test/",
            "https://example.com/a\\b", "https://exa mple.com/", "https://example.com/\r\nHost: evil.test",
            "https://example.com/\u{0}",
            " https://example.com/", "https://example.com/\t", "https://bücher.example/", "https://１２７.0.0.1/",
            "https://example.com./", "https://127.0.0.1./", "https://.example.com/", "https://a..b/", "https://-a.com/",
            "https://a-.com/", "https://a_b.com/", "https://ex%61mple.com/", "https://example.com:/",
            "https://example.com:0/",
            "https://example.com:0443/", "https://example.com:65536/", "https://example.com:443:443/",
            "https://example.com:+443/",
            "https://2130706433/", "https://0177.0.0.1/", "https://0x7f.1/", "https://0x7f000001/", "https://127.1/",
            "https://1.2.3.08/", "https://foo.0x7f/", "https://foo.1/", "https://foo.0x/", "https://[::1/",
            "https://[::1]x/",
            "https://[127.0.0.1]/", "https://[fe80::1%25lo]/", "https://::1/", "https://example.com/%",
            "https://example.com/%zz",
            "https://example.com/[x]", "https://example.com/a b", "https://example.com/<x>",
        ])
    func invalid(url: String) {
        #expect { try OutboundURL(url) } throws: { error in
            if case OutboundError.invalidURL = error { true } else { false }
        }
    }

    @Test("Valid URLs keep path and query byte by byte; scheme and host go to lower case")
    func valid() throws {
        let url = try OutboundURL("HTTPS://Auth.Example.COM:8443/a/../b%2fc?x=1&y=%20?z")
        #expect(url.scheme == .https && url.host == .name("auth.example.com") && url.port == 8443)
        #expect(url.target == "/a/../b%2fc?x=1&y=%20?z")
        #expect(try OutboundURL("https://example.com").target == "/")
        #expect(try OutboundURL("https://example.com?a=b").target == "/?a=b")
        #expect(try OutboundURL("https://[2606:4700::1111]/").port == 443)
        #expect(try OutboundURL("http://LOCALHOST:8001/").isLoopback)
        #expect(try OutboundURL("http://app.localhost/").isLoopback)
        #expect(try OutboundURL("http://[::1]/").isLoopback)
        #expect(try !OutboundURL("http://localhost.example/").isLoopback)
        #expect(try OutboundURL("https://xn--bcher-kva.example/").authority == "xn--bcher-kva.example")
    }
}
