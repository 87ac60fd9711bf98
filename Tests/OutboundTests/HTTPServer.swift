import Foundation
import Glibc
import Logging
import NIOCore
import NIOPosix
import Outbound
import Synchronization
import Testing

/// A server on a loopback address that answers each request head with bytes of the test's choice.
final class HTTPServer: Sendable {
    enum Answer: Sendable {
        /// These bytes, then the connection stays open.
        case bytes([UInt8])
        /// `head`, then `part` again and again, `every` so often, for ever.
        case endless(head: String, part: [UInt8], every: TimeAmount)
        case hangUp
        /// Nothing at all.
        case silence
    }

    private let channel: any Channel
    private let seen = Mutex<(connections: Int, requests: [String])>((0, []))

    var port: Int { channel.localAddress?.port ?? 0 }
    var connections: Int { seen.withLock { $0.connections } }
    /// The heads of requests, as sent.
    var requests: [String] { seen.withLock { $0.requests } }

    private init(channel: any Channel) { self.channel = channel }

    static func with(
        address: String = "127.0.0.1", answer: @escaping @Sendable (String) -> Answer,
        _ body: (HTTPServer) async throws -> Void
    ) async throws {
        let record = Recorder()
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Handler(answer: answer, record: record))
                }
            }
            .bind(host: address, port: 0).get()
        let server = HTTPServer(channel: channel)
        record.sink.withLock {
            $0 = { event in
                server.seen.withLock { seen in
                    if let event { seen.requests.append(event) } else { seen.connections += 1 }
                }
            }
        }
        do {
            try await body(server)
        } catch {
            try await channel.close()
            throw error
        }
        try await channel.close()
    }

    static func response(_ status: String = "200 OK", _ headers: [String] = [], _ body: String = "") -> Answer {
        let lines = ["HTTP/1.1 \(status)", "content-length: \(body.utf8.count)"] + headers
        return .bytes(Array((lines.joined(separator: "\r\n") + "\r\n\r\n" + body).utf8))
    }

    private final class Recorder: Sendable {
        /// Gets a request's head, or `nil` for a new connection.
        let sink = Mutex<(@Sendable (String?) -> Void)?>(nil)
        func note(_ event: String?) { sink.withLock { $0 }?(event) }
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let answer: @Sendable (String) -> Answer
        private let record: Recorder
        private var received = ""

        init(answer: @escaping @Sendable (String) -> Answer, record: Recorder) {
            self.answer = answer
            self.record = record
        }

        func channelActive(context: ChannelHandlerContext) { record.note(nil) }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            received += String(buffer: unwrapInboundIn(data))
            guard let end = received.firstRange(of: "\r\n\r\n") else { return }
            let head = String(received[..<end.lowerBound])
            let length =
                head.split(separator: "\r\n").compactMap { line -> Int? in
                    guard line.lowercased().hasPrefix("content-length:") else { return nil }
                    return Int(line.dropFirst(15).trimmingCharacters(in: .whitespaces))
                }.first ?? 0
            guard received[end.upperBound...].utf8.count >= length else { return }
            received = ""
            record.note(head)
            let channel = context.channel
            switch answer(head) {
            case .bytes(let bytes): channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
            case .endless(let start, let part, let every):
                channel.writeAndFlush(ByteBuffer(string: start), promise: nil)
                channel.eventLoop.scheduleRepeatedTask(initialDelay: every, delay: every) { task in
                    guard channel.isActive else { return task.cancel() }
                    if channel.isWritable { channel.writeAndFlush(ByteBuffer(bytes: part), promise: nil) }
                }
            case .hangUp: channel.close(promise: nil)
            case .silence: break
            }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}

/// `openssl s_server` with certificates of an authority made for the test; ends with the test process.
final class TLSServer: Sendable {
    let folder: String
    let port: Int
    private let leash = Pipe()

    var authority: String { "\(folder)/ca.pem" }

