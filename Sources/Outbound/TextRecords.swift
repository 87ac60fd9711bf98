internal import CResolv
internal import Glibc
internal import NIOPosix
internal import Synchronization

/// The texts of a name's TXT records (RFC 1035 §3.3.14), each with its strings joined; none where the name has none.
///
/// Throws ``TextRecordError``.
package typealias TextRecordResolver = @Sendable (_ name: String) async throws -> [String]

/// The name servers failed, were silent, or are asked too much at this moment: nothing is known about the name.
package struct TextRecordError: Error, Sendable {}

/// A name server to ask instead of the system's. IPv4, as libresolv's settings are.
package struct NameServer: Sendable, Equatable {
    package let address: IPAddress
    package let port: UInt16

    /// Reads `192.0.2.1` or `192.0.2.1:5353`.
    package init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard let first = parts.first, let address = IPAddress(String(first)), address.bytes.count == 4 else {
            return nil
        }
        switch parts.count {
        case 1: port = 53
        case 2:
            guard let number = UInt16(parts[1]), number > 0 else { return nil }
            port = number
        default: return nil
        }
        self.address = address
    }

    fileprivate var socketAddress: sockaddr_in {
        var socket = sockaddr_in()
        socket.sin_family = sa_family_t(AF_INET)
        socket.sin_port = port.bigEndian
        withUnsafeMutableBytes(of: &socket.sin_addr) { $0.copyBytes(from: address.bytes) }
        return socket
    }
}

/// Asks by libresolv (`res_nquery`), on threads of its own: it blocks.
///
/// Bounds: 2 s for an answer, 64 KiB of it, 16 questions at a time.
///
/// - Parameter servers: at most three count; none means the system's.
package func textRecordResolver(servers: [NameServer] = []) -> TextRecordResolver {
    let addresses = servers.map(\.socketAddress)
    return { name in
        let mayAsk = questionsUnderWay.withLock { count in
            guard count < 16 else { return false }
            count += 1
            return true
        }
        guard mayAsk else { throw TextRecordError() }
        let answer = await withCheckedContinuation { continuation in
            let waiter = FirstAnswer(continuation)
            // A thread cannot be called back, so whoever asked stops waiting instead.
            let deadline = Task {
                try await Task.sleep(for: .seconds(2))
                waiter.resume(nil)
            }
            resolverThreads.submit { state in
                let found = state == .active ? look(for: name, at: addresses) : nil
                questionsUnderWay.withLock { $0 -= 1 }
                deadline.cancel()
                waiter.resume(found)
            }
        }
        guard let answer else { throw TextRecordError() }
        return answer
    }
}

private let questionsUnderWay = Mutex(0)

private let resolverThreads: NIOThreadPool = {
    let pool = NIOThreadPool(numberOfThreads: 4)
    pool.start()
    return pool
}()

/// The one who waits, answered once.
private final class FirstAnswer: Sendable {
    private let waiting: Mutex<CheckedContinuation<[String]?, Never>?>

    init(_ continuation: CheckedContinuation<[String]?, Never>) {
        waiting = Mutex(continuation)
    }

    func resume(_ answer: [String]?) {
        let continuation = waiting.withLock { waiting in
            defer { waiting = nil }
            return waiting
        }
        continuation?.resume(returning: answer)
    }
}

/// - Returns: nil when nobody could say.
private func look(for name: String, at servers: [sockaddr_in]) -> [String]? {
    var answer = [UInt8](repeating: 0, count: 65_536)
    let length = gatehouse_txt_query(name, servers, Int32(servers.count), &answer, Int32(answer.count))
    // Such a name is not there, or has no such records.
    if length == -HOST_NOT_FOUND || length == -NO_DATA { return [] }
    guard length > 0 else { return nil }
    var found: [String] = []
    var text = [UInt8](repeating: 0, count: 65_536)
    for place in 0..<Int32(1_000) {
        let written = gatehouse_txt_record(answer, length, place, &text, Int32(text.count))
        if written == -2 { break }
        if written >= 0 { found.append(String(decoding: text[..<Int(written)], as: UTF8.self)) }
    }
    return found
}
