import Foundation
package import Keys
package import Outbound
import Tenancy

/// Reads the tools of a live MCP server (MCP 2025-06-18: lifecycle, streamable HTTP, `tools/list` with paging).
package struct ToolDiscovery: Sendable {
    /// A tool as the server describes it.
    package struct Tool: Sendable, Equatable {
        package let name: String
        /// What is said of it to models and people: its title, description, schemas and annotations, as JSON.
        package let definition: [UInt8]
        package let digest: [UInt8]
        package let readOnlyHint: Bool?
        package let destructiveHint: Bool?
    }

    /// Why the tools could not be read; nothing of what the server said is in it.
    package enum Failure: Error, Sendable, Equatable {
        /// It is no address that may be reached from here.
        case refused
        case unreachable
        /// It wants a token, or another one.
        case unauthorized
        case status(Int)
        /// It does not speak MCP as this client does; fixed text says where.
        case protocolViolation(String)
        case tooMuch
    }

    private static let protocolVersion = "2025-06-18"
    private static let mostPages = 50
    private static let mostTools = 1_000
    fileprivate static let largestReply = 2 << 20
    /// Of all definitions together.
    private static let largestList = 4 << 20
    /// For everything together.
    private static let patience: Duration = .seconds(20)

    private let outbound: OutboundClient

    /// - Parameter outbound: a client of its own, under ``outboundPolicy(allowLoopback:trustRoots:)``.
    package init(outbound: OutboundClient) {
        self.outbound = outbound
    }

    /// - Parameter allowLoopback: in development only.
    package static func outboundPolicy(allowLoopback: Bool, trustRoots: String?) -> OutboundPolicy {
        var policy = OutboundPolicy()
        policy.allowLoopback = allowLoopback
        policy.additionalTrustRoots = trustRoots
        policy.totalTimeout = patience
        policy.perHostConcurrency = 4
        policy.totalConcurrency = 16
        policy.wireBytesLimit = 3 << 20
        return policy
    }

    /// - Parameters:
    ///   - url: the server's MCP endpoint.
    ///   - token: presented to it and kept nowhere.
    ///   - partition: whose trouble it is when the server fails.
    /// - Throws: ``Failure``.
    package func tools(
        at url: String, token: Secret?, for partition: String
    ) async throws(Failure) -> [Tool] {
        var exchange = Exchange(
            outbound: outbound, url: url, token: token, partition: partition,
            deadline: ContinuousClock.now + Self.patience)
        let hello = JSONWriter.object { json in
            json.string("protocolVersion", Self.protocolVersion)
            json.object("capabilities") { _ in }
            json.object("clientInfo") { json in
                json.string("name", "gatehouse")
                json.string("version", "1")
            }
        }
        guard let answer = try await exchange.call("initialize", hello).object else {
            throw .protocolViolation("initialize")
        }
        exchange.version = answer["protocolVersion"]?.string ?? Self.protocolVersion
        try await exchange.notify("notifications/initialized")
        do {
            let tools = try await list(&exchange)
            await exchange.end()
            return tools
        } catch {
            await exchange.end()
            throw error
        }
    }

    private func list(_ exchange: inout Exchange) async throws(Failure) -> [Tool] {
        var tools: [String: Tool] = [:]
        var cursor: String?
        var bytes = 0
        for _ in 0..<Self.mostPages {
            let arguments = JSONWriter.object { json in if let cursor { json.string("cursor", cursor) } }
            guard let page = try await exchange.call("tools/list", arguments).object,
                case .array(let elements)? = page["tools"]
            else { throw .protocolViolation("tools/list") }
            for element in elements {
                guard let tool = Tool(element) else { throw .protocolViolation("a tool without a plain name") }
                guard tools.updateValue(tool, forKey: tool.name) == nil else {
                    throw .protocolViolation("two tools of one name")
                }
                bytes += tool.definition.count
                guard tools.count <= Self.mostTools, bytes <= Self.largestList else { throw .tooMuch }
            }
            guard let next = page["nextCursor"]?.string else { return tools.values.sorted { $0.name < $1.name } }
            cursor = next
        }
        throw .tooMuch
    }
}

extension ToolDiscovery.Tool {
    private static let largestDefinition = 64 << 10
    /// Each of them reaches a model or a person, who might be misled by it (MCP 2025-06-18, server/tools).
    private static let told: Set<String> = ["title", "description", "inputSchema", "outputSchema", "annotations"]

    /// - Returns: nil for what has no name that a gateway could compare byte for byte, or is larger than any tool.
    fileprivate init?(_ value: JSONValue) {
        guard let members = value.object, let name = members["name"]?.string, (1...128).contains(name.utf8.count),
            name.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
        else { return nil }
        self.name = name
        let kept = members.filter { Self.told.contains($0.key) }
        definition = JSONValue.object(kept).canonical
        guard definition.count <= Self.largestDefinition else { return nil }
        digest = sha256(JSONValue.object(kept.merging(["name": .string(name)]) { $1 }).canonical)
        let annotations = members["annotations"]?.object ?? [:]
        readOnlyHint = annotations["readOnlyHint"]?.bool
        destructiveHint = annotations["destructiveHint"]?.bool
    }
}

