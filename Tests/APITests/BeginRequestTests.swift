import ControlPlane
import Foundation
import HTTPTypes
import Hummingbird
import Keys
import Tenancy
import Testing

@testable import API

@Suite struct BeginRequestTests {
    @Test(
        "T-19 P-19 only the plain spelling of a path is a path",
        arguments: [
            ("/", true), ("/oauth/token", true), ("/o/acme/.well-known/openid-configuration", true), ("/a..b/c", true),
            ("/v1/organizations/org_1:suspend", true), ("//oauth/token", false), ("/oauth/token/", false), ("", false),
            ("/oauth//token", false), ("/o/acme%2foauth", false), ("/o/../oauth/token", false), ("/./oauth", false),
            ("/o/acme;x/oauth/token", false), ("/o/a\\b", false), ("/o/acmé", false), ("/o/a%00", false),
            ("/o/..", false),
            ("http://evil.example/oauth/token", false), ("*", false), ("/a b", false),
        ])
    func plainPaths(path: String, isPlain: Bool) {
        #expect(PlainPaths.isPlain(path.utf8) == isPlain)
    }

    @Test(
        "traceparent is continued when it is one and ignored when it is not (W3C Trace Context §3.2)",
        arguments: [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736"),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", nil),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", nil),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", nil),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", nil),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", nil), ("", nil), ("00-1-2-3", nil),
        ] as [(String, String?)])
    func traceParent(header: String, traceID: String?) {
        #expect(TraceParent.traceID(in: header) == traceID)
    }

    @Test("BC-06 P-13 only a proxy that is trusted may say who called, and only the nearest stranger counts")
    func clientAddress() throws {
        let proxy = try #require(AddressRange("10.0.0.0/8"))
        let begin = BeginRequest(
            settings: EdgeSettings(publicURL: "https://as.example", trustedProxies: [proxy]), clock: .system,
            random: .system)
        func address(peer: String?, forwarded: String?) -> String? {
            var headers = HTTPFields()
            headers[.xForwardedFor] = forwarded
            let head = HTTPRequest(method: .get, scheme: "http", authority: "x", path: "/", headerFields: headers)
            return begin.clientAddress(of: Request(head: head, body: RequestBody(buffer: .init())), peer: peer)
        }
        #expect(address(peer: "203.0.113.9", forwarded: "1.2.3.4") == "203.0.113.9")
        #expect(address(peer: "10.0.0.1", forwarded: "6.6.6.6, 1.2.3.4") == "1.2.3.4")
        #expect(address(peer: "10.0.0.1", forwarded: "6.6.6.6, 1.2.3.4, 10.9.9.9") == "1.2.3.4")
        #expect(address(peer: "10.0.0.1", forwarded: "not an address") == "10.0.0.1")
        #expect(address(peer: "10.0.0.1", forwarded: nil) == "10.0.0.1")
        #expect(address(peer: nil, forwarded: "1.2.3.4") == nil)
    }

    @Test("origin and path of the public URL are told apart")
    func publicURL() {
        let plain = EdgeSettings(publicURL: "http://localhost:8001")
        #expect(plain.origin == "http://localhost:8001" && plain.basePath.isEmpty && !plain.isSecure)
        let deep = EdgeSettings(publicURL: "https://example.com/gate")
        #expect(deep.origin == "https://example.com" && deep.basePath == "/gate" && deep.isSecure)
    }
}
