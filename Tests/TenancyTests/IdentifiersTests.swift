import Foundation
import Keys
import Tenancy
import Testing

@Suite("Identifiers")
struct IdentifiersTests {
    @Test(
        "an id has one spelling (TypeID)",
        arguments: [
            ("00000000-0000-0000-0000-000000000000", "usr_00000000000000000000000000"),
            ("00000000-0000-0000-0000-000000000001", "usr_00000000000000000000000001"),
            ("ffffffff-ffff-ffff-ffff-ffffffffffff", "usr_7zzzzzzzzzzzzzzzzzzzzzzzzz"),
            ("01890a5d-ac96-774b-bcce-b302099a8057", "usr_01h455vb4pex5vsknk084sn02q"),
        ])
    func spelling(uuid: String, text: String) throws {
        let id = UserID(try #require(UUID(uuidString: uuid)))
        #expect(id.description == text)
        #expect(UserID(text) == id)
    }

    @Test(
        "T-19 nothing but that spelling is an id",
        arguments: [
            "", "usr_", "usr_0", "org_01h455vb4pex5vsknk084sn02q", "USR_01h455vb4pex5vsknk084sn02q",
            "usr_01H455VB4PEX5VSKNK084SN02Q", "usr_8zzzzzzzzzzzzzzzzzzzzzzzzz", "usr_01h455vb4pex5vsknk084sn02",
            "usr_01h455vb4pex5vsknk084sn02q0", "usr_01h455vb4pex5vsknk084sn02u", "usr01h455vb4pex5vsknk084sn02q",
            "usr_01h455vb4pex5vsknk084sn02\u{0}", "01890a5d-ac96-774b-bcce-b302099a8057",
        ])
    func refused(text: String) {
        #expect(UserID(text) == nil)
    }

    @Test("new ids sort by the time they were made (RFC 9562 §5.7)")
    func order() {
        let start = Date(timeIntervalSince1970: 1_700_000_000)
        let ids = (0..<100).map { GrantID.make(at: start + Double($0), .system) }
        #expect(ids == ids.sorted())
        #expect(ids.map(\.description) == ids.map(\.description).sorted())
        for id in ids {
            #expect(id.uuid.bytes[6] >> 4 == 7)
            #expect(id.uuid.bytes[8] >> 6 == 2)
        }
    }

    @Test("the platform's id is the one in the schema")
    func platform() {
        #expect(OrganizationID.platform.uuid.uuidString.lowercased() == "00000000-0000-7000-8000-000000000000")
    }
}

@Suite("Resource URIs")
struct ResourceURITests {
    @Test(
        "RI-06 scheme and host without case, default port and a lone slash left out, path exact",
        arguments: [
            ("HTTPS://MCP.Example/", "https://mcp.example"), ("https://mcp.example", "https://mcp.example"),
            ("https://mcp.example:443/mcp", "https://mcp.example/mcp"),
            ("http://localhost:8000/mcp", "http://localhost:8000/mcp"),
            ("https://mcp.example/Mcp/", "https://mcp.example/Mcp/"), ("http://[::1]:80/x", "http://[::1]/x"),
        ])
    func canonical(text: String, canonical: String) {
        #expect(ResourceURI(text)?.canonical == canonical)
    }

    @Test(
        "RI-02 what is no absolute http URI without a fragment names no resource",
        arguments: [
            "", "mcp", "/mcp", "ftp://mcp.example/", "https://", "https:///mcp", "https://a@b.example/",
            "https://a.example/#x",
            "https://a.example/ x", "https://a.example\\b", "https://a.example:0/", "https://a.example:99999/",
            "https://a.example:/", "javascript://a", "https://a.example/\u{e9}", "https://:80/",
        ])
    func refused(text: String) {
        #expect(ResourceURI(text) == nil)
    }
}
