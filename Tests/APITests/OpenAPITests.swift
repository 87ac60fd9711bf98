import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Keys
import Tenancy
import Testing

@testable import API

/// The admin API's description of itself (design §4 rule 10).
@Suite struct OpenAPITests {
    private static func document() throws -> [String: JSONValue] {
        try #require(try JSONText.parse(try TestServices.away.get().openAPI(), maximumDepth: 32).object)
    }

    @Test("Design 4.10 every route of the admin API is in its description, and nothing else is")
    func everyRoute() throws {
        let paths = try #require(try Self.document()["paths"]?.object)
        let described = Set(
            paths.flatMap { path, item in (item.object ?? [:]).keys.map { "\($0.uppercased()) \(path)" } })
        let own = ["/v1/openapi.json"]
        let served = Set(
            try TestServices.away.get().routes.filter { $0.path.hasPrefix("/v1") && !own.contains($0.path) }
                .map { "\($0.method) \($0.path)" })
        #expect(served.subtracting(described) == [])
        #expect(described.subtracting(served) == [])
        #expect(described.count > 100)
    }

    @Test("Design 4.10 each operation has a name of its own, one line, its scope, and a form for each part of its path")
    func operations() throws {
        var names: Set<String> = []
        for (path, item) in try #require(try Self.document()["paths"]?.object) {
            for (method, value) in item.object ?? [:] {
                let operation = try #require(value.object)
                let name = try #require(operation["operationId"]?.string)
                #expect(names.insert(name).inserted, "\(name)")
                #expect(operation["summary"]?.string?.isEmpty == false, "\(name)")
                guard case .array(let security)? = operation["security"] else {
                    Issue.record("\(name) needs no key")
                    continue
                }
                #expect(security.first?.object?["admin_key"]?.strings?.count == 1, "\(name)")
                let responses = operation["responses"]?.object ?? [:]
                #expect(responses.keys.contains { $0.hasPrefix("2") }, "\(name)")
                #expect(["400", "401", "403", "404", "429", "503"].allSatisfy { responses[$0] != nil }, "\(name)")
                guard path.contains("{") else { continue }
                guard case .array(let parameters)? = operation["parameters"] else {
                    Issue.record("\(method) \(path) describes no part of its path")
                    continue
                }
                for parameter in parameters where parameter.object?["in"]?.string == "path" {
                    #expect(parameter.object?["schema"]?.object?["pattern"] != nil, "\(method) \(path)")
                }
            }
        }
    }

    @Test("Design 4.10 a form is told to people as JSON with each value's form in its place")
    func outline() {
        let schema = Schema.named(
            "Thing",
            .draft([
                "name": .name, "kind": .words("a", "b").optional, "users": .array(of: .id(UserID.self)),
                "inner": .object(["at": .time.nullable]).said("A note."),
            ]))
        #expect(
            SchemaOutline.lines(of: schema) == [
                "{", #"  "name": string, 1 to 200 characters,"#, #"  "kind": "a" | "b" | null,   // optional"#,
                #"  "users": [ usr_…, … ],"#, #"  "inner": {"#, #"    "at": time | null"#, "  }   // A note.", "}",
            ])
    }

    @Test("Design 4.10 the description is served to anybody, with a validator, and is what the command prints")
    func served() async throws {
        let services = try TestServices.away.get()
        try await services.test { client in
            let reply = try await client.execute(uri: "/v1/openapi.json", method: .get)
            #expect(reply.status == .ok)
            #expect(reply.headers[.contentType] == "application/json")
            #expect([UInt8](reply.body.readableBytesView) == services.openAPI())
            let etag = try #require(reply.headers[.eTag])
            let again = try await client.execute(
                uri: "/v1/openapi.json", method: .get, headers: [.ifNoneMatch: etag])
            #expect(again.status == .notModified)
            #expect(again.body.readableBytes == 0)
        }
    }
}
