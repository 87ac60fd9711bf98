import Foundation
import Glibc
import Logging
import Redis
import TestSupport
import Testing

/// Runs a command and fails the test when it fails.
func run(_ command: String, _ arguments: [String], in directory: String = "/") async throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [command] + arguments
    process.currentDirectoryURL = URL(fileURLWithPath: directory)
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    let status = try await withCheckedThrowingContinuation { (done: CheckedContinuation<Int32, any Error>) in
        process.terminationHandler = { done.resume(returning: $0.terminationStatus) }
        do { try process.run() } catch { done.resume(throwing: error) }
    }
    try #require(status == 0, "\(command) \(arguments.first ?? "") failed")
}

/// A port nothing listens on just now.
func freePort() throws -> Int {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    return try withUnsafeMutablePointer(to: &address) { pointer in
        try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
            try #require(bind(descriptor, generic, length) == 0)
            try #require(getsockname(descriptor, generic, &length) == 0)
        }
        return Int(UInt16(bigEndian: pointer.pointee.sin_port))
    }
}

/// The server most tests share: `REDIS_URL`, else a private one.
private let sharedServer = Task { try await RedisServer() }
func sharedURL() async throws -> String {
    if let url = ProcessInfo.processInfo.environment["REDIS_URL"], !url.isEmpty { return url }
    return try await sharedServer.value.url
}

/// Runs `body` with a client whose link is kept meanwhile; waits for the link first unless told otherwise.
func withClient(
    _ url: String, connected: Bool = true, adjust: (inout RedisSettings) -> Void = { _ in },
    _ body: (RedisClient) async throws -> Void
) async throws {
    var settings = try RedisSettings(url: url)
    // The tests of deadlines set their own; the others should not depend on how busy the machine is.
    settings.commandTimeout = .seconds(5)
    adjust(&settings)
    let client = RedisClient(settings: settings, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    let running = Task { await client.run() }
    do {
        if connected { try await eventually { client.isConnected } }
        try await body(client)
    } catch {
        await client.shutdown()
        throw error
    }
    await client.shutdown()
    await running.value
}

/// Waits until `condition` holds, at most `limit`.
func eventually(within limit: Duration = .seconds(5), _ condition: () async -> Bool) async throws {
    let end = ContinuousClock.now + limit
    while await !condition() {
        try #require(.now < end, "the condition did not come true in \(limit)")
        try await Task.sleep(for: .milliseconds(5))
    }
}

private struct Unexpected: Error {}

/// The error of a call that must fail.
func failure<T>(_ call: () async throws -> T) async throws -> RedisError {
    do {
        _ = try await call()
    } catch let error as RedisError {
        return error
    }
    throw Unexpected()
}