extension JSONValue {
    /// One text for equal values: members by name, no spaces. Numbers that are no integers stay as they were written.
    var canonical: [UInt8] {
        switch self {
        case .null: Array("null".utf8)
        case .bool(let value): Array((value ? "true" : "false").utf8)
        case .integer(let value): Array(String(value).utf8)
        case .number(let text): Array(text.utf8)
        case .string(let text):
            // The value of the one member of an object, without the braces and the name.
            Array(JSONWriter.object { $0.string("", text) }.dropFirst(4).dropLast())
        case .array(let elements):
            [UInt8(ascii: "[")] + elements.map(\.canonical).joined(separator: [UInt8(ascii: ",")])
                + [UInt8(ascii: "]")]
        case .object(let members):
            JSONWriter.object { json in
                for (name, value) in members.sorted(by: { $0.key < $1.key }) { json.raw(name, value.canonical) }
            }
        }
    }
}

/// One session with an MCP server.
private struct Exchange {
    let outbound: OutboundClient
    let url: String
    let token: Secret?
    let partition: String
    let deadline: ContinuousClock.Instant
    var version: String?
    private var session: String?
    private var lastID = 0

    init(outbound: OutboundClient, url: String, token: Secret?, partition: String, deadline: ContinuousClock.Instant) {
        self.outbound = outbound
        self.url = url
        self.token = token
        self.partition = partition
        self.deadline = deadline
    }

    /// A request and its result.
    mutating func call(_ method: String, _ parameters: [UInt8]) async throws(ToolDiscovery.Failure) -> JSONValue {
        lastID += 1
        let id = lastID
        let response = try await send(
            "POST",
            JSONWriter.object { json in
                json.string("jsonrpc", "2.0")
                json.int("id", id)
                json.string("method", method)
                json.raw("params", parameters)
            })
        if method == "initialize" { session = response.values(of: "mcp-session-id").first }
        guard response.status == 200 else { throw .status(response.status) }
        for message in try Self.messages(in: response) {
            guard let members = message.object, members["id"]?.integer == id else { continue }
            guard let result = members["result"] else { throw .protocolViolation("\(method) was answered by an error") }
            return result
        }
        throw .protocolViolation("\(method) was not answered")
    }

    mutating func notify(_ method: String) async throws(ToolDiscovery.Failure) {
        let response = try await send(
            "POST",
            JSONWriter.object { json in
                json.string("jsonrpc", "2.0")
                json.string("method", method)
            })
        guard (200..<300).contains(response.status) else { throw .status(response.status) }
    }

    /// Servers forget the session sooner; those that keep none say 405.
    func end() async {
        guard session != nil else { return }
        _ = try? await send("DELETE", nil)
    }

    private func send(_ method: String, _ body: [UInt8]?) async throws(ToolDiscovery.Failure) -> OutboundResponse {
        let left = deadline - ContinuousClock.now
        guard left > .zero else { throw .unreachable }
        var headers = [("Accept", "application/json, text/event-stream")]
        if body != nil { headers.append(("Content-Type", "application/json")) }
        if let token { headers.append(("Authorization", "Bearer \(token.revealed)")) }
        if let session { headers.append(("Mcp-Session-Id", session)) }
        if let version { headers.append(("MCP-Protocol-Version", version)) }
        let response: OutboundResponse
        do {
            response = try await outbound.send(
                OutboundRequest(
                    method: method, url: url, headers: headers, body: body,
                    maxResponseBytes: ToolDiscovery.largestReply, deadline: left, partition: partition))
        } catch {
            switch error {
            case .refused, .invalidURL, .invalidRequest: throw .refused
            case .tooLarge: throw .tooMuch
            default: throw .unreachable
            }
        }
        if response.status == 401 || response.status == 403 { throw .unauthorized }
        return response
    }

    /// The JSON-RPC messages of a reply: one as JSON, or some as events of a stream (WHATWG, Server-sent events §9.2.6).
    private static func messages(in response: OutboundResponse) throws(ToolDiscovery.Failure) -> [JSONValue] {
        let type = response.values(of: "content-type").first?.prefix { $0 != ";" }.lowercased() ?? ""
        do {
            if type == "application/json" { return [try JSONText.parse(response.body, maximumDepth: 64)] }
            guard type == "text/event-stream" else { throw ToolDiscovery.Failure.protocolViolation("the media type") }
            let text = String(decoding: response.body, as: UTF8.self)
            var messages: [JSONValue] = []
            var data: [Substring] = []
            let lines = text.replacing("\r\n", with: "\n").replacing("\r", with: "\n")
                .split(separator: "\n", omittingEmptySubsequences: false)
            // An empty line ends an event; the last one may lack it.
            for line in lines + [Substring()] {
                if line.hasPrefix("data:") {
                    data.append(line.dropFirst(line.hasPrefix("data: ") ? 6 : 5))
                } else if line.isEmpty, !data.isEmpty {
                    messages.append(try JSONText.parse(Array(data.joined(separator: "\n").utf8), maximumDepth: 64))
                    data = []
                }
            }
            return messages
        } catch let failure as ToolDiscovery.Failure {
            throw failure
        } catch {
            throw .protocolViolation("a reply that is no JSON")
        }
    }
}
