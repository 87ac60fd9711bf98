import Foundation
import Glibc
import Synchronization
import Testing

/// A private redis-server that ends with the test process, however that ends.
package final class RedisServer: Sendable {
    package struct NotStarted: Error, CustomStringConvertible { package let description: String }

    package let directory: String
    private let arguments: [String]
    private let leash = Mutex<Pipe?>(nil)

    /// Starts a server with a unix socket in a folder of its own, and what `arguments` add.
    package init(_ arguments: [String] = []) async throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "redis-\(UUID().uuidString.prefix(8))").path
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        self.arguments = arguments
        try await start()
    }

    deinit {
        kill()
        try? FileManager.default.removeItem(atPath: directory)
    }

    package var socket: String { "\(directory)/redis.sock" }
    package var url: String { "unix://\(socket)" }

    package func start() async throws {
        let pipe = Pipe()
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        // The shell outlives the pipe by one kill -9 only.
        process.arguments =
            [
                "-c", "redis-server \"$@\" >redis.log 2>&1 </dev/null & cat >/dev/null; kill -9 $!; wait", "sh",
                "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", directory,
                "--pidfile", "\(directory)/pid",
            ] + arguments
        process.currentDirectoryURL = URL(fileURLWithPath: directory)
        process.standardInput = pipe
        try process.run()
        leash.withLock { $0 = pipe }
        for _ in 0..<250 {
            if FileManager.default.fileExists(atPath: socket) { return }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw NotStarted(description: "redis-server did not start; is it installed (apt-get install redis-server)?")
    }

    /// `kill -9`.
    package func kill() {
        leash.withLock { pipe in
            try? pipe?.fileHandleForWriting.close()
            pipe = nil
        }
        try? FileManager.default.removeItem(atPath: socket)
    }

    /// Sends the server a signal.
    package func signal(_ number: Int32) throws {
        let text = try String(contentsOfFile: "\(directory)/pid", encoding: .utf8).trimmingCharacters(in: .newlines)
        try #require(Glibc.kill(try #require(pid_t(text)), number) == 0)
    }
}
