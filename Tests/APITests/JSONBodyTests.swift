import Testing

@testable import API

@Suite struct JSONBodyTests {
    @Test(
        "P-06 P-07 JSON that two readers could take differently is refused (RFC 8259)",
        arguments: [
            "", "{", #"{"a":1,"a":2}"#, #"{"a":{"b":1,"\u0062":2}}"#, "NaN", #"{"a":NaN}"#, #"{"a":"\ud800"}"#,
            #"{"a":"\u0000"}"#, #"{"\u0000":1}"#, #"{"a":1} x"#, "[1,]", String(repeating: "[", count: 100_000),
            #"{"a":01}"#, "{'a':1}",
        ])
    func malformed(text: String) {
        #expect(throws: JSONBody.Refusal.malformed) { try JSONBody(bytes: Array(text.utf8)) }
    }

    @Test("P-07 invalid UTF-8 is refused")
    func invalidUTF8() {
        #expect(throws: JSONBody.Refusal.malformed) {
            try JSONBody(bytes: Array(#"{"a":""#.utf8) + [0xC3] + Array(#""}"#.utf8))
        }
    }

    @Test("P-06 a number that nothing can hold is refused")
    func hugeNumber() {
        #expect(throws: JSONBody.Refusal.malformed) { try JSONBody(bytes: Array(#"{"a":1e400}"#.utf8)) }
    }
}