    /// Serves a certificate for `other.test`, and to clients that ask for `good.test` by SNI the one named
    /// `certificate`, which is `good` or `expired`.
    init(address: String, certificate: String = "good") async throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "tls-\(UUID().uuidString.prefix(8))").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        port = try await Self.freePort(on: address)
        let script = """
            set -e
            new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
            openssl req -x509 $new -days 2 -subj /CN=ca -keyout ca.key -out ca.pem
            for name in good other expired; do
                host=good.test; if [ $name = other ]; then host=other.test; fi
                echo "subjectAltName=DNS:$host" > $name.ext
                openssl req $new -subj /CN=$name -keyout $name.key -out $name.csr
                days=2; if [ $name = expired ]; then days=-1; fi
                openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days $days \
                    -extfile $name.ext -out $name.pem
            done
            """
        try await Self.shell(script, in: folder)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.currentDirectoryURL = URL(fileURLWithPath: folder)
        process.arguments = [
            "-c",
            """
            openssl s_server -accept \(address):\(port) -cert other.pem -key other.key -servername good.test \
                -cert2 \(certificate).pem -key2 \(certificate).key -www >server.log 2>&1 </dev/null &
            cat >/dev/null; kill -9 $!
            """,
        ]
        process.standardInput = leash
        try process.run()
        for _ in 0..<250 where await !Self.isListening(address, port) { try await Task.sleep(for: .milliseconds(20)) }
    }

    deinit {
        try? leash.fileHandleForWriting.close()
        try? FileManager.default.removeItem(atPath: folder)
    }

    private static func shell(_ script: String, in folder: String) async throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.currentDirectoryURL = URL(fileURLWithPath: folder)
        process.arguments = ["-c", script]
        process.standardError = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        let status = try await withCheckedThrowingContinuation { (done: CheckedContinuation<Int32, any Error>) in
            process.terminationHandler = { done.resume(returning: $0.terminationStatus) }
            do { try process.run() } catch { done.resume(throwing: error) }
        }
        try #require(status == 0, "openssl could not make certificates")
    }

    private static func isListening(_ address: String, _ port: Int) async -> Bool {
        let channel = try? await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: address, port: port).get()
        channel?.close(promise: nil)
        return channel != nil
    }

    private static func freePort(on address: String) async throws -> Int {
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(host: address, port: 0).get()
        let port = channel.localAddress?.port
        try await channel.close()
        return try #require(port)
    }
}

/// Counts the calls of a resolver whose answers are given in turn, the last one again and again.
final class ScriptedResolver: Sendable {
    private let answers: [[String]]
    private let calls = Mutex(0)

    init(_ answers: [[String]]) { self.answers = answers }

    var count: Int { calls.withLock { $0 } }
    var resolve: AddressResolver {
        { _ in
            let call = self.calls.withLock { calls in
                calls += 1
                return calls - 1
            }
            return self.answers[min(call, self.answers.count - 1)].compactMap { IPAddress($0) }
        }
    }
}

/// A client under a policy of the test's choice, shut down afterwards.
func withClient(
    _ adjust: (inout OutboundPolicy) -> Void = { $0.allowLoopback = true },
    _ body: (OutboundClient) async throws -> Void
) async throws {
    var policy = OutboundPolicy()
    adjust(&policy)
    let client = try OutboundClient(policy: policy, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    defer { client.shutdown() }
    try await body(client)
}

/// The error of a request that must fail.
func failure(_ client: OutboundClient, _ request: OutboundRequest) async throws -> OutboundError {
    do {
        let response = try await client.send(request)
        Issue.record("status \(response.status) where an error was expected")
        return .cancelled
    } catch {
        return error
    }
}

/// A switch that tests flip while the server runs.
final class Health: Sendable {
    private let state = Mutex(false)
    var isGood: Bool {
        get { state.withLock { $0 } }
        set { state.withLock { $0 = newValue } }
    }
}
