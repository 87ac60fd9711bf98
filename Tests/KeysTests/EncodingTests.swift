import Foundation
import Testing

@testable import Keys

@Suite struct EncodingTests {
    @Test(
        "K-12 base64url has the RFC's forms (RFC 4648 §10)",
        arguments: [
            ("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ])
    func base64URLVectors(text: String, encoded: String) {
        #expect(Base64URL.encode([UInt8](text.utf8)) == encoded)
        #expect(Base64URL.decode(encoded) == [UInt8](text.utf8))
    }

    @Test("K-12 base64url agrees with Foundation on every length and byte")
    func base64URLAgainstFoundation() {
        for count in 0..<260 {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ count) }
            let expected = Data(bytes).base64EncodedString()
                .replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
            #expect(Base64URL.encode(bytes) == expected)
            #expect(Base64URL.decode(expected) == bytes)
            var appended: [UInt8] = [UInt8(ascii: ".")]
            Base64URL.append(bytes, to: &appended)
            #expect(String(decoding: appended, as: UTF8.self) == "." + expected)
        }
    }

    @Test(
        "K-12 base64url with padding, foreign characters or spare bits is refused (RFC 4648 §3.5)",
        arguments: [
            "A", "AAAAA", "Zg==", "Zm8=", "Zm9v=", "Zm9+", "Zm9/", "Zm 9", "Zm9v\n", "Zh", "Zm9vZm9", "é", "\0AAA",
        ])
    func base64URLRefusals(text: String) {
        #expect(Base64URL.decode(text) == nil)
    }

    @Test("AT-02 the JSON writer writes what JSON readers read (RFC 8259 §7)")
    func writer() throws {
        let nasty = "\"\\/\u{8}\u{C}\n\r\t\u{0}\u{1F}\u{7F}é€😀\u{2028}"
        let bytes = JSONWriter.object { json in
            json.string("text", nasty)
            json.int("int", -9_007_199_254_740_993)
            json.bool("yes", true)
            json.bool("no", false)
            json.strings("list", ["read", "w\"rite"])
            json.strings("empty", [])
            json.object("nested") { $0.string("inner", "x") }
            json.object("void") { _ in }
            json.raw("raw", [UInt8]("[1,2]".utf8))
            json.raws("raws", [[UInt8]("{}".utf8), [UInt8]("1".utf8)])
            json.string("na\"me", "last")
        }
        let members = try #require(JSONText.parse(bytes).object)
        #expect(
            members == [
                "text": .string(nasty), "int": .integer(-9_007_199_254_740_993), "yes": .bool(true), "no": .bool(false),
                "list": .array([.string("read"), .string("w\"rite")]), "empty": .array([]),
                "nested": .object(["inner": .string("x")]), "void": .object([:]),
                "raw": .array([.integer(1), .integer(2)]), "raws": .array([.object([:]), .integer(1)]),
                "na\"me": .string("last"),
            ])
        let foundation = try #require(JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any])
        #expect(foundation["text"] as? String == nasty)
        #expect(foundation.count == 11)
        #expect(String(decoding: JSONWriter.object { _ in }, as: UTF8.self) == "{}")
        #expect(
            String(decoding: JSONWriter.object { $0.string("a", "é\n\u{1}") }, as: UTF8.self) == #"{"a":"é\n\u0001"}"#)
    }

    @Test("K-12 the JSON reader reads what is JSON (RFC 8259)")
    func reader() throws {
        func parse(_ text: String) throws -> JSONValue { try JSONText.parse([UInt8](text.utf8)) }
        #expect(try parse(" [ ] ") == .array([]))
        #expect(
            try parse(#"{ "a" : [ 1 , -0 , 1.50 , 2e3 ] }"#)
                == .object(["a": .array([.integer(1), .integer(0), .number("1.50"), .number("2e3")])]))
        #expect(try parse(#""\u00e9\ud83d\ude00\/\b\f\n\r\t\"\\""#) == .string("é😀/\u{8}\u{C}\n\r\t\"\\"))
        #expect(try parse("9223372036854775807") == .integer(.max))
        #expect(try parse("9223372036854775808") == .number("9223372036854775808"))
        #expect(try parse("[true,false,null]") == .array([.bool(true), .bool(false), .null]))
        #expect(try parse(#"["a","b"]"#).strings == ["a", "b"])
        #expect(try parse(#"["a",1]"#).strings == nil)
    }

    @Test(
        "K-12 text that is not JSON, repeats a name or nests too deep is refused (RFC 8259, 7493 §2.3)",
        arguments: [
            "", " ", "{", "}", "[", "[1,]", "{,}", #"{"a"}"#, #"{"a":}"#, #"{"a":1,"a":1}"#, "01", "-", "1.", ".5",
            "1e",
            "+1", "0x1", "NaN", "Infinity", "tru", "nulll", #"""#, #""\x""#, #""\u12""#, #""\ud800x""#, #""\udc00""#,
            #""\ud800\u0041""#, "\"\t\"", "'a'", "1 2", "// c\n1", #"{"é":1,"\u00e9":2}"#, "[[[[[[[[[1]]]]]]]]]",
        ])
    func readerRefusals(text: String) {
        #expect(throws: JSONText.Malformed.self) { try JSONText.parse([UInt8](text.utf8)) }
    }

    @Test("K-12 deep nesting is refused in bounded memory")
    func deepNesting() {
        let text = [UInt8](repeating: UInt8(ascii: "["), count: 1_000_000)
        #expect(throws: JSONText.Malformed.self) { try JSONText.parse(text) }
    }
}
